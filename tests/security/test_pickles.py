"""A pickle under every name that is read: it is never loaded, whatever else happens."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import coreset
from coreset.artifacts.executor import SerialExecutor
from coreset.calibration import Rates, calibration_file, stored_rates
from coreset.cli import main
from coreset.corpus.kept import read_kept
from coreset.corpus.naming import Naming
from coreset.corpus.sparc import Checks
from coreset.corpus.store import Corpus
from coreset.distributed.executor import RayExecutor
from coreset.errors import CoresetError
from coreset.folder import RunFolder
from coreset.learning.network import load
from coreset.publishing.verify import verify
from coreset.session import open_session, package
from coreset.stages.ingestion import ingest, open_source

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RayExecutor, "_start", lambda self: pytest.fail("Ray was started"))


@pytest.fixture
def place(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, whose record names the copy."""
    shutil.copytree(whole_run, tmp_path / "here")
    record = RunFolder(tmp_path / "here" / "run")
    moved = json.loads(json.dumps(record.read()).replace(str(whole_run), str(tmp_path / "here")))
    record.write(moved)
    return tmp_path / "here"


def command(*arguments: Any) -> Callable[[], None]:
    def call() -> None:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception

    return call


def run_again(place: Path) -> None:
    session = open_session(place / "job.yaml", place / "run", None, ())
    with session.recorded(SerialExecutor()) as pipeline:
        package(session, pipeline.run())


def readers(place: Path) -> Iterator[Callable[[], Any]]:
    """Every way to read a run, its coreset and its corpus."""
    run = place / "run"
    snapshot = "test/b_T0300_0"
    yield command("plan", place / "job.yaml", "--out", run)
    yield command("status", run)
    yield command("report", run)
    yield command("verify", run / "coreset")
    yield command("predict", run, snapshot)
    yield lambda: coreset.open(run).to_torch()
    yield lambda: coreset.open(run).to_pandas()
    yield lambda: run_again(place)
    yield lambda: [
        Corpus.open(place / "corpus.zarr").density(each) for each in Corpus.open(place / "corpus.zarr").snapshots
    ]


def kinds(place: Path) -> dict[str, Path]:
    """One file of each kind below a folder: those whose names differ by digests, numbers and labels alone are one."""
    found: dict[str, Path] = {}
    for path in sorted(place.rglob("*")):
        if path.is_file():
            name = path.relative_to(place).as_posix()
            found.setdefault(re.sub(r"-[0-9a-f]{16}/|[ab]_T\d+_\d|(train|test)(/|__)|\d+", "#", name), path)
    return found


def disguises(path: Path, pickles: Any) -> Iterator[bytes]:
    yield pickles.bytes
    if path.suffix in (".npy", ""):
        yield pickles.npy()
    elif path.suffix == ".npz":
        yield pickles.npz("reference", "p0")
    elif path.suffix == ".safetensors":
        yield pickles.torch()
    elif path.suffix == ".yaml":
        yield pickles.yaml()


def test_a_pickle_under_every_name_that_a_run_reads_is_never_loaded(place: Path, pickles: Any) -> None:
    files = kinds(place)
    # The kinds that there are today, so that a new one is noticed here.
    endings = {path.suffix or path.name for path in files.values()}
    assert endings == {".json", ".jsonl", ".md", ".parquet", ".safetensors", ".npy", ".yaml", ".lock", "0"}
    names = {path.name for path in files.values()}
    assert {"run.json", "summary.json", "manifest.json", "timings.json", "zarr.json", "snapshots.parquet"} <= names
    for path in files.values():
        content = path.read_bytes()
        for planted in disguises(path, pickles):
            path.write_bytes(planted)
            for read in readers(place):
                with contextlib.suppress(Exception):  # what is told is looked at below, and by those who read each file
                    read()
                assert not pickles.gone_off, path
            for made in (place / "run" / "predictions", place / "run" / "report.html"):
                shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
        path.write_bytes(content)


READ: list[tuple[str, Callable[[Path], Any]]] = [
    ("job.yaml", lambda place: open_session(place / "job.yaml", None, None, ())),
    ("run/run.json", lambda place: RunFolder(place / "run").read()),
    ("run/summary.json", lambda place: command("report", place / "run", "--debug")()),
    (
        "run/artifacts/training-*/model.safetensors",
        lambda place: [load(each) for each in place.rglob("model.safetensors")],
    ),
    ("run/coreset/manifest.json", lambda place: coreset.open(place / "run")),
    ("run/coreset/snapshots.parquet", lambda place: list(verify(place / "run"))),
    ("run/coreset/part-00000.parquet", lambda place: list(verify(place / "run"))),
    ("run/coreset/README.md", lambda place: list(verify(place / "run"))),
    ("corpus.zarr/zarr.json", lambda place: Corpus.open(place / "corpus.zarr")),
]


@pytest.mark.parametrize(("name", "read"), READ, ids=[name for name, _ in READ])
def test_who_reads_a_pickle_says_what_was_expected(name: str, read: Any, place: Path, pickles: Any) -> None:
    path = next(place.glob(name))
    path.write_bytes(pickles.bytes)
    if name.endswith("summary.json"):
        result = CliRunner().invoke(main, ["report", str(place / "run")])
        assert result.exit_code == 2 and "summary.json: expected" in result.stderr
    else:
        with pytest.raises(CoresetError, match=re.escape(path.name)):
            read(place)
    assert not pickles.gone_off


@pytest.mark.parametrize("suffix", [".dens", ".inpt", ".ion", ".out", ".static"])
def test_a_pickle_under_every_name_of_a_sparc_snapshot_is_bad_data(suffix: str, tmp_path: Path, pickles: Any) -> None:
    shutil.copytree(DATA / "al", tmp_path / "al")
    (path,) = (tmp_path / "al").rglob(f"*{suffix}")
    path.write_bytes(pickles.bytes)
    with pytest.raises(CoresetError, match=path.name):
        ingest(open_source(tmp_path / "al", Checks(), Naming()), tmp_path / "c.zarr", SerialExecutor())
    assert not pickles.gone_off


def test_a_pickle_of_rates_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickles: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calibration_file().parent.mkdir()
    calibration_file().write_bytes(pickles.bytes)
    assert stored_rates() == Rates()
    assert not pickles.gone_off


@pytest.mark.parametrize("name", ["a.npy", "objects.npy", "a.parquet", "objects.parquet", "a.zarr", "group.zarr"])
def test_a_pickle_of_scores_is_a_wrong_request(name: str, tmp_path: Path, pickles: Any) -> None:
    path = tmp_path / name
    if name == "objects.npy":
        path.write_bytes(pickles.npy())
    elif name == "objects.parquet":
        pickles.parquet(path, pa.schema([("score", pa.float32())]), rows=1000)
    elif name == "a.zarr":
        pickles.zarr(path, rows=1000)
    elif name == "group.zarr":
        path.mkdir()
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        pickles.zarr(path / "score", rows=1000)
    else:
        path.write_bytes(pickles.bytes)
    result = CliRunner().invoke(main, ["select", str(path), "--out", str(tmp_path / "rows.parquet")])
    assert not pickles.gone_off
    assert result.exit_code == 2, result.exception
    assert f"{path}: expected" in result.stderr
    assert not (tmp_path / "rows.parquet").exists()


# A Parquet file states its types itself, and Ray registers one whose values are pickles, in every process that has
# imported `ray.data`. Columns have to be of the types that we write before a value is looked at.


def objects_in(path: Path, pickles: Any) -> None:
    table = pq.read_table(path)
    pickles.parquet(path, table.schema, rows=len(table))


@pytest.mark.parametrize("name", ["snapshots.parquet", "part-00000.parquet"])
def test_a_dataset_of_python_objects_is_refused(name: str, place: Path, pickles: Any) -> None:
    objects_in(place / "run" / "coreset" / name, pickles)
    with pytest.raises(CoresetError, match=name):
        coreset.open(place / "run").to_pandas()
    assert not pickles.gone_off


def test_a_selection_of_python_objects_is_refused(place: Path, pickles: Any) -> None:
    path = next(place.glob("run/artifacts/selection-*/part-00000.parquet"))
    objects_in(path, pickles)
    with pytest.raises(CoresetError, match=path.name):
        read_kept(path)
    assert not pickles.gone_off


def test_a_density_of_the_second_format_is_refused(place: Path, pickles: Any) -> None:
    root = place / "corpus.zarr"
    snapshot = Corpus.open(root).snapshots[0]
    shutil.rmtree(root / snapshot.name)
    pickles.zarr(root / snapshot.name)
    described = json.loads((root / snapshot.name / ".zarray").read_text())
    described |= {"shape": list(snapshot.grid), "chunks": list(snapshot.grid)}
    (root / snapshot.name / ".zarray").write_text(json.dumps(described))
    (root / snapshot.name / "0").rename(root / snapshot.name / "0.0.0")
    attributes = {"snapshot": snapshot.to_json()}
    (root / snapshot.name / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(CoresetError):
        Corpus.open(root).density(snapshot)
    assert not pickles.gone_off


def test_the_pickles_are_alive(pickles: Any, tmp_path: Path) -> None:
    """Each would have gone off in the hands of a reader that is not careful."""
    import pickle

    import zarr

    def fresh() -> None:
        assert pickles.gone_off
        pickles.marker.rmdir()

    pickle.loads(pickles.bytes)
    fresh()
    (tmp_path / "a.npy").write_bytes(pickles.npy())
    np.load(tmp_path / "a.npy", allow_pickle=True)
    fresh()
    (tmp_path / "a.npz").write_bytes(pickles.npz("x"))
    _ = np.load(tmp_path / "a.npz", allow_pickle=True)["x"]
    fresh()
    pickles.parquet(tmp_path / "a.parquet", pa.schema([("score", pa.float32())]), rows=1)
    pq.read_table(tmp_path / "a.parquet").column("score").to_pylist()
    fresh()
    pickles.zarr(tmp_path / "a.zarr")
    with pytest.raises(Exception):  # noqa: B017, PT011 (nothing comes of it, but it is loaded)
        zarr.open_array(tmp_path / "a.zarr", mode="r")[...]
    fresh()

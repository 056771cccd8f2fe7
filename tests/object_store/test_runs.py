"""`coreset run --store s3://…`: the same coreset as with a store in a folder, whatever happens on the way."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner, Result

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize, materialize_all
from coreset.cli import command, main
from coreset.session import open_session
from coreset.stages.coverage import minima
from coreset.stages.histogram import ScoreHistogram
from coreset.stages.scoring import Scoring

SECTIONS = (
    "score: {seeds: 2, epoch: 1}",
    "select: {prune: 0.8, cutoff: 0.1, strata: 10}",
    "coverage: {queries: 100}",
    "evaluation: {methods: [full, random, ccs], seeds: 1}",
)
BROKEN = str(Path(__file__).parents[1] / "broken_run.py")


@pytest.fixture
def job(small_job: Callable[..., Path]) -> Path:
    return small_job(*SECTIONS)


@pytest.fixture
def _serially(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "executor", lambda job: contextlib.nullcontext(SerialExecutor()))


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run(job: Path, out: Path, *more: str) -> bytes:
    """The manifest of the coreset of a run that ends well."""
    done = call("run", job, "--out", out, *more)
    assert done.exit_code == 0, done.output
    return (out / "coreset" / "manifest.json").read_bytes()


@pytest.fixture
def undisturbed(job: Path, tmp_path: Path, _serially: None) -> bytes:
    """That of the same job with its store in its folder."""
    return run(job, tmp_path / "local")


def test_a_run_is_that_of_a_folder_and_every_verb_finds_it(
    job: Path, bucket: str, undisturbed: bytes, objects: Callable[[], dict[str, bytes]], tmp_path: Path, elsewhere: Any
) -> None:
    out, store = tmp_path / "run", f"s3://{bucket}/store"
    planned = json.loads(call("plan", job, "--out", out, "--store", store, "--json").stdout)["stages"]
    assert not any(stage["done"] for stage in planned.values())
    assert run(job, out, "--store", store) == undisturbed
    assert not (out / "artifacts").exists()
    assert (out / "summary.json").read_bytes() == (tmp_path / "local" / "summary.json").read_bytes()
    local = tmp_path / "local" / "artifacts"
    files = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}
    assert {name.removeprefix("store/") for name in objects()} == {name for name in files if "timings" not in name}
    elsewhere()
    planned = json.loads(call("plan", job, "--out", out, "--store", store, "--json").stdout)["stages"]
    assert all(stage["done"] == stage["artifacts"] for stage in planned.values())
    status = json.loads(call("status", out, "--json").stdout)
    assert status["state"] == "done"
    assert all(stage["done"] == stage["artifacts"] for stage in status["stages"])
    scored = json.loads(call("score", job, "--out", out, "--store", store, "--json").stdout)
    assert scored["artifact"].startswith(f"{store}/scores-")
    predicted = [call("predict", folder, "test/b_T0300_0", "--json").stdout for folder in (out, tmp_path / "local")]
    assert len({json.loads(each)[0]["nrmse"] for each in predicted}) == 1
    assert run(job, out, "--store", store) == undisturbed


def test_every_stage_gives_the_same_figures(job: Path, bucket: str, tmp_path: Path, elsewhere: Any) -> None:
    found = []
    for store in (tmp_path / "store", f"s3://{bucket}/store"):
        session = open_session(job, tmp_path / "run", store, ())
        executor = SerialExecutor()
        pipeline = session.pipeline(
            lambda stages, session=session, executor=executor: materialize_all(
                stages, root=session.store, executor=executor
            )
        )
        products = pipeline.run()
        elsewhere()
        (selection, *_) = products.selections["ccs"]
        assert selection is not None
        shown = ScoreHistogram(products.scores, session.split.train, "grand", (("ccs", selection),))
        histogram = materialize(shown, root=session.store, executor=executor)
        distances = [minima(each).tolist() for (each,) in products.coverages.values()]
        found.append((products.scores.figures, histogram.figures, products.coreset.figures, distances))
    assert found[0] == found[1]


@pytest.mark.usefixtures("_serially")
def test_killed_in_the_middle_it_is_run_again(
    job: Path, bucket: str, undisturbed: bytes, tmp_path: Path, objects: Callable[[], dict[str, bytes]],
    elsewhere: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out, store = tmp_path / "run", f"s3://{bucket}/store"
    command = [sys.executable, BROKEN, "kill", "3", str(job), "--out", str(out), "--store", store]
    killed = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)
    assert killed.returncode == -9, killed.stderr
    status = json.loads(call("status", out, "--json").stdout)
    assert status["state"] == "interrupted"
    assert {stage["stage"]: stage["shards"] for stage in status["stages"]} == {"scoring runs": 0, "scoring": 3}
    elsewhere()  # goes on where nothing of it lies
    computed, compute = [], Scoring.compute
    monkeypatch.setattr(
        Scoring, "compute", lambda self, part, *more: computed.append(part.name) or compute(self, part, *more)
    )
    assert run(job, out, "--store", store) == undisturbed
    assert len(computed) == 8 - 3
    assert not [name for name in objects() if ".records" in name or ".tmp-" in name]


@pytest.mark.usefixtures("_serially")
def test_one_request_in_ten_fails_and_puts_are_doubled(
    job: Path, bucket: str, faulty: Any, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulty, "every", 10)
    monkeypatch.setattr(faulty, "twice", True)
    assert run(job, tmp_path / "run", "--store", f"faulty://{bucket}/store") == undisturbed
    assert faulty.failures > 10


@pytest.mark.usefixtures("_serially")
def test_a_flipped_bit_in_a_score_ends_the_run_and_is_named(
    job: Path, bucket: str, undisturbed: bytes, tmp_path: Path, elsewhere: Any
) -> None:
    store = f"s3://{bucket}/store"
    assert call("score", job, "--out", tmp_path / "run", "--store", store).exit_code == 0
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    flipped = next(name for name in fs.find(f"{bucket}/store") if "/grand/c/" in name)
    content = bytearray(fs.cat_file(flipped))
    content[len(content) // 2] ^= 4
    fs.pipe_file(flipped, bytes(content))
    elsewhere()
    failed = call("run", job, "--out", tmp_path / "run", "--store", store)
    assert failed.exit_code == 1
    scores = flipped.partition(".zarr/")[0].rpartition("/")[0]
    assert f"coreset: s3://{flipped}: its SHA-256 is not the one in manifest.json" in failed.stderr
    assert f"remove s3://{scores} and run again" in failed.stderr
    fs.rm(scores, recursive=True)
    assert run(job, tmp_path / "run", "--store", store) == undisturbed


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("s3://key:s3cret@{bucket}/store", "--store: expected a URL without password"),
        ("s3://{bucket}/store?token=s3cret", "--store: expected a URL without password"),
        ("s3://none-of-this-name/store", "--store: expected a URL to write to, found that it cannot be: s3://none-of"),
        ("http://127.0.0.1/store", "--store: expected a path, or the URL of an object store"),
        ("simplecache::s3://{bucket}/store", "--store: expected a path, or the URL of an object store"),
        ("nowhere://{bucket}/store", "--store: expected a URL that fsspec can open"),
        ("s3:/{bucket}/store", "--store: expected a local path"),
    ],
)
@pytest.mark.usefixtures("_serially")
def test_a_url_that_cannot_be_a_store_is_a_wrong_request(
    store: str, told: str, job: Path, bucket: str, tmp_path: Path
) -> None:
    refused = call("run", job, "--out", tmp_path / "run", "--store", store.format(bucket=bucket))
    assert refused.exit_code == 2, refused.output
    assert told in refused.stderr and "s3cret" not in refused.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
def test_workers_of_ray_put_and_fetch(job: Path, bucket: str, undisturbed: bytes, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("coreset")), "run", str(job), "--out", str(tmp_path / "run")]
    command += ["--store", f"s3://{bucket}/store", "--set", "cluster.workers=2"]
    # Ray's sockets lie in it too, whose names may not be long.
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp", ignore_cleanup_errors=True) as short:
        env = {**os.environ, "TMPDIR": short}
        done = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "coreset" / "manifest.json").read_bytes() == undisturbed
    assert not (tmp_path / "run" / "artifacts").exists()

"""A whole job on a local Ray: what it leaves, that it is the same without Ray, and that running again resumes."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

import coreset
from coreset.corpus.split import split
from coreset.corpus.store import Corpus

pytestmark = pytest.mark.ray

NOWHERE = {"RAY_ADDRESS": "127.0.0.1:1"}
"""With this in the environment a run that starts Ray fails."""


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_bytes())
    return summary


def test_the_table_names_every_method(place: Any, finished: Path) -> None:
    printed = (place.path / "stdout.txt").read_text()
    for name in ("full corpus", "random points", "random snapshots", "GraNd", "CCS", "cut-random"):
        assert name in printed


def test_the_summary_counts_what_was_kept(finished: Path) -> None:
    summary = summary_of(finished)
    points = summary["corpus"]["train"]["points"]
    assert points == 8 * 14**3
    keep = round(points / 10)
    assert summary["rows"] == keep
    for method in ("random", "grand", "ccs", "cut-random"):
        assert summary["methods"][method]["kept"] == [keep, keep]
    assert summary["methods"]["full"]["kept"] == [points, points]
    assert summary["cutoff"]["value"] in [0.0, 0.3]
    assert [entry["cutoff"] for entry in summary["cutoff"]["curve"]] == [0.0, 0.3]
    assert summary["cutoff"]["value"] == min(summary["cutoff"]["curve"], key=lambda entry: entry["nrmse"])["cutoff"]
    assert -1 <= summary["scores"]["rank_correlation"] <= 1


def test_the_dataset_is_what_ccs_selects_from_the_scores(place: Any, finished: Path) -> None:
    rows = coreset.open(finished).to_pandas(descriptor=False)
    corpus = Corpus.open(place.path / "small.zarr")
    for name, of_snapshot in rows.groupby("snapshot"):
        (snapshot,) = corpus.select(str(name))
        density = corpus.density(snapshot)
        index = of_snapshot["index"].to_numpy()
        assert (np.diff(index) > 0).all()
        assert np.array_equal(density[index], of_snapshot["density"].to_numpy())
        ijk = np.stack(np.unravel_index(index, snapshot.grid), axis=1) / snapshot.grid
        assert np.allclose(ijk @ snapshot.cell, of_snapshot[["x", "y", "z"]].to_numpy(), atol=1e-12)
    cutoff = summary_of(finished)["cutoff"]["value"]
    # Horvitz–Thompson: the weights of a stratified draw count the points that were not cut.
    points = 8 * 14**3
    assert np.isclose(rows["weight"].sum(), points - int(cutoff * points))


def test_validation_and_test_points_are_not_in_the_dataset(place: Any, finished: Path) -> None:
    corpus = Corpus.open(place.path / "small.zarr")
    sets = split(corpus, "job", train="train/*", tests={"bulk": "test/*"}, validation=0.2)
    held_out = {snapshot.name for snapshot in sets.validation.snapshots}
    assert held_out
    assert not held_out & set(coreset.open(finished).to_pandas(descriptor=False)["snapshot"])


def test_it_is_the_same_without_ray(finished: Path, serial: Path) -> None:
    assert (finished / "coreset/manifest.json").read_bytes() == (serial / "coreset/manifest.json").read_bytes()
    artifacts = sorted(folder.name for folder in (serial / "artifacts").iterdir())
    assert artifacts == sorted(folder.name for folder in (finished / "artifacts").iterdir())
    for name in artifacts:
        one, other = finished / "artifacts" / name, serial / "artifacts" / name
        assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes(), name


def test_no_temporary_file_is_left(finished: Path) -> None:
    assert not [path for path in finished.rglob("*") if ".tmp-" in path.name or path.name == ".records"]


def test_a_second_run_computes_nothing_and_starts_no_ray(place: Any, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "artifacts").rglob("*")}
    again = place.call("run", "small.yaml", env=NOWHERE)
    assert again.returncode == 0, again.stderr
    assert again.stdout == (place.path / "stdout.txt").read_text()
    assert {path: path.stat().st_mtime_ns for path in (finished / "artifacts").rglob("*")} == before


def test_another_rate_trains_and_scores_nothing_again(place: Any, finished: Path) -> None:
    store = finished / "artifacts"
    out = ("--out", str(place.path / "other"), "--store", str(store), "--set", "select.prune=0.8")
    planned = json.loads(place.call("plan", "small.yaml", *out, "--json", env=NOWHERE).stdout)["stages"]
    for title in ("scoring runs", "scoring"):
        assert planned[title]["done"] == planned[title]["artifacts"]
    # What is trained on the whole corpus does not depend on the rate: 2 seeds of `full`.
    assert planned["evaluation runs"]["done"] == 2
    assert planned["selection"]["done"] == 0


def test_verify_and_status_agree(place: Any, finished: Path) -> None:
    assert place.call("verify", str(finished / "coreset")).returncode == 0
    status = json.loads(place.call("status", str(finished), "--json").stdout)
    assert status["state"] == "done"
    assert all(stage["done"] == stage["artifacts"] for stage in status["stages"])


def test_predict_writes_density_and_error(place: Any, finished: Path, tmp_path: Path) -> None:
    import ase.io.cube

    done = place.call("predict", str(finished), "test/t0_T0150", "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads(done.stdout)
    density, error = (ase.io.cube.read_cube_data(path)[0] for path in figures["files"])
    corpus = Corpus.open(place.path / "small.zarr")
    (snapshot,) = corpus.select("test/t0_T0150")
    reference = corpus.density(snapshot).reshape(snapshot.grid)
    assert np.allclose(density - error, reference, rtol=1e-6, atol=1e-7)
    nrmse = np.sqrt((error**2).mean()) / (reference.max() - reference.min())
    assert np.isclose(nrmse, figures["nrmse"], rtol=1e-5)
    by_seed = summary_of(finished)["evaluation"]["bulk"]["ccs"]
    assert by_seed["by_seed"][0] > 0


@pytest.mark.parametrize("moment", ["training", "scores", "evaluation"])
def test_killed_at_any_time_it_ends_with_the_same_bytes(
    place: Any, finished: Path, serial: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "killed"
    process = place.start("run", "small.yaml", "--out", str(out), "--set", "cluster.workers=2")
    deadline = time.monotonic() + 390
    while not list(out.glob(f"artifacts/{moment}-*/.records/*")) and process.poll() is None:
        assert time.monotonic() < deadline, "the stage never began"
        time.sleep(0.01)
    workers = [each for each in psutil.Process(process.pid).children(recursive=True) if "ray::" in each.name()]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # They end by themselves; on a busy machine one may still write for some seconds.
    psutil.wait_procs(workers, timeout=20)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "summary.json").exists()
    # The rest without Ray, which gives the same bytes (see above) and spares a start.
    place.serial(out)
    assert (out / "coreset/manifest.json").read_bytes() == (finished / "coreset/manifest.json").read_bytes()
    assert not [path for path in out.rglob("*") if ".tmp-" in path.name]


@pytest.mark.usefixtures("ray_as_found")
def test_the_dataset_is_the_same_from_ray(finished: Path) -> None:
    dataset = coreset.open(finished)
    tables = list(dataset.to_ray().iter_batches(batch_size=None, batch_format="pyarrow"))
    rows = pa.concat_tables(tables).sort_by([("snapshot", "ascending"), ("index", "ascending")])
    expected = dataset.to_arrow().sort_by([("snapshot", "ascending"), ("index", "ascending")])
    assert rows.column_names == expected.column_names
    for name in expected.column_names:
        assert rows.column(name).to_pylist() == expected.column(name).to_pylist(), name

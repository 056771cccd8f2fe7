"""A sweep by the command line on a local Ray gives the figures of a sweep without it."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

SMALLER = (
    "sweep={rates: [0.9], methods: [random, ccs], seeds: 2, protocols: [steps, epochs], "
    "epochs: {epochs: 1, rates: [0.9], methods: [ccs]}, studies: {rates: [0.9], seeds: 1, score_runs: [1]}}"
)


def timeless(figures: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(figures, dict):
        varying = {"date", "seconds", "cpu_seconds", "describe_seconds", "command"}
        return {name: timeless(value) for name, value in figures.items() if name not in varying}
    return [timeless(each) for each in figures] if isinstance(figures, list) else figures


def test_it_is_the_same_without_ray(place: Any, run_sweep: Any, sweep_job: Path, tmp_path: Path) -> None:
    # β is chosen in the test of a whole run; to state it spares the start of a worker group.
    overrides = (SMALLER, "select.cutoff=0.3")
    options = [word for each in (*overrides, "cluster.workers=2") for word in ("--set", each)]
    done = place.call("sweep", str(sweep_job), "--out", str(tmp_path / "ray"), *options)
    assert done.returncode == 0, done.stderr
    serial = run_sweep(sweep_job, tmp_path / "serial", *overrides, engine=None)
    figures = json.loads((tmp_path / "ray" / "sweep.json").read_bytes())
    assert timeless(figures) == timeless(serial.figures)
    # Times are told of every training all the same.
    for cell in figures["cells"]:
        assert all(seconds > 0 for seconds in cell["training"]["seconds"])
    for name in ("test-bulk", "test-alloy", "training"):
        one, other = (tmp_path / folder / "fields" / f"{name}.npz" for folder in ("ray", "serial"))
        assert one.read_bytes() == other.read_bytes()
    for folder in (tmp_path / "serial" / "artifacts").iterdir():
        other = tmp_path / "ray" / "artifacts" / folder.name
        assert (other / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes(), folder.name
    assert "CCS" in done.stdout
    assert not [path for path in (tmp_path / "ray").rglob("*") if ".tmp-" in path.name or path.name == ".records"]

"""Memory that is really exhausted, by a limit of the process and by one of its control group."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from coreset.artifacts.executor import SerialExecutor
from coreset.cli import command, main

BROKEN = str(Path(__file__).with_name("broken_run.py"))
SECTIONS = (
    "score: {seeds: 2, epoch: 1}",
    "select: {prune: 0.8, cutoff: 0.1, strata: 10}",
    "coverage: {queries: 100}",
    "evaluation: {methods: [random, ccs], seeds: 1}",
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


@pytest.fixture(autouse=True)
def _serially(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "executor", lambda job: contextlib.nullcontext(SerialExecutor()))


@pytest.fixture
def job(small_job: Callable[..., Path]) -> Path:
    return small_job(*SECTIONS)


def run(job: Path, out: Path) -> bytes:
    """The run to its end, in this process; returns the manifest of its coreset."""
    done = CliRunner().invoke(main, ["run", str(job), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return (out / "coreset" / "manifest.json").read_bytes()


def broken(what: str, job: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    """A run to which that happens in its third part of the scoring."""
    command = [sys.executable, BROKEN, what, "2", str(job), "--out", str(out)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)


def state(out: Path) -> str:
    return str(json.loads(CliRunner().invoke(main, ["status", str(out), "--json"]).stdout)["state"])


@pytest.mark.parametrize("library", ["python", "numpy", "torch", "pyarrow"])
def test_a_limit_of_the_process(library: str, job: Path, tmp_path: Path) -> None:
    failed = broken(f"limit:{library}", job, tmp_path / "run")
    assert failed.returncode == 1, failed.stderr
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("coreset: "))
    assert "scoring: there was not enough memory; lower cluster.workers" in line
    record = json.loads((tmp_path / "run" / "run.json").read_bytes())
    assert record["where"].startswith("part 'train/") and "of scoring" in record["where"]
    assert run(job, tmp_path / "run") == run(job, tmp_path / "undisturbed")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that may take 64 MiB."""
    folder = control_group() / f"coreset-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("needs control groups that can be written")
    try:
        limits = {
            "memory.max": 64,
            "memory.swap.max": 0,
            "memory.limit_in_bytes": 64,
            "memory.memsw.limit_in_bytes": 64,
        }
        for name, most in limits.items():
            if (folder / name).exists():
                (folder / name).write_text(str(most * 2**20))
        if not any((folder / name).exists() for name in ("memory.max", "memory.limit_in_bytes")):
            pytest.skip("needs the memory controller of control groups")
        yield folder
    finally:
        folder.rmdir()


def control_group() -> Path:
    """The folder of this process's own control group for memory, in either version; one that is not there if none."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for _, controllers, path in groups:
        for _, mounted, kind, options, *_ in mounts:
            first = kind == "cgroup" and "memory" in options.split(",") and "memory" in controllers.split(",")
            second = kind == "cgroup2" and not controllers and Path(mounted, "cgroup.controllers").exists()
            if first or (second and "memory" in Path(mounted, "cgroup.controllers").read_text().split()):
                own = Path(mounted, path.lstrip("/"))
                return own if own.is_dir() else Path(mounted)
    return Path("/nowhere")


def test_a_limit_of_the_control_group(group: Path, job: Path, tmp_path: Path) -> None:
    killed = broken(f"cgroup:{group}", job, tmp_path / "run")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert state(tmp_path / "run") == "interrupted"
    assert run(job, tmp_path / "run") == run(job, tmp_path / "undisturbed")
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.startswith((".tmp-", ".records"))]

"""A `coreset run` in a process of its own, the processes that belong to it, and a cluster of two nodes for it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from job import LONGER

HERE = Path(__file__).parent
_COMMAND = str(Path(sys.executable).with_name("coreset"))
_GONE = 60.0
"""Seconds in which Ray's processes end after their driver."""


@dataclass
class Run:
    """One `coreset run` and everything that belongs to it."""

    process: subprocess.Popen[bytes]
    log: Path
    ray: Path
    """Ray's folder. Whoever has a file open below it belongs to this run, or to the cluster that it runs on."""
    out: Path
    begun: float = field(default_factory=time.monotonic)

    def processes(self) -> list[psutil.Process]:
        return _with_files_below(self.ray)

    def named(self, titles: tuple[str, ...]) -> list[psutil.Process]:
        found = []
        for each in self.processes():
            with suppress(psutil.Error):
                if "".join(each.cmdline()).startswith(titles):
                    found.append(each)
        return found

    def stages(self) -> list[str]:
        """The artifacts that are being made."""
        with suppress(FileNotFoundError):
            stages = [stage["artifact"] for stage in json.loads((self.out / "run.json").read_bytes())["stages"]]
            return [name for name in stages if not (self.out / "artifacts" / name / "manifest.json").exists()]
        return []


def start(job: Path, out: Path, own: Path, more: Mapping[str, str]) -> Run:
    own.mkdir()
    set_to = [word for each in (*LONGER, "cluster.workers=2") for word in ("--set", each)]
    given = {**os.environ, **environment(own), **more}
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(
            [_COMMAND, "run", str(job), "--out", str(out), *set_to],
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return Run(process, own / "log", Path(given["RAY_TMPDIR"]), out)


def environment(own: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(HERE.parents[1]), "RAY_TMPDIR": str(own), "TMPDIR": str(own)}


def end_all(processes: list[psutil.Process]) -> None:
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def end(going: Run) -> int:
    """Waits for the driver, or ends everything of a run that hangs."""
    if sys.exc_info()[0] is not None:
        end_all(going.processes())
    return going.process.wait()


def gone(going: Run) -> bool:
    """Whether all of a run's processes end, in time, by themselves."""
    deadline = time.monotonic() + _GONE
    while found := going.processes():
        if time.monotonic() > deadline:
            end_all(found)
            return False
        psutil.wait_procs(found, timeout=1)
    return True


@contextlib.contextmanager
def two_nodes(own: Path) -> Iterator[tuple[dict[str, str], Callable[[], None]]]:
    """A cluster on this machine: what the environment of a run needs, and what ends its second node."""
    own.mkdir()
    given = {**os.environ, **environment(own), "RAY_USAGE_STATS_ENABLED": "0"}
    with (own / "log").open("wb") as log:
        cluster = subprocess.Popen(
            [sys.executable, str(HERE / "nodes.py")],
            env=given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert cluster.stdin and cluster.stdout

    def lose() -> None:
        assert cluster.stdin and cluster.stdout
        cluster.stdin.write("lose\n")
        cluster.stdin.flush()
        cluster.stdout.readline()

    try:
        told = json.loads(cluster.stdout.readline())
        yield {"RAY_ADDRESS": told["address"], "RAY_TMPDIR": str(own)}, lose
    finally:
        cluster.stdin.close()
        cluster.wait(60)


def _with_files_below(folder: Path) -> list[psutil.Process]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError, psutil.Error):
                if any(os.readlink(file).startswith(f"{folder}/") for file in (process / "fd").iterdir()):
                    found.append(psutil.Process(int(process.name)))
    return found

"""`coreset run` in a process of its own, without Ray, in which something happens once, as a part of the scoring begins.

    python tests/broken_run.py WHAT NUMBER JOB --out DIR …

WHAT: `kill`, or `limit:LIBRARY`, which leaves the process 64 MiB and lets the library ask for 1 GiB, or
`cgroup:FOLDER`, which moves it into a control group and fills memory until the kernel ends it. NUMBER counts the parts
from 0.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coreset import cli
from coreset.artifacts.executor import SerialExecutor
from coreset.cli import command
from coreset.stages.scoring import Scoring

MIB = 2**20


def kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def limit(library: str) -> None:
    status = Path("/proc/self/status").read_text()
    held = 1024 * int(status.split("VmData:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_DATA, (held + 64 * MIB, resource.RLIM_INFINITY))
    ask(library, 1024 * MIB)
    raise AssertionError("the limit was not reached")


def ask(library: str, size: int) -> Any:
    if library == "numpy":
        import numpy

        return numpy.ones(size, numpy.uint8)
    if library == "torch":
        import torch

        return torch.ones(size, dtype=torch.uint8)
    if library == "pyarrow":
        import pyarrow

        return pyarrow.allocate_buffer(size)
    return bytearray(size)


def cgroup(folder: str) -> None:
    Path(folder, "cgroup.procs").write_text(str(os.getpid()))
    held = []
    while True:
        held.append(bytearray(MIB))


def main() -> None:
    what, number, *arguments = sys.argv[1:]
    name, _, argument = what.partition(":")
    happens: Callable[[str], None] = {"kill": kill, "limit": limit, "cgroup": cgroup}[name]
    compute, parts = Scoring.compute, iter(range(sys.maxsize))

    def broken(self: Scoring, *given: Any) -> dict[str, Any]:
        if next(parts) == int(number):
            happens(argument)
        return compute(self, *given)

    Scoring.compute = broken  # type: ignore[method-assign]
    command.executor = lambda job: contextlib.nullcontext(SerialExecutor())  # type: ignore[assignment]
    cli.main(["run", *arguments])


if __name__ == "__main__":
    main()

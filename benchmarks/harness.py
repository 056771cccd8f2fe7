"""How a figure is measured: alternately with its peer, in one process with one thread, as the ratio of each round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Row:
    """One figure with its target: the median of the rounds, and the least and the greatest of them."""

    stage: str
    """What is measured, with its sizes: `gradient norms, 12 × 900, float32`."""
    figure: str
    """What the number says: `points per second, of those of a forward pass`."""
    value: float
    low: float
    high: float
    unit: str = "×"
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    """Sizes, peers and versions that a reader needs to judge the figure."""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)


def row(stage: str, figure: str, rounds: Sequence[float] | np.ndarray, **options: Any) -> Row:
    """The row of a figure that was measured once a round."""
    values = np.asarray(rounds, np.float64)
    return Row(stage, figure, float(np.median(values)), float(values.min()), float(values.max()), **options)


def alternately(*functions: Callable[[], Any], rounds: int = 5, warm: bool = True) -> np.ndarray:
    """Seconds (wall) that each function takes, shape [functions, rounds].

    They take turns, beginning with another one each round, so that a machine that slows down slows all of them.
    """
    if warm:
        for function in functions:
            function()
    seconds = np.empty((len(functions), rounds))
    for turn in range(rounds):
        for step in range(len(functions)):
            which = (turn + step) % len(functions)
            begin = time.perf_counter()
            functions[which]()
            seconds[which, turn] = time.perf_counter() - begin
    return seconds


def pinned(threads: int = 1) -> dict[str, str]:
    """The environment of a process that computes with so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads)), "RAY_USAGE_STATS_ENABLED": "0"}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)  # a peer with the kernels of another processor would be too easy
    return environment


def apart(call: str, threads: int = 1, environment: Mapping[str, str] | None = None, **given: Any) -> dict[str, Any]:
    """Calls `module:function` with JSON arguments in a process of its own: its JSON `result`, `seconds` and `peak`.

    `peak` is the most memory (bytes) that the process held resident; `seconds` do not count its start.
    """
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.apart", call, json.dumps(given)],
        cwd=ROOT, env={**pinned(threads), **(environment or {})}, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return answer


def peak_memory() -> int:
    """Bytes that this process held resident at most; `ru_maxrss` would count what its parent held before it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

"""How time and memory of a selection grow with the number of scores."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, apart, row
from benchmarks.selection import write_scores


def rows(quick: bool) -> list[Row]:
    """Each selection in a process of its own, with one thread; the files are in the page cache of the system."""
    few, many = (100_000, 1_000_000) if quick else (10_000_000, 1_000_000_000)
    seconds, peaks = np.empty((2, 1 if quick else 3)), np.empty((2, 1 if quick else 3))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{count}.npy" for count in (few, many)]
        for path, count in zip(paths, (few, many), strict=True):
            write_scores(path, count)
        for turn in range(seconds.shape[1]):
            for i, path in enumerate(paths):
                found = apart("benchmarks.selection:select_one", path=str(path))
                seconds[i, turn], peaks[i, turn] = found["result"], found["peak"]
    stage = f"CCS of a file, from {few:.0e} to {many:.0e} scores"
    note = "float32, even in [0, 1); prune 0.99, cutoff 0.3, 100 strata."
    limit = None if quick else 1.05 * many / few
    return [
        row(stage, "time, of that of the fewer", seconds[1] / seconds[0], at_most=limit, note=note),
        row(stage, "peak memory, of that of the fewer", peaks[1] / peaks[0], at_most=1.1),
    ]

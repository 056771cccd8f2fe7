"""How time and memory of a selection grow with the number of scores, and of rows of a table."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Row, apart, row
from benchmarks.selection import write_scores
from coreset.methods.select import PIECE


def rows(quick: bool) -> list[Row]:
    """Each selection in a process of its own, with one thread; the files are in the page cache of the system."""
    few, many = (100_000, 1_000_000) if quick else (10_000_000, 1_000_000_000)
    limit = None if quick else 1.05 * many / few
    note = "float32, even in [0, 1); prune 0.99, cutoff 0.3, 100 strata."
    table_note = "The table: Parquet, a key (int64), the target and the score of each row, of which the score is read."
    found = []
    for what, suffix, about in (("a file", "npy", note), ("a table", "parquet", table_note)):
        seconds, peaks = np.empty((2, 1 if quick else 3)), np.empty((2, 1 if quick else 3))
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{count}.{suffix}" for count in (few, many)]
            for path, count in zip(paths, (few, many), strict=True):
                (write_scores if suffix == "npy" else write_table)(path, count)
            for turn in range(seconds.shape[1]):
                for i, path in enumerate(paths):
                    measured = apart("benchmarks.selection:select_one", path=str(path))
                    seconds[i, turn], peaks[i, turn] = measured["result"], measured["peak"]
        stage = f"CCS of {what}, from {few:.0e} to {many:.0e} scores"
        found += [
            row(stage, "time, of that of the fewer", seconds[1] / seconds[0], at_most=limit, note=about),
            row(stage, "peak memory, of that of the fewer", peaks[1] / peaks[0], at_most=1.1),
        ]
    return found


def write_table(path: Path, count: int) -> None:
    """A table of keys, targets and scores, written in pieces."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("key", pa.int64()), ("target", pa.float32()), ("score", pa.float32())])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for first in range(0, count, PIECE):
            n = min(PIECE, count - first)
            columns = [np.arange(first, first + n), rng.random(n, np.float32), rng.random(n, np.float32)]
            writer.write_table(pa.table(columns, schema=schema))

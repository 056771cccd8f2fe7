"""The points that a selection keeps: one Parquet file per batch of snapshots, one row per point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.corpus.parquet import read_parquet
from coreset.errors import DataError
from coreset.methods import Selected

BATCH = 64
"""Snapshots per file: few files, however small the coreset."""

_SCHEMA = pa.schema(
    [
        ("snapshot", pa.string()),
        ("index", pa.int64()),
        ("stratum", pa.int32()),
        ("weight", pa.float64()),
        ("score", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Batch:
    """Consecutive snapshots that share one file."""

    name: str
    first: int
    stop: int


def batches_of(snapshots: int) -> list[Batch]:
    """The batches of a corpus of so many snapshots, in order."""
    return [
        Batch(f"part-{number:05d}", first, min(first + BATCH, snapshots))
        for number, first in enumerate(range(0, snapshots, BATCH))
    ]


def write_kept(path: Path, selections: Iterable[tuple[str, Selected]]) -> int:
    """Writes a batch: columns `snapshot` (digest), `index`, `stratum`, `weight`, `score`; null where there is none.

    What is kept of one snapshot may come in several pieces, in order. Returns the number of points.
    """
    # The steps of an ascending index take less space and time than a dictionary that no value enters twice; scores have
    # as few values in common.
    plain = {"index": "DELTA_BINARY_PACKED", "score": "PLAIN"}
    others = [name for name in _SCHEMA.names if name not in plain]
    kept = 0
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd", use_dictionary=others, column_encoding=plain) as writer:
        for digest, selected in selections:
            rows = len(selected.index)
            columns = [
                pa.repeat(pa.scalar(digest), rows),
                pa.array(selected.index),
                column_or_nulls(selected.stratum, rows, pa.int32()),
                pa.array(selected.weight),
                column_or_nulls(selected.score, rows, pa.float32()),
            ]
            writer.write_table(pa.table(columns, schema=_SCHEMA))
            kept += rows
    return kept


@lru_cache(maxsize=8)
def read_kept(path: Path) -> dict[str, Selected]:
    """A batch by snapshot digest; a snapshot of which nothing is kept is absent.

    Raises DataError for a file that is damaged, or in which a snapshot's rows do not ascend in one run.
    """
    table = read_parquet(path, _SCHEMA, nullable=("stratum", "score"), dictionary=["snapshot"])
    kept: dict[str, Selected] = {}
    for snapshot, first, stop in runs_of(table.column("snapshot")):
        index = table.column("index").slice(first, stop - first).to_numpy()
        if snapshot in kept or index[0] < 0 or (np.diff(index) <= 0).any():
            raise DataError(f"{path}: {snapshot[:80]}: expected ascending, distinct grid indices, found others.")
        rows = table.slice(first, stop - first)
        strata, scores = rows.column("stratum"), rows.column("score")
        kept[snapshot] = Selected(
            index=index,
            stratum=None if strata.null_count else strata.to_numpy(),
            weight=rows.column("weight").to_numpy(),
            score=None if scores.null_count else scores.to_numpy(),
        )
    return kept


def column_or_nulls(values: np.ndarray | None, rows: int, kind: pa.DataType) -> pa.Array:
    """The values as a column, or as many nulls."""
    return pa.nulls(rows, kind) if values is None else pa.array(values, kind)


def runs_of(snapshots: pa.ChunkedArray) -> list[tuple[str, int, int]]:
    """Each run of equal names in a column: the name, its first row, and the row after its last."""
    if not len(snapshots):
        return []
    encoded = snapshots.dictionary_encode().unify_dictionaries().combine_chunks()
    numbers, names = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    firsts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist()]
    stops = [*firsts[1:], len(numbers)]
    return [(names[numbers[first]], first, stop) for first, stop in zip(firsts, stops, strict=True)]

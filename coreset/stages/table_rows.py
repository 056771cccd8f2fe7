"""The rows of a pruned table, in Parquet: where they stood, their features and targets, and why they were kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.corpus.kept import column_or_nulls
from coreset.corpus.parquet import columns_of, table_schema
from coreset.corpus.pieces import pieces_of
from coreset.corpus.table_corpus import Layout, TableShard, read_rows, read_values
from coreset.methods import Selected

Files = Sequence[tuple[str, int]]
"""Names of the files of a table, and the number in the table of the first row of each."""


def write_table_rows(
    path: Path, layout: Layout, files: Files, kept: Iterable[tuple[TableShard, Selected]]
) -> dict[str, Any]:
    """Writes the rows of some shards, in their order; returns their number, also by shard."""
    counts = {}
    with pq.ParquetWriter(path, table_schema(layout), compression="zstd") as writer:
        for shard, selected in kept:
            for rows in _rows(shard, selected, layout, files):
                writer.write_table(rows)
            counts[shard.name] = len(selected.index)
    return {"rows": sum(counts.values()), "rows_by_snapshot": counts}


def _rows(shard: TableShard, selected: Selected, layout: Layout, files: Files) -> Iterator[pa.Table]:
    """The rows of one shard, piece by piece."""
    names, firsts = pa.array([name for name, _ in files]), np.array([first for _, first in files])
    for piece in pieces_of(shard):
        kept = selected.between(piece.first, piece.stop)
        if not len(kept.index):
            continue
        first, stop = int(kept.index[0]), int(kept.index[-1]) + 1
        values = read_values(shard, first, stop)[kept.index - first]
        numbers = read_rows(shard, first, stop)[kept.index - first]
        file = np.searchsorted(firsts, numbers, side="right") - 1
        columns = [
            names.take(file),
            pa.array(numbers - firsts[file]),
            pa.repeat(pa.scalar(shard.group), len(values)),
            *columns_of(values, layout),
            column_or_nulls(kept.score, len(values), pa.float32()),
            column_or_nulls(kept.stratum, len(values), pa.int32()),
            pa.array(kept.weight),
        ]
        yield pa.table(columns, schema=table_schema(layout))

"""The rows of a coreset as Zarr v3 arrays, one per column, for those who read arrays rather than tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from coreset.publishing.columns import POINTS, describe_column
from coreset.publishing.dataset import Dataset, matrix

_CHUNK = 2**20
"""Bytes of an inner chunk, before compression."""
_SHARD = 16
"""Inner chunks of a shard, which is one file."""


def write_arrays(path: Path, dataset: Dataset) -> None:
    """Writes a group with one array per column, row by row as in the Parquet files, each chunk with its crc32c.

    `snapshot` is the row of snapshots.parquet (int32), for texts of any length have no type in Zarr v3; a null score is
    NaN, and a null stratum −1.
    """
    names = dataset.snapshots.column("name").to_pylist()
    numbers = {name: number for number, name in enumerate(names)}
    with zarr.config.set({"json_indent": None}):
        group = zarr.create_group(path, attributes={"rows": len(dataset)})
        writers: dict[str, _Writer] = {}
        for table in (dataset.rows(file) for file in dataset.files):
            for name in table.column_names:
                values = _values(name, table.column(name), numbers)
                if name not in writers:
                    writers[name] = _Writer(group, name, len(dataset), values)
                writers[name].add(values)
        for writer in writers.values():
            writer.finish()


def _values(name: str, column: pa.ChunkedArray, numbers: dict[str, int]) -> np.ndarray:
    if name == "snapshot":
        if not len(column):
            return np.empty(0, np.int32)
        encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
        known = np.array([numbers[each] for each in encoded.dictionary.to_pylist()], np.int32)
        rows: np.ndarray = known[encoded.indices.to_numpy()]
        return rows
    if pa.types.is_fixed_size_list(column.type):
        return matrix(column)
    missing = np.nan if pa.types.is_floating(column.type) else -1
    filled = column.fill_null(pa.scalar(missing, column.type)) if column.null_count else column
    values: np.ndarray = filled.to_numpy()
    return values


class _Writer:
    """Fills one array from its start, a whole shard at a time."""

    def __init__(self, group: zarr.Group, name: str, rows: int, like: np.ndarray) -> None:
        width = like.shape[1:]
        chunk = max(1, _CHUNK // (like.dtype.itemsize * math.prod(width)))
        chunk = min(chunk, max(1, rows))
        self._shard = chunk * min(_SHARD, math.ceil(max(1, rows) / chunk))
        self._array: Any = group.create_array(
            name,
            shape=(rows, *width),
            dtype=like.dtype,
            chunks=(chunk, *width),
            shards=(self._shard, *width),
            serializer=BytesCodec(endian="little"),
            compressors=(
                BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=like.dtype.itemsize),
                Crc32cCodec(),
            ),
            filters=None,
            fill_value=np.zeros((), like.dtype)[()],
            config={"write_empty_chunks": True},  # a chunk that is missing is one that was lost
            attributes={"description": describe_column(name, POINTS)},
        )
        self._at = 0
        self._held: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        """The next rows."""
        self._held.append(values)
        if sum(map(len, self._held)) >= self._shard:
            held = np.concatenate(self._held)
            whole = len(held) // self._shard * self._shard
            self._write(held[:whole])
            self._held = [held[whole:]]

    def finish(self) -> None:
        """Writes what is left."""
        self._write(np.concatenate(self._held))

    def _write(self, values: np.ndarray) -> None:
        if len(values):
            self._array[self._at : self._at + len(values)] = values
            self._at += len(values)

"""The rows of a coreset as Zarr v3 arrays, for those who read arrays rather than tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from coreset.publishing.package import Package

_CHUNK = 2**20
"""Bytes of an inner chunk, before compression."""
_SHARD = 16
"""Inner chunks of a shard, which is one file."""


def write_arrays(path: Path, dataset: Package) -> None:
    """Writes a group with the arrays of a coreset, row by row as in the Parquet files, each chunk with its crc32c."""
    attributes = dataset.array_attributes()
    with zarr.config.set({"json_indent": None}):
        group = zarr.create_group(path, attributes={"rows": len(dataset)})
        writers: dict[str, _Writer] = {}
        for arrays in dataset.arrays():
            for name, values in arrays.items():
                if name not in writers:
                    writers[name] = _Writer(group, name, len(dataset), values, attributes[name])
                writers[name].add(values)
        for writer in writers.values():
            writer.finish()


def values_of(column: pa.ChunkedArray, texts: Sequence[str] = ()) -> np.ndarray:
    """A column as an array. Texts of any length have no type in Zarr v3: each is its place in `texts`, int32.

    A null float is NaN, and a null integer −1.
    """
    if texts:
        if not len(column):
            return np.empty(0, np.int32)
        numbers = {text: number for number, text in enumerate(texts)}
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


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column of fixed-size lists as a matrix."""
    values = column.combine_chunks()
    values = values if isinstance(values, pa.Array) else pa.concat_arrays(values.chunks)
    width: int = column.type.list_size
    rows: np.ndarray = values.flatten().to_numpy().reshape(len(values), width)
    return rows


class _Writer:
    """Fills one array from its start, a whole shard at a time."""

    def __init__(
        self, group: zarr.Group, name: str, rows: int, like: np.ndarray, attributes: Mapping[str, Any]
    ) -> None:
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
            attributes=dict(attributes),
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

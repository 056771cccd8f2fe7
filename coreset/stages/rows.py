"""`coreset select`: rows of anyone's score file, streamed from file to file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from coreset.atomic import replacing
from coreset.corpus.chunks import expect_chunks
from coreset.corpus.npy import read_npy_header
from coreset.errors import DataError, RequestError, brief
from coreset.methods.select import EXACT, PIECE, ROWS, select_rows
from coreset.numerics.scans import ScoreShard

COLUMN = "score"
_BUFFER = 2**20
"""Bytes of a Parquet file that are read at a time."""

_SCHEMA = pa.schema([("index", pa.int64()), ("stratum", pa.int32())])


def select_file(scores: Path, destination: Path, **settings: Any) -> dict[str, Any]:
    """Writes Parquet with columns `index` (int64, ascending) and `stratum` (null without strata); returns the figures.

    The file is read once per scan, in pieces. Raises RequestError for a file that is not `.npy` (1-D), `.parquet` or
    `.zarr` with a column or array `score`, and as `select_rows`; DataError for scores that are not finite.
    """
    _expect_writable(destination)
    rule, selected = select_rows(_shards(scores), **settings)
    with replacing(destination) as temporary, _writer(temporary) as writer:
        for piece in selected:
            rows = len(piece.index)
            stratum = pa.nulls(rows, pa.int32()) if piece.stratum is None else pa.array(piece.stratum, pa.int32())
            writer.write_table(pa.table([pa.array(piece.index), stratum], schema=_SCHEMA))
    figures = {"total": rule.total, "keep": rule.keep, "kept": rule.kept, "cut": rule.cut}
    return {**figures, "lo": rule.lo, "hi": rule.hi, "sizes": list(rule.sizes), "budgets": list(rule.budgets)}


def _writer(path: Path) -> pq.ParquetWriter:
    # no two indices are equal: a dictionary of them takes more time and more space than they do
    return pq.ParquetWriter(path, _SCHEMA, compression="zstd", use_dictionary=["stratum"])


def _expect_writable(destination: Path) -> None:
    folder = next(parent for parent in destination.absolute().parents if parent.exists())
    if destination.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RequestError(
            f"--out {destination}: expected a file that can be written, found that it cannot; name another."
        )


def _shards(path: Path) -> Callable[[], Iterator[ScoreShard]]:
    openers = {".npy": _npy, ".parquet": _parquet, ".zarr": _zarr}
    if path.suffix not in openers:
        raise RequestError(f"{path}: expected scores in .npy, .parquet or .zarr, found {path.suffix or 'no suffix'!r}.")
    if not path.exists():
        raise RequestError(f"{path}: expected a file of scores, found nothing there; check the path.")
    pieces = openers[path.suffix](path)

    def shards() -> Iterator[ScoreShard]:
        first = 0
        for values in _undamaged(pieces(), path):
            yield ScoreShard(ROWS, first, _floats(values, path))
            first += len(values)

    return shards


def _undamaged(pieces: Iterator[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    try:
        yield from pieces
    except (pa.ArrowException, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: expected scores that can be read, found damaged ones ({brief(error)}); copy it again."
        ) from None


def _floats(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind == "f" and values.dtype.itemsize in (4, 8):
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if values.dtype.kind in "iu" or values.dtype == np.float16:
        if values.dtype.itemsize == 8 and values.size and max(abs(int(values.max())), abs(int(values.min()))) > EXACT:
            raise RequestError(f"{path}: expected integers up to 2**53, found larger; convert them to floats yourself.")
        return values.astype(np.float64)
    raise RequestError(f"{path}: expected real scores, found values of type {values.dtype}.")


def _npy(path: Path) -> Callable[[], Iterator[np.ndarray]]:
    try:
        with path.open("rb") as file:
            header = read_npy_header(file, path.stat().st_size, path)
    except OSError as error:
        raise RequestError(f"{path}: expected a .npy array of numbers, found none ({brief(error)}).") from None
    shape, dtype, offset = header.shape, header.dtype, header.offset
    if len(shape) != 1 or shape[0] <= 0:
        raise RequestError(f"{path}: expected scores of one dimension, not empty, found shape {shape}.")
    rows = shape[0]

    def pieces() -> Iterator[np.ndarray]:
        with path.open("rb", buffering=0) as file:  # read, not mapped: pages of a mapped file would count as memory
            file.seek(offset)
            for first in range(0, rows, PIECE):
                piece = np.fromfile(file, dtype, min(PIECE, rows - first))
                if len(piece) < min(PIECE, rows - first):
                    raise DataError(f"{path}: expected {rows} scores, found {first + len(piece)}; copy it again.")
                yield piece

    return pieces


def _parquet(path: Path) -> Callable[[], Iterator[np.ndarray]]:
    try:
        with pq.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
            kind = file.schema_arrow.field(COLUMN).type if COLUMN in names else None
    except (pa.ArrowException, OSError, ValueError) as error:
        told = brief(error)
        raise RequestError(f"{path}: expected a Parquet file, found one that cannot be read ({told}).") from None
    if COLUMN not in names or rows == 0:
        raise RequestError(
            f"{path}: expected rows with a column {COLUMN!r}, found {rows} rows, columns {', '.join(names)[:200]}."
        )
    # Before a value is looked at: those of some extension types, such as Ray's of Python objects, are pickles.
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise RequestError(f"{path}: expected real scores, found a column {COLUMN!r} of type {kind}.")

    def pieces() -> Iterator[np.ndarray]:
        # Pages through a buffer, row group by row group: a reader of all of them keeps what it has read.
        checked = {"page_checksum_verification": True}
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, **checked) as file:
            first = 0
            groups = range(file.num_row_groups)
            for batch in (each for i in groups for each in file.iter_batches(PIECE, [i], [COLUMN])):
                column = batch.column(0)
                if column.null_count:
                    row = first + column.is_null().to_numpy(zero_copy_only=False).argmax()
                    raise DataError(f"{path}: expected a score in every row, found none in row {row}.")
                yield column.to_numpy(zero_copy_only=False)
                first += len(column)

    return pieces


def _zarr(path: Path) -> Callable[[], Iterator[np.ndarray]]:
    try:
        node = zarr.open(path, mode="r")
        array = node if isinstance(node, zarr.Array) else node[COLUMN]
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        # All that Zarr can raise for metadata that are none.
        raise RequestError(
            f"{path}: expected a Zarr array, or a group with an array {COLUMN!r}, found none ({brief(error)})."
        ) from None
    if not isinstance(array, zarr.Array) or not array.shape or math.prod(array.shape) == 0:
        raise RequestError(f"{path}: expected an array {COLUMN!r} that is not empty, found none.")
    # Before a value is looked at: objects of the second format may be pickles.
    if array.dtype.kind not in "iuf":
        raise RequestError(f"{path}: expected real scores, found an array of type {array.dtype}.")
    expect_chunks(array, str(path))
    plane = math.prod(array.shape[1:])
    step = max(1, PIECE // plane)
    found = array
    return lambda: (np.asarray(found[first : first + step]).ravel() for first in range(0, found.shape[0], step))

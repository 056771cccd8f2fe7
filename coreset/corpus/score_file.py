"""Scores that somebody else has made, one per row or point: `.npy`, Parquet or Zarr, read in pieces or by ranges."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from coreset.corpus.chunks import expect_chunks
from coreset.corpus.npy import read_npy_header
from coreset.corpus.parquet import batches, row_groups
from coreset.corpus.table_set import checksum
from coreset.errors import DataError, RequestError, brief
from coreset.methods.select import EXACT, PIECE

COLUMN = "score"
_BUFFER = 2**20
"""Bytes of a Parquet file that are read at a time."""

_Reader = Callable[[int, int], Iterator[np.ndarray]]
"""The values of the rows from the first up to the second number, in pieces."""


@dataclass(frozen=True)
class ScoreFile:
    """A file of scores, and what it held when the job was read."""

    path: Path
    rows: int
    sha256: str
    """Of the file; of a folder, as Zarr has it, over the names and contents of its files."""
    firsts: Mapping[str, int] | None = None
    """Where the points of each snapshot begin in it, for a corpus of densities; rows of a table have numbers."""

    @classmethod
    def of(cls, path: Path) -> ScoreFile:
        """Reads the header, and the whole file for its SHA-256. Raises as `open_scores`."""
        rows = open_scores(path).rows
        return cls(path, rows, _sha256(path))


def _sha256(path: Path) -> str:
    if path.is_dir():
        return checksum(str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Scores:
    """An opened file of scores."""

    path: Path
    rows: int
    reader: _Reader

    def pieces(self, first: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """The scores of consecutive rows, float32 or float64, in pieces of `PIECE` rows at most, or of one plane.

        Raises RequestError for values that are no real numbers, DataError for damaged ones; NaN is passed on.
        """
        wanted = self.reader(first, self.rows if stop is None else stop)
        for values in _undamaged(wanted, self.path):
            yield _floats(values, self.path)


def open_scores(path: Path) -> Scores:
    """Opens `.npy` (1-D), or `.parquet` or `.zarr` with a column or array `score`. Raises RequestError for others."""
    openers = {".npy": _npy, ".parquet": _parquet, ".zarr": _zarr}
    if path.suffix not in openers:
        raise RequestError(f"{path}: expected scores in .npy, .parquet or .zarr, found {path.suffix or 'no suffix'!r}.")
    if not path.exists():
        raise RequestError(f"{path}: expected a file of scores, found nothing there; check the path.")
    if not (path.is_file() or path.is_dir()):
        # A pipe would be waited for without end, and scores are read more than once.
        raise RequestError(f"{path}: expected a file of scores, found a pipe or a device; write them to a file first.")
    return Scores(path, *openers[path.suffix](path))


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


def _npy(path: Path) -> tuple[int, _Reader]:
    try:
        with path.open("rb") as file:
            header = read_npy_header(file, path.stat().st_size, path)
    except OSError as error:
        raise RequestError(f"{path}: expected a .npy array of numbers, found none ({brief(error)}).") from None
    shape, dtype, offset = header.shape, header.dtype, header.offset
    if len(shape) != 1 or shape[0] <= 0:
        raise RequestError(f"{path}: expected scores of one dimension, not empty, found shape {shape}.")
    rows = shape[0]

    def pieces(first: int, stop: int) -> Iterator[np.ndarray]:
        with path.open("rb", buffering=0) as file:  # read, not mapped: pages of a mapped file would count as memory
            file.seek(offset + first * dtype.itemsize)
            for start in range(first, stop, PIECE):
                piece = np.fromfile(file, dtype, min(PIECE, stop - start))
                if len(piece) < min(PIECE, stop - start):
                    raise DataError(f"{path}: expected {rows} scores, found {start + len(piece)}; copy it again.")
                yield piece

    return rows, pieces


def _parquet(path: Path) -> tuple[int, _Reader]:
    try:
        with pq.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, sum(row_groups(file.metadata))
            kind = file.schema_arrow.field(COLUMN).type if COLUMN in names else None
    except (pa.ArrowException, OSError, ValueError) as error:
        told = brief(error)
        raise RequestError(f"{path}: expected a Parquet file, found one that cannot be read ({told}).") from None
    if COLUMN not in names or rows == 0:
        raise RequestError(
            f"{path}: expected rows with a column {COLUMN!r}, found {rows} rows, columns {brief(', '.join(names))}."
        )
    # Before a value is looked at: those of some extension types, such as Ray's of Python objects, are pickles.
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise RequestError(f"{path}: expected real scores, found a column {COLUMN!r} of type {kind}.")

    def pieces(first: int, stop: int) -> Iterator[np.ndarray]:
        # Pages through a buffer, row group by row group: a reader of all of them keeps what it has read.
        checked = {"page_checksum_verification": True}
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, **checked) as file:
            begin = 0
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                # A group is decoded from its beginning on; what lies before it or behind the last row is not read.
                for batch in batches(file, group, PIECE, [COLUMN]) if begin < stop and first < end else ():
                    column = batch.column(0).slice(max(0, first - begin), max(0, stop - max(first, begin)))
                    if column.null_count:
                        row = max(first, begin) + column.is_null().to_numpy(zero_copy_only=False).argmax()
                        raise DataError(f"{path}: expected a score in every row, found none in row {row}.")
                    if len(column):
                        yield column.to_numpy(zero_copy_only=False)
                    begin += batch.num_rows
                    if begin >= stop:
                        return
                begin = end

    return rows, pieces


def _zarr(path: Path) -> tuple[int, _Reader]:
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

    def pieces(first: int, stop: int) -> Iterator[np.ndarray]:
        for start in range(first // plane, -(-stop // plane), step):
            values = np.asarray(found[start : min(start + step, -(-stop // plane))]).ravel()
            yield values[max(0, first - start * plane) : stop - start * plane]

    return found.size, pieces

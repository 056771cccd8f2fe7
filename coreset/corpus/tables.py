"""Tables of rows in files that others wrote (Parquet, .npy, Zarr), read a block and a few columns at a time.

A column holds one number or text per row, or a vector of as many numbers as in the first row, such as an embedding.

::

    x.parquet             its columns
    x/**/*.parquet        the same columns in every file; rows in order of the files' names
    x.npy                 shape [n, d]: columns "0", "1", … ; shape [n]: column "0"
    x.zarr                an array: as .npy; a group: each array of it a column, of shape [n] or [n, w]
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from fsspec.implementations.local import LocalFileSystem
from jaxtyping import Float32

from coreset.corpus.chunks import expect_chunks
from coreset.corpus.npy import NpyHeader, read_npy_header
from coreset.corpus.parquet import row_groups
from coreset.corpus.remote import open_store, patiently
from coreset.corpus.store import expect_no_failure_of_the_system
from coreset.errors import CoresetError, DataError, RequestError, brief

ROWS = 2**16
"""Rows that are read at a time."""
BLOCK = 2**18
"""Rows of a block of a file that has no row groups."""
_BUFFER = 2**20
_UNREADABLE = (
    pa.ArrowException,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the readers of damaged files raise."""


@dataclass(frozen=True)
class Column:
    """A column's name, kind, and how many numbers a row has in it."""

    name: str
    kind: Literal["number", "text"]
    width: int = 1


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one file: what is read as one part of the work.

    file: its path or URL; number: of the row group in it; first: of its rows in the file; start: of its rows in the
    table.
    """

    name: str
    file: str
    number: int
    first: int
    rows: int
    start: int


@dataclass(frozen=True)
class Table:
    """A table that was opened: its columns and blocks; nothing but headers, and lists of the first row, was read.
    Picklable.

    others: names of the columns that cannot be read, and their types.

    Reading raises DataError, naming the file, for what is damaged or is not finite.
    """

    path: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    _read: Callable[[Block, Sequence[str]], Iterator[dict[str, np.ndarray]]] = field(repr=False)
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all blocks."""
        return sum(block.rows for block in self.blocks)

    def matching(self, patterns: Sequence[str], kind: Literal["number", "text"] | None = None) -> tuple[Column, ...]:
        """The columns that are named, or whose names match one of the globs, in the table's order.

        What is the name of a column is no glob, so that `gap [eV]` is found. Raises RequestError for a glob that
        matches nothing that can be read, and for a column of another kind than is stated.
        """
        names = [column.name for column in self.columns]
        chosen: set[str] = set()
        for pattern in patterns:
            found = _named(names, pattern)
            if (others := _named(self.others, pattern)) and (kind is not None or not found) and pattern not in names:
                raise RequestError(
                    f"{self.path}: column {others[0]!r}: expected numbers, vectors of numbers or (in Parquet) text, "
                    f"found {self.others[others[0]]}; write it as one of these, or leave it out."
                )
            if not found:
                raise RequestError(f"{self.path}: expected a column {pattern!r}, found {brief(', '.join(names))}.")
            chosen.update(found)
        columns = tuple(column for column in self.columns if column.name in chosen)
        for column in columns:
            if kind is not None and column.kind != kind:
                raise RequestError(f"{self.path}: expected column {column.name!r} of kind {kind}, found {column.kind}.")
        return columns

    def pieces(self, block: Block, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """The columns of a block, some `ROWS` rows at a time: shape [n], or [n, w] for vectors; text as objects."""
        seen = 0
        try:
            for piece in self._read(block, names):
                seen += len(next(iter(piece.values())))
                yield piece
        except CoresetError:
            raise
        except _UNREADABLE as error:
            if not isinstance(error, FileNotFoundError):
                expect_no_failure_of_the_system(error)
            raise DataError(f"{block.file}: expected rows of a table, found damaged ones ({brief(error)}).") from None
        if seen != block.rows:
            raise DataError(f"{block.file}: expected {block.rows} rows in {block.name}, found {seen}; copy it again.")

    def features(self, block: Block, names: Sequence[str]) -> Iterator[np.ndarray]:
        """The columns of a block side by side, see `side_by_side`, some `ROWS` rows at a time."""
        first = 0
        for piece in self.pieces(block, names):
            rows = side_by_side(piece, names, block, first)
            first += len(rows)
            yield rows


def _named(names: Iterable[str], pattern: str) -> list[str]:
    """The name that the pattern is, or else those that match it as a glob."""
    names = list(names)
    return [pattern] if pattern in names else [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def side_by_side(
    piece: Mapping[str, np.ndarray], names: Sequence[str], block: Block, first: int
) -> Float32[np.ndarray, "n c"]:
    """Columns of numbers as float32, shape [n, Σ w]; `first` is the piece's place in its block.

    Raises DataError, naming file, row and column, for a number that is not finite as float32.
    """
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        parts = [np.asarray(piece[name], np.float32).reshape(len(piece[name]), -1) for name in names]
    for name, part in zip(names, parts, strict=True):
        if not (finite := np.isfinite(part).all(axis=1)).all():
            raise DataError(
                f"{block.file}: row {block.first + first + int(finite.argmin())}, column {name!r}: expected a finite "
                "float32, found none; mend the row, or leave the column out."
            )
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def is_table(path: str) -> bool:
    """Whether `open_table` reads what is at this path or URL: by its suffix, or that of the files below it."""
    try:
        _form(path)
    except RequestError:
        return False
    return True


def expect_no_table(path: str) -> None:
    """Raises RequestError for a table, of which it was not said what is to be learnt. A field in `.npy` is none."""
    try:
        open_table(path)
    except RequestError:
        return
    raise RequestError(f"{path}: expected --target COLUMN, what is to be learnt of a table, found none; name it.")


def open_table(path: str) -> Table:
    """Reads the headers of a table at a path or a URL that fsspec knows, and of lists in Parquet how long the first is.

    Raises RequestError where there is none, for one without rows, and for files whose columns differ.
    """
    path = path.rstrip("/")
    form, files = _form(path)
    table = {"parquet": _parquet, "npy": _npy, "zarr": _zarr}[form](path, files)
    if not table.rows:
        raise RequestError(f"{path}: expected a table with rows, found none.")
    return table


def _form(path: str) -> tuple[str, list[str]]:
    """The kind of table, and its files in order of their names."""
    try:
        filesystem, root = fsspec.core.url_to_fs(path)
        there = patiently(lambda: filesystem.exists(root))
        folder = there and filesystem.isdir(root)
    except Exception as error:  # clients have errors of their own for what is one of the network, or of the account
        raise RequestError(f"{path}: cannot be opened ({brief(error)}).") from None
    if not there:
        raise RequestError(f"{path}: expected a table, found nothing there; check the path.")
    if folder and any(filesystem.exists(f"{root}/{name}") for name in ("zarr.json", ".zarray", ".zgroup")):
        return "zarr", [path]
    if not folder:
        _expect_files(filesystem, path, root)
        suffix = posixpath.splitext(root)[1]
        if suffix in (".parquet", ".npy"):
            return suffix[1:], [path]
        raise RequestError(f"{path}: expected a table in .parquet, .npy or .zarr, found {suffix or 'no suffix'!r}.")
    below = sorted(each for each in filesystem.find(root) if each.endswith(".parquet"))
    if not below:
        raise RequestError(f"{path}: expected a table, found a folder without .parquet files and no Zarr.")
    _expect_files(filesystem, path, *below)
    return "parquet", [f"{path}{each[len(root) :]}" for each in below]


def _expect_files(filesystem: fsspec.AbstractFileSystem, path: str, *files: str) -> None:
    """Raises RequestError for a pipe, a socket or a device, which may be waited for without end."""
    for file in files if isinstance(filesystem, LocalFileSystem) else ():
        if not filesystem.isfile(file):
            raise RequestError(
                f"{path}: expected regular files, found {file}, which is none; write it to a file first."
            )


def _blocks(file: str, label: str, sizes: Sequence[int], start: int) -> Iterator[Block]:
    first = 0
    for number, rows in enumerate(sizes):
        if rows:
            yield Block(f"{label}#{number:05d}", file, number, first, rows, start + first)
        first += rows


def _cut(rows: int, most: int) -> list[int]:
    return [min(most, rows - first) for first in range(0, rows, most)]


def _opened(file: str) -> Any:
    filesystem, root = fsspec.core.url_to_fs(file)
    return patiently(lambda: filesystem.open(root, "rb"))


def _parquet(path: str, files: list[str]) -> Table:
    columns: tuple[Column, ...] = ()
    blocks: list[Block] = []
    others: dict[str, str] = {}
    start = 0
    for file in files:
        try:
            with _opened(file) as opened, pq.ParquetFile(opened) as parquet:
                read = {column.name: _of_arrow(column) for column in parquet.schema_arrow}
                found = tuple(filter(None, read.values()))
                others |= {each.name: brief(each.type) for each in parquet.schema_arrow if read[each.name] is None}
                groups = row_groups(parquet.metadata)
        except _UNREADABLE as error:
            raise RequestError(f"{file}: expected a Parquet file, found none ({brief(error)}).") from None
        if blocks and found != columns:
            raise RequestError(f"{file}: expected the columns of {files[0]}, found others; give files that agree.")
        columns = found
        label = file[len(path) :].lstrip("/") or posixpath.basename(path)
        blocks += _blocks(file, label, groups, start)
        start += sum(groups)
    if blocks:
        columns = _measured(columns, blocks[0])
    widths = {column.name: column.width for column in columns}
    return Table(path, columns, tuple(blocks), partial(_read_parquet, widths), others)


def _measured(columns: tuple[Column, ...], block: Block) -> tuple[Column, ...]:
    """With the length that lists have in the first row, 1 where it has none: reading expects it of every row."""
    lists = [column.name for column in columns if not column.width]
    if not lists:
        return columns
    try:
        with _opened(block.file) as opened, pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False) as file:
            row = next(file.iter_batches(1, [block.number], lists, use_threads=False))
            lengths = {name: row.column(name).value_lengths()[0].as_py() or 1 for name in lists}
    except (*_UNREADABLE, StopIteration) as error:
        expect_no_failure_of_the_system(error)
        raise DataError(f"{block.file}: expected rows of a table, found damaged ones ({brief(error)}).") from None
    return tuple(replace(column, width=lengths.get(column.name, column.width)) for column in columns)


def _of_arrow(column: pa.Field) -> Column | None:
    """What a column is, None if it cannot be read; the width of one of lists, which the schema does not tell, is 0."""
    kind, width = column.type, 1
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind, width = kind.value_type, 0
    elif pa.types.is_fixed_size_list(kind):
        kind, width = kind.value_type, kind.list_size
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return Column(column.name, "number", width)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return Column(column.name, "text") if text and width == 1 else None


def _read_parquet(widths: Mapping[str, int], block: Block, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    checked = {"page_checksum_verification": True}
    # Pages through a buffer: a reader of a whole row group keeps what it has read.
    with (
        _opened(block.file) as opened,
        pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False, **checked) as file,
    ):
        first = block.first
        for batch in file.iter_batches(ROWS, [block.number], list(names), use_threads=False):
            yield {name: _of_column(batch.column(name), block.file, name, first, widths[name]) for name in names}
            first += batch.num_rows


def _of_column(column: pa.Array, file: str, name: str, first: int, width: int) -> np.ndarray:
    if column.null_count:
        row = first + int(column.is_null().to_numpy(zero_copy_only=False).argmax())
        raise DataError(f"{file}: row {row}, column {name!r}: expected a value, found none; fill it, or drop the row.")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        lengths = column.value_lengths().to_numpy()
        if (other := lengths != width).any():
            row = int(other.argmax())
            raise DataError(
                f"{file}: row {first + row}, column {name!r}: expected a vector of {width} numbers, as in the first "
                f"row, found {lengths[row]}; make all of one length, or leave the column out."
            )
        column = pa.FixedSizeListArray.from_arrays(column.flatten(), width)
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten()
        if flat.null_count:
            row = first + int(flat.is_null().to_numpy(zero_copy_only=False).argmax()) // width
            raise DataError(f"{file}: row {row}, column {name!r}: expected a vector without gaps, found one; fill it.")
        vectors: np.ndarray = flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
        return vectors
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _npy(path: str, files: list[str]) -> Table:
    filesystem, root = fsspec.core.url_to_fs(path)
    with _opened(path) as file:
        header = read_npy_header(file, filesystem.size(root), path)
    if len(header.shape) not in (1, 2) or header.dtype.kind not in "iufb":
        raise RequestError(
            f"{path}: expected numbers of shape [n, d], found {header.dtype} of shape {list(header.shape)}."
        )
    width = 1 if len(header.shape) == 1 else header.shape[1]
    label = posixpath.basename(path)
    columns = tuple(Column(str(i), "number") for i in range(width))
    blocks = tuple(_blocks(path, label, _cut(header.shape[0], BLOCK), 0))
    return Table(path, columns, blocks, _NpyReader(header, width))


@dataclass(frozen=True)
class _NpyReader:
    header: NpyHeader
    width: int

    def __call__(self, block: Block, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        size = self.header.dtype.itemsize * self.width
        with _opened(block.file) as file:
            file.seek(self.header.offset + block.first * size)
            for rows in _cut(block.rows, ROWS):
                content = file.read(rows * size)
                if len(content) < rows * size:
                    return
                values = np.frombuffer(content, self.header.dtype).reshape(rows, self.width)
                yield {name: values[:, int(name)] for name in names}


def _zarr(path: str, files: list[str]) -> Table:
    arrays, others = _zarr_arrays(path)
    columns: list[Column] = []
    lengths = {array.shape[0] for array in arrays.values()}
    if len(lengths) != 1:
        raise RequestError(f"{path}: expected arrays with one length, that of the table, found {sorted(lengths)}.")
    for name, array in arrays.items():
        if name:
            columns.append(Column(name, "number", 1 if array.ndim == 1 else array.shape[1]))
        else:
            columns += [Column(str(i), "number") for i in range(1 if array.ndim == 1 else array.shape[1])]
    along = max((array.shards or array.chunks)[0] for array in arrays.values())
    blocks = _blocks(path, posixpath.basename(path), _cut(lengths.pop(), max(along, BLOCK // along * along)), 0)
    return Table(path, tuple(columns), tuple(blocks), _read_zarr, others)


def _zarr_arrays(path: str) -> tuple[dict[str, zarr.Array[Any]], dict[str, str]]:
    """The arrays of numbers by name; the name of a lone one is empty. And what the other arrays are."""
    try:
        node = zarr.open(open_store(path) if "://" in path else path, mode="r")
        found = {"": node} if isinstance(node, zarr.Array) else dict(sorted(node.arrays()))
    except _UNREADABLE as error:
        raise RequestError(f"{path}: expected a Zarr array or group, found none ({brief(error)}).") from None
    # Before a value is looked at: objects of the second format may be pickles.
    arrays = {name: array for name, array in found.items() if array.ndim in (1, 2) and array.dtype.kind in "iufb"}
    others = {name: f"{found[name].dtype} of shape {list(found[name].shape)}" for name in found if name not in arrays}
    for array in arrays.values():
        expect_chunks(array, path)
    if not arrays:
        listed = brief(", ".join(f"{name or 'one'} ({kind})" for name, kind in others.items())) or "none"
        raise RequestError(f"{path}: expected arrays of numbers of shape [n] or [n, w], found {listed}.")
    return arrays, others


def _read_zarr(block: Block, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    arrays, _ = _zarr_arrays(block.file)
    for start in range(block.first, block.first + block.rows, ROWS):
        stop = min(start + ROWS, block.first + block.rows)
        if "" in arrays:
            values = np.asarray(arrays[""][start:stop]).reshape(stop - start, -1)
            yield {name: values[:, int(name)] for name in names}
        else:
            yield {name: np.asarray(arrays[name][start:stop]) for name in names}

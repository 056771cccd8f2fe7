"""What is asked of a table that is to be ingested: which columns are what, and what they say of each row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pyarrow as pa

from coreset.corpus.table_corpus import Task
from coreset.corpus.tables import Block, Table
from coreset.errors import DataError, RequestError, brief
from coreset.numerics.keys import keys_at, stream

STRETCH = 2**21
"""Rows of the table that are cut into shards together, at most."""
NUMBERS = 2**26
"""Features and targets of a stretch, at most."""
FOLDS = 20
"""Groups into which the rows of a table without a grouping column are dealt, by a hash of their number."""
Label = tuple[str, str]
"""The role of a row (`train`, `test`, …, or empty where its group decides) and its group."""


@dataclass(frozen=True)
class Request:
    """Which columns of a table are what.

    features: globs; without any, all columns of numbers that are nothing else. group: rows that share its value are
    not independent, and stay together. split: its values are roles, of which one must be `train`; without it, `test`
    is the share of the groups that is set aside. key: whole numbers from 0 or text, another for each row, by which
    random draws know it; without it they know it by its number in the table.
    """

    targets: tuple[str, ...]
    features: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    test: float = 0.1
    task: Task | None = None
    key: str | None = None


@dataclass(frozen=True)
class Plan:
    """A request that was found to fit a table."""

    table: Table
    features: tuple[str, ...]
    targets: tuple[str, ...]
    task: Task
    group: str | None
    split: str | None
    key: str | None

    @property
    def others(self) -> list[str]:
        """The columns by which a row's label and key are known."""
        return [name for name in (self.split, self.group, self.key) if name is not None]

    @cached_property
    def stretch(self) -> int:
        """Rows of a stretch: a power of two that the number of columns alone decides."""
        columns = sum(1 for _ in expanded(self.table, [*self.features, *self.targets]))
        return min(STRETCH, 1 << max(0, (NUMBERS // columns).bit_length() - 1))

    def keys_of(self, piece: Mapping[str, np.ndarray], block: Block, first: int) -> np.ndarray:
        """What the rows of a piece are known by, shape [n], int64 from 0; `first` is its place in its block.

        Raises DataError, naming file and row, for a key that is no whole number from 0.
        """
        rows = len(next(iter(piece.values())))
        if self.key is None:
            return np.arange(block.start + first, block.start + first + rows)
        values = piece[self.key]
        if values.dtype == object:
            return np.array([_hashed_key(value) for value in values], np.int64)
        found = values.astype(np.int64) if values.dtype.kind in "iub" else np.full(rows, -1)
        if (found < 0).any():
            raise DataError(
                f"{_cell(block, first + int((found < 0).argmax()), self.key)}: expected a key, a whole number from 0 "
                "or text, found another; name another column, or none."
            )
        return found

    def expect_labels(self, piece: Mapping[str, np.ndarray], block: Block, first: int) -> None:
        """Expects finite labels, and classes that are whole numbers; `first` is the piece's place in its block.

        Raises, naming file, row and column, DataError for the one, RequestError for the other: such targets are values.
        """
        classes = self.targets if self.task == "classification" else ()
        for name in dict.fromkeys((*classes, *filter(None, (self.group, self.split)))):
            values = piece[name].ravel()
            if values.dtype.kind != "f":
                continue
            if not (finite := np.isfinite(values)).all():
                row = int(finite.argmin())
                raise DataError(
                    f"{_cell(block, first + row, name)}: expected a label, text or a finite number, found "
                    f"{values[row]}; fill it, or drop the row."
                )
            if name in classes and not (whole := values == np.trunc(values)).all():
                row = int(whole.argmin())
                raise RequestError(
                    f"{_cell(block, first + row, name)}: expected a class, text or a whole number, found "
                    f"{values[row]}; use --task regression, or another target."
                )

    def label_rows(self, piece: Mapping[str, np.ndarray], identity: np.ndarray) -> tuple[np.ndarray, list[Label]]:
        """The labels that the rows of a piece may have, and which of them each row has, by its number."""
        role, roles = (np.zeros(len(identity), int), [""]) if self.split is None else coded(piece[self.split])
        if self.group is not None:
            group, groups = coded(piece[self.group])
        else:
            hashed = keys_at(stream(0, b"rows", b"/fold"), identity)
            group, groups = (hashed % np.uint64(FOLDS)).astype(int), [f"fold-{fold:02d}" for fold in range(FOLDS)]
        return role * len(groups) + group, list(product(roles, groups))


def planned(table: Table, request: Request) -> Plan:
    """Finds the columns of a request in a table. Raises RequestError for one that is not there, or of another kind."""
    targets = table.matching(request.targets)
    group, split, key = (
        name and _only(table, option, name)
        for option, name in (("--group", request.group), ("--split", request.split), ("--key", request.key))
    )
    given = {*(column.name for column in targets), group, split, key}
    text = any(column.kind == "text" for column in targets)
    task = request.task or ("classification" if text else "regression")
    if task == "classification" and (len(targets) > 1 or targets[0].width > 1):
        raise RequestError(f"{table.path}: expected one target of classes, found {len(targets)}; name one column.")
    if task == "regression" and text:
        raise RequestError(f"{table.path}: expected targets of numbers, found text; use --task classification.")
    if request.features:
        features = [column for column in table.matching(request.features, "number") if column.name not in given]
    else:
        features = [column for column in table.columns if column.kind == "number" and column.name not in given]
    if not features:
        raise RequestError(f"{table.path}: expected columns of numbers beside the target, found none.")
    seen, learnt = (tuple(column.name for column in each) for each in (features, targets))
    return Plan(table, seen, learnt, task, group, split, key)


def _only(table: Table, option: str, pattern: str) -> str:
    """The name of the one column, of one value a row, that an option asks for."""
    try:
        columns = table.matching([pattern])
    except RequestError as error:
        raise RequestError(f"{option}: {error}") from None
    if len(columns) > 1:
        found = brief(", ".join(column.name for column in columns))
        raise RequestError(f"{option}: {table.path}: expected one column {pattern!r}, found {found}; name one.")
    if columns[0].width > 1:
        raise RequestError(
            f"{option}: {table.path}: expected one value a row in column {columns[0].name!r}, found vectors."
        )
    return columns[0].name


def expanded(table: Table, names: Sequence[str]) -> Iterator[str]:
    """The names of the numbers in these columns: of a vector's, the column's with a place behind it."""
    widths = {column.name: column.width for column in table.columns}
    for name in names:
        yield from [name] if widths[name] == 1 else (f"{name}[{i}]" for i in range(widths[name]))


def coded(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Distinct labels as text, and the number of each row's; a whole number is written as one, whatever its type."""
    if values.dtype == object:
        encoded = pa.array(values, pa.string()).dictionary_encode()
        return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    distinct, places = np.unique(values.ravel(), return_inverse=True)  # of a vector's column, one value a row
    return places, [f"{value:.17g}" if values.dtype.kind == "f" else str(int(value)) for value in distinct]


def _cell(block: Block, row: int, name: str) -> str:
    """Where a value stands, by the place of its row in its block."""
    return f"{block.file}: row {block.first + row}, column {name!r}"


def _hashed_key(text: str) -> int:
    """63 bits of the SHA-256 of a key that is text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

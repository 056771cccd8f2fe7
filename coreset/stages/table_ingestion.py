"""A table in other people's files into the corpus format: read once, checked, cut into shards by stretch and group."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import numpy as np

from coreset.artifacts.executor import Executor
from coreset.artifacts.stage import Context, Part
from coreset.corpus.table_corpus import (
    Layout,
    Rows,
    finish_table,
    write_shard,
    written_shard,
)
from coreset.corpus.tables import Block, Table, side_by_side
from coreset.errors import DataError, RequestError, brief
from coreset.numerics.keys import keys_at, stream
from coreset.stages.table_request import Label, Plan, Request, coded, expanded, planned

KEYS = 2**24
"""Keys that are compared with each other at once, about."""
MOST_CLASSES = 10_000
"""Names of classes, and groups: they are held by the driver."""


@dataclass(frozen=True)
class _Seen:
    """What one pass over the targets and labels finds; merged over blocks."""

    low: np.ndarray
    high: np.ndarray
    classes: frozenset[str] = frozenset()
    counts: Counter[tuple[int, Label]] = field(default_factory=Counter)
    """Rows of each stretch and label."""

    def merge(self, other: _Seen) -> _Seen:
        self.counts.update(other.counts)
        return _Seen(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.classes | other.classes,
            self.counts,
        )


def ingest_table(table: Table, request: Request, destination: Path, executor: Executor) -> tuple[str, Layout, int]:
    """Writes the corpus; returns its digest, its layout, and the number of shards.

    A shard that stands already is kept. Raises RequestError for columns that are not there or of another kind, and for
    roles without `train`; DataError for a row that has no value or one that is not finite, and for a key that two rows
    have, before anything is written.
    """
    plan = planned(table, request)
    if destination.exists() and (not destination.is_dir() or not _is_ours(destination)):
        raise RequestError(f"{destination}: expected a new folder or a table that was ingested, found something else.")
    seen = executor.scan(partial(_look, plan), table.blocks, _Seen.merge)
    classes = tuple(sorted(seen.classes))
    if plan.task == "classification" and not 2 <= len(classes) <= MOST_CLASSES:
        raise RequestError(
            f"{table.path}: {plan.targets[0]!r}: expected from 2 to {MOST_CLASSES} classes, found {len(classes)}; use "
            "--task regression, or another target."
        )
    roles = _roles(plan, seen, request.test)
    _expect_distinct(plan, executor)
    layout = Layout(
        tuple(expanded(table, plan.features)),
        tuple(expanded(table, plan.targets)),
        plan.task,
        () if classes else tuple((seen.high - seen.low).tolist()),
        classes,
    )
    work = partial(_write, plan, destination, layout, roles)
    parts = [
        ("", Part(block.name, (number, first), float(block.rows)))
        for number, block in enumerate(table.blocks)
        if (first := -(-block.start // plan.stretch) * plan.stretch) < block.start + block.rows
    ]
    executor.map(work, parts, "data", "ingestion")
    shards = [
        written_shard(destination, _path(roles[label], label[1], stretch), rows)
        for (stretch, label), rows in sorted(seen.counts.items())
    ]
    files = {block.name.rpartition("#")[0]: block.start - block.first for block in table.blocks}
    return finish_table(destination, shards, layout, list(files.items())), layout, len(shards)


def _is_ours(folder: Path) -> bool:
    return not any(folder.iterdir()) or any(folder.glob("**/values/zarr.json"))


def _look(plan: Plan, block: Block) -> _Seen:
    counts: Counter[tuple[int, Label]] = Counter()
    found: set[Label] = set()
    classes: set[str] = set()
    width = len(list(expanded(plan.table, plan.targets)))
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    first = 0
    for piece in plan.table.pieces(block, [*plan.targets, *plan.others]):
        plan.expect_labels(piece, block, first)
        label, labels = plan.label_rows(piece, plan.keys_of(piece, block, first))
        for begin, end in _cut(block.start + first, len(label), plan.stretch):
            rows = np.bincount(label[begin:end], minlength=len(labels))
            stretch = (block.start + first + begin) // plan.stretch
            counts.update({(stretch, labels[i]): int(rows[i]) for i in np.flatnonzero(rows)})
        found.update(label for _, label in counts)
        if plan.task == "classification":
            classes.update(coded(piece[plan.targets[0]])[1])
        else:
            values = side_by_side(piece, plan.targets, block, first)
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
        first += len(label)
        for what, held in (("classes", classes), ("groups", found)):
            if len(held) > MOST_CLASSES:
                raise RequestError(f"{block.file}: expected at most {MOST_CLASSES} {what}, found more; name others.")
    return _Seen(low, high, frozenset(classes), counts)


def _cut(start: int, rows: int, stretch: int) -> Iterator[tuple[int, int]]:
    """The places in a piece where stretches begin and end, of `rows` rows from number `start` on."""
    borders = [0, *range(-start % stretch or stretch, rows, stretch), rows]
    return pairwise(borders)


def _roles(plan: Plan, seen: _Seen, test: float) -> dict[Label, str]:
    """The role of every label: as its column says, or by a hash of the group."""
    labels = sorted({label for _, label in seen.counts})
    if plan.split is not None:
        if "train" not in {role for role, _ in labels}:
            found = brief(", ".join(sorted({role for role, _ in labels})))
            raise RequestError(f"{plan.table.path}: {plan.split!r}: expected rows of the role 'train', found {found}.")
        return {label: label[0] for label in labels}
    groups = sorted({group for _, group in labels}, key=_hashed)
    wanted = max(1, round(test * len(groups))) if test else 0
    if len(groups) - wanted < 2:
        raise RequestError(
            f"{plan.table.path}: expected two groups or more beside those that test, for one validates, found "
            f"{len(groups)} groups; group by another column, or by none."
        )
    testing = set(groups[:wanted])
    return {label: "test" if label[1] in testing else "train" for label in labels}


def _hashed(group: str) -> bytes:
    return hashlib.sha256(f"test\0{group}".encode()).digest()


def _path(role: str, group: str, stretch: int) -> str:
    return "/".join([_plain(role), _plain(group), f"{stretch:06d}"])


def _plain(label: str) -> str:
    return quote(label, safe="").replace(".", "%2E") or "%"


def _write(
    plan: Plan, destination: Path, layout: Layout, roles: dict[Label, str], _: str, part: Part, context: Context
) -> None:
    """Writes the shards of all stretches that begin in a block; the last reaches into the blocks behind it."""
    number, begin = part.payload
    block = plan.table.blocks[number]
    stop = min(plan.table.rows, begin + -(-(block.start + block.rows - begin) // plan.stretch) * plan.stretch)
    held = _Stretch(plan, destination, layout, roles)
    for start, piece in _pieces(plan, number, begin, stop, layout):
        for first, end in _cut(start, len(piece.label), plan.stretch):
            held.add(start + first, piece, slice(first, end))
    held.write()


@dataclass(frozen=True)
class _Piece:
    """Consecutive rows: values, keys, and the number of each row's label among `labels`."""

    values: np.ndarray
    keys: np.ndarray
    label: np.ndarray
    labels: list[Label]


def _pieces(plan: Plan, number: int, begin: int, stop: int, layout: Layout) -> Iterator[tuple[int, _Piece]]:
    """The rows begin ≤ number < stop, from a block on, with the number of each piece's first."""
    code = {name: i for i, name in enumerate(layout.classes)}
    names = [*plan.features, *plan.targets, *plan.others]
    for block in plan.table.blocks[number:]:
        start = block.start
        if start >= stop:
            return
        for columns in plan.table.pieces(block, names):
            rows = len(next(iter(columns.values())))
            low, high = max(begin - start, 0), min(stop - start, rows)
            if low < high:
                piece = _piece(
                    plan, {name: column[low:high] for name, column in columns.items()}, block, start + low, code
                )
                yield start + low, piece
            start += rows
            if start >= stop:
                return


def _piece(plan: Plan, columns: dict[str, np.ndarray], block: Block, start: int, code: dict[str, int]) -> _Piece:
    if plan.task == "classification":
        numbers, names = coded(columns[plan.targets[0]])
        columns[plan.targets[0]] = np.array([code[name] for name in names], np.float32)[numbers]
    values = side_by_side(columns, [*plan.features, *plan.targets], block, start - block.start)
    identity = plan.keys_of(columns, block, start - block.start)
    return _Piece(values, identity, *plan.label_rows(columns, identity))


class _Stretch:
    """The rows of one stretch, gathered piece by piece and dealt to their labels when it is full."""

    def __init__(self, plan: Plan, destination: Path, layout: Layout, roles: dict[Label, str]) -> None:
        self.plan, self.destination, self.roles = plan, destination, roles
        columns = layout.length + len(layout.targets)
        self.values = np.empty((plan.stretch, columns), np.float32)
        self.keys, self.label = np.empty(plan.stretch, np.int64), np.empty(plan.stretch, np.int64)
        self.codes: dict[Label, int] = {}
        self.start, self.filled = 0, 0

    def add(self, start: int, piece: _Piece, some: slice) -> None:
        """Takes rows of a piece, of which the first has this number; they are of one stretch."""
        if start % self.plan.stretch == 0:
            self.write()
            self.start = start
        code = np.array([self.codes.setdefault(label, len(self.codes)) for label in piece.labels])
        place = slice(self.filled, self.filled + some.stop - some.start)
        self.values[place], self.keys[place] = piece.values[some], piece.keys[some]
        self.label[place] = code[piece.label[some]]
        self.filled = place.stop

    def write(self) -> None:
        """Writes a shard for each label that a row has."""
        order = np.argsort(self.label[: self.filled], kind="stable")
        borders = np.searchsorted(self.label[order], np.arange(len(self.codes) + 1))
        for label, code in self.codes.items():
            chosen = order[borders[code] : borders[code + 1]]
            if len(chosen):
                role, group = self.roles[label], label[1]
                keys = None if self.plan.key is None else self.keys[chosen]
                rows = Rows(self.start + chosen, self.values[chosen], keys)
                # The same fold of two roles is no group of both.
                named = group if self.plan.group is not None else f"{role}/{group}"
                write_shard(self.destination, _path(role, group, self.start // self.plan.stretch), named, rows)
        self.codes, self.filled = {}, 0


def _expect_distinct(plan: Plan, executor: Executor) -> None:
    """Raises DataError where two rows have one key, for a random draw could not tell them apart."""
    if plan.key is None:
        return
    buckets = -(-plan.table.rows // KEYS)
    twice = executor.scan(partial(_twice, plan, buckets), range(buckets), max)
    if twice >= 0:
        rows = [number + int(at) for number, keys in _keys(plan) for at in np.flatnonzero(keys == twice)]
        raise DataError(
            f"{plan.table.path}: column {plan.key!r}: expected another key for every row, found that of row {rows[0]} "
            f"again in row {rows[1]}; drop one of them, or name another column, or none."
        )


def _twice(plan: Plan, buckets: int, bucket: int) -> int:
    """The greatest key that two rows have, of those in one of the buckets; −1 if there is none."""
    found = [keys[keys_at(stream(0, b"keys"), keys) % np.uint64(buckets) == bucket] for _, keys in _keys(plan)]
    ordered = np.sort(np.concatenate(found))
    equal = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(equal[-1]) if len(equal) else -1


def _keys(plan: Plan) -> Iterator[tuple[int, np.ndarray]]:
    """The keys of all rows, piece by piece, with the number of each piece's first row."""
    assert plan.key is not None
    for block in plan.table.blocks:
        first = 0
        for piece in plan.table.pieces(block, [plan.key]):
            yield block.start + first, plan.keys_of(piece, block, first)
            first += len(piece[plan.key])

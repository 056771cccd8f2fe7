"""A table in other people's files into the corpus format: read once, checked, cut into shards by group."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np

from coreset.artifacts.executor import Executor
from coreset.artifacts.stage import Context, Part
from coreset.corpus.table_corpus import (
    Layout,
    TableShard,
    Task,
    finish_table,
    table_digest,
    write_shard,
    written_shard,
)
from coreset.corpus.tables import Block, Table
from coreset.errors import DataError, RequestError
from coreset.numerics.keys import keys, stream

SHARD = 2**18
"""Rows of a shard at most."""
FOLDS = 20
"""Groups into which the rows of a table without a grouping column are dealt, by a hash of their number."""
MOST_CLASSES = 10_000
"""Names of classes, and groups: they are held by the driver."""

Label = tuple[str, str]
"""The role of a row (`train`, `test`, …, or empty where its group decides) and its group."""


@dataclass(frozen=True)
class Request:
    """Which columns of a table are what.

    features: globs; without any, all columns of numbers that are nothing else. group: rows that share its value are
    not independent, and stay together. split: its values are roles, of which one must be `train`; without it, `test`
    is the share of the groups that is set aside.
    """

    targets: tuple[str, ...]
    features: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    test: float = 0.1
    task: Task | None = None


@dataclass(frozen=True)
class _Plan:
    """A request against a table that was opened."""

    table: Table
    features: tuple[str, ...]
    targets: tuple[str, ...]
    task: Task
    group: str | None
    split: str | None

    @property
    def labels(self) -> list[str]:
        return [name for name in (self.split, self.group) if name is not None]

    def label_rows(self, block: Block, piece: dict[str, np.ndarray], first: int) -> list[np.ndarray]:
        """Role and group of each row of a piece, as text."""
        rows = len(next(iter(piece.values())))
        roles = np.full(rows, "", object) if self.split is None else _texts(piece[self.split])
        if self.group is not None:
            return [roles, _texts(piece[self.group])]
        start = block.start + first
        folds = keys(stream(0, b"rows", b"/fold"), start, rows) % np.uint64(FOLDS)
        return [roles, np.array([f"fold-{fold:02d}" for fold in range(FOLDS)], object)[folds.astype(int)]]


@dataclass(frozen=True)
class _Seen:
    """What one pass over the targets and labels finds; merged over blocks."""

    low: np.ndarray
    high: np.ndarray
    classes: frozenset[str] = frozenset()
    counts: dict[int, Counter[Label]] = field(default_factory=dict)
    """Rows of each label, by the number of the block."""

    def merge(self, other: _Seen) -> _Seen:
        return _Seen(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.classes | other.classes,
            {**self.counts, **other.counts},
        )


def ingest_table(table: Table, request: Request, destination: Path, executor: Executor) -> tuple[str, Layout, int]:
    """Writes the corpus; returns its digest, its layout, and the number of shards.

    A shard that stands already is kept. Raises RequestError for columns that are not there or of another kind, and for
    roles without `train`; DataError for a row that has no value or one that is not finite.
    """
    plan = _planned(table, request)
    if destination.exists() and (not destination.is_dir() or not _is_ours(destination)):
        raise RequestError(f"{destination}: expected a new folder or a table that was ingested, found something else.")
    seen = executor.scan(partial(_look, plan), list(enumerate(table.blocks)), _Seen.merge)
    classes = tuple(sorted(seen.classes))
    if plan.task == "classification" and not 2 <= len(classes) <= MOST_CLASSES:
        raise RequestError(
            f"{table.path}: {plan.targets[0]!r}: expected from 2 to {MOST_CLASSES} classes, found {len(classes)}; use "
            "--task regression, or another target."
        )
    roles = _roles(table.path, seen, request)
    layout = Layout(
        tuple(_expanded(table, plan.features)),
        tuple(_expanded(table, plan.targets)),
        plan.task,
        () if classes else tuple((seen.high - seen.low).tolist()),
        classes,
    )
    work = partial(_write, plan, destination, layout, roles)
    parts = [("", Part(block.name, (number, block), float(block.rows))) for number, block in enumerate(table.blocks)]
    executor.map(work, parts, "data", "ingestion")
    shards = [
        shard
        for number, counts in sorted(seen.counts.items())
        for label, rows in sorted(counts.items())
        for shard in _written(destination, table.blocks[number], number, roles[label], label[1], rows)
    ]
    return finish_table(destination, shards, layout), layout, len(shards)


def _planned(table: Table, request: Request) -> _Plan:
    targets = table.matching(request.targets)
    given = {*(column.name for column in targets), request.group, request.split}
    text = any(column.kind == "text" for column in targets)
    task = request.task or ("classification" if text else "regression")
    if task == "classification" and (len(targets) > 1 or targets[0].width > 1):
        raise RequestError(f"{table.path}: expected one target of classes, found {len(targets)}; name one column.")
    if task == "regression" and text:
        raise RequestError(f"{table.path}: expected targets of numbers, found text; use --task classification.")
    for name in filter(None, (request.group, request.split)):
        table.matching([name])
    if request.features:
        features = [column for column in table.matching(request.features, "number") if column.name not in given]
    else:
        features = [column for column in table.columns if column.kind == "number" and column.name not in given]
    if not features:
        raise RequestError(f"{table.path}: expected columns of numbers beside the target, found none.")
    seen, learnt = (tuple(column.name for column in each) for each in (features, targets))
    return _Plan(table, seen, learnt, task, request.group, request.split)


def _is_ours(folder: Path) -> bool:
    return not any(folder.iterdir()) or any(folder.glob("**/values/zarr.json"))


def _expanded(table: Table, names: Sequence[str]) -> Iterator[str]:
    widths = {column.name: column.width for column in table.columns}
    for name in names:
        yield from [name] if widths[name] == 1 else (f"{name}[{i}]" for i in range(widths[name]))


def _texts(values: np.ndarray) -> np.ndarray:
    """Labels of numbers or texts; a whole number is written as one, whatever its type."""
    if values.dtype == object:
        return values
    distinct, places = np.unique(values, return_inverse=True)
    texts = np.array([f"{value:.17g}" if values.dtype.kind == "f" else str(int(value)) for value in distinct], object)
    return texts[places]


def _look(plan: _Plan, item: tuple[int, Block]) -> _Seen:
    number, block = item
    names = [*plan.targets, *plan.labels]
    counts: Counter[Label] = Counter()
    classes: set[str] = set()
    width = len(list(_expanded(plan.table, plan.targets)))
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    first = 0
    for piece in plan.table.pieces(block, names):
        roles, groups = plan.label_rows(block, piece, first)
        counts.update(zip(roles.tolist(), groups.tolist(), strict=True))
        if plan.task == "classification":
            classes.update(_texts(piece[plan.targets[0]]).tolist())
        else:
            values = _side_by_side(plan.targets, piece, block, first)
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
        first += len(groups)
        for what, found in (("classes", classes), ("groups", counts)):
            if len(found) > MOST_CLASSES:
                raise RequestError(f"{block.file}: expected at most {MOST_CLASSES} {what}, found more; name others.")
    return _Seen(low, high, frozenset(classes), {number: counts})


def _side_by_side(names: Sequence[str], piece: dict[str, np.ndarray], block: Block, first: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        parts = [np.asarray(piece[name], np.float32).reshape(len(piece[name]), -1) for name in names]
    values = np.concatenate(parts, axis=1)
    if not (finite := np.isfinite(values).all(axis=1)).all():
        row = block.first + first + int(finite.argmin())
        raise DataError(
            f"{block.file}: row {row}: expected finite float32 in {', '.join(names)[:200]}, found others; mend the row."
        )
    return values


def _roles(path: str, seen: _Seen, request: Request) -> dict[Label, str]:
    """The role of every label: as its column says, or by a hash of the group."""
    labels = sorted({label for counts in seen.counts.values() for label in counts})
    if request.split is not None:
        if "train" not in {role for role, _ in labels}:
            found = ", ".join(sorted({role for role, _ in labels}))[:200]
            raise RequestError(f"{path}: {request.split!r}: expected rows of the role 'train', found {found}.")
        return {label: label[0] for label in labels}
    groups = sorted({group for _, group in labels}, key=_hashed)
    wanted = max(1, round(request.test * len(groups))) if request.test else 0
    if len(groups) - wanted < 2:
        raise RequestError(
            f"{path}: expected two groups or more beside those that test, for one validates, found {len(groups)} "
            f"groups; group by another column, or by none."
        )
    test = set(groups[:wanted])
    return {label: "test" if label[1] in test else "train" for label in labels}


def _hashed(group: str) -> bytes:
    return hashlib.sha256(f"test\0{group}".encode()).digest()


def _path(role: str, group: str, number: int, part: int) -> str:
    return "/".join([_plain(role), _plain(group), f"{number:05d}-{part:02d}"])


def _plain(label: str) -> str:
    return quote(label, safe="").replace(".", "%2E") or "%"


def _write(
    plan: _Plan, destination: Path, layout: Layout, roles: dict[Label, str], _: str, part: Part, context: Context
) -> None:
    """Deals the rows of a block to its labels, and writes a shard whenever one is full."""
    number, block = part.payload
    code = {name: i for i, name in enumerate(layout.classes)}
    held: dict[Label, list[tuple[np.ndarray, np.ndarray]]] = {}
    full: Counter[Label] = Counter()

    def flush(label: Label, values: np.ndarray, rows: np.ndarray) -> None:
        name = _path(roles[label], label[1], number, full[label])
        digest = table_digest(rows - block.first + block.start, values)
        file = block.name.rpartition("#")[0]
        # The same fold of two roles is no group of both.
        group = label[1] if plan.group is not None else f"{roles[label]}/{label[1]}"
        write_shard(destination, TableShard(name, str(destination), group, file, len(rows), digest), values, rows)
        full[label] += 1

    first = 0
    for piece in plan.table.pieces(block, [*plan.features, *plan.targets, *plan.labels]):
        if plan.task == "classification":
            classes = [code[name] for name in _texts(piece[plan.targets[0]]).tolist()]
            piece[plan.targets[0]] = np.array(classes, np.float32)
        values = _side_by_side([*plan.features, *plan.targets], piece, block, first)
        groups = plan.label_rows(block, piece, first)
        places: dict[Label, list[int]] = {}
        for place, label in enumerate(zip(*(each.tolist() for each in groups), strict=True)):
            places.setdefault(label, []).append(place)
        for label, chosen in places.items():
            held.setdefault(label, []).append((values[chosen], block.first + first + np.array(chosen, np.int64)))
            while sum(len(rows) for _, rows in held[label]) >= SHARD:
                joined, rows = (np.concatenate(each) for each in zip(*held[label], strict=True))
                flush(label, joined[:SHARD], rows[:SHARD])
                held[label] = [(joined[SHARD:], rows[SHARD:])]
        first += len(values)
    for label, pieces in held.items():
        joined, rows = (np.concatenate(each) for each in zip(*pieces, strict=True))
        if len(rows):
            flush(label, joined, rows)


def _written(destination: Path, block: Block, number: int, role: str, group: str, rows: int) -> Iterator[TableShard]:
    """The shards of a label in a block, as they stand on the disk."""
    for part, first in enumerate(range(0, rows, SHARD)):
        yield written_shard(destination, _path(role, group, number, part), min(SHARD, rows - first))

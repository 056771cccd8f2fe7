"""A table in other people's files into the corpus format: read once, checked, cut into shards by group."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

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
from coreset.corpus.tables import Block, Table, side_by_side
from coreset.errors import RequestError
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

    def label_rows(self, block: Block, piece: Mapping[str, np.ndarray], first: int) -> tuple[np.ndarray, list[Label]]:
        """The labels that the rows of a piece may have, and which of them each row has, by its number."""
        rows = len(next(iter(piece.values())))
        role, roles = (np.zeros(rows, int), [""]) if self.split is None else _coded(piece[self.split])
        if self.group is not None:
            group, groups = _coded(piece[self.group])
        else:
            hashed = keys(stream(0, b"rows", b"/fold"), block.start + first, rows)
            group, groups = (hashed % np.uint64(FOLDS)).astype(int), [f"fold-{fold:02d}" for fold in range(FOLDS)]
        return role * len(groups) + group, list(product(roles, groups))


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


def _coded(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Distinct labels as text, and the number of each row's; a whole number is written as one, whatever its type."""
    if values.dtype == object:
        encoded = pa.array(values, pa.string()).dictionary_encode()
        return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    distinct, places = np.unique(values, return_inverse=True)
    return places, [f"{value:.17g}" if values.dtype.kind == "f" else str(int(value)) for value in distinct]


def _look(plan: _Plan, item: tuple[int, Block]) -> _Seen:
    number, block = item
    names = [*plan.targets, *plan.labels]
    counts: Counter[Label] = Counter()
    classes: set[str] = set()
    width = len(list(_expanded(plan.table, plan.targets)))
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    first = 0
    for piece in plan.table.pieces(block, names):
        label, labels = plan.label_rows(block, piece, first)
        found = zip(labels, np.bincount(label, minlength=len(labels)).tolist(), strict=True)
        counts.update({each: rows for each, rows in found if rows})
        if plan.task == "classification":
            classes.update(_coded(piece[plan.targets[0]])[1])
        else:
            values = side_by_side(piece, plan.targets, block, first)
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
        first += len(label)
        for what, held in (("classes", classes), ("groups", counts)):
            if len(held) > MOST_CLASSES:
                raise RequestError(f"{block.file}: expected at most {MOST_CLASSES} {what}, found more; name others.")
    return _Seen(low, high, frozenset(classes), {number: counts})


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
            numbers, names = _coded(piece[plan.targets[0]])
            piece[plan.targets[0]] = np.array([code[name] for name in names], np.float32)[numbers]
        values = side_by_side(piece, [*plan.features, *plan.targets], block, first)
        label, labels = plan.label_rows(block, piece, first)
        order = np.argsort(label, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
            each = labels[label[chosen[0]]]
            held.setdefault(each, []).append((values[chosen], block.first + first + chosen))
            while sum(len(rows) for _, rows in held[each]) >= SHARD:
                joined, rows = (np.concatenate(parts) for parts in zip(*held[each], strict=True))
                flush(each, joined[:SHARD], rows[:SHARD])
                held[each] = [(joined[SHARD:], rows[SHARD:])]
        first += len(values)
    for each, pieces in held.items():
        joined, rows = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        if len(rows):
            flush(each, joined, rows)


def _written(destination: Path, block: Block, number: int, role: str, group: str, rows: int) -> Iterator[TableShard]:
    """The shards of a label in a block, as they stand on the disk."""
    for part, first in enumerate(range(0, rows, SHARD)):
        yield written_shard(destination, _path(role, group, number, part), min(SHARD, rows - first))

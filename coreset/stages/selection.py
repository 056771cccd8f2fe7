"""Which points of the training set a method keeps, exactly, by merged scans over the scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Scanner, Stage
from coreset.corpus.kept import batches_of, write_kept
from coreset.corpus.pieces import Piece, pieces_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import Member, SnapshotSet
from coreset.corpus.table_corpus import read_keys
from coreset.errors import RequestError, WorkError
from coreset.methods import METHODS, Rule, ScoreShard, Selected
from coreset.methods.select import ROWS
from coreset.stages.scoring import read_field

T = TypeVar("T")

Within = Literal["group", "temperature", "composition"]


@dataclass(frozen=True)
class Selection(Stage):
    """One method at one pruning rate and seed."""

    name: ClassVar[str] = "selection"
    version: ClassVar[int] = 2
    suffix: ClassVar[str] = ".parquet"

    train: SnapshotSet
    method: str
    settings: Mapping[str, Any]
    """prune, seed and those of cutoff, strata and redistribute that the method takes."""
    scores: Artifact | None
    """None for a method that ranks nothing."""
    within: Within | None = None
    """The method is applied to the points of each group, temperature or composition by themselves, at one rate."""

    @property
    def title(self) -> str:
        return "selection"

    def parameters(self) -> dict[str, Any]:
        apart = {} if self.within is None else {"within": self.within}
        return {"method": self.method, **self.settings, **apart}

    def inputs(self) -> dict[str, str]:
        inputs = {"train": self.train.digest}
        return inputs if self.scores is None else {**inputs, "scores": self.scores.digest}

    def prepare(self, scanner: Scanner) -> dict[str, Rule]:
        """The rule of each part: a few thresholds, found by scans, from which any shard knows its own points.

        Raises WorkError where the scores leave a method nothing to rank by, which nobody could know before they were
        there.
        """
        return {part: self._rule(scanner, members) for part, members in parts_of(self.train, self.within).items()}

    def _rule(self, scanner: Scanner, members: Sequence[Member]) -> Rule:
        def scan(function: Callable[[ScoreShard], T], merge: Callable[[T, T], T]) -> T:
            return scanner.scan(partial(_on_shards, self, function, merge), members, merge)

        try:
            return METHODS[self.method].rule(scan, **self.settings)
        except RequestError as error:
            # What a job alone can get wrong was refused before anything began.
            raise WorkError(f"selection by {self.method}: {error} What is computed is kept.") from None

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.train.snapshots))]

    def compute(self, part: Part, shared: dict[str, Rule], path: Path, context: Context) -> dict[str, Any]:
        batch = part.payload
        kept = (
            (snapshot.digest, each)
            for snapshot in self.train.snapshots[batch.first : batch.stop]
            for each in self._selected(snapshot, shared[part_of(snapshot, self.within)])
        )
        return {"kept": write_kept(path, kept)}

    def _selected(self, snapshot: Member, rule: Rule) -> Iterator[Selected]:
        """The points of one snapshot that are kept, piece by piece, with their scores if the method ranks any."""
        for shard in self.shards(snapshot):
            selected = rule.apply(shard)
            score = None if self.scores is None else shard.scores[selected.index - shard.first]
            yield replace(selected, score=score)

    def figures(self, shared: dict[str, Rule], records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        kept = sum(record["figures"]["kept"] for record in records)
        told = {part: rule.to_json() for part, rule in shared.items()}
        rules = {"rule": told[""]} if self.within is None else {"rules": told}
        return {"points": self.train.points, "kept": kept, **rules}

    def shards(self, snapshot: Member) -> Iterator[ScoreShard]:
        """The scores of one snapshot, piece by piece, as methods see them."""
        field = METHODS[self.method].field
        for piece in pieces_of(snapshot):
            if field is None or self.scores is None:
                scores = np.zeros(piece.points, np.float32)
            else:
                scores = read_field(self.scores, snapshot.name, field, piece.planes)
            yield score_shard(snapshot, piece, scores)


def score_shard(member: Member, piece: Piece, scores: Float[np.ndarray, " n"]) -> ScoreShard:
    """The scores of a piece under the identity that random draws know its points by.

    A grid point is known by (digest of its snapshot, C-order grid index), a row by its key or its number in the table.
    """
    if isinstance(member, Snapshot):
        return ScoreShard(member.identity, piece.first, scores)
    group = hashlib.sha256(member.group.encode()).digest()
    return ScoreShard(ROWS, piece.first, scores, read_keys(member, piece.first, piece.stop), group)


def part_of(snapshot: Member, within: Within | None) -> str:
    """Of which part of the training set a snapshot is; all are of one, with an empty name, where there are none."""
    if within is None:
        return ""
    value = getattr(snapshot, within)
    return f"{value:g}" if isinstance(value, float) else str(value)


def parts_of(points: SnapshotSet, within: Within | None) -> dict[str, list[Member]]:
    """The snapshots of each part, in order of the parts' names."""
    parts: dict[str, list[Member]] = {}
    for snapshot in points.snapshots:
        parts.setdefault(part_of(snapshot, within), []).append(snapshot)
    return dict(sorted(parts.items()))


def _on_shards(
    stage: Selection, function: Callable[[ScoreShard], T], merge: Callable[[T, T], T], snapshot: Member
) -> T:
    return reduce(merge, map(function, stage.shards(snapshot)))


def kept_files(selection: Artifact, train: SnapshotSet) -> dict[str, Path]:
    """The file of a selection that holds each snapshot's points, by digest."""
    return {
        snapshot.digest: selection.path(batch.name)
        for batch in batches_of(len(train.snapshots))
        for snapshot in train.snapshots[batch.first : batch.stop]
    }

"""What new snapshots add to a coreset: the points that lie farther than a radius from all that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.corpus.described_set import DescribedSet
from coreset.corpus.kept import batches_of, write_kept
from coreset.corpus.point_set import PointSet
from coreset.corpus.split import SnapshotSet
from coreset.methods import Selected
from coreset.numerics.keys import SNAPSHOTS, keys_at, stream

_KEPT = "kept"


@dataclass(frozen=True)
class Described(Stage):
    """The features of all points of a set, a file per batch: for what is compared with many others."""

    name: ClassVar[str] = "described"
    suffix: ClassVar[str] = ".npy"

    points: PointSet

    def parameters(self) -> dict[str, Any]:
        return self.points.parameters()

    def inputs(self) -> dict[str, str]:
        return {"points": self.points.digest}

    def parts(self) -> list[Part]:
        return [Part(f"part-{number:05d}", batch) for number, batch in enumerate(self.points.batches())]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        rows = [self.points.read(piece.member, np.arange(piece.first, piece.stop)) for piece in part.payload]
        with path.open("wb") as file:
            np.save(file, np.concatenate(rows))
        return {}


@dataclass(frozen=True)
class Novel(Stage):
    """The positions of the new points that lie farther than the radius from all that is kept already."""

    name: ClassVar[str] = "novel"
    suffix: ClassVar[str] = ".npy"

    points: DescribedSet
    kept: Artifact
    radius: float

    @property
    def title(self) -> str:
        return "comparison with what is kept"

    def parameters(self) -> dict[str, Any]:
        return {"radius": self.radius, **self.points.parameters()}

    def inputs(self) -> dict[str, str]:
        return {"points": self.points.digest, "kept": self.kept.digest}

    def parts(self) -> list[Part]:
        return [
            Part(f"part-{number:05d}", piece, work=piece.stop - piece.first)
            for number, piece in enumerate(self.points.pieces())
        ]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        from coreset.numerics.kept_apart import farther_than

        piece = part.payload
        rows = self.points.read(piece.member, np.arange(piece.first, piece.stop))
        shards = (np.load(self.kept.path(shard["name"]), allow_pickle=False) for shard in self.kept.shards)
        found = piece.first + np.flatnonzero(farther_than(rows, shards, self.radius))
        with path.open("wb") as file:
            np.save(file, found)
        return {"member": piece.member, "novel": len(found)}


@dataclass(frozen=True)
class Added(Stage):
    """Of the novel points those that are kept: one after another, if farther than the radius from all kept before.

    Snapshots come in the order of the keys of their content, and the points of one in that of their own.
    """

    name: ClassVar[str] = "added"
    suffix: ClassVar[str] = ""

    points: DescribedSet
    novel: Artifact
    radius: float
    seed: int

    @property
    def title(self) -> str:
        return "comparison of the new points"

    def parameters(self) -> dict[str, Any]:
        return {"radius": self.radius, "seed": self.seed, **self.points.parameters()}

    def inputs(self) -> dict[str, str]:
        return {"points": self.points.digest, "novel": self.novel.digest}

    def parts(self) -> list[Part]:
        return [Part(_KEPT)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        from coreset.numerics.kept_apart import kept_apart

        path.mkdir()
        order = self._order()
        in_order = [self._novel(member) for member in order]
        batches = (self._rows(member, positions) for member, positions in zip(order, in_order, strict=True))
        chosen = kept_apart(batches, self.radius)
        for member, positions, which in zip(order, in_order, chosen, strict=True):
            np.save(path / f"{member:06d}.npy", np.sort(positions[which]))
        return {}

    def _order(self) -> list[int]:
        members = self.points.members
        key = [int(stream(self.seed, member.identity, SNAPSHOTS)) for member in members]
        return sorted(range(len(members)), key=lambda i: (key[i], members[i].identity))

    def _novel(self, member: int) -> np.ndarray:
        """The novel positions of a snapshot in the order of their keys."""
        named = [shard["name"] for shard in self.novel.shards if shard["figures"]["member"] == member]
        found = np.concatenate([np.load(self.novel.path(name), allow_pickle=False) for name in named])
        keys = keys_at(stream(self.seed, self.points.members[member].identity), found)
        return found[np.argsort(keys, kind="stable")]

    def _rows(self, member: int, positions: np.ndarray) -> np.ndarray:
        """Their features, in the same order."""
        ascending = np.argsort(positions)
        rows = np.empty((len(positions), len(self.points.columns)), np.float32)
        rows[ascending] = self.points.read(member, positions[ascending])
        return rows


@dataclass(frozen=True)
class AddedPoints(Stage):
    """What is added, as a selection writes it: neither score nor stratum, weight 1."""

    name: ClassVar[str] = "addition"
    suffix: ClassVar[str] = ".parquet"

    train: SnapshotSet
    added: Artifact

    def parameters(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest, "added": self.added.digest}

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.train.snapshots))]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        return {"kept": write_kept(path, self._selected(part.payload.first, part.payload.stop))}

    def _selected(self, first: int, stop: int) -> Iterator[tuple[str, Selected]]:
        folder = self.added.path(_KEPT)
        for number in range(first, stop):
            index = np.load(folder / f"{number:06d}.npy", allow_pickle=False)
            if len(index):
                yield self.train.snapshots[number].digest, Selected(index, None, np.ones(len(index)), None)

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        return {"kept": sum(record["figures"]["kept"] for record in records)}

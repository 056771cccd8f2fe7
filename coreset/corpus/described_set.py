"""The grid points of a corpus as a point set: descriptors, computed when they are read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int64

from coreset.corpus.point_set import Member, PointSet, labels_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.numerics.descriptors import Descriptor


@dataclass(frozen=True)
class DescribedSet(PointSet):
    """All grid points of some snapshots."""

    kind: ClassVar[str] = "grids"

    snapshots: tuple[Snapshot, ...]
    descriptor: Descriptor

    @classmethod
    def of(cls, points: SnapshotSet, descriptor: Descriptor) -> DescribedSet:
        """The snapshots of a set, each a member."""
        return cls(points.corpus, tuple(map(member_of, points.snapshots)), points.snapshots, descriptor)

    @property
    def digest(self) -> str:
        return SnapshotSet(self.path, self.snapshots).digest

    def parameters(self) -> dict[str, Any]:
        return {"descriptor": asdict(self.descriptor), "groups": [member.group for member in self.members]}

    @property
    def columns(self) -> list[str]:
        return descriptor_columns(self.descriptor)

    @property
    def unit(self) -> str:
        return "Bohr"

    def read(self, member: int, index: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        from coreset.corpus.described import describe_points

        return describe_points(self.snapshots[member], index, self.descriptor).features

    def snapshot(self, member: int) -> Snapshot:
        return self.snapshots[member]


def member_of(snapshot: Snapshot, points: int | None = None) -> Member:
    """A snapshot as a member, with all of its points or so many."""
    return Member(
        snapshot.name,
        snapshot.points if points is None else points,
        snapshot.identity,
        snapshot.digest,
        snapshot.group,
        labels_of(snapshot),
    )


def descriptor_columns(descriptor: Descriptor) -> list[str]:
    """x₁ y₁ z₁ … x_M y_M z_M Z₁ … Z_M, and the distances where they are part of it."""
    rows = range(1, descriptor.neighbours + 1)
    found = [f"{axis}{i}" for i in rows for axis in "xyz"] + [f"Z{i}" for i in rows]
    return found + ([f"d{i}" for i in rows] if descriptor.distances else [])

"""The points of a corpus as a point set: descriptors of grid points, or the features of a table that was ingested."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from coreset.corpus.point_set import Member, PointSet, labels_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.table_corpus import Layout, TableCorpus, TableShard, read_rows
from coreset.numerics.descriptors import Descriptor


@dataclass(frozen=True)
class DescribedSet(PointSet):
    """All points of some snapshots, or of some shards of a table."""

    snapshots: tuple[Snapshot | TableShard, ...]
    descriptor: Descriptor | Layout

    @classmethod
    def of(cls, points: SnapshotSet, descriptor: Descriptor) -> DescribedSet:
        """The snapshots of a set, each a member, with this descriptor; shards of a table have their features."""
        return cls(
            points.corpus, tuple(map(member_of, points.snapshots)), points.snapshots, points.layout or descriptor
        )

    @property
    def kind(self) -> str:
        return "table" if isinstance(self.descriptor, Layout) else "grids"

    @property
    def member_kind(self) -> str:
        return "shard" if isinstance(self.descriptor, Layout) else "snapshot"

    @property
    def digest(self) -> str:
        return SnapshotSet(self.path, self.snapshots).digest

    def parameters(self) -> dict[str, Any]:
        groups = [member.group for member in self.members]
        if isinstance(self.descriptor, Layout):
            return {"features": list(self.descriptor.features), "groups": groups}
        return {"descriptor": asdict(self.descriptor), "groups": groups}

    @property
    def columns(self) -> list[str]:
        if isinstance(self.descriptor, Layout):
            return list(self.descriptor.features)
        return descriptor_columns(self.descriptor)

    @property
    def unit(self) -> str:
        return "" if isinstance(self.descriptor, Layout) else "Bohr"

    def read(self, member: int, index: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        from coreset.corpus.described import describe_points

        return describe_points(self.snapshots[member], index, self.descriptor).features

    def snapshot(self, member: int) -> Snapshot | None:
        found = self.snapshots[member]
        return found if isinstance(found, Snapshot) else None

    def _named(self, member: int, position: int) -> dict[str, Any]:
        shard = self.snapshots[member]
        if isinstance(shard, Snapshot):
            return super()._named(member, position)
        # A shard holds some rows of a stretch, a stretch those of any file: what users have are their files.
        number = int(read_rows(shard, position, position + 1)[0])
        name, first = next(file for file in reversed(self._files) if file[1] <= number)
        return {"file": name, "index": number - first}

    @cached_property
    def _files(self) -> tuple[tuple[str, int], ...]:
        """The files that an ingested table came in, and the number in the table of the first row of each."""
        return TableCorpus.open(self.path).files


def member_of(snapshot: Snapshot | TableShard, points: int | None = None) -> Member:
    """A snapshot as a member, with all of its points or so many."""
    return Member(
        snapshot.name,
        snapshot.points if points is None else points,
        snapshot.identity,
        snapshot.digest,
        snapshot.group,
        labels_of(snapshot) if isinstance(snapshot, Snapshot) else {},
    )


def descriptor_columns(descriptor: Descriptor) -> list[str]:
    """x₁ y₁ z₁ … x_M y_M z_M Z₁ … Z_M, and the distances where they are part of it."""
    rows = range(1, descriptor.neighbours + 1)
    found = [f"{axis}{i}" for i in rows for axis in "xyz"] + [f"Z{i}" for i in rows]
    return found + ([f"d{i}" for i in rows] if descriptor.distances else [])

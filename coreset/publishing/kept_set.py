"""The rows of a published coreset as a point set: descriptors of the grid points that it keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from coreset.artifacts.manifest import MANIFEST
from coreset.corpus.described_set import descriptor_columns, member_of
from coreset.corpus.point_set import PointSet
from coreset.corpus.snapshot import Snapshot
from coreset.errors import DataError, RequestError
from coreset.numerics.descriptors import Descriptor
from coreset.publishing.dataset import Dataset, open_dataset


@dataclass(frozen=True)
class KeptSet(PointSet):
    """The kept points of each snapshot of a coreset, in order of their grid index."""

    snapshots: tuple[Snapshot, ...]
    files: tuple[Path, ...]
    """The file that holds each snapshot's rows."""
    descriptor: Descriptor
    content: str
    """Checksum of the coreset's manifest."""

    @classmethod
    def open(cls, path: Path, descriptor: Descriptor | None = None) -> KeptSet:
        """The coreset of a folder, with its own descriptor unless another is given.

        Raises RequestError where there is none, DataError for one that is damaged.
        """
        dataset = open_dataset(path)
        if not isinstance(dataset, Dataset):
            raise RequestError(f"{path}: expected a coreset of electron densities, found one of a table.")
        shards = [shard for shard in dataset.manifest["shards"] if shard["name"].startswith("part-")]
        found: dict[str, tuple[int, Path]] = {}
        for shard, file in zip(shards, dataset.files, strict=True):
            for name, rows in shard["figures"].get("rows_by_snapshot", {}).items():
                if name not in dataset.known or not isinstance(rows, int) or rows < 1:
                    raise DataError(f"{dataset.path / MANIFEST}: {name[:80]!r}: expected rows of a known snapshot.")
                found[name] = rows, file
        if sum(rows for rows, _ in found.values()) != len(dataset):
            raise DataError(f"{dataset.path / MANIFEST}: expected rows by snapshot that add up; copy the folder again.")
        snapshots = tuple(dataset.known[name] for name in sorted(found))
        return cls(
            str(dataset.path),
            tuple(member_of(snapshot, found[snapshot.name][0]) for snapshot in snapshots),
            snapshots,
            tuple(found[snapshot.name][1] for snapshot in snapshots),
            descriptor or dataset.descriptor,
            dataset.manifest["checksum"],
        )

    @property
    def kind(self) -> str:
        return "coreset"

    @property
    def digest(self) -> str:
        return self.content

    def parameters(self) -> dict[str, Any]:
        return {"descriptor": asdict(self.descriptor)}

    @property
    def columns(self) -> list[str]:
        return descriptor_columns(self.descriptor)

    @property
    def unit(self) -> str:
        return "Bohr"

    def numbers(self, member: int, first: int, stop: int) -> Int64[np.ndarray, " n"]:
        return self._kept(member)[first:stop]

    def read(self, member: int, index: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        from coreset.corpus.described import describe_points

        return describe_points(self.snapshots[member], self._kept(member)[index], self.descriptor).features

    def snapshot(self, member: int) -> Snapshot:
        return self.snapshots[member]

    def _kept(self, member: int) -> Int64[np.ndarray, " n"]:
        kept = _grid_indices(Path(self.path), self.files[member], self.content)[self.members[member].name]
        if len(kept) != self.members[member].points:
            raise DataError(
                f"{self.files[member]}: expected the rows by snapshot that {MANIFEST} states, found others."
            )
        return kept


@lru_cache(maxsize=4)
def _grid_indices(folder: Path, file: Path, content: str) -> dict[str, Int64[np.ndarray, " n"]]:
    """The grid indices of each snapshot in one of the files; `content` tells one state of the folder from another."""
    dataset = open_dataset(folder)
    assert isinstance(dataset, Dataset)
    rows = dataset.rows(file, ["snapshot", "index"])
    return {snapshot.name: some.column("index").to_numpy() for snapshot, some in dataset.runs(file, rows)}

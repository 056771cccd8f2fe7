"""Descriptors and densities of slabs, computed when they are needed and never stored for the whole corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from coreset.corpus.kept import read_kept
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.learning.slabs import Slab
from coreset.numerics.descriptors import Described, Descriptor, describe
from coreset.numerics.grids import grid_points


@lru_cache(maxsize=4)
def open_corpus(path: str) -> Corpus:
    """A corpus for reading the densities of known snapshots, once per process."""
    return Corpus.unlisted(path)


def describe_points(snapshot: Snapshot, index: np.ndarray, descriptor: Descriptor, device: str = "cpu") -> Described:
    """Descriptors of some grid points of a snapshot, given by C-order index: numba on the CPU, torch elsewhere."""
    points = grid_points(snapshot.cell, snapshot.grid, index)
    if device == "cpu":
        return describe(points, snapshot.cell, snapshot.positions, snapshot.numbers, descriptor)
    from coreset.numerics import descriptors_torch

    return descriptors_torch.describe(points, snapshot.cell, snapshot.positions, snapshot.numbers, descriptor, device)


def features_table(features: np.ndarray, density: np.ndarray) -> pa.Table:
    """Columns `features` (fixed-size lists of float32) and `density` (e/Bohr³)."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    return pa.table({"features": column, "density": pa.array(density)})


@dataclass(frozen=True)
class SlabReader:
    """Reads and describes a slab; with `kept` only the points that a selection keeps, with a share only these."""

    points: SnapshotSet
    descriptor: Descriptor
    kept: Mapping[str, Path] | None = field(default=None)
    """File of the selection that holds each snapshot, by digest."""
    share: tuple[int, int] = (0, 1)
    """(r, G): the rows r, r + G, … of every slab alone."""

    @cached_property
    def _snapshots(self) -> dict[str, Snapshot]:
        return {snapshot.digest: snapshot for snapshot in self.points.snapshots}

    def indices(self, slab: Slab) -> np.ndarray:
        """The C-order grid indices of the slab's points."""
        rank, ranks = self.share
        if self.kept is None:
            return np.arange(slab.start + rank, slab.stop, ranks, dtype=np.int64)
        index = read_kept(self.kept[slab.digest])[slab.digest].index
        first, stop = np.searchsorted(index, [slab.start, slab.stop])
        return index[first:stop][rank::ranks]

    def __call__(self, slab: Slab) -> pa.Table:
        """The table of one slab."""
        snapshot = self._snapshots[slab.digest]
        index = self.indices(slab)
        density = open_corpus(self.points.corpus).density(snapshot, slab.start, slab.stop)[index - slab.start]
        return features_table(describe_points(snapshot, index, self.descriptor).features, density)

    def together(self, slabs: Sequence[Slab]) -> pa.Table:
        """The table of several slabs, one after another."""
        return pa.concat_tables([self(slab) for slab in slabs])

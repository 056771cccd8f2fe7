"""What a network sees of points and is to learn: descriptors, computed when they are needed, or a table's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from coreset.corpus.kept import read_kept
from coreset.corpus.split import Features, Member, SnapshotSet
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import Layout, TableShard, read_values
from coreset.learning.slabs import Slab
from coreset.numerics.descriptors import Described, Descriptor, describe
from coreset.numerics.grids import grid_points


@lru_cache(maxsize=4)
def open_corpus(path: str) -> Corpus:
    """A corpus for reading the densities of known snapshots, once per process."""
    return Corpus.unlisted(path)


def describe_points(snapshot: Member, index: np.ndarray, descriptor: Features, device: str = "cpu") -> Described:
    """Descriptors of some grid points of a snapshot, given by C-order index: numba on the CPU, torch elsewhere.

    Of a table's shard: the features of some rows, given by their places, ascending.
    """
    if isinstance(snapshot, TableShard):
        return Described(_some_rows(snapshot, index)[:, : descriptor.length], np.zeros(len(index), bool))
    assert isinstance(descriptor, Descriptor)  # of a snapshot
    points = grid_points(snapshot.cell, snapshot.grid, index)
    if device == "cpu":
        return describe(points, snapshot.cell, snapshot.positions, snapshot.numbers, descriptor)
    from coreset.numerics import descriptors_torch

    return descriptors_torch.describe(points, snapshot.cell, snapshot.positions, snapshot.numbers, descriptor, device)


def targets_of(points: SnapshotSet, snapshot: Member, start: int, stop: int) -> np.ndarray:
    """Densities at the points start ≤ index < stop (e/Bohr³), or a table's targets, shape [n], or [n, o] of several."""
    if isinstance(snapshot, TableShard):
        assert points.layout is not None
        return _target_columns(read_values(snapshot, start, stop), points.layout)
    return open_corpus(points.corpus).density(snapshot, start, stop)


def _target_columns(values: np.ndarray, layout: Layout) -> np.ndarray:
    targets: np.ndarray = np.ascontiguousarray(values[:, layout.length :])
    return targets.ravel() if len(layout.targets) == 1 else targets


def _some_rows(shard: TableShard, index: np.ndarray) -> np.ndarray:
    first, stop = (int(index[0]), int(index[-1]) + 1) if len(index) else (0, 0)
    rows: np.ndarray = read_values(shard, first, stop)[index - first]
    return rows


def features_table(features: np.ndarray, density: np.ndarray) -> pa.Table:
    """Columns `features` (fixed-size lists of float32) and `density` (e/Bohr³), or a table's targets."""
    return pa.table({"features": _column(features), "density": _column(density) if density.ndim > 1 else density})


def _column(rows: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).ravel()), rows.shape[1])


@dataclass(frozen=True)
class SlabReader:
    """Reads and describes a slab; with `kept` only the points that a selection keeps, with a share only these."""

    points: SnapshotSet
    descriptor: Features
    kept: Mapping[str, Path] | None = field(default=None)
    """File of the selection that holds each snapshot, by digest."""
    share: tuple[int, int] = (0, 1)
    """(r, G): the rows r, r + G, … of every slab alone."""

    @cached_property
    def _snapshots(self) -> dict[str, Member]:
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
        if isinstance(snapshot, TableShard):
            assert self.points.layout is not None
            rows = _some_rows(snapshot, index)
            return features_table(rows[:, : self.descriptor.length], _target_columns(rows, self.points.layout))
        density = targets_of(self.points, snapshot, slab.start, slab.stop)[index - slab.start]
        return features_table(describe_points(snapshot, index, self.descriptor).features, density)

    def together(self, slabs: Sequence[Slab]) -> pa.Table:
        """The table of several slabs, one after another."""
        return pa.concat_tables([self(slab) for slab in slabs])

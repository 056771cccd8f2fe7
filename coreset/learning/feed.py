"""The order of training: a hashed permutation of slabs and a bounded window shuffle, a function of (seed, epoch) alone.

It does not depend on shards or workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from coreset.errors import DataError
from coreset.learning.network import Normalisation
from coreset.learning.slabs import Slab
from coreset.learning.team import Team

Read = Callable[[Sequence[Slab]], Iterator[pa.Table]]
"""Descriptors and densities of slabs, in their order, as columns `features` (fixed-size lists) and `density`."""

Rows = tuple[np.ndarray, np.ndarray]
"""Descriptors, shape [n, d], and densities, shape [n], or several targets, shape [n, o]; float32."""

Moments = tuple[int, np.ndarray, np.ndarray]
"""Number of points, their mean, and their squared deviations from it, summed; features first, the targets last."""


def slab_order(slabs: Sequence[Slab], seed: str, epoch: int) -> list[int]:
    """The hashed permutation of the slabs in one epoch: positions sorted by SHA-256 of (seed, epoch, identity)."""

    def key(position: int) -> tuple[bytes, str, int]:
        slab = slabs[position]
        text = f"{seed}\0{epoch}\0{slab.digest}\0{slab.start}"
        return hashlib.sha256(text.encode()).digest(), slab.digest, slab.start

    return sorted(range(len(slabs)), key=key)


def window_permutation(rows: int, seed: str, epoch: int, window: int) -> np.ndarray:
    """The shuffle inside one window of `rows` points."""
    digest = hashlib.sha256(f"window\0{seed}\0{epoch}\0{window}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little"))).permutation(rows)


def table_arrays(table: pa.Table) -> Rows:
    """Descriptors and densities of a table of slabs."""
    features, density = (table.column(name).combine_chunks() for name in ("features", "density"))
    vectors = pa.types.is_fixed_size_list(density.type)
    return _vectors(features), _vectors(density) if vectors else density.to_numpy()


def _vectors(column: pa.FixedSizeListArray) -> np.ndarray:
    rows: np.ndarray = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return rows


@dataclass
class Feed:
    """The points of one training. They are held in memory if they fit in `cache` bytes, else read anew each epoch.

    Either way the batches are the same: windows of whole slabs in hashed order, shuffled, cut into batches; the last
    batch of a window may be short, and no point is left out or taken twice. In a team each rank reads its own rows of
    every slab, and is given those of every batch.
    """

    slabs: Sequence[Slab]
    read: Read
    length: int
    """Features per point, d."""
    window: int
    cache: float
    team: Team = field(default_factory=Team)
    targets: int = 1
    """Numbers to learn per point, o."""
    classes: int = 0
    """Where the target is a class: how many there are. Classes are not scaled."""

    @property
    def points(self) -> int:
        """Points per epoch, of all ranks."""
        return sum(slab.rows for slab in self.slabs)

    @cached_property
    def _mine(self) -> list[int]:
        """Rows of each slab that this rank reads."""
        return [self.team.rows(slab.rows) for slab in self.slabs]

    @cached_property
    def _borders(self) -> list[int]:
        """Where each slab begins among the rows that this rank holds."""
        return list(accumulate(self._mine, initial=0))

    @property
    def fits(self) -> bool:
        """Whether the rows of this rank fit in the cache."""
        return self._borders[-1] * 4 * (self.length + self.targets) <= self.cache

    @cached_property
    def held(self) -> Rows | None:
        """The rows of this rank, slab after slab; None where they do not fit."""
        if not self.fits:
            return None
        held = self._room(self._borders[-1])
        stream = self._stream(range(len(self.slabs)))
        stream.fill(*held)
        stream.finish()
        return held

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of features and targets, in float64, merged slab by slab in their order.

        A feature that does not vary keeps scale 1. Raises DataError for a density, or another target, that does not.
        """
        columns = self.length + self.targets
        none = (0, np.zeros(columns), np.zeros(columns))
        mine = reduce(_union, map(_moments, self._each_slab()), none)
        count, mean, square = reduce(_union, self.team.gathered(mine), none)
        deviation = np.sqrt(square / count)
        if not (deviation[self.length :] > 0).all():
            raise DataError(f"The density is the same at all {count} training points; nothing can be learnt from it.")
        # A constant column leaves a deviation of rounding errors, not of zero.
        varies = deviation > 1e-7 * np.maximum(np.abs(mean), 1.0)
        scale = np.where(varies, deviation, 1.0)
        features = [torch.from_numpy(each[: self.length]).float() for each in (mean, scale)]
        if self.classes:
            return Normalisation(features[0], features[1], 0.0, 1.0)
        if self.targets == 1:
            return Normalisation(features[0], features[1], float(mean[-1]), float(deviation[-1]))
        targets = [torch.from_numpy(each[self.length :]).float() for each in (mean, deviation)]
        return Normalisation(features[0], features[1], targets[0], targets[1])

    def sizes(self, size: int, seed: str, epoch: int) -> list[int]:
        """Points of each batch of one epoch, of all ranks."""
        rows = [sum(self.slabs[i].rows for i in window) for window in self._windows(seed, epoch)]
        return [min(size, count - first) for count in rows for first in range(0, count, size)]

    def batches(self, size: int, seed: str, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: descriptors, shape [size, d], and densities, shape [size]; in a team this rank's rows of them."""
        for number, (x, y, rows) in enumerate(self._filled(self._windows(seed, epoch))):
            shuffled = rows[torch.from_numpy(window_permutation(len(rows), seed, epoch, number))]
            for batch in shuffled.split(size):
                chosen = batch if self.team.size == 1 else batch[batch >= 0]
                # Several times faster than x[chosen], which gives the same rows.
                yield x.index_select(0, chosen), y.index_select(0, chosen)

    def _windows(self, seed: str, epoch: int) -> list[list[int]]:
        windows: list[list[int]] = [[]]
        filled = 0
        for position in slab_order(self.slabs, seed, epoch):
            if filled >= self.window:
                windows.append([])
                filled = 0
            windows[-1].append(position)
            filled += self.slabs[position].rows
        return windows

    def _filled(self, windows: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each window: what is held, and where in it each of the window's points is, −1 for those of other ranks."""
        if self.held is not None:
            x, y = map(torch.from_numpy, self.held)
            for window in windows:
                yield x, y, self._places(window, [self._borders[i] for i in window])
            return
        borders = [list(accumulate((self._mine[i] for i in window), initial=0)) for window in windows]
        most = max(each[-1] for each in borders)
        features, density = self._room(most)  # for one window after the other
        stream = self._stream([i for window in windows for i in window])
        for window, starts in zip(windows, borders, strict=True):
            stream.fill(features[: starts[-1]], density[: starts[-1]])
            yield torch.from_numpy(features), torch.from_numpy(density), self._places(window, starts)
        stream.finish()

    def _places(self, window: Sequence[int], starts: Sequence[int]) -> Tensor:
        places = [torch.full((self.slabs[i].rows,), -1) for i in window]
        for place, i, start in zip(places, window, starts, strict=False):
            place[self.team.rank :: self.team.size] = torch.arange(start, start + self._mine[i])
        return torch.cat(places)

    def _each_slab(self) -> Iterator[Rows]:
        """The rows of this rank of each slab, in their order, from memory or from the reader."""
        if self.held is not None:
            x, y = self.held
            yield from ((x[a:b], y[a:b]) for a, b in pairwise(self._borders) if a < b)
            return
        stream = self._stream(range(len(self.slabs)))
        features, density = self._room(max(self._mine))
        for rows in filter(None, self._mine):
            stream.fill(features[:rows], density[:rows])
            yield features[:rows], density[:rows]
        stream.finish()

    def _room(self, rows: int) -> Rows:
        targets = (rows,) if self.targets == 1 else (rows, self.targets)
        return np.empty((rows, self.length), np.float32), np.empty(targets, np.float32)

    def _stream(self, order: Sequence[int]) -> _Stream:
        return _Stream(self.read([self.slabs[i] for i in order if self._mine[i]]), self._borders[-1])


class _Stream:
    """The rows of tables, one after another, wherever the tables are cut."""

    def __init__(self, tables: Iterator[pa.Table], expected: int) -> None:
        self._tables = tables
        self._expected = expected
        self._given = 0
        self._left: Rows = np.empty((0, 0), np.float32), np.empty(0, np.float32)

    def fill(self, features: np.ndarray, density: np.ndarray) -> None:
        """The next rows. Raises DataError where there are too few."""
        filled = 0
        while filled < len(density):
            x, y = self._left
            if not len(y):
                table = next(self._tables, None)
                if table is None:
                    raise _lost(self._given + filled, self._expected)
                self._left = table_arrays(table)
                continue
            rows = min(len(y), len(density) - filled)
            features[filled : filled + rows], density[filled : filled + rows] = x[:rows], y[:rows]
            self._left = x[rows:], y[rows:]
            filled += rows
        self._given += filled

    def finish(self) -> None:
        """Raises DataError where rows are left over."""
        surplus = len(self._left[1]) + sum(table.num_rows for table in self._tables)
        if surplus:
            raise _lost(self._given + surplus, self._expected)


def _moments(rows: Rows) -> Moments:
    together = np.column_stack(rows).astype(np.float64)
    mean = together.mean(0)
    return len(together), mean, ((together - mean) ** 2).sum(0)


def _union(one: Moments, other: Moments) -> Moments:
    """Chan, Golub, LeVeque (1983): the moments of a union."""
    total = one[0] + other[0]
    if total == 0:
        return one
    apart = other[1] - one[1]
    square = one[2] + (other[2] + apart**2 * (one[0] * other[0] / total))
    return total, one[1] + apart * (other[0] / total), square


def _lost(found: int, expected: int) -> DataError:
    return DataError(f"Training data: expected {expected} points, found {found}; the corpus changed while it was read.")

"""The order of training: a hashed permutation of slabs and a bounded window shuffle, a function of (seed, epoch) alone.

A slab is a run of consecutive grid points of one snapshot, or those of them that a coreset keeps. Slabs are cut by a
constant, not by how the corpus is stored, so the order of training does not depend on shards or workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from coreset.errors import DataError
from coreset.learning.network import Normalisation

SLAB = 32_768
"""Grid points per slab."""

Read = Callable[[Sequence["Slab"]], Iterator[pa.Table]]
"""Descriptors and densities of slabs, in their order, as columns `features` (fixed-size lists) and `density`."""


@dataclass(frozen=True)
class Slab:
    """The grid points [start, stop) of one snapshot, of which `rows` are to be read."""

    snapshot: str
    digest: str
    start: int
    stop: int
    rows: int


def slabs_of(snapshot: str, digest: str, points: int, kept: np.ndarray | None = None) -> list[Slab]:
    """The slabs of one snapshot; with `kept` (ascending indices) those that hold any, counting only these."""
    starts = range(0, points, SLAB)
    if kept is None:
        return [Slab(snapshot, digest, s, min(s + SLAB, points), min(SLAB, points - s)) for s in starts]
    borders = np.searchsorted(kept, [*starts, points])
    counts = np.diff(borders).tolist()
    return [
        Slab(snapshot, digest, s, min(s + SLAB, points), rows) for s, rows in zip(starts, counts, strict=True) if rows
    ]


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


def table_arrays(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors, shape [n, d], and densities, shape [n], of a table of slabs; float32."""
    column = table.column("features").combine_chunks()
    features = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return features, table.column("density").combine_chunks().to_numpy()


@dataclass
class Feed:
    """The points of one training. They are held in memory if they fit in `cache` bytes, else read anew each epoch.

    Either way the batches are the same: windows of whole slabs in hashed order, shuffled, cut into batches; the last
    batch of a window may be short, and no point is left out or taken twice.
    """

    slabs: Sequence[Slab]
    read: Read
    length: int
    """Features per point, d."""
    window: int
    cache: float

    @property
    def points(self) -> int:
        """Points per epoch."""
        return sum(slab.rows for slab in self.slabs)

    @cached_property
    def _held(self) -> tuple[Tensor, Tensor] | None:
        if self.points * 4 * (self.length + 1) > self.cache:
            return None
        features = np.empty((self.points, self.length), np.float32)
        density = np.empty(self.points, np.float32)
        filled = 0
        for table in self.read(self.slabs):
            x, y = table_arrays(table)
            if filled + len(y) > self.points:
                raise _lost(filled + len(y), self.points)
            features[filled : filled + len(y)], density[filled : filled + len(y)] = x, y
            filled += len(y)
        if filled != self.points:
            raise _lost(filled, self.points)
        return torch.from_numpy(features), torch.from_numpy(density)

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of descriptors and density, in float64, merged slab by slab in their order.

        A feature that does not vary keeps scale 1. Raises DataError for a density that does not vary.
        """
        count, mean, square = 0, np.zeros(self.length + 1), np.zeros(self.length + 1)
        for x, y in self._in_order(list(range(len(self.slabs)))):
            rows = np.column_stack([x.numpy(), y.numpy()]).astype(np.float64)
            part_mean = rows.mean(0)
            part_square = ((rows - part_mean) ** 2).sum(0)
            total = count + len(rows)
            # Chan, Golub, LeVeque (1983): the sum of squared deviations of a union.
            square += part_square + (part_mean - mean) ** 2 * (count * len(rows) / total)
            mean += (part_mean - mean) * (len(rows) / total)
            count = total
        deviation = np.sqrt(square / count)
        if not deviation[-1] > 0:
            raise DataError(f"The density is the same at all {count} training points; nothing can be learnt from it.")
        # A constant column leaves a deviation of rounding errors, not of zero.
        varies = deviation > 1e-7 * np.maximum(np.abs(mean), 1.0)
        scale = np.where(varies, deviation, 1.0)
        return Normalisation(
            mean=torch.from_numpy(mean[:-1]).float(),
            scale=torch.from_numpy(scale[:-1]).float(),
            target_mean=float(mean[-1]),
            target_scale=float(deviation[-1]),
        )

    def batches(self, size: int, seed: str, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: descriptors, shape [size, d], and densities, shape [size]."""
        order = slab_order(self.slabs, seed, epoch)
        windows = self._windows(order)
        streams = self._held_windows(windows) if self._held is not None else self._streamed_windows(order, windows)
        for number, (x, y, rows) in enumerate(streams):
            shuffled = rows[torch.from_numpy(window_permutation(len(rows), seed, epoch, number))]
            for chosen in shuffled.split(size):
                yield x[chosen], y[chosen]

    def _windows(self, order: Sequence[int]) -> list[list[int]]:
        windows: list[list[int]] = [[]]
        filled = 0
        for position in order:
            if filled >= self.window:
                windows.append([])
                filled = 0
            windows[-1].append(position)
            filled += self.slabs[position].rows
        return windows

    def _held_windows(self, windows: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        assert self._held is not None
        borders = np.cumsum([0, *(slab.rows for slab in self.slabs)])
        for window in windows:
            rows = np.concatenate([np.arange(borders[i], borders[i + 1]) for i in window])
            yield *self._held, torch.from_numpy(rows)

    def _streamed_windows(
        self, order: Sequence[int], windows: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        slabs = self._in_order(order)
        for window in windows:
            parts = [next(slabs) for _ in window]
            x, y = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
            yield x, y, torch.arange(len(y))
        next(slabs, None)  # so that it finds what is left over

    def _in_order(self, order: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each slab of the order, whole, from memory or from the reader."""
        if self._held is not None:
            borders = np.cumsum([0, *(slab.rows for slab in self.slabs)]).tolist()
            for position in order:
                rows = slice(borders[position], borders[position + 1])
                yield self._held[0][rows], self._held[1][rows]
            return
        tables = self.read([self.slabs[position] for position in order])
        x, y = np.empty((0, self.length), np.float32), np.empty(0, np.float32)
        for position in order:
            wanted = self.slabs[position].rows
            while len(y) < wanted:
                table = next(tables, None)
                if table is None:
                    raise _lost(len(y), wanted)
                more_x, more_y = table_arrays(table)
                x, y = np.concatenate([x, more_x]), np.concatenate([y, more_y])
            yield torch.from_numpy(x[:wanted]), torch.from_numpy(y[:wanted])
            x, y = x[wanted:], y[wanted:]
        surplus = len(y) + sum(table.num_rows for table in tables)
        if surplus:
            raise _lost(self.points + surplus, self.points)


def _lost(found: int, expected: int) -> DataError:
    return DataError(f"Training data: expected {expected} points, found {found}; the corpus changed while it was read.")

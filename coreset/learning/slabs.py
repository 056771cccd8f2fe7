"""Slabs: what a training reads at a time.

A slab is a run of consecutive grid points of one snapshot, or those of them that a coreset keeps. Slabs are cut by a
constant, not by how the corpus is stored, so the order of training does not depend on how that is cut into shards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SLAB = 32_768
"""Grid points per slab."""


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


def in_groups(slabs: Iterable[Slab], rows: int = SLAB) -> list[list[Slab]]:
    """Consecutive slabs in groups of at most `rows` that are to be read, or one of them that has more.

    Of a coreset a slab may hold a few rows, and whatever is read at a time costs some milliseconds beside them.
    """
    groups: list[list[Slab]] = []
    filled = rows
    for slab in slabs:
        if filled + slab.rows > rows:
            groups.append([])
            filled = 0
        groups[-1].append(slab)
        filled += slab.rows
    return groups

"""The n highest of all scores, exactly: what CCS cuts off, and what GraNd keeps."""

from dataclasses import dataclass
from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numba import njit

from coreset.numerics.draw import Draw, draw
from coreset.numerics.keys import TIES, stream
from coreset.numerics.order_statistics import Summary, nth_highest
from coreset.numerics.scans import Scan, ScoreShard


@dataclass(frozen=True)
class HighEnd:
    """All scores above `value`, and of those equal to it the ones that `ties` draws (keys of purpose TIES)."""

    value: float
    above: int
    ties: Draw
    seed: int

    @property
    def count(self) -> int:
        """Number of points in the high end."""
        return self.above + self.ties.taken

    @property
    def rest_hi(self) -> float | None:
        """The highest score that is left outside; None where nothing is."""
        return self.value if self.ties.taken < self.ties.population else None

    def contains(self, shard: ScoreShard) -> Bool[np.ndarray, " n"]:
        """Tell which points of a shard belong to the high end."""
        inside: Bool[np.ndarray, " n"] = shard.scores > self.value
        inside[self.tied(shard)] = True
        return inside

    def tied(self, shard: ScoreShard) -> Int64[np.ndarray, " t"]:
        """Return the positions in a shard of the points whose score equals `value` and that belong to the high end."""
        if self.ties.taken == 0:
            return np.empty(0, dtype=np.int64)
        at = np.empty(shard.scores.size, dtype=np.int64)
        equal = at[: _positions(shard.scores, shard.scores.dtype.type(self.value), at)].copy()
        if self.ties.last is not None and equal.size:
            keys = shard.keys_at(stream(self.seed, shard.identity, TIES), equal)
            key, identity = self.ties.last
            equal = equal[(keys < key) | ((keys == key) & (shard.identity <= identity))]
        return equal


def high_end(scan: Scan, summary: Summary, count: int, seed: int) -> HighEnd:
    """Find the `count` highest scores; of equal scores the smallest keys first, of equal keys the smaller identity.

    `value` is the highest score left outside (the lowest of all where nothing is left): so the maximum of the rest is
    known without another scan.
    """
    edge = nth_highest(scan, summary, min(count, summary.count - 1))
    (ties,) = draw(scan, partial(_equal, value=edge.value), [edge.equal], [count - edge.above], seed, TIES)
    return HighEnd(edge.value, edge.above, ties, seed)


def _equal(shard: ScoreShard, value: float) -> Int32[np.ndarray, " n"]:
    groups = np.empty(shard.scores.size, dtype=np.int32)
    _are_equal(shard.scores, shard.scores.dtype.type(value), groups)
    return groups


@njit(cache=True, nogil=True)
@no_type_check
def _are_equal(scores, value, groups):
    for i in range(scores.size):
        groups[i] = np.int32(scores[i] == value) - np.int32(1)


@njit(cache=True, nogil=True)
@no_type_check
def _positions(scores, value, at):
    found = 0
    for begin in range(0, scores.size, 1024):
        block = scores[begin : begin + 1024]
        equal = 0
        for i in range(block.size):  # this loop is vectorised, and few blocks hold any
            equal += block[i] == value
        if equal > 0:
            for i in range(block.size):
                if block[i] == value:
                    at[found] = begin + i
                    found += 1
    return found

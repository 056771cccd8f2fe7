"""Strata of equal width in the score, and how a budget is shared among them (CCS, Zheng et al. 2023; paper IV.2.3)."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int32, Int64
from numba import njit


@dataclass(frozen=True)
class Strata:
    """`count` strata of equal width over [lo, hi]; the last one is closed, so the highest score belongs to it."""

    lo: float
    hi: float
    count: int

    def of(self, scores: Float[np.ndarray, " n"]) -> Int32[np.ndarray, " n"]:
        """Return min(k − 1, ⌊(s − lo)/(hi − lo)·k⌋), in float64 and in this order, and −1 for scores above hi.

        Scores are at least lo, and lo < hi.
        """
        strata = np.empty(scores.size, dtype=np.int32)
        _stratum(scores, self.lo, self.hi, self.count, strata)
        return strata


def sizes(strata: Int32[np.ndarray, " n"], count: int) -> Int64[np.ndarray, " k"]:
    """Count the points of each stratum, not those of stratum −1."""
    counts = np.zeros((4, count + 1), dtype=np.int64)
    _sizes(strata, *counts)
    total: Int64[np.ndarray, " k"] = counts.sum(axis=0)[1:]
    return total


def allocate(population: Int64[np.ndarray, " k"], budget: int) -> Int64[np.ndarray, " k"]:
    """Share a budget as the reference CCS does: n_i = min(N_i, remaining budget // remaining strata), smallest first.

    Strata of equal size are served in order of their index. What a small stratum cannot use goes to the larger ones, so
    the budget is met exactly where it is at most the sum of the sizes. All strata count, empty ones too: they are
    served first, take nothing, and leave their share to the others.
    """
    shares = np.zeros_like(population)
    remaining = budget
    for served, i in enumerate(np.argsort(population, kind="stable")):
        shares[i] = min(int(population[i]), remaining // (population.size - served))
        remaining -= int(shares[i])
    return shares


def allocate_evenly(population: Int64[np.ndarray, " k"], budget: int) -> Int64[np.ndarray, " k"]:
    """Share a budget by the letter of the paper (IV.2.3): n_i = min(N_i, budget // k); what is not used is lost."""
    shares: Int64[np.ndarray, " k"] = np.minimum(population, budget // population.size)
    return shares


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _stratum(scores, lo, hi, count, out):
    span = hi - lo
    last = np.int32(count - 1)
    for i in range(scores.size):
        score = np.float64(scores[i])
        # above hi the cast may overflow; what it gives there is not used
        stratum = min(np.int32((score - lo) / span * count), last)
        out[i] = stratum if score <= hi else np.int32(-1)


@njit(cache=True, nogil=True)
@no_type_check
def _sizes(strata, a, b, c, d):
    """Counts every fourth point apart: an addition need not wait for the one before it, often to the same stratum."""
    even = strata.size // 4 * 4
    for i in range(0, even, 4):
        a[np.uint64(strata[i] + 1)] += 1
        b[np.uint64(strata[i + 1] + 1)] += 1
        c[np.uint64(strata[i + 2] + 1)] += 1
        d[np.uint64(strata[i + 3] + 1)] += 1
    for i in range(even, strata.size):
        a[np.uint64(strata[i] + 1)] += 1

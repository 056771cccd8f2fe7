"""Coverage against size: AUC_pr of random subsets of a half, a quarter, … of a set, each within the one before.

A point belongs to the subset of 2⁻ᵏ of the points when its 64-bit key begins with k zeros. So one pass over the points
serves all sizes: the minima over the points that begin with exactly k zeros are kept apart, and those of a subset are
the least of its own and of all smaller ones. Sizes are as the keys have it, near N / 2ᵏ.

The coverage of a subset, as a share of that of the whole set S, is

    c(n) = AUC_pr(S) / AUC_pr(n points of it)        0 < c ≤ 1,  c(N) = 1

since AUC_pr is a distance: a subset of c = 0.9 leaves queries 1/0.9 times as far from their nearest point on average.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt64

from coreset.numerics.keys import keys

LEAST = 32
"""Points of the smallest subset, about."""


def deepest(points: int) -> int:
    """How many times a set of so many points is halved."""
    return max(0, int(np.log2(max(points, 1) / LEAST)))


def levels(drawn: UInt64[np.ndarray, " n"], deepest: int) -> Int[np.ndarray, " n"]:
    """With how many zeros each key begins, at most `deepest`."""
    edges = np.array([2 ** (64 - k) for k in range(deepest, 0, -1)], np.uint64)
    return deepest - np.searchsorted(edges, drawn, side="right")


def levels_of(start: np.uint64, first: int, count: int, deepest: int) -> Int[np.ndarray, " n"]:
    """The levels of the points first … first + count − 1 of a stream of keys."""
    return levels(keys(start, first, count), deepest)


def of_subsets(minima: Float[np.ndarray, "l q"]) -> Float[np.ndarray, "l q"]:
    """From the minima over the points of exactly each level those over each subset, the smallest subset first."""
    found: Float[np.ndarray, "l q"] = np.minimum.accumulate(minima[::-1], axis=0)
    return found


def to_reach(sizes: Sequence[int], areas: Sequence[float], share: float) -> float:
    """How many points reach a share of the coverage of all, between sizes by a line of log AUC_pr in log n.

    sizes ascend, and areas, their AUC_pr, descend; the last are those of the whole set.
    """
    wanted = areas[-1] / share
    enough = next(i for i, area in enumerate(areas) if area <= wanted)
    if enough == 0 or areas[enough] <= 0:
        return float(sizes[enough])
    (low, high), (far, near) = np.log(sizes[enough - 1 : enough + 1]), np.log(areas[enough - 1 : enough + 1])
    return float(np.exp(high - (high - low) * (np.log(wanted) - near) / (far - near)))

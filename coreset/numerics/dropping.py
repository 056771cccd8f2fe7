"""In which order parts of a set can be left out whole: each time the one whose loss is least, given those before it.

The loss of a part is by how much the mean distance from the queries to their nearest point rises without it,

    loss(l) = (1/Q) Σ_q [min_{m ≠ l} d(q, m) − min_m d(q, m)],

with m over the parts that are left. Two parts that repeat each other lose nothing each: the first of them goes for
nothing, and the second then costs what both were worth. To find the best order is as hard as a set cover; this one is
greedy.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Dropped(NamedTuple):
    """One step: the part that is left out, and the mean distance to the nearest point of those that stay."""

    part: int
    mean: float


def dropping_order(distances: Float[np.ndarray, "parts q"]) -> list[Dropped]:
    """The parts in the order in which they are left out, as long as every query keeps a point; of equals the first.

    distances: from each query to the nearest point of each part; infinite where it counts none of its points.
    """
    left = distances.astype(np.float64)
    first, second = _two_nearest(left)
    kept, order = np.ones(len(left), bool), list[Dropped]()
    queries = np.arange(left.shape[1])
    while kept.sum() > 1:
        rise = left[second, queries] - left[first, queries]
        loss = np.where(kept, np.bincount(first, rise, minlength=len(left)), np.inf)
        part = int(loss.argmin())
        if not np.isfinite(loss[part]):
            break
        left[part], kept[part] = np.inf, False
        touched = np.flatnonzero((first == part) | (second == part))
        first[touched], second[touched] = _two_nearest(left[:, touched])
        order.append(Dropped(part, float(left[first, queries].mean())))
    return order


def _two_nearest(distances: Float[np.ndarray, "parts q"]) -> tuple[Int[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """The nearest part of each query and the next one; of equals the first."""
    order = np.argsort(distances, axis=0, kind="stable")[:2]
    return order[0], order[-1]

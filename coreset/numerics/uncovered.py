"""What a set of points leaves uncovered: empty balls, and what it would gain from further points.

Around a query at distance d(q) from its nearest point no point lies within d(q). A region is such an empty ball: the
query that is farthest from all points is its centre, and all queries within it belong to it. The next region begins
with the farthest query outside of all before. So regions need no setting and no grid, in any number of dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_ROWS = 1024


@dataclass(frozen=True)
class Region:
    """An empty ball: the query in its centre, its radius, and the queries in it, the centre among them, ascending."""

    centre: int
    radius: float
    members: Int[np.ndarray, " m"]


def empty_balls(queries: Float[np.ndarray, "q d"], distances: Float[np.ndarray, " q"], most: int = 12) -> list[Region]:
    """The largest empty balls, at most so many, by falling radius; a query belongs to the first that holds it."""
    left = np.ones(len(queries), bool)
    found: list[Region] = []
    while len(found) < most and left.any():
        centre = int(np.argmax(np.where(left, distances, -1.0)))
        if distances[centre] <= 0:
            break
        apart = np.sqrt(np.square(queries.astype(np.float64) - queries[centre].astype(np.float64)).sum(axis=1))
        members = np.flatnonzero(left & ((apart < distances[centre]) | (np.arange(len(queries)) == centre)))
        left[members] = False
        found.append(Region(centre, float(distances[centre]), members))
    return found


def to_labels(queries: Float[np.ndarray, "q d"], labels: Int[np.ndarray, " q"], count: int) -> Float[np.ndarray, "l q"]:
    """The distance of every query from the nearest query of each label, itself included, shape [labels, queries]."""
    rows = queries.astype(np.float64) - queries.mean(axis=0, dtype=np.float64)
    norms = np.square(rows).sum(axis=1)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(count + 1))
    found: Float[np.ndarray, "l q"] = np.full((count, len(rows)), np.inf)
    for start in range(0, len(rows), _ROWS):
        some = slice(start, start + _ROWS)
        squared = norms[some, None] + norms[order][None, :] - 2 * (rows[some] @ rows[order].T)
        for label in range(count):
            if bounds[label] < bounds[label + 1]:
                found[label, some] = squared[:, bounds[label] : bounds[label + 1]].min(axis=1)
    found = np.sqrt(np.maximum(found, 0))
    found[labels, np.arange(len(rows))] = 0.0  # itself, which rounding need not tell
    return found


def most_helpful(
    distances: Float[np.ndarray, " q"], to_each: Float[np.ndarray, "l q"], most: int
) -> list[tuple[int, float, float]]:
    """Which label's points to add first, second, …: greedily, whatever lowers the mean distance most.

    distances: of each query from the points there are; to_each: from the nearest point of each label. Returns the
    label, by how much the mean falls, and the mean after it, for as long as it falls.
    """
    now, chosen = distances.copy(), list[tuple[int, float, float]]()
    for _ in range(min(most, len(to_each))):
        after = np.minimum(now, to_each).mean(axis=1)
        best = int(np.argmin(after))
        if not after[best] < now.mean():
            break
        chosen.append((best, float(now.mean() - after[best]), float(after[best])))
        now = np.minimum(now, to_each[best])
    return chosen


def farthest_first(rows: Float[np.ndarray, "n d"], most: int) -> Int[np.ndarray, " m"]:
    """So many rows, each chosen as the one farthest from those before; the first is the one nearest to the mean.

    The largest distance from any row to the first m of them is at most twice the least that m rows can have (Gonzalez
    1985, Theoretical Computer Science 38, 293).
    """
    rows = rows.astype(np.float64)
    following = int(np.argmin(np.square(rows - rows.mean(axis=0)).sum(axis=1)))
    squared, chosen = np.full(len(rows), np.inf), list[int]()
    while len(chosen) < min(most, len(rows)):
        chosen.append(following)
        np.minimum(squared, np.square(rows - rows[following]).sum(axis=1), out=squared)
        following = int(np.argmax(squared))
    return np.array(chosen, np.int64)


def covered_by_first(
    rows: Float[np.ndarray, "n d"], order: Int[np.ndarray, " m"], sizes: Sequence[int]
) -> Float[np.ndarray, "s 2"]:
    """AUC_pr and the largest distance, as all rows see the first n rows of an order, for ascending sizes n."""
    rows = rows.astype(np.float64)
    squared, found = np.full(len(rows), np.inf), []
    for number, chosen in enumerate(order.tolist(), start=1):
        np.minimum(squared, np.square(rows - rows[chosen]).sum(axis=1), out=squared)
        if number in sizes:
            distances = np.sqrt(squared)
            found.append((float(distances.mean()), float(distances.max())))
    return np.array(found)

"""How well a set of points covers another: the area under the p-partial r-cover curve, AUC_pr.

A set S covers the fraction p of the queries within the radius r(p), the p-quantile of d(q) = min_{s ∈ S} ‖q − s‖₂.
The area is

    AUC_pr = ∫₀¹ r(p) dp = E_q[d(q)]

the mean Euclidean (not squared) distance from a query to its nearest point, in the unit of the features. Lower is
better. It has nothing to do with precision and recall.

Source: Pathrudkar et al., arXiv 2507.09001 (coverage); Zheng et al., arXiv 2210.15809, section 3.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numba import njit

from coreset.errors import DataError, RequestError
from coreset.numerics.intervals import Estimate, crossed_interval

PIECE = 65536
"""Points that FAISS sees at a time: bounds the memory of the centred copy."""

WIDTHS = (8, 128)
"""Neighbours that FAISS proposes; the second serves crystals, where symmetry puts up to 48 points at equal distance."""


@dataclass(frozen=True)
class Minima:
    """distances: from each query to its nearest point, shape [q]; searched: queries compared with all points."""

    distances: Float[np.ndarray, " q"]
    searched: int

    def merge(self, other: "Minima") -> "Minima":
        """The minima over the points of both; in any order the same bits."""
        return Minima(np.minimum(self.distances, other.distances), self.searched + other.searched)


@dataclass(frozen=True)
class Coverage:
    """AUC_pr of one set of points.

    auc: mean of the distances; interval: its 95% interval, NaN where there is a single group; p, r: the p–r curve,
    shape [c], c = q + 1, from (0, 0) and ascending: the fraction p of the queries lies within r of the points, and r is
    constant over (p_{i−1}, p_i], so that Σ r_i (p_i − p_{i−1}) = auc; distances: one per query, in the queries'
    order, shape [q].
    """

    auc: float
    interval: tuple[float, float]
    p: Float[np.ndarray, " c"]
    r: Float[np.ndarray, " c"]
    distances: Float[np.ndarray, " q"]


def coverage(
    points: Float[np.ndarray, "n d"],
    queries: Float[np.ndarray, "q d"],
    groups: Shaped[np.ndarray, " q"] | None = None,
    threads: int = 1,
) -> Coverage:
    """AUC_pr of `points` as seen from `queries`, with its interval: `nearest`, then `summarise`."""
    return summarise(nearest(points, queries, threads), groups)


def nearest(
    points: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "q d"], threads: int = 1
) -> Float[np.ndarray, " q"]:
    """min_s ‖q − s‖₂ of each query over the points, shape [q]: see `nearest_over`."""
    return nearest_over([points], queries, threads).distances


def nearest_over(
    shards: Iterable[Float[np.ndarray, "_ d"]], queries: Float[np.ndarray, "q d"], threads: int = 1
) -> Minima:
    """min_s ‖q − s‖₂ of each query over the points of all shards, in float64, from the rows as given.

    FAISS proposes neighbours in float32 and float64 decides among them. A query is done once the last proposed float32
    distance exceeds the best float64 one by more than rounding can explain; else it is looked up among all points.
    So the bits depend on neither FAISS, `threads`, nor how the points were cut into shards. `threads` are FAISS's.

    Raises `RequestError` for rows of different lengths and where there are no points or no queries, `DataError` for a
    row that is not finite. Single shards may be empty.
    """
    queries = _rows("queries", queries)
    if not len(queries):
        raise RequestError("queries: expected at least one row, found none; nothing can be covered.")
    # The rounding of ‖x‖² + ‖y‖² − 2 x·y grows with the norms; this centre is the same whatever the shards.
    centre = queries.mean(axis=0, dtype=np.float64)
    centred = _centred(queries, centre)
    squared = np.full(len(queries), np.inf)
    seen = searched = 0
    for number, shard in enumerate(shards):
        points = _rows(f"points (shard {number})", shard)
        if points.shape[1] != queries.shape[1]:
            raise RequestError(
                f"points (shard {number}): expected rows of {queries.shape[1]} features, as the queries have, found "
                f"{points.shape[1]}; describe both alike."
            )
        seen += len(points)
        for first in range(0, len(points), PIECE):
            piece = points[first : first + PIECE]
            searched += _lower(squared, queries, centred, piece, _centred(piece, centre), threads)
    if not seen:
        raise RequestError("points: expected at least one row, found none; an empty set covers nothing.")
    return Minima(np.sqrt(squared), searched)


def _lower(
    squared: Float[np.ndarray, " q"],
    queries: Float[np.ndarray, "q d"],
    centred: Float[np.ndarray, "q d"],
    points: Float[np.ndarray, "n d"],
    centred_points: Float[np.ndarray, "n d"],
    threads: int,
) -> int:
    """Lower each squared distance to that from the nearest of these points; returns the count of queries searched."""
    norms = np.sqrt(np.einsum("qd,qd->q", centred, centred, dtype=np.float64))
    open_queries = np.arange(len(queries))
    for width in WIDTHS:
        found, neighbours = _propose(centred[open_queries], centred_points, min(width, len(points)), threads)
        _lower_to_proposed(squared, open_queries, queries, points, neighbours)
        certified = _certified(found[:, -1], squared[open_queries], norms[open_queries], queries.shape[1])
        certified &= neighbours[:, -1] >= 0
        certified |= (neighbours >= 0).sum(axis=1) == len(points)
        open_queries = open_queries[~certified]
        if not len(open_queries):
            return 0
    _lower_to_all(squared, open_queries, queries, points)
    return len(open_queries)


def _certified(
    last: Float[np.ndarray, " q"], best: Float[np.ndarray, " q"], norms: Float[np.ndarray, " q"], features: int
) -> Bool[np.ndarray, " q"]:
    """Whether no point outside the proposals can be nearer than the best one.

    last: the largest proposed squared distance, in float32; best: the least squared distance w², in float64; norms:
    ‖x‖ of the centred queries. A nearer point y has ‖y‖ ≤ ‖x‖ + w. With R = 2‖x‖ + w and the unit roundoff u = 2⁻²⁴,
    rounding the centred rows moves its squared distance by at most 3uR², and summing d float32 terms in any order by
    at most γ_{d+2} R², γ_k = ku / (1 − ku) (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). So
    FAISS saw it below w² + γ_{d+8} R² and would have proposed it before `last`, unless that is smaller still, or R²
    overflows.
    """
    rounding = (features + 8) * 2.0**-24
    reach = np.square(2 * norms + np.sqrt(best))
    underflow = (features + 8) * float(np.finfo(np.float32).tiny)
    certified: Bool[np.ndarray, " q"] = last > best + rounding / (1 - rounding) * reach + underflow
    certified &= reach < 1e37
    return certified


def _propose(
    queries: Float[np.ndarray, "q d"], points: Float[np.ndarray, "n d"], neighbours: int, threads: int
) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
    """Squared float32 distances, ascending, and positions (−1: none) of the nearest points, as FAISS computes them."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        index = faiss.IndexFlatL2(points.shape[1])
        index.add(points)
        found: Float[np.ndarray, "q k"]
        positions: Int[np.ndarray, "q k"]
        found, positions = index.search(queries, neighbours)
    finally:
        faiss.omp_set_num_threads(before)
    return found, positions


@cache
def _faiss() -> ModuleType:
    """FAISS, imported when it is first needed, as it is slow to load."""
    with warnings.catch_warnings():
        # From Python 3.12 on, the types that SWIG builds into FAISS raise this warning; no caller can act on it.
        warnings.filterwarnings("ignore", "builtin type [Ss]wig\\w+ has no __module__ attribute", DeprecationWarning)
        import faiss
    return faiss


@njit(cache=True, nogil=True)
@no_type_check
def _squared_distance(query, point, limit):
    """‖query − point‖² in float64, summed in the order of the features; above the limit, anything above the limit."""
    total = 0.0
    for first in range(0, query.size, 16):
        for i in range(first, min(first + 16, query.size)):
            difference = np.float64(query[i]) - np.float64(point[i])
            total += difference * difference
        if total > limit:
            break
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _lower_to_proposed(squared, rows, queries, points, neighbours):
    for i in range(rows.size):
        row = rows[i]
        for j in neighbours[i]:
            if j >= 0:
                squared[row] = min(squared[row], _squared_distance(queries[row], points[j], squared[row]))


@njit(cache=True, nogil=True)
@no_type_check
def _lower_to_all(squared, rows, queries, points):
    for first in range(0, len(points), 256):  # points that stay in the cache while all queries pass
        for row in rows:
            for j in range(first, min(first + 256, len(points))):
                squared[row] = min(squared[row], _squared_distance(queries[row], points[j], squared[row]))


def _centred(rows: Float[np.ndarray, "n d"], centre: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
    with np.errstate(over="ignore"):  # what overflows float32 is never certified
        centred: Float[np.ndarray, "n d"] = np.subtract(rows, centre, dtype=np.float64).astype(np.float32)
    return centred


def summarise(distances: Float[np.ndarray, " q"], groups: Shaped[np.ndarray, " q"] | None = None) -> Coverage:
    """AUC_pr, its 95% interval and the p–r curve of the distances from each query to its nearest point, shape [q].

    groups: what each query belongs to (its snapshot or trajectory), shape [q]; None makes each query a group of its
    own. The interval is that of `mean_over_queries`.

    Raises `RequestError` for shapes that do not match, `DataError` for distances that are not finite.
    """
    distances = _distances("distances", distances)
    ascending = np.sort(distances)
    area = mean_over_queries(distances[None], groups)
    return Coverage(
        auc=float(ascending.mean()),
        interval=(area.low, area.high),
        p=np.arange(len(distances) + 1) / len(distances),
        r=np.concatenate([[0.0], ascending]),
        distances=distances,
    )


def mean_over_queries(values: Float[np.ndarray, "seeds q"], groups: Shaped[np.ndarray, " q"] | None = None) -> Estimate:
    """The mean of distances, or of paired differences of distances, over seeds and queries, with its 95% interval.

    values: one per set of points (seed) and query, shape [seeds, q]; groups as in `summarise`. Queries of a group are
    alike, so what is sampled are groups: each enters by its mean, with its number of queries as weight, in
    `crossed_interval`, whose Student's t knows how few they are. (Resampling two or four groups cannot: it never leaves
    the range of their means.) It does not depend on the queries' order.

    Raises `RequestError` for shapes that do not match, `DataError` for values that are not finite.
    """
    values = np.asarray(values, np.float64)
    # Sums depend on the order of what they add, so that is by value, not by query.
    if groups is None:
        return crossed_interval(values[:, np.argsort(values[0], kind="stable")])
    labels = np.asarray(groups)
    if labels.shape != values.shape[1:]:
        raise RequestError(f"groups: expected one per query, shape [{values.shape[1]}], found {list(labels.shape)}.")
    order = np.lexsort((values[0], labels))
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    return crossed_interval(np.add.reduceat(values[:, order], starts, axis=1) / sizes, sizes)


def _distances(name: str, values: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise RequestError(f"{name}: expected one distance per query, shape [q], q ≥ 1, found {list(values.shape)}.")
    if not (finite := np.isfinite(values)).all():
        raise DataError(f"{name}: expected finite distances, found {values[~finite][0]} at {int(finite.argmin())}.")
    return values


def _rows(name: str, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The rows, contiguous, in float32 or float64, after a check."""
    values = np.asarray(values)
    if values.ndim != 2 or not values.shape[1]:
        raise RequestError(f"{name}: expected rows of features, shape [n, d], found shape {list(values.shape)}.")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        raise DataError(f"{name}: expected finite values, found NaN or infinity in row {row}; remove or mend it.")
    rows: Float[np.ndarray, "n d"] = np.ascontiguousarray(values)
    return rows

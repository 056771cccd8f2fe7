"""How well a set of points covers another: the area under the p-partial r-cover curve, AUC_pr.

A set S covers the fraction p of the queries within the radius r(p), the p-quantile of d(q) = min_{s ∈ S} ‖q − s‖₂.
The area is

    AUC_pr = ∫₀¹ r(p) dp = E_q[d(q)]

the mean Euclidean (not squared) distance from a query to its nearest point, in the unit of the features. Lower is
better. It has nothing to do with precision and recall.

Source: Pathrudkar et al., arXiv 2507.09001 (coverage); Zheng et al., arXiv 2210.15809, section 3.
"""

import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float, Int, Shaped
from numba import njit
from threadpoolctl import threadpool_limits

from coreset.errors import DataError, RequestError
from coreset.numerics.intervals import Estimate, crossed_interval

PIECE = 16384
"""Points that are centred at a time: bounds the memory beside the rows as given."""

QUERIES, POINTS = 1024, 512
"""Rows of queries and of points in one matrix product, which then lies in the cache while it is looked through."""

PROPOSED = 8
"""Neighbours that FAISS proposes on a GPU."""

_LARGE = 1e37
"""Squared lengths from here on are left to float64, for float32 products of them might overflow."""


@dataclass(frozen=True)
class Minima:
    """distances: from each query to its nearest point, shape [q]; decided: pairs whose distance float64 computed."""

    distances: Float[np.ndarray, " q"]
    decided: int

    def merge(self, other: "Minima") -> "Minima":
        """The minima over the points of both; in any order the same bits."""
        return Minima(np.minimum(self.distances, other.distances), self.decided + other.decided)


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


@dataclass(frozen=True)
class Centred:
    """Rows about a centre, rounded to float32, shape [n, d], and their lengths in float64, shape [n].

    Rows too long for products in float32 are zeros here; their lengths say so.
    """

    rows: Float[np.ndarray, "n d"]
    norms: Float[np.ndarray, " n"]

    def __getitem__(self, which: slice | Int[np.ndarray, " m"]) -> "Centred":
        return Centred(self.rows[which], self.norms[which])


def coverage(
    points: Float[np.ndarray, "n d"],
    queries: Float[np.ndarray, "q d"],
    groups: Shaped[np.ndarray, " q"] | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> Coverage:
    """AUC_pr of `points` as seen from `queries`, with its interval: `nearest`, then `summarise`."""
    return summarise(nearest(points, queries, threads, device), groups)


def nearest(
    points: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "q d"], threads: int = 1, device: str = "cpu"
) -> Float[np.ndarray, " q"]:
    """min_s ‖q − s‖₂ of each query over the points, shape [q]: see `nearest_over`."""
    return nearest_over([points], queries, threads, device).distances


def nearest_over(
    shards: Iterable[Float[np.ndarray, "_ d"]],
    queries: Float[np.ndarray, "q d"],
    threads: int = 1,
    device: str = "cpu",
) -> Minima:
    """min_s ‖q − s‖₂ of each query over the points of all shards, in float64, from the rows as given.

    Float32 matrix products propose points, and float64 decides among all of them that are no farther than the nearest
    one so far by more than rounding can explain. So the bits depend on neither the library of the products, `threads`,
    `device`, nor how the points were cut into shards. On `cuda`, FAISS proposes, and the products see only the queries
    that its proposals do not settle; it needs faiss-gpu.

    Shards are read one at a time. Beside one of them, memory holds the queries twice and `PIECE` centred points; time
    is linear in the number of points.

    Raises `RequestError` for rows of different lengths, where there are no points or no queries, and for `cuda` without
    a GPU that FAISS sees; `DataError` for a row that is not finite. Single shards may be empty.
    """
    queries, centre, x = centred_queries(queries)
    index = _gpu_index(queries.shape[1]) if device == "cuda" else None
    squared = np.full(len(queries), np.inf)
    step = -(-len(queries) // threads)
    seen = decided = 0
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, user_api="blas"):
        each_part = map if threads == 1 else pool.map
        for piece, y in pieces_of(shards, centre, PIECE):
            seen += len(piece)

            def lower(part: slice, piece: Any = piece, y: Centred = y) -> int:
                return lower_to_nearest(squared[part], queries[part], x[part], piece, y)

            if index is None:
                decided += sum(each_part(lower, [slice(i, i + step) for i in range(0, len(queries), step)]))
            else:
                decided += _lower_by_faiss(index, squared, queries, x, piece, y)
    if not seen:
        raise RequestError("points: expected at least one row, found none; an empty set covers nothing.")
    return Minima(np.sqrt(squared), decided)


def centred_queries(
    queries: Float[np.ndarray, "q d"],
) -> tuple[Float[np.ndarray, "q d"], Float[np.ndarray, " d"], Centred]:
    """The queries, their centre, and the queries about it. Raises as `nearest_over`."""
    queries = _rows("queries", queries)
    if not len(queries):
        raise RequestError("queries: expected at least one row, found none; nothing can be covered.")
    # The rounding of ‖x‖² + ‖y‖² − 2 x·y grows with the norms; this centre is the same whatever the shards.
    centre = queries.mean(axis=0, dtype=np.float64)
    return queries, centre, _centred("queries", queries, centre)


def pieces_of(
    shards: Iterable[Float[np.ndarray, "_ d"]], centre: Float[np.ndarray, " d"], most: int
) -> Iterator[tuple[Float[np.ndarray, "_ d"], Centred]]:
    """The points of all shards, so many at a time at most, as given and about the centre. Raises as `nearest_over`."""
    for number, shard in enumerate(shards):
        name = f"points (shard {number})"
        points = _rows(name, shard)
        if points.shape[1] != len(centre):
            raise RequestError(
                f"{name}: expected rows of {len(centre)} features, as the queries have, found {points.shape[1]}; "
                "describe both alike."
            )
        for first in range(0, len(points), most):
            piece = points[first : first + most]
            yield piece, _centred(name, piece, centre, first)


def lower_to_nearest(
    squared: Float[np.ndarray, " q"],
    queries: Float[np.ndarray, "q d"],
    x: Centred,
    points: Float[np.ndarray, "n d"],
    y: Centred,
) -> int:
    """Lower each squared distance to that from the nearest of these points; returns how many float64 decided."""
    halves = np.where(y.norms**2 < _LARGE, y.norms**2 / 2, _LARGE).astype(np.float32)
    limits = _limits(squared, x.norms, queries.shape[1])
    space = np.empty(min(QUERIES, len(queries)) * min(POINTS, len(points)), np.float32)
    decided = 0
    for first in range(0, len(points), POINTS):
        few = slice(first, min(first + POINTS, len(points)))
        for start in range(0, len(queries), QUERIES):
            some = slice(start, min(start + QUERIES, len(queries)))
            shape = some.stop - some.start, few.stop - few.start
            products = space[: shape[0] * shape[1]].reshape(shape)
            np.matmul(x.rows[some], y.rows[few].T, out=products)
            decided += _lower_where_near(
                squared[some], limits[some], queries[some], x.norms[some], points[few], halves[few], products
            )
    return decided


@njit(cache=True, nogil=True)
@no_type_check
def _lower_where_near(squared, limits, queries, norms, points, halves, products):
    """Lower each squared distance to the points with ‖y‖²/2 − x·y, `halves` − `products`, within the row's limit."""
    decided = 0
    for i in range(squared.size):
        limit = limits[i]
        near = np.int32(0)
        for j in range(halves.size):  # without a branch, so that it takes a few percent of the product's time
            near += np.int32(halves[j] - products[i, j] <= limit)
        if near == 0:
            continue
        # The nearest in float32 first: it leaves little of what was near.
        first = 0
        for j in range(1, halves.size):
            if halves[j] - products[i, j] < halves[first] - products[i, first]:
                first = j
        squared[i] = min(squared[i], _squared_distance(queries[i], points[first], squared[i]))
        limit = _limit(squared[i], norms[i], queries.shape[1])
        decided += 1
        for j in range(halves.size):
            if j != first and halves[j] - products[i, j] <= limit:
                squared[i] = min(squared[i], _squared_distance(queries[i], points[j], squared[i]))
                limit = _limit(squared[i], norms[i], queries.shape[1])
                decided += 1
        limits[i] = limit
    return decided


@njit(cache=True, nogil=True)
@no_type_check
def _limit(best, norm, features):
    """Above which ‖y‖²/2 − x·y, in float32, no point y is nearer than the best so far; float32.

    best: the least squared distance w², in float64; norm: ‖x‖ of the centred query. A nearer y has ‖y‖ ≤ ‖x‖ + w. With
    R = 2‖x‖ + w and the unit roundoff u = 2⁻²⁴, rounding the centred rows moves its squared distance by at most 3uR²,
    and the float32 sum of d products in any order, the half norm, their difference and this limit by at most
    γ_{d+3} R², γ_k = ku / (1 − ku) (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). So
    ‖y‖² − 2 x·y is below w² − ‖x‖² + γ_{d+8} R², or R² is so large that nothing is known.
    """
    if best == 0:
        return np.float32(-np.inf)
    reach = (2 * norm + np.sqrt(best)) ** 2
    if not reach < _LARGE / 2:  # half, for the length of a rounded y may be on the other side
        return np.float32(np.inf)
    rounding = (features + 8) * 2.0**-24
    underflow = 4 * (features + 8) * 2.0**-126
    return np.float32((best + rounding / (1 - rounding) * reach + underflow - norm**2) / 2)


@njit(cache=True, nogil=True)
@no_type_check
def _limits(squared, norms, features):
    limits = np.empty(squared.size, np.float32)
    for i in range(squared.size):
        limits[i] = _limit(squared[i], norms[i], features)
    return limits


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


def _lower_by_faiss(
    index: Any,
    squared: Float[np.ndarray, " q"],
    queries: Float[np.ndarray, "q d"],
    x: Centred,
    points: Float[np.ndarray, "n d"],
    y: Centred,
) -> int:
    """`lower_to_nearest` by an exact index of FAISS: what it leaves out is no nearer than the last that it proposes."""
    index.reset()
    index.add(y.rows)
    found, positions = index.search(x.rows, min(PROPOSED, len(points)))
    decided = int(_lower_to_proposed(squared, queries, points, positions))
    last = (found[:, -1].astype(np.float64) - x.norms**2) / 2
    settled = (positions >= 0).all(axis=1)
    settled &= (len(points) <= PROPOSED) | (last > _limits(squared, x.norms, queries.shape[1]))
    left = np.flatnonzero(~settled)
    lowered = squared[left]
    decided += lower_to_nearest(lowered, queries[left], x[left], points, y)
    squared[left] = lowered
    return decided


@njit(cache=True, nogil=True)
@no_type_check
def _lower_to_proposed(squared, queries, points, positions):
    """Lower each squared distance to the points at the row's positions, −1 being none; returns how many there were."""
    decided = 0
    for i in range(squared.size):
        for j in positions[i]:
            if j >= 0:
                squared[i] = min(squared[i], _squared_distance(queries[i], points[j], squared[i]))
                decided += 1
    return decided


def _gpu_index(features: int) -> Any:
    """An exact index on the first GPU."""
    faiss = load_faiss()
    if not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        raise RequestError("device: expected a GPU that FAISS sees, found none; install faiss-gpu, or use cpu.")
    return faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), features)


@cache
def load_faiss() -> ModuleType:
    """FAISS, imported when it is first needed, as it is slow to load."""
    with warnings.catch_warnings():
        # From Python 3.12 on, the types that SWIG builds into FAISS raise this warning; no caller can act on it.
        warnings.filterwarnings("ignore", "builtin type [Ss]wig\\w+ has no __module__ attribute", DeprecationWarning)
        import faiss
    return faiss


def _centred(name: str, rows: Float[np.ndarray, "n d"], centre: Float[np.ndarray, " d"], first: int = 0) -> Centred:
    """The rows about the centre; `first` numbers the first. Raises `DataError` for a row that is not finite."""
    centred, norms = np.empty(rows.shape, np.float32), np.empty(len(rows))
    _centre(rows, centre, centred, norms)
    odd = np.flatnonzero(~(norms**2 < _LARGE))
    finite = np.isfinite(rows[odd]).all(axis=1)
    if not finite.all():
        row = first + int(odd[finite.argmin()])
        raise DataError(f"{name}: expected finite values, found NaN or infinity in row {row}; remove or mend it.")
    return Centred(centred, norms)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # the norm's sum may take any order
@no_type_check
def _centre(rows, centre, centred, norms):
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            difference = np.float32(np.float64(rows[i, j]) - centre[j])
            centred[i, j] = difference
            total += np.float64(difference) * np.float64(difference)
        norms[i] = np.sqrt(total)
        if not norms[i] ** 2 < _LARGE:
            centred[i] = 0


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
    """The rows, contiguous, in float32 or float64, after a check of their shape."""
    values = np.asarray(values)
    if values.ndim != 2 or not values.shape[1]:
        raise RequestError(f"{name}: expected rows of features, shape [n, d], found shape {list(values.shape)}.")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    rows: Float[np.ndarray, "n d"] = np.ascontiguousarray(values)
    return rows

"""Exact distances from queries to the nearest of many points, which stream past: d(q) = min_s ‖q − s‖₂.

Float32 matrix products propose, float64 decides.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from threadpoolctl import threadpool_limits

from coreset.errors import DataError, RequestError

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
class Centred:
    """Rows as given, about a centre and rounded to float32, shape [n, d] both, and the float64 lengths of these, [n].

    Rows too long for products in float32 are zeros about the centre; their lengths say so.
    """

    given: Float[np.ndarray, "n d"]
    rows: Float[np.ndarray, "n d"]
    norms: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.norms)

    def __getitem__(self, which: slice | Int[np.ndarray, " m"]) -> "Centred":
        return Centred(self.given[which], self.rows[which], self.norms[which])

    @classmethod
    def joined(cls, pieces: "Sequence[Centred]") -> "Centred":
        """The rows of all pieces, about the same centre, one after another."""
        return cls(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("given", "rows", "norms")))


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
    centre, x = centred_queries(queries)
    index = _gpu_index(len(centre)) if device == "cuda" else None
    squared = np.full(len(x), np.inf)
    step = -(-len(x) // threads)
    seen = decided = 0
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, user_api="blas"):
        each_part = map if threads == 1 else pool.map
        for y in pieces_of(shards, centre, PIECE):
            seen += len(y)

            def lower(part: slice, y: Centred = y) -> int:
                return lower_to_nearest(squared[part], x[part], y)

            if index is None:
                decided += sum(each_part(lower, [slice(i, i + step) for i in range(0, len(x), step)]))
            else:
                decided += _lower_by_faiss(index, squared, x, y)
    if not seen:
        raise RequestError("points: expected at least one row, found none; an empty set covers nothing.")
    return Minima(np.sqrt(squared), decided)


def centred_queries(queries: Float[np.ndarray, "q d"]) -> tuple[Float[np.ndarray, " d"], Centred]:
    """The centre of the queries, and the queries about it. Raises as `nearest_over`."""
    queries = _rows("queries", queries)
    if not len(queries):
        raise RequestError("queries: expected at least one row, found none; nothing can be covered.")
    # The rounding of ‖x‖² + ‖y‖² − 2 x·y grows with the norms; this centre is the same whatever the shards.
    centre = queries.mean(axis=0, dtype=np.float64)
    return centre, _centred("queries", queries, centre)


def pieces_of(
    shards: Iterable[Float[np.ndarray, "_ d"]], centre: Float[np.ndarray, " d"], most: int
) -> Iterator[Centred]:
    """The points of all shards about the centre, so many at a time at most. Raises as `nearest_over`."""
    for number, shard in enumerate(shards):
        name = f"points (shard {number})"
        points = _rows(name, shard)
        if points.shape[1] != len(centre):
            raise RequestError(
                f"{name}: expected rows of {len(centre)} features, as the queries have, found {points.shape[1]}; "
                "describe both alike."
            )
        for first in range(0, len(points), most):
            yield _centred(name, points[first : first + most], centre, first)


def lower_to_nearest(
    squared: Float[np.ndarray, " q"], x: Centred, y: Centred, own: Int[np.ndarray, " q"] | None = None
) -> int:
    """Lower each squared distance of the queries x to that from the nearest of the points y.

    own: which of the points each query is itself, −1 where it is none; that one is passed over. Returns how many
    distances float64 decided.
    """
    own = np.full(len(x), -1) if own is None else own
    halves = np.where(y.norms**2 < _LARGE, y.norms**2 / 2, _LARGE).astype(np.float32)
    limits = _limits(squared, x.norms, x.given.shape[1])
    space = np.empty(min(QUERIES, len(x)) * min(POINTS, len(y)), np.float32)
    decided = 0
    for first in range(0, len(y), POINTS):
        few = slice(first, min(first + POINTS, len(y)))
        for start in range(0, len(x), QUERIES):
            some = slice(start, min(start + QUERIES, len(x)))
            shape = some.stop - some.start, few.stop - few.start
            products = space[: shape[0] * shape[1]].reshape(shape)
            np.matmul(x.rows[some], y.rows[few].T, out=products)
            decided += _lower_where_near(
                squared[some], limits[some], x.given[some], x.norms[some], y.given[few], halves[few], products,
                own[some] - first,
            )  # fmt: skip
    return decided


def lower_some(squared: Float[np.ndarray, " q"], some: Int[np.ndarray, " _"], x: Centred, y: Centred) -> int:
    """As `lower_to_nearest`, of some of the queries."""
    lowered = squared[some]
    decided = lower_to_nearest(lowered, x[some], y)
    squared[some] = lowered
    return decided


@njit(cache=True, nogil=True)
@no_type_check
def _lower_where_near(squared, limits, queries, norms, points, halves, products, own):
    """Lower each squared distance to the points with ‖y‖²/2 − x·y, `halves` − `products`, within the row's limit."""
    decided = 0
    for i in range(squared.size):
        limit = limits[i]
        passed = own[i] if 0 <= own[i] < halves.size else -1
        if passed >= 0:
            products[i, passed] = -np.inf  # farther than any other, so the first is another one
        near = np.int32(0)
        for j in range(halves.size):  # without a branch, so that it takes a few percent of the product's time
            near += np.int32(halves[j] - products[i, j] <= limit)
        if near == 0:
            continue
        # The nearest in float32 first: it leaves little of what was near.
        first = 1 if passed == 0 else 0
        if first == halves.size:
            continue
        for j in range(first + 1, halves.size):
            if halves[j] - products[i, j] < halves[first] - products[i, first]:
                first = j
        squared[i] = min(squared[i], _squared_distance(queries[i], points[first], squared[i]))
        limit = _limit(squared[i], norms[i], queries.shape[1])
        decided += 1
        for j in range(halves.size):
            if j != first and j != passed and halves[j] - products[i, j] <= limit:
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


def _lower_by_faiss(index: Any, squared: Float[np.ndarray, " q"], x: Centred, y: Centred) -> int:
    """As `lower_to_nearest`, by an index of FAISS: no point that it left out is nearer than the last it proposed."""
    index.reset()
    index.add(y.rows)
    found, positions = index.search(x.rows, min(PROPOSED, len(y)))
    decided = int(_lower_to_proposed(squared, x.given, y.given, positions))
    last = (found[:, -1].astype(np.float64) - x.norms**2) / 2
    settled = (positions >= 0).all(axis=1)
    settled &= (len(y) <= PROPOSED) | (last > _limits(squared, x.norms, x.given.shape[1]))
    return decided + lower_some(squared, np.flatnonzero(~settled), x, y)


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


@cache  # what FAISS reserves of a GPU's memory is slow to reserve
def _gpu_index(features: int) -> Any:
    """An exact index on the first GPU; whoever uses it empties it first."""
    faiss = load_faiss()
    if not (faiss_is_for_gpus() and faiss.get_num_gpus()):
        raise RequestError("device: expected a GPU that FAISS sees, found none; install faiss-gpu, or use cpu.")
    return faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), features)


def faiss_is_for_gpus() -> bool:
    """Whether the FAISS that is installed was built for GPUs, be there one here or not."""
    return hasattr(load_faiss(), "StandardGpuResources")


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
    return Centred(rows, centred, norms)


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


def _rows(name: str, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The rows, contiguous, in float32 or float64, after a check of their shape."""
    values = np.asarray(values)
    if values.ndim != 2 or not values.shape[1]:
        raise RequestError(f"{name}: expected rows of features, shape [n, d], found shape {list(values.shape)}.")
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    rows: Float[np.ndarray, "n d"] = np.ascontiguousarray(values)
    return rows

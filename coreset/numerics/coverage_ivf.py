"""AUC_pr of a set too large to compare every query with every point: an estimate by an inverted file, and its bias.

The cells of the file are those of k-means on the queries. A point lies in the cell of the nearest centre, a query looks
into the cells of the few centres that are nearest to it, and

    d̂(q) = min { ‖q − s‖₂ : s in a cell that q looks into } ≥ d(q)

so the estimate of AUC_pr, the mean of d̂, errs on one side: its bias, the mean of d̂ − d, is positive. It is measured on
some of the queries, drawn at random, that are compared with every point.

It is an inverted file turned round: queries are few, and are held by the cells that they look into; points are many,
and stream past. Cells depend on the queries alone, and float64 decides in which one a point lies. So d̂ does not depend
on how points were cut into shards, and that of two sets together is the lesser of their own.

Source: Sivic and Zisserman 2003, Video Google (inverted files); Douze et al., arXiv 2401.08281 (FAISS).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from scipy.special import gammaincinv
from threadpoolctl import threadpool_limits

from coreset.numerics.keys import keys, stream
from coreset.numerics.nearest import PIECE, Centred, centred_queries, load_faiss, lower_some, pieces_of

CELLS, LOOKED_INTO = 128, 16
"""Cells, and how many of them a query looks into: an eighth, with a bias of half a percent; see docs/performance.md."""

COMPARED = 500
"""Queries that are compared with every point."""

DEALT = 4 * PIECE
"""Points that are dealt out to the cells at a time: with few, gathering the queries of each cell would take longest."""

_ITERATIONS = 20


@dataclass(frozen=True)
class Bias:
    """The mean of d̂ − d over all queries, its 95% interval, and the share of queries with d̂ = d."""

    value: float
    low: float
    high: float
    recall: float


@dataclass(frozen=True)
class Estimated:
    """distances: d̂ of each query, infinite where it met no point, shape [q]; exact: d where it was measured, shape [q].

    `exact` is infinite where it was not measured.
    """

    distances: Float[np.ndarray, " q"]
    exact: Float[np.ndarray, " q"]

    def merge(self, other: "Estimated") -> "Estimated":
        """The estimate over the points of both; in any order the same bits."""
        return Estimated(np.minimum(self.distances, other.distances), np.minimum(self.exact, other.exact))

    @property
    def bias(self) -> Bias:
        """What the queries that were measured, drawn at random, tell of all.

        Few queries miss their nearest point, and those by unequal distances e: a compound Poisson sum, whose interval
        is that of Fay and Feuer (1997, Statistics in Medicine 16, 791). With y = Σ e, v = Σ e² over c queries, and w
        the largest e, it is the quantiles of Gamma(shape y²/v, scale v/y) / c, and at the upper end those of one more
        miss, as large as w. Where none missed, w is what no miss exceeds, the distance itself.
        """
        measured = np.isfinite(self.exact)
        distances, excess = self.distances[measured], self.distances[measured] - self.exact[measured]
        count, total, squares = len(excess), float(excess.sum()), float(np.square(excess).sum())
        recall = float((excess == 0).mean())
        if measured.all():
            return Bias(total / count, total / count, total / count, recall)
        low = squares / total * gammaincinv(total**2 / squares, 0.025) if total else 0.0
        most = float(excess.max()) or float(distances.mean())
        total_and, squares_and = total + most, squares + most**2
        high = squares_and / total_and * gammaincinv(total_and**2 / squares_and, 0.975) if most else 0.0
        return Bias(total / count, float(low) / count, float(high) / count, recall)


@dataclass(frozen=True)
class Cells:
    """Queries by the cells that they look into; see `cells_of`.

    centred: the queries about their centre, as the centres of the cells are, shape [k, d]; looking: numbers of the
    queries that look into each cell; compared: of those that are compared with every point, shape [c].
    """

    centre: Float[np.ndarray, " d"]
    centred: Centred
    centres: Float[np.ndarray, "k d"]
    looking: list[Int[np.ndarray, " _"]]
    compared: Int[np.ndarray, " c"]


def cells_of(
    queries: Float[np.ndarray, "q d"], cells: int = CELLS, looked_into: int = LOOKED_INTO, compared: int = COMPARED
) -> Cells:
    """The cells of k-means, of which each query looks into the nearest. A function of the queries alone.

    Raises `RequestError` where there are no queries, `DataError` for a row that is not finite.
    """
    faiss = load_faiss()
    centre, centred = centred_queries(queries)
    with threadpool_limits(1):
        means = faiss.Kmeans(
            len(centre), min(cells, len(centred)), niter=_ITERATIONS, seed=0, min_points_per_centroid=1
        )
        means.train(centred.rows)
        _, nearest = means.index.search(centred.rows, min(looked_into, len(means.centroids)))
    pairs = np.argsort(nearest.ravel(), kind="stable")
    edges = np.searchsorted(nearest.ravel()[pairs], np.arange(1, len(means.centroids)))
    looking = np.split(pairs // nearest.shape[1], edges)
    order = np.argsort(keys(stream(0, b"queries", b"/compared"), 0, len(centred)), kind="stable")
    return Cells(centre, centred, means.centroids, looking, np.sort(order[:compared]))


def estimate_over(shards: Iterable[Float[np.ndarray, "_ d"]], cells: Cells) -> Estimated:
    """d̂ of each query over the points of all shards, and d of those queries that are compared with every point.

    Shards are read one at a time; beside one of them memory holds the queries, and `DEALT` points, a few times.
    Raises `RequestError` for rows of another length than the queries', `DataError` for a row that is not finite.
    """
    x = cells.centred
    squared, exact = np.full((2, len(x)), np.inf)
    with threadpool_limits(1, user_api="blas"):
        for y in _joined(pieces_of(shards, cells.centre, DEALT)):
            lower_some(exact, cells.compared, x, y)
            cell = nearest_centres(y, cells.centres)
            order = np.argsort(cell, kind="stable")
            for members in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
                looking = cells.looking[cell[members[0]]]
                if len(looking):
                    lower_some(squared, looking, x, y[members])
    return Estimated(np.sqrt(squared), np.sqrt(exact))


def nearest_centres(y: Centred, centres: Float[np.ndarray, "k d"]) -> Int[np.ndarray, " n"]:
    """The number of the centre nearest to each point, shape [n]; of equals the first.

    Float32 products propose, and float64 decides among all that rounding may have put first: for the last bits of the
    products depend on how many points there are.
    """
    norms = np.linalg.norm(centres.astype(np.float64), axis=1)
    halves = (norms**2 / 2).astype(np.float32)
    found: Int[np.ndarray, " n"] = _nearest(y.rows, y.norms, centres, halves, norms.max(), y.rows @ centres.T)
    return found


@njit(cache=True, nogil=True)
@no_type_check
def _nearest(rows, norms, centres, halves, longest, products):
    found = np.empty(len(rows), np.int64)
    features = centres.shape[1]
    rounding = (features + 8) * 2.0**-24
    underflow = 4 * (features + 8) * 2.0**-126
    for i in range(len(rows)):
        least = np.float32(np.inf)
        for j in range(halves.size):
            least = min(least, halves[j] - products[i, j])
        # ‖c‖²/2 − y·c and the least of them are each wrong by γ_{d+8} (‖y‖ + ‖c‖)² at most: see nearest._limit.
        limit = np.float32(least + 2 * rounding / (1 - rounding) * (norms[i] + longest) ** 2 + underflow)
        best, found[i] = np.inf, 0
        for j in range(halves.size):
            if halves[j] - products[i, j] <= limit:
                total = 0.0
                for k in range(features):
                    difference = np.float64(rows[i, k]) - np.float64(centres[j, k])
                    total += difference * difference
                if total < best:
                    best, found[i] = total, j
    return found


def _joined(pieces: Iterable[Centred]) -> Iterator[Centred]:
    """Pieces of `DEALT` points or a little more, of as many smaller ones as that takes."""
    held: list[Centred] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= DEALT:
            yield Centred.joined(held)
            held = []
    if held:
        yield Centred.joined(held)

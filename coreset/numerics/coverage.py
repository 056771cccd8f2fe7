"""How well a set of points covers another: the area under the p-partial r-cover curve, AUC_pr.

A set S covers the fraction p of the queries within the radius r(p), the p-quantile of d(q) = min_{s ∈ S} ‖q − s‖₂.
The area is

    AUC_pr = ∫₀¹ r(p) dp = E_q[d(q)]

the mean Euclidean (not squared) distance from a query to its nearest point, in the unit of the features. Lower is
better. It has nothing to do with precision and recall.

Source: Pathrudkar et al., arXiv 2507.09001 (coverage); Zheng et al., arXiv 2210.15809, section 3.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from coreset.errors import DataError, RequestError
from coreset.numerics.intervals import Estimate, crossed_interval
from coreset.numerics.nearest import nearest


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
    device: str = "cpu",
) -> Coverage:
    """AUC_pr of `points` as seen from `queries`, with its interval: `nearest`, then `summarise`."""
    return summarise(nearest(points, queries, threads, device), groups)


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

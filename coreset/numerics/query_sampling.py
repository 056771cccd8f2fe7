"""How many queries are enough: what sampling them leaves unknown of an AUC_pr, and of a difference of two.

Queries are a sample, without replacement, of the points of each of several snapshots. The mean over all queries of what
is measured at each, d, estimates Σ_i w_i μ_i, where μ_i is the mean over all N_i points of snapshot i and w_i = n_i / n
its share of the queries. Its variance and degrees of freedom (Satterthwaite) are

    V = Σ_i V_i,   V_i = w_i² (1 − n_i / N_i) s_i² / n_i,        ν = V² / Σ_i V_i² / (n_i − 1)

with the sample variance s_i² of d within snapshot i. More queries shrink this half-width, t_ν sqrt(V), down to zero
where every point is asked. The variation from one snapshot or trajectory to the next is not in it, for no number of
queries changes that: the interval of an AUC_pr, `coverage.mean_over_queries`, tells of it.

Queries are enough when every AUC_pr is known to 1% of it, and every difference to 0.1% of the AUC_pr that it is from,
or in sign. Both are asked for: a value that is good to 1% says little of a smaller difference, and a difference whose
sign is known says nothing of the value.

Source: Cochran, Sampling Techniques, 3rd ed., sections 5.4 and 5.7 (stratified random sampling).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from coreset.errors import RequestError
from coreset.numerics.intervals import half_width

VALUE = 0.01
"""Of an AUC_pr: the half-width of its 95% interval that is small enough, as a share of it."""
DIFFERENCE = 0.001
"""Of a difference of two: likewise, as a share of the AUC_pr that the other is compared with."""


@dataclass(frozen=True)
class Known:
    """half_width: of the 95% interval over samplings of the queries; infinite where a snapshot has fewer than two.

    enough: whether no more need be asked.
    """

    half_width: float
    enough: bool


@dataclass(frozen=True)
class Sample:
    """drawn: queries of each snapshot, shape [s], which stand snapshot after snapshot; points: of each snapshot."""

    drawn: Int[np.ndarray, " s"]
    points: Int[np.ndarray, " s"]

    def value(self, distances: Float[np.ndarray, "sets q"], bias: float = 0.0) -> Known:
        """Of the AUC_pr of some sets of points, which is the mean over all: whether it is known to `VALUE`.

        bias: by how much it may be wrong whatever the queries, for distances that are estimates.
        """
        width = self.half_width(distances.mean(axis=0))
        return Known(width, bool(width + bias <= VALUE * distances.mean()))

    def difference(
        self, differences: Float[np.ndarray, "sets q"], area: float, looks: int = 1, bias: float = 0.0
    ) -> Known:
        """Of the mean of paired differences: whether it is known to `DIFFERENCE` of an AUC_pr `area`, or in sign.

        The sign is known where an interval does not hold zero. Where it is looked for after each doubling, that of two
        equal sets would seem to be known ever more often: the 5% are shared among all `looks`. bias: as for `value`.
        """
        means = differences.mean(axis=0)
        width = self.half_width(means)
        signed = abs(means.mean()) > self.half_width(means, 1 - 0.05 / looks) + bias
        return Known(width, bool(width + bias <= DIFFERENCE * area or signed))

    def half_width(self, values: Float[np.ndarray, " q"], level: float = 0.95) -> float:
        """That of the interval of the mean, over samplings of the queries: see the top of this file.

        Raises `RequestError` where there is not one value per query.
        """
        if values.shape != (self.drawn.sum(),):
            raise RequestError(
                f"values: expected one per query, shape [{self.drawn.sum()}], found {list(values.shape)}."
            )
        asked_in_part = self.drawn < self.points  # where all points were asked, nothing is left unknown
        if (self.drawn[asked_in_part] < 2).any():
            return float("inf")
        of_each = np.split(values, np.cumsum(self.drawn)[:-1])
        terms = [
            (float((drawn / len(values)) ** 2 * (1 - drawn / points) * part.var(ddof=1) / drawn), drawn - 1.0)
            for part, drawn, points in zip(of_each, self.drawn.tolist(), self.points.tolist(), strict=True)
            if drawn < points
        ]
        return half_width(terms, level) if terms else 0.0


def doublings(least: int, most: int) -> list[int]:
    """Numbers of queries to ask in turn: `most` halved as often as that leaves `least` or more, ascending to `most`.

    All before one of them cost no more than that one, though what was asked before is measured again.
    """
    numbers = [most]
    while numbers[0] // 2 >= least:
        numbers.insert(0, numbers[0] // 2)
    return numbers

"""Whether one quantity varies less than another from seed to seed, where both were measured at the same seeds.

For n pairs (x_i, y_i) of sample variances s²_x and s²_y and correlation r, the ratio of the true variances is within

    (s²_x / s²_y) (K ± sqrt(K² − 1)),        K = 1 + 2 (1 − r²) t² / (n − 2)

with t the quantile of Student's distribution of n − 2 degrees of freedom; for the pairs have the ratio λ² exactly where
x + λy and x − λy are uncorrelated. It is exact for pairs that are normal together, and the narrower the more they are
correlated: what makes one seed a bad one for both cancels.

Source: Pitman 1939, Biometrika 31, 9; Morgan 1939, Biometrika 31, 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from coreset.errors import RequestError


@dataclass(frozen=True)
class Ratio:
    """A ratio of standard deviations and its interval [low, high]."""

    value: float
    low: float
    high: float


def spread_ratio(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], level: float = 0.95) -> Ratio:
    """How many times as large the standard deviation of x is as that of y, of pairs of one seed each.

    Raises RequestError for fewer than three pairs, for a y that does not vary, and for a level out of range.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3:
        raise RequestError(f"expected three pairs or more, found shapes {list(x.shape)} and {list(y.shape)}.")
    if not 0 < level < 1:
        raise RequestError(f"level: expected a probability above 0 and below 1, found {level}.")
    (variance_x, covariance), (_, variance_y) = np.cov(x, y)
    if variance_y == 0:
        raise RequestError("y: expected values that vary, found one value alone.")
    unexplained = 1 - covariance**2 / (variance_x * variance_y) if variance_x else 0.0
    quantile = float(stdtrit(len(x) - 2, 0.5 + level / 2))
    k = 1 + 2 * max(unexplained, 0.0) * quantile**2 / (len(x) - 2)
    reach = k + np.sqrt(k**2 - 1)
    ratio = float(np.sqrt(variance_x / variance_y))
    return Ratio(ratio, ratio / float(np.sqrt(reach)), ratio * float(np.sqrt(reach)))

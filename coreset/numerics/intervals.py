"""Intervals for a mean over seeds and groups, both of which are samples.

A figure such as an NRMSE is measured for each of a few trainings (seeds) on the snapshots of several trajectories
(groups). Every seed meets every group, so values[s, g] = μ + a_s + b_g + e_sg is a crossed design, and neither all
values nor all snapshots are independent. The mean over both has the variance

    V = V_seed + V_group,        V_seed = s²_seed / n_seed,        V_group = s²_group / n_group

with the sample variances s² of the per-seed and per-group means. Both terms hold the variance of e_sg / (n_seed
n_group); it is not subtracted once, which keeps V positive and the interval on the long side where e_sg dominates.
The half-width is t_{ν} sqrt(V), with ν = V² / (V_seed² / (n_seed − 1) + V_group² / (n_group − 1)) after Welch and
Satterthwaite.

The 95% interval covers the truth in at least 93% of simulated designs of 3 seeds and 12 groups, and in 90% of 2 seeds
and 8 groups; least where seeds and groups contribute alike (tests/numerics/test_intervals.py).

Source: Satterthwaite 1946, Biometrics Bulletin 2, 110; Owen 2007, Annals of Applied Statistics 1, 386 (crossed
designs).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Real
from scipy.special import stdtrit

from coreset.errors import DataError, RequestError


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval [low, high].

    seeds, groups: how many of each the mean is over. The spread of what there is one of cannot be seen, so its term is
    left out of the interval, which then speaks of this one seed or group alone; with one of both it is [NaN, NaN].
    """

    value: float
    low: float
    high: float
    seeds: int
    groups: int


def crossed_interval(
    values: Float[np.ndarray, "seeds groups"],
    weights: Real[np.ndarray, " groups"] | None = None,
    level: float = 0.95,
) -> Estimate:
    """The mean over seeds and groups with its interval; of differences, for a paired comparison.

    values: one figure per seed and group, itself the mean over the group's snapshots, shape [seeds, groups]; weights:
    the number of snapshots in each group, shape [groups], which makes this the mean over snapshots. With the shares
    p_g = weight_g / Σ weight, V_group is then the cluster-robust c Σ_g p_g² (mean_g − μ)², c = P₂ / (P₂ − 2P₃ + P₂²),
    P_k = Σ_g p_g^k, which is unbiased for groups of equal variance, and 1/P₂ takes the place of n_group in ν. For
    equal weights both are what the formula above says.

    Raises `RequestError` for shapes that do not match and for a level or a weight out of range, `DataError` for a value
    that is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size:
        raise RequestError(f"values: expected shape [seeds, groups], at least one of each, found {list(values.shape)}.")
    if not np.isfinite(values).all():
        seed, group = np.argwhere(~np.isfinite(values))[0]
        raise DataError(f"values: expected finite figures, found {values[seed, group]} for seed {seed}, group {group}.")
    if not 0 < level < 1:
        raise RequestError(f"level: expected a probability above 0 and below 1, found {level}.")
    seeds, groups = values.shape
    share = _shares(weights, groups)

    mean = float((values @ share).mean())
    terms = []  # (variance of the mean, degrees of freedom)
    if seeds > 1:
        terms.append((float((values @ share).var(ddof=1)) / seeds, seeds - 1.0))
    if groups > 1:
        p2, p3 = float(np.sum(share**2)), float(np.sum(share**3))
        spread = float(np.sum(np.square(share * (values.mean(axis=0) - mean))))
        terms.append((spread * p2 / (p2 - 2 * p3 + p2**2), 1 / p2 - 1))
    width = half_width(terms, level)
    return Estimate(mean, mean - width, mean + width, seeds, groups)


def verdict(difference: Estimate) -> Literal["lower", "higher", "tie"]:
    """Whether a mean difference a − b is below or above zero; a tie where its interval holds zero, or there is none."""
    if difference.high < 0:
        return "lower"
    if difference.low > 0:
        return "higher"
    return "tie"


def paired(ours: Float[np.ndarray, "seeds n"], theirs: Float[np.ndarray, "others n"]) -> Float[np.ndarray, "pairs n"]:
    """Differences seed by seed, as far as both have seeds; what is one at every seed is so compared with each."""
    if 1 not in (len(ours), len(theirs)):
        shared = min(len(ours), len(theirs))
        ours, theirs = ours[:shared], theirs[:shared]
    differences: Float[np.ndarray, "pairs n"] = ours - theirs
    return differences


def half_width(terms: list[tuple[float, float]], level: float) -> float:
    """t_ν sqrt(V) of a sum V of independent (variance, degrees of freedom), ν after Welch and Satterthwaite."""
    if not terms:
        return float("nan")
    variance = sum(variance for variance, _ in terms)
    if variance == 0:
        return 0.0
    # Divided by V² term by term: V² itself underflows for errors that are small but not zero.
    freedom = 1 / sum((part / variance) ** 2 / degrees for part, degrees in terms)
    # Below one degree, where a single group has nearly all the weight, Student's t has no meaning left.
    return float(stdtrit(max(freedom, 1.0), 0.5 + level / 2) * np.sqrt(variance))


def _shares(weights: Real[np.ndarray, " groups"] | None, groups: int) -> Float[np.ndarray, " groups"]:
    given = np.ones(groups) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (groups,):
        raise RequestError(f"weights: expected one per group, shape [{groups}], found {list(given.shape)}.")
    if not (np.isfinite(given) & (given > 0)).all():
        raise RequestError(
            f"weights: expected positive numbers of snapshots, found {given.min()}; leave such groups out."
        )
    share: Float[np.ndarray, " groups"] = given / given.sum()
    return share

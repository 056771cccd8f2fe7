"""Coverage-centric coreset selection (Zheng et al. 2023, ICLR; paper IV.2.3): cut, stratify, allocate, draw."""

from functools import partial
from operator import add

import numpy as np
from jaxtyping import Int64

from coreset.errors import DataError, RequestError
from coreset.methods import budget
from coreset.methods.rule import Grouping, Rule
from coreset.numerics.draw import draw
from coreset.numerics.high_end import HighEnd, high_end
from coreset.numerics.order_statistics import Summary, summarise
from coreset.numerics.scans import Scan, ScoreShard
from coreset.numerics.strata import Strata, allocate, allocate_evenly, sizes


def rule(
    scan: Scan,
    *,
    prune: budget.Rate,
    seed: int,
    cutoff: float = 0.0,
    strata: int = 100,
    redistribute: bool = True,
) -> Rule:
    """Cut the floor(β·N) highest scores, and draw an even budget from k strata of equal width in the remaining scores.

    What small strata cannot use goes to the larger ones, as in the reference code, so the budget is met exactly; with
    `redistribute` off it is lost, which is the letter of the paper.

    Raises:
        RequestError: a parameter is out of range, the cut leaves too few points, the budget is below one point per
            stratum, or the remaining scores are all equal.
        DataError: a score is NaN or infinite, or the scores span more than a float64.
    """
    budget.check_rate(prune)
    budget.check_cutoff(cutoff)
    _check_strata(strata)
    summary = summarise(scan)
    keep = budget.keep(summary.count, prune)
    if keep < strata:
        raise RequestError(
            f"strata: expected at most the {keep} points to be kept of {summary.count}, found {strata}; "
            "take fewer strata, or prune less."
        )
    high = high_end(scan, summary, budget.cut(summary.count, cutoff, keep), seed)
    groups = Grouping("rest", high, _stratify(summary, high, strata))
    population = scan(partial(_population, groups, strata), add)
    budgets = (allocate if redistribute else allocate_evenly)(population, keep)
    draws = draw(scan, groups, population.tolist(), budgets.tolist(), seed)
    return Rule("ccs", summary.count, keep, kept=int(budgets.sum()), draws=draws, seed=seed, groups=groups)


def _check_strata(strata: int) -> None:
    if isinstance(strata, bool) or not isinstance(strata, int | np.integer) or not 1 <= strata < 2**31:
        raise RequestError(f"strata: expected an integer of at least 1, found {strata!r}; the paper takes 100.")


def _stratify(summary: Summary, high: HighEnd, count: int) -> Strata:
    lo, hi = summary.lo, high.rest_hi
    if hi is None or hi <= lo:
        raise RequestError(
            f"method: ccs needs scores that differ, found all {summary.count - high.count} left equal to {lo}; "
            "cut less, or take cut-random or random, which need no strata."
        )
    if not np.isfinite(hi - lo):
        raise DataError(f"scores: expected a range within float64, found {lo} to {hi}; scale the scores down.")
    return Strata(lo, hi, int(count))


def _population(groups: Grouping, count: int, shard: ScoreShard) -> Int64[np.ndarray, " k"]:
    return sizes(groups(shard), count)

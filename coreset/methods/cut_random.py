"""Cut and random: the hardest β removed, the rest uniform. The control that tells what strata add to the cut of CCS."""

from coreset.methods import budget
from coreset.methods.rule import Grouping, Rule
from coreset.numerics.draw import draw
from coreset.numerics.high_end import high_end
from coreset.numerics.order_statistics import summarise
from coreset.numerics.scans import Scan


def rule(scan: Scan, *, prune: budget.Rate, seed: int, cutoff: float = 0.0) -> Rule:
    """Cut the floor(β·N) highest scores, then keep the points with the smallest keys of the rest.

    Raises:
        RequestError: `prune` or `cutoff` is not in [0, 1), or they leave too few points.
        DataError: a score is NaN or infinite.
    """
    budget.check_rate(prune)
    budget.check_cutoff(cutoff)
    summary = summarise(scan)
    total = summary.count
    keep = budget.keep(total, prune)
    cut = budget.cut(total, cutoff, keep)
    groups = Grouping("rest", high_end(scan, summary, cut, seed))
    draws = draw(scan, groups, [total - cut], [keep], seed)
    return Rule("cut-random", total, keep, kept=keep, draws=draws, seed=seed, groups=groups)

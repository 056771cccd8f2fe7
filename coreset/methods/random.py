"""Random pruning: points drawn uniformly from all (paper IV.2.1)."""

from coreset.methods import budget
from coreset.methods.rule import Grouping, Rule
from coreset.numerics.draw import draw
from coreset.numerics.scans import Scan, points


def rule(scan: Scan, *, prune: budget.Rate, seed: int) -> Rule:
    """Keep the points with the smallest keys of all; the scores are not looked at.

    Raises:
        RequestError: `prune` is not in [0, 1), or keeps nothing.
    """
    budget.check_rate(prune)
    total = points(scan)
    keep = budget.keep(total, prune)
    draws = draw(scan, Grouping(), [total], [keep], seed)
    return Rule("random", total, keep, kept=keep, draws=draws, seed=seed)

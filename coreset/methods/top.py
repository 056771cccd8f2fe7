"""The highest scores, by which score soever."""

from coreset.methods import budget
from coreset.methods.rule import Grouping, Rule
from coreset.numerics.draw import Draw
from coreset.numerics.high_end import high_end
from coreset.numerics.order_statistics import summarise
from coreset.numerics.scans import Scan


def top(scan: Scan, method: str, prune: budget.Rate, seed: int) -> Rule:
    """Keep the highest scores; of equal scores those with the smallest keys (purpose TIES), as CCS would cut them.

    Raises:
        RequestError: `prune` is not in [0, 1), or keeps nothing.
        DataError: a score is NaN or infinite.
    """
    budget.check_rate(prune)
    summary = summarise(scan)
    keep = budget.keep(summary.count, prune)
    groups = Grouping("high", high_end(scan, summary, keep, seed))
    return Rule(method, summary.count, keep, kept=keep, draws=(Draw(keep, keep),), seed=seed, groups=groups)

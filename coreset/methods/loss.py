"""Loss pruning: the points with the largest residuals (EL2N for regression)."""

from coreset.methods import budget
from coreset.methods.rule import Rule
from coreset.methods.top import top
from coreset.numerics.scans import Scan


def rule(scan: Scan, *, prune: budget.Rate, seed: int) -> Rule:
    """Keep the points with the highest scores; see `top`."""
    return top(scan, "loss", prune, seed)

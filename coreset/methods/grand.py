"""GraNd pruning: the points with the highest GraNd scores (Paul et al. 2021; paper IV.2.2)."""

from coreset.methods import budget
from coreset.methods.rule import Rule
from coreset.methods.top import top
from coreset.numerics.scans import Scan


def rule(scan: Scan, *, prune: budget.Rate, seed: int) -> Rule:
    """Keep the points with the highest scores; see `top`."""
    return top(scan, "grand", prune, seed)

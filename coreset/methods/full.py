"""Everything: the corpus unpruned, against which the others are measured."""

from coreset.methods.rule import Rule
from coreset.numerics.draw import Draw
from coreset.numerics.scans import Scan, points


def rule(scan: Scan) -> Rule:
    """Keep every point; the scores are not looked at."""
    total = points(scan)
    return Rule("full", total, keep=total, kept=total, draws=(Draw(total, total),))

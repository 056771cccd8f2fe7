"""How many points are kept and how many are cut, in arithmetic that others can repeat."""

import math
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext

from coreset.errors import DataError, RequestError

Rate = float | int | Decimal | str


def check_rate(prune: Rate) -> Decimal:
    """Return the pruning rate as the decimal number that was written: 0.9 is exactly 9/10.

    Raises:
        RequestError: it is no number in [0, 1).
    """
    try:
        rate = Decimal(str(prune))
    except InvalidOperation:
        rate = Decimal("NaN")
    if not rate.is_finite() or not 0 <= rate < 1:
        raise RequestError(f"prune: expected a number of at least 0 and below 1, found {prune!r}; 0.9 removes 90%.")
    return rate


def keep(count: int, prune: Rate, noun: str = "points") -> int:
    """Return round-half-even((1 − rate)·N), in decimal arithmetic.

    Raises:
        RequestError: the rate is not in [0, 1), or nothing would be kept.
        DataError: there is nothing to select from.
    """
    rate = check_rate(prune)
    if count == 0:
        raise DataError(f"scores: expected at least one of {noun}, found none; name scores that are not empty.")
    with localcontext(prec=100):
        kept = int(((1 - rate) * count).to_integral_value(ROUND_HALF_EVEN))
    if kept == 0:
        raise RequestError(f"prune: expected to keep at least 1 of {count} {noun}, found 0 at {prune}; prune less.")
    return kept


def check_cutoff(cutoff: float) -> None:
    """Raise RequestError where β is not in [0, 1)."""
    if not 0 <= cutoff < 1:
        raise RequestError(
            f"cutoff: expected a fraction of all points, at least 0 and below 1, found {cutoff!r}; "
            "0.3 removes the hardest 30%."
        )


def cut(count: int, cutoff: float, kept: int) -> int:
    """Return floor(β·N) in float64: how many of the highest scores are cut.

    Raises:
        RequestError: β is not in [0, 1), or fewer points would be left than are to be kept.
    """
    check_cutoff(cutoff)
    removed = math.floor(float(cutoff) * float(count))
    if count - removed < kept:
        raise RequestError(
            f"cutoff: expected at least {kept} points left of {count}, which prune keeps, found {count - removed} when "
            f"removing {removed} at {cutoff}; cut less or prune more."
        )
    return removed

"""Budgets and cuts worked by hand."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from coreset.errors import DataError, RequestError
from coreset.methods import budget


@pytest.mark.parametrize(
    ("count", "prune", "expected"),
    [
        (10, 0.9, 1),
        (43_200_000, 0.9, 4_320_000),
        (43_200_000, 0.99, 432_000),
        (10**15 + 5, 0.9, 10**14),  # 100000000000000.5 goes to the even neighbour
        (10**15 + 15, "0.9", 10**14 + 2),  # 100000000000001.5 too
        (5, 0.5, 2),  # 2.5
        (7, 0.5, 4),  # 3.5
        (25, Decimal("0.9"), 2),  # 2.5, while (1 - 0.9) * 25 in float64 is below it
        (35, 0.9, 4),  # 3.5, while in float64 it is 3.4999999999999996
        (100, 0, 100),
        (100, np.float64(0.29), 71),
        (1, 0.4999, 1),
    ],
)
def test_keep_is_rounded_half_even_in_decimal(count: int, prune: Any, expected: int) -> None:
    assert budget.keep(count, prune) == expected


@pytest.mark.parametrize("prune", [-0.1, 1, 1.0, 1.5, float("nan"), float("inf"), "ninety", "-0.5", ""])
def test_prune_out_of_range_is_refused(prune: Any) -> None:
    with pytest.raises(RequestError, match="prune: expected a number of at least 0 and below 1, found"):
        budget.keep(100, prune)


def test_keeping_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match=r"keep at least 1 of 40 points, found 0 at 0\.99; prune less"):
        budget.keep(40, 0.99)
    with pytest.raises(DataError, match="found none"):
        budget.keep(0, 0.5)


@pytest.mark.parametrize(
    ("count", "cutoff", "expected"),
    [(10, 0.3, 3), (100, 0.29, 28), (100, 0.58, 57), (1000, 0.0, 0), (9, 0.99, 8)],  # 0.29 * 100 is 28.999999999999996
)
def test_cut_is_the_floor_in_float64(count: int, cutoff: float, expected: int) -> None:
    assert budget.cut(count, cutoff, kept=1) == expected


@pytest.mark.parametrize("cutoff", [-0.1, 1.0, float("nan"), float("inf")])
def test_cutoff_out_of_range_is_refused(cutoff: float) -> None:
    with pytest.raises(RequestError, match="cutoff: expected a fraction"):
        budget.cut(100, cutoff, kept=1)


def test_cut_may_leave_exactly_what_is_kept_and_not_less() -> None:
    assert budget.cut(100, 0.5, kept=50) == 50
    with pytest.raises(RequestError, match=r"at least 51 points left of 100.*found 50 when removing 50 at 0.5"):
        budget.cut(100, 0.5, kept=51)

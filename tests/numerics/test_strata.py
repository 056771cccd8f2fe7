"""Strata and allocation, against numbers worked by hand and a re-implementation of the reference that sorts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.numerics.strata import Strata, allocate, allocate_evenly, sizes


def reference_allocation(population: list[int], budget: int) -> list[int]:
    """The reference CCS in plain Python: strata by rising size, equal sizes by index, each min(size, rest // left)."""
    budgets = dict.fromkeys(range(len(population)), 0)
    todo = sorted(range(len(population)), key=lambda i: (population[i], i))
    while todo:
        even = budget // len(todo)
        i = todo.pop(0)
        budgets[i] = min(population[i], even)
        budget -= budgets[i]
    return [budgets[i] for i in range(len(population))]


@pytest.mark.parametrize(
    ("population", "budget", "expected"),
    [
        ([90, 10], 10, [5, 5]),  # both can give half
        ([90, 10], 40, [30, 10]),  # the small one is taken whole, the rest moves
        ([5], 3, [3]),  # one stratum
        ([5], 5, [5]),
        ([4, 4, 4], 7, [2, 2, 3]),  # equal sizes by index: 7//3 = 2, 5//2 = 2, 3//1 = 3
        ([0, 8, 0, 8], 5, [0, 2, 0, 3]),  # empty strata take nothing and leave their share
        ([1, 2, 3, 100], 20, [1, 2, 3, 14]),  # heavy tail
        ([100, 3, 2, 1], 20, [14, 3, 2, 1]),
        ([3, 3, 3], 9, [3, 3, 3]),  # the budget is everything
        ([2, 50, 50, 2], 13, [2, 4, 5, 2]),  # 13//4 = 3 > 2; 11//3 = 3 > 2; 9//2 = 4; 5
        ([10, 10], 0, [0, 0]),
    ],
)
def test_allocations_worked_by_hand(population: list[int], budget: int, expected: list[int]) -> None:
    assert allocate(np.array(population), budget).tolist() == expected == reference_allocation(population, budget)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.floats(0, 1))
def test_allocation_meets_the_budget_as_the_reference(population: list[int], fraction: float) -> None:
    budget = int(fraction * sum(population))
    shares = allocate(np.array(population), budget)
    assert shares.tolist() == reference_allocation(population, budget)
    assert shares.sum() == budget
    assert (shares <= population).all() and (shares >= 0).all()


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(0, 500))
def test_even_allocation_loses_what_small_strata_cannot_use(population: list[int], budget: int) -> None:
    even = budget // len(population)
    assert allocate_evenly(np.array(population), budget).tolist() == [min(size, even) for size in population]


@pytest.mark.parametrize(
    ("scores", "lo", "hi", "count", "expected"),
    [
        ([0.0, 0.999, 1.0, 1.5, 2.0], 0.0, 2.0, 2, [0, 0, 1, 1, 1]),  # half-open, the last one closed
        ([-4.0, -3.0, -2.0, -1.0], -4.0, -1.0, 3, [0, 1, 2, 2]),  # negative maximum
        ([0.0, 1.0, 2.0, 3.0], 0.0, 2.0, 2, [0, 1, 1, -1]),  # above hi
        ([0.0, 5.0, 10.0], 0.0, 10.0, 1, [0, 0, 0]),
        ([0.0, 1e300, 1.5], 0.0, 1.5, 4, [0, -1, 3]),  # beyond any integer
        ([0.0, 5e-324, 1e-323], 0.0, 1e-323, 2, [0, 1, 1]),  # denormal width
    ],
)
def test_strata_worked_by_hand(scores: list[float], lo: float, hi: float, count: int, expected: list[int]) -> None:
    strata = Strata(lo, hi, count).of(np.array(scores))
    assert strata.tolist() == expected
    assert sizes(strata, count).tolist() == [expected.count(i) for i in range(count)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 7, 100, 10_000])
def test_strata_follow_the_formula_in_float64(dtype: type, count: int) -> None:
    scores: np.ndarray = np.random.default_rng(0).lognormal(0, 1.5, 20_000).astype(dtype)
    lo, hi = float(scores.min()), float(scores.max())
    expected = np.minimum(count - 1, np.floor((scores.astype(np.float64) - lo) / (hi - lo) * count)).astype(int)
    strata = Strata(lo, hi, count).of(scores)
    assert np.array_equal(strata, expected)
    assert np.array_equal(sizes(strata, count), np.bincount(expected, minlength=count))

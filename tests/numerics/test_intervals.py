"""Crossed intervals against the formula by hand, and their coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from coreset.errors import DataError, RequestError
from coreset.numerics.intervals import Estimate, crossed_interval, verdict


def crossed(random: np.random.Generator, seeds: int, groups: int, spreads: tuple[float, float, float]) -> np.ndarray:
    """values[s, g] = 5 + a_s + b_g + e_sg with the standard deviations of a, b and e."""
    a, b, e = spreads
    return (
        5
        + a * random.normal(size=(seeds, 1))
        + b * random.normal(size=groups)
        + e * random.normal(size=(seeds, groups))
    )


@pytest.mark.parametrize(
    "spreads", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0.3, 1, 1), (1, 3, 1), (0.1, 1, 3)], ids=str
)
def test_covers_the_truth_with_three_seeds_and_twelve_groups(spreads: tuple[float, float, float]) -> None:
    random = np.random.default_rng(1)
    trials = [crossed_interval(crossed(random, 3, 12, spreads)) for _ in range(2000)]
    assert np.mean([t.low <= 5 <= t.high for t in trials]) >= 0.93


def test_covers_the_truth_nearly_as_often_with_two_seeds_and_eight_groups() -> None:
    random = np.random.default_rng(8)
    trials = [crossed_interval(crossed(random, 2, 8, (1, 1, 0))) for _ in range(2000)]
    assert np.mean([t.low <= 5 <= t.high for t in trials]) >= 0.90


def test_covers_the_mean_over_snapshots_of_unequal_groups() -> None:
    random = np.random.default_rng(2)
    weights = np.array([1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 10])
    trials = [crossed_interval(crossed(random, 3, 12, (0.3, 1, 0.5)), weights) for _ in range(2000)]
    assert np.mean([t.low <= 5 <= t.high for t in trials]) >= 0.93


def test_the_group_variance_is_unbiased_for_any_weights() -> None:
    random = np.random.default_rng(3)
    weights = np.array([1.0, 2, 7, 10])
    values = random.normal(size=(4000, 1, 4))
    degrees = weights.sum() ** 2 / np.sum(weights**2) - 1
    half_widths = np.array([(found.high - found.low) / 2 for found in (crossed_interval(v, weights) for v in values)])
    estimated = np.square(half_widths / stats.t.ppf(0.975, degrees)).mean()
    assert estimated == pytest.approx(np.sum(weights**2) / weights.sum() ** 2, rel=0.05)


def test_by_hand() -> None:
    values = np.array([[1.0, 2, 6], [3, 4, 8]])  # seed means 3, 5; group means 2, 3, 7
    v_seed, v_group = 2 / 2, 7 / 3
    freedom = (v_seed + v_group) ** 2 / (v_seed**2 / 1 + v_group**2 / 2)
    found = crossed_interval(values, level=0.9)
    assert found.value == 4
    assert found.high - 4 == pytest.approx(stats.t.ppf(0.95, freedom) * (v_seed + v_group) ** 0.5, rel=1e-12)
    assert found.high - 4 == pytest.approx(4 - found.low, rel=1e-12)
    assert (found.seeds, found.groups) == (2, 3)


def test_equal_weights_are_no_weights() -> None:
    values = crossed(np.random.default_rng(4), 3, 7, (1, 1, 1))
    weighted, plain = crossed_interval(values, np.full(7, 20)), crossed_interval(values)
    assert (weighted.low, weighted.high) == pytest.approx((plain.low, plain.high), rel=1e-12)


def test_weights_make_it_the_mean_over_snapshots() -> None:
    assert crossed_interval(np.array([[1.0, 4.0]]), np.array([2, 1])).value == pytest.approx((1 + 1 + 4) / 3)


def test_one_seed_or_one_group_leaves_the_interval_of_the_other() -> None:
    figures = np.array([1.0, 2, 4, 7])
    expected = stats.t.interval(0.95, 3, figures.mean(), stats.sem(figures))
    one_seed, one_group = crossed_interval(figures[None]), crossed_interval(figures[:, None])
    assert (one_seed.low, one_seed.high) == pytest.approx(expected, rel=1e-12)
    assert (one_group.low, one_group.high) == pytest.approx(expected, rel=1e-12)
    assert (one_seed.seeds, one_seed.groups, one_group.seeds, one_group.groups) == (1, 4, 4, 1)


def test_one_of_both_has_no_interval() -> None:
    found = crossed_interval(np.array([[3.0]]))
    assert found.value == 3
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert verdict(found) == "tie"


def test_differences_of_paired_runs_are_told_apart_where_their_own_intervals_overlap() -> None:
    random = np.random.default_rng(6)
    a = crossed(random, 3, 12, (0.2, 2, 0.05))
    b = a + 0.2 + 0.05 * random.normal(size=a.shape)
    assert crossed_interval(a).high > crossed_interval(b).low
    assert verdict(crossed_interval(a - b)) == "lower"
    assert verdict(crossed_interval(b - a)) == "higher"
    assert verdict(crossed_interval(a - b + 0.2)) == "tie"


def test_scale_carries_through_even_where_squares_underflow() -> None:
    values = crossed(np.random.default_rng(7), 3, 5, (1, 1, 1))
    small, plain = crossed_interval(values * 1e-100), crossed_interval(values)
    assert small.high == pytest.approx(plain.high * 1e-100, rel=1e-9)
    assert crossed_interval(np.ones((3, 4))) == Estimate(1.0, 1.0, 1.0, 3, 4)


def test_refuses_what_has_no_interval() -> None:
    with pytest.raises(RequestError, match="values"):
        crossed_interval(np.ones(3))
    with pytest.raises(RequestError, match="values"):
        crossed_interval(np.ones((0, 3)))
    with pytest.raises(RequestError, match="level"):
        crossed_interval(np.ones((2, 3)), level=95)
    with pytest.raises(RequestError, match="weights"):
        crossed_interval(np.ones((2, 3)), np.ones(2))
    with pytest.raises(RequestError, match="positive"):
        crossed_interval(np.ones((2, 3)), np.array([1, 0, 2]))
    with pytest.raises(DataError, match="seed 1, group 2"):
        crossed_interval(np.array([[1, 2, 3], [4, 5, np.nan]]))

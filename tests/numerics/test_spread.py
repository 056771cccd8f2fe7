"""The ratio of paired spreads, against simulated pairs whose ratio is known."""

import numpy as np
import pytest
from scipy.stats import f as fisher
from scipy.stats import pearsonr

from coreset.errors import RequestError
from coreset.numerics.spread import spread_ratio


def pairs(rng, n, ratio, correlation):
    y = rng.normal(size=n)
    return ratio * (correlation * y + np.sqrt(1 - correlation**2) * rng.normal(size=n)), y


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.9])
@pytest.mark.parametrize("n", [4, 8, 30])
def test_the_interval_holds_the_true_ratio_as_often_as_it_says(n, correlation):
    rng = np.random.default_rng(n)
    found = [spread_ratio(*pairs(rng, n, 0.4, correlation)) for _ in range(4000)]
    held = np.mean([each.low <= 0.4 <= each.high for each in found])
    assert held == pytest.approx(0.95, abs=0.012)


def test_its_ends_are_where_sum_and_difference_cease_to_be_uncorrelated():
    x, y = pairs(np.random.default_rng(1), 9, 2.0, 0.5)
    found = spread_ratio(x, y, level=0.9)
    assert found.value == pytest.approx(x.std(ddof=1) / y.std(ddof=1))
    for end in (found.low, found.high):
        assert pearsonr(x + end * y, x - end * y).pvalue == pytest.approx(0.1)


def test_what_two_seeds_share_makes_it_narrower():
    rng = np.random.default_rng(2)
    alike, apart = (spread_ratio(*pairs(rng, 8, 1.0, correlation)) for correlation in (0.95, 0.0))
    assert alike.high / alike.low < apart.high / apart.low
    # Without any correlation it is about the F interval of two samples.
    x, y = pairs(rng, 400, 1.0, 0.0)
    found = spread_ratio(x, y)
    two_samples = found.value / np.sqrt(fisher.ppf(0.975, 399, 399))
    assert found.low == pytest.approx(two_samples, rel=0.02)


def test_scale_and_place_do_not_matter():
    x, y = pairs(np.random.default_rng(3), 8, 0.7, 0.5)
    found, moved = spread_ratio(x, y), spread_ratio(10 * x + 3, 10 * y - 5)
    assert (moved.value, moved.low, moved.high) == pytest.approx((found.value, found.low, found.high))


@pytest.mark.parametrize(
    ("x", "y", "level"),
    [
        ([1.0, 2.0], [1.0, 3.0], 0.95),
        ([1.0, 2.0, 4.0], [1.0, 3.0], 0.95),
        ([1.0, 2.0, 4.0], [1.0, 1.0, 1.0], 0.95),
        ([1.0, 2.0, 4.0], [1.0, 3.0, 2.0], 1.0),
    ],
)
def test_what_has_no_ratio_is_refused(x, y, level):
    with pytest.raises(RequestError, match="expected"):
        spread_ratio(np.array(x), np.array(y), level)

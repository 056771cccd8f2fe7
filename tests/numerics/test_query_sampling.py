"""What sampling the queries leaves unknown, against sampling them again and again from populations that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from coreset.errors import RequestError
from coreset.numerics.query_sampling import Sample, doublings

POINTS = np.array([400, 700, 1000])


def populations(seed: int) -> list[np.ndarray]:
    """Skewed distances of all points of three snapshots that differ by far more than their points do."""
    random = np.random.default_rng(seed)
    return [level + random.gamma(2.0, 1.0, points) for level, points in zip((2, 9, 30), POINTS, strict=True)]


def drawn_from(values: list[np.ndarray], numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.concatenate([random.permutation(each)[:n] for each, n in zip(values, numbers, strict=True)])


@pytest.mark.parametrize("numbers", [(20, 20, 20), (40, 40, 39), (390, 390, 390), (400, 30, 30)])
def test_the_interval_holds_the_mean_over_all_points_of_the_snapshots(numbers: tuple[int, ...]) -> None:
    values, random, drawn = populations(1), np.random.default_rng(2), np.array(numbers)
    truth = sum(n * each.mean() for each, n in zip(values, numbers, strict=True)) / drawn.sum()
    sample, held, widths, means = Sample(drawn, POINTS), 0, [], []
    for _ in range(1500):
        found = drawn_from(values, drawn, random)
        widths.append(sample.half_width(found))
        means.append(found.mean())
        held += abs(found.mean() - truth) <= widths[-1]
    assert held / 1500 >= 0.93
    # Nor is it too long: it is what a normal mean of the spread that was seen has, a little more where few are drawn.
    assert 0.93 < np.mean(widths) / (1.96 * np.std(means)) < 1.1


def test_one_large_snapshot_has_students_interval() -> None:
    values = np.random.default_rng(3).random(50)
    low, high = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    found = Sample(np.array([50]), np.array([10**15])).half_width(values)
    assert found == pytest.approx((high - low) / 2, rel=1e-12)


def test_variation_between_snapshots_is_not_in_it() -> None:
    sample, values = Sample(np.array([30, 31]), np.array([500, 600])), np.random.default_rng(4).random(61)
    apart = values + np.repeat([0.0, 100.0], [30, 31])
    assert sample.half_width(apart) == pytest.approx(sample.half_width(values), rel=1e-9)


def test_nothing_is_unknown_where_every_point_is_asked() -> None:
    sample = Sample(np.array([5, 1]), np.array([5, 1]))
    found = sample.value(np.arange(6.0)[None])
    assert (found.half_width, found.enough) == (0.0, True)
    assert sample.difference(np.arange(6.0)[None] - 2.5, 10.0).enough


@pytest.mark.parametrize("drawn", [(1, 9), (0, 9)])
def test_everything_is_unknown_where_a_snapshot_has_too_few_queries(drawn: tuple[int, int]) -> None:
    sample, values = Sample(np.array(drawn), np.array([20, 20])), np.ones((1, sum(drawn)))
    assert sample.value(values).half_width == np.inf
    assert not sample.value(values).enough
    assert not sample.difference(values, 1.0).enough


def test_a_value_is_known_to_a_hundredth_and_over_sets_it_is_their_mean() -> None:
    sample, values = Sample(np.array([2000]), np.array([10**9])), np.random.default_rng(5).normal(size=2000)
    values = (values - values.mean()) / values.std(ddof=1)  # the half-width of its mean is 0.04385
    at = 0.043854
    assert sample.value(values[None] + 100.2 * at).enough
    assert not sample.value(values[None] + 99.8 * at).enough
    assert sample.value(np.stack([values, -values]) + 1).half_width == pytest.approx(0)


def test_a_difference_is_known_to_a_thousandth_or_in_sign() -> None:
    sample, values = Sample(np.array([2000]), np.array([10**9])), np.random.default_rng(5).normal(size=2000)
    values = ((values - values.mean()) / values.std(ddof=1))[None]
    at = 0.043854
    assert sample.difference(values, 1002 * at).enough
    assert not sample.difference(values, 998 * at).enough
    assert sample.difference(values + 1.001 * at, 1.0).enough
    assert sample.difference(values - 1.001 * at, 1.0).enough
    assert not sample.difference(values + 0.999 * at, 1.0).enough
    # Of six looks each has less than a hundredth of error left.
    assert not sample.difference(values + 1.3 * at, 1.0, looks=6).enough
    assert sample.difference(values + 1.4 * at, 1.0, looks=6).enough


def test_what_is_estimated_is_known_only_beyond_its_bias() -> None:
    sample, values = Sample(np.array([2000]), np.array([10**9])), np.random.default_rng(5).normal(size=2000)
    values = ((values - values.mean()) / values.std(ddof=1))[None]
    at = 0.043854
    assert sample.value(values + 201 * at, bias=at).enough
    assert not sample.value(values + 199 * at, bias=at).enough
    assert sample.difference(values, 2010 * at, bias=at).enough
    assert not sample.difference(values, 1990 * at, bias=at).enough
    assert sample.difference(values + 2.01 * at, 1.0, bias=at).enough
    assert not sample.difference(values + 1.99 * at, 1.0, bias=at).enough


def test_looking_often_finds_no_sign_where_there_is_none() -> None:
    """Two sets that cover alike, looked at after each of six doublings of nested queries."""
    random, numbers = np.random.default_rng(6), doublings(50, 1600)
    population = random.normal(size=20_000)
    population -= population.mean()
    trials, found = 800, {1: 0, len(numbers): 0}
    for _ in range(trials):
        order = random.permutation(population)
        for looks in found:
            found[looks] += any(
                Sample(np.array([n]), np.array([20_000])).difference(order[None, :n], 0.0, looks).enough
                for n in numbers
            )
    assert found[len(numbers)] / trials <= 0.06
    assert found[1] / trials > 0.1  # what each look with 5% of its own would claim


def test_refuses_another_number_of_values() -> None:
    with pytest.raises(RequestError, match=r"values: expected one per query, shape \[5\], found \[4\]"):
        Sample(np.array([2, 3]), np.array([9, 9])).half_width(np.ones(4))


@given(least=st.integers(1, 5000), most=st.integers(1, 10**6))
def test_numbers_double_from_about_the_least_to_the_most_at_no_more_than_twice_its_cost(least: int, most: int) -> None:
    numbers = doublings(least, most)
    assert numbers[-1] == most
    assert numbers == [most] or least <= numbers[0] < 2 * least
    for i in range(1, len(numbers)):
        assert numbers[i] // 2 == numbers[i - 1]
        assert sum(numbers[:i]) <= numbers[i]

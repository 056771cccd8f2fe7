"""The area under the p–r curve is the mean nearest distance; its intervals against simulation."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from coreset.errors import DataError, RequestError
from coreset.numerics.coverage import coverage, mean_over_queries, summarise


def cloud(rows: int, features: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, features)) * spread + shift).astype(np.float32)


def test_the_curve_has_the_mean_minimum_distance_as_its_area() -> None:
    points, queries = cloud(40, 3, 1), cloud(200, 3, 2)
    found = coverage(points, queries)
    expected = cdist(queries.astype(np.float64), points.astype(np.float64)).min(axis=1).mean()
    assert found.auc == pytest.approx(expected, rel=1e-12)
    assert np.sum(found.r[1:] * np.diff(found.p)) == pytest.approx(found.auc, rel=1e-12)
    assert (found.p[0], found.p[-1], found.r[0]) == (0, 1, 0)
    assert (np.diff(found.r) >= 0).all()
    for i in (1, 37, 200):
        assert (found.distances <= found.r[i]).mean() >= found.p[i]
    assert found.interval[0] < found.auc < found.interval[1]


@pytest.mark.parametrize("grouped", [True, False])
def test_the_interval_does_not_depend_on_the_order_of_queries(grouped: bool) -> None:
    random = np.random.default_rng(0)
    distances = random.random(300)
    groups = random.integers(0, 12, 300) if grouped else None
    order = random.permutation(300)
    a = summarise(distances, groups)
    b = summarise(distances[order], groups[order] if groups is not None else None)
    assert (a.auc, a.interval) == (b.auc, b.interval)


def test_the_interval_of_independent_queries_is_students() -> None:
    distances = np.random.default_rng(3).random(40)
    expected = stats.t.interval(0.95, 39, distances.mean(), stats.sem(distances))
    np.testing.assert_allclose(summarise(distances).interval, expected, rtol=1e-12)


def simulated_groups(random: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances around 10 with a spread of 1 between groups (of 5 to 40 queries) and 1 within."""
    sizes = random.integers(5, 41, groups)
    labels = np.repeat(np.arange(groups), sizes)
    return 10 + random.normal(size=groups)[labels] + random.normal(size=len(labels)), labels


@pytest.mark.parametrize("groups_drawn", [2, 3, 4, 6, 30])
def test_the_interval_covers_the_truth_when_queries_of_a_group_are_alike(groups_drawn: int) -> None:
    random = np.random.default_rng(11)
    trials, covered, covered_by_iid = 400, 0, 0
    for _ in range(trials):
        distances, groups = simulated_groups(random, groups_drawn)
        low, high = summarise(distances, groups).interval
        covered += low <= 10 <= high
        low, high = summarise(distances).interval
        covered_by_iid += low <= 10 <= high
    assert covered / trials >= 0.92
    assert covered_by_iid / trials < 0.6  # what ignoring the groups would claim


def test_the_interval_covers_the_truth_over_sets_and_groups() -> None:
    """Five sets of points, each with an offset of its own, seen from the queries of four groups."""
    random = np.random.default_rng(12)
    trials, covered, covered_by_one = 400, 0, 0
    for _ in range(trials):
        distances, groups = simulated_groups(random, 4)
        values = distances + random.normal(size=(5, 1))
        found = mean_over_queries(values, groups)
        assert (found.seeds, found.groups) == (5, 4)
        covered += found.low <= 10 <= found.high
        pooled = stats.t.interval(0.95, values.size - 1, values.mean(), stats.sem(values, axis=None))
        covered_by_one += pooled[0] <= 10 <= pooled[1]
    assert covered / trials >= 0.92
    assert covered_by_one / trials < 0.6


def test_groups_weigh_as_many_queries_as_they_have() -> None:
    values = np.array([[1.0, 1.0, 1.0, 5.0, 9.0]])
    assert mean_over_queries(values, np.array([0, 0, 0, 1, 2])).value == pytest.approx(values.mean())


def test_a_single_group_has_no_interval() -> None:
    assert np.isnan(summarise(np.arange(9.0), np.zeros(9, np.int64)).interval).all()
    assert np.isnan(summarise(np.ones(1)).interval).all()


def test_pairing_removes_what_both_sets_find_hard() -> None:
    random = np.random.default_rng(5)
    a, groups = simulated_groups(random, 25)
    b = a - 0.05 + 0.05 * random.normal(size=len(a))
    difference = mean_over_queries((a - b)[None], groups)
    assert difference.value == pytest.approx((a - b).mean())
    assert 0 < difference.low < difference.value < difference.high
    low, high = summarise(a, groups).interval
    assert difference.high - difference.low < 0.2 * (high - low)


def test_refuses_parameters_of_the_summary_that_do_not_fit() -> None:
    with pytest.raises(RequestError, match="groups"):
        summarise(np.ones(4), np.zeros(3, np.int64))
    with pytest.raises(RequestError, match="distances: expected one"):
        summarise(np.ones(0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_names_the_first_distance_that_is_not_finite(bad: float) -> None:
    distances = np.zeros(9)
    distances[[6, 8]] = bad
    with pytest.raises(DataError, match=r"distances: .* at 6"):
        summarise(distances)

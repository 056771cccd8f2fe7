"""Nearest distances against brute force in float64, and the intervals of their mean against simulation."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import cdist

from coreset.errors import DataError, RequestError
from coreset.numerics import coverage as module
from coreset.numerics.coverage import coverage, mean_over_queries, nearest, nearest_over, summarise


def brute_force(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return cdist(queries.astype(np.float64), points.astype(np.float64)).min(axis=1)


def cloud(rows: int, features: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, features)) * spread + shift).astype(np.float32)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut so that no product is whole."""
    for name, size in (("PIECE", 64), ("QUERIES", 7), ("POINTS", 11)):
        monkeypatch.setattr(module, name, size)


@pytest.mark.parametrize(
    ("features", "spread", "shift"), [(1, 1, 0), (3, 1e-3, 1e3), (40, 1, 0), (160, 6, 1e3), (160, 1e-12, 0)]
)
def test_equals_brute_force(features: int, spread: float, shift: float) -> None:
    points, queries = cloud(700, features, 1, spread, shift), cloud(90, features, 2, spread, shift)
    np.testing.assert_allclose(nearest(points, queries), brute_force(points, queries), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), features=st.integers(1, 5), shift=st.sampled_from([0, 1, 1000]))
def test_equals_brute_force_where_ties_abound(data: st.DataObject, features: int, shift: int) -> None:
    values = st.integers(-3, 3)
    points = data.draw(arrays(np.int64, st.tuples(st.integers(1, 300), st.just(features)), elements=values))
    queries = data.draw(arrays(np.int64, st.tuples(st.integers(1, 30), st.just(features)), elements=values))
    a, b = (points + shift).astype(np.float32), (queries + shift).astype(np.float32)
    np.testing.assert_allclose(nearest(a, b), brute_force(a, b), rtol=1e-12)


def test_a_point_lies_at_distance_zero_from_itself() -> None:
    # FAISS's own float32 distances of these points from themselves are not zero.
    points = cloud(500, 60, 3, spread=100, shift=1e3)
    assert (nearest(points, points[::-1]) == 0).all()


def test_near_ties_below_float32_are_decided_in_float64() -> None:
    random = np.random.default_rng(4)
    directions = random.normal(size=(400, 20))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = (3 * (1 + 1e-7 * random.random((400, 1))) * directions).astype(np.float32)
    queries = cloud(20, 20, 5, 1e-9)
    found = nearest_over([points], queries)
    np.testing.assert_array_equal(found.distances, nearest(points[::-1], queries))
    np.testing.assert_allclose(found.distances, brute_force(points, queries), rtol=1e-14)
    assert found.decided > 5 * 20


def test_float64_decides_among_few_in_ordinary_data() -> None:
    # In random order the nearest so far changes about ln(n) times.
    assert nearest_over([cloud(3000, 80, 1, 6)], cloud(300, 80, 2, 6)).decided < 10 * 300


def test_what_approaches_point_by_point_is_not_decided_one_by_one() -> None:
    points = np.linspace(9, 1, 5000, dtype=np.float32)[:, None] * cloud(1, 30, 1)
    found = nearest_over([points], cloud(40, 30, 2, 0.01))
    assert found.decided < 0.05 * 40 * 5000


def test_what_is_at_distance_zero_is_not_looked_at_again() -> None:
    points = np.repeat(cloud(1, 30, 1), 5000, axis=0)
    found = nearest_over([points], points[:40])
    assert (found.distances == 0).all()
    assert found.decided == 40


@pytest.mark.parametrize(("spread", "shift"), [(6, 0), (1e-3, 1e3), (1e25, 0)])
def test_proposals_of_an_exact_index_leave_the_bits(
    monkeypatch: pytest.MonkeyPatch, spread: float, shift: float
) -> None:
    # FAISS's index on the processor stands in for the one on a GPU, which has the same interface.
    import faiss

    monkeypatch.setattr(module, "_gpu_index", faiss.IndexFlatL2)
    points = np.concatenate([cloud(700, 20, 1, spread, shift), np.repeat(cloud(1, 20, 3, spread, shift), 50, axis=0)])
    queries = cloud(60, 20, 2, spread, shift)
    on_gpu = nearest_over([points, points[:3]], queries, device="cuda").distances
    np.testing.assert_array_equal(on_gpu, nearest(points, queries))


def test_refuses_a_gpu_that_faiss_does_not_see() -> None:
    with pytest.raises(RequestError, match="install faiss-gpu"):
        nearest(cloud(3, 2, 1), cloud(3, 2, 2), device="cuda")


@pytest.mark.parametrize("big", [1e25, 3e38])
def test_what_overflows_float32_is_settled_in_float64(big: float) -> None:
    points = np.array([[big, 0], [0, -big], [1, 2]], np.float32).repeat(5, axis=0)
    queries = np.array([[big, 1], [2, 2], [0, big]], np.float32)
    np.testing.assert_allclose(nearest(points, queries), brute_force(points, queries), rtol=1e-12)


def test_float64_rows_keep_their_digits() -> None:
    points, queries = np.array([[1 + 1e-12], [5.0]]), np.array([[1.0]])
    np.testing.assert_allclose(nearest(points, queries), [1e-12], rtol=1e-3)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=6), seed=st.integers(0, 100), duplicates=st.booleans())
def test_shards_in_any_order_give_the_bits_of_the_whole(cuts: list[int], seed: int, duplicates: bool) -> None:
    points, queries = cloud(300, 6, seed, shift=30), cloud(25, 6, seed + 1, shift=30)
    if duplicates:
        points[100:] = points[0]
    edges = [0, *sorted(cuts), 300]
    shards = [points[i:j] for i, j in pairwise(edges)]
    order = np.random.default_rng(seed).permutation(len(shards))
    whole = nearest(points, queries)
    np.testing.assert_array_equal(nearest_over([shards[i] for i in order], queries).distances, whole)
    merged = nearest_over([points[:120]], queries).merge(nearest_over([points[120:]], queries))
    np.testing.assert_array_equal(merged.distances, whole)


def test_pieces_and_threads_leave_the_bits(small_pieces: None) -> None:
    points, queries = cloud(1000, 12, 1), cloud(50, 12, 2)
    one = nearest(points, queries, threads=1)
    np.testing.assert_array_equal(nearest(points, queries, threads=2), one)
    np.testing.assert_allclose(one, brute_force(points, queries), rtol=1e-12)


def test_shards_are_read_one_at_a_time() -> None:
    alive = []

    def stream() -> Iterator[np.ndarray]:
        for seed in range(5):
            alive.append(seed)
            yield cloud(20, 3, seed)

    found = nearest_over(stream(), cloud(4, 3, 9))
    expected = brute_force(np.concatenate([cloud(20, 3, seed) for seed in alive]), cloud(4, 3, 9))
    np.testing.assert_allclose(found.distances, expected, rtol=1e-12)


def test_the_curve_has_the_mean_minimum_distance_as_its_area() -> None:
    points, queries = cloud(40, 3, 1), cloud(200, 3, 2)
    found = coverage(points, queries)
    assert found.auc == pytest.approx(brute_force(points, queries).mean(), rel=1e-12)
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


@pytest.mark.parametrize(
    ("points", "queries", "named"),
    [
        (
            np.zeros((3, 4), np.float32),
            np.zeros((3, 5), np.float32),
            r"points \(shard 0\): expected rows of 5 features",
        ),
        (np.zeros((0, 4), np.float32), np.zeros((3, 4), np.float32), "points: expected at least one row"),
        (np.zeros((3, 4), np.float32), np.zeros((0, 4), np.float32), "queries: expected at least one row"),
        (np.zeros(4, np.float32), np.zeros((3, 4), np.float32), r"points \(shard 0\): expected rows"),
        (np.zeros((3, 0), np.float32), np.zeros((3, 0), np.float32), "queries: expected rows"),
    ],
)
def test_refuses_rows_that_cannot_be_compared(points: np.ndarray, queries: np.ndarray, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        nearest(points, queries)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_names_the_first_row_that_is_not_finite(bad: float) -> None:
    rows = np.zeros((9, 4), np.float32)
    rows[[6, 8], 2] = bad
    with pytest.raises(DataError, match=r"queries: .* row 6;"):
        nearest(np.zeros((3, 4), np.float32), rows)
    with pytest.raises(DataError, match=r"points \(shard 1\): .* row 6;"):
        nearest_over([rows[:3], rows], np.zeros((3, 4), np.float32))
    with pytest.raises(DataError, match=r"distances: .* at 6"):
        summarise(rows[:, 2])


def test_refuses_parameters_of_the_summary_that_do_not_fit() -> None:
    with pytest.raises(RequestError, match="groups"):
        summarise(np.ones(4), np.zeros(3, np.int64))
    with pytest.raises(RequestError, match="distances: expected one"):
        summarise(np.ones(0))

"""Nearest distances against brute force in float64, however the points are cut and whatever proposes them."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from coreset.errors import DataError, RequestError
from coreset.numerics import nearest as module
from coreset.numerics.nearest import nearest, nearest_over


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


@pytest.mark.parametrize("pieces", [False, True])
def test_a_query_that_is_itself_a_point_can_be_passed_over(pieces: bool, request: pytest.FixtureRequest) -> None:
    if pieces:
        request.getfixturevalue("small_pieces")
    rows = np.concatenate([cloud(150, 4, 1), cloud(20, 4, 1)])  # the first 20 stand twice
    centre, x = module.centred_queries(rows)
    squared = np.full(len(rows), np.inf)
    seen = 0
    for y in module.pieces_of([rows], centre, module.PIECE):
        own = np.arange(len(rows)) - seen
        module.lower_to_nearest(squared, x, y, np.where(own >= 0, own, -1))
        seen += len(y)
    apart = cdist(rows.astype(np.float64), rows.astype(np.float64))
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(np.sqrt(squared), apart.min(axis=1), rtol=1e-12)
    assert (squared[:20] == 0).all()


def test_a_lone_point_is_not_its_own_neighbour() -> None:
    centre, x = module.centred_queries(cloud(1, 3, 0))
    squared = np.full(1, np.inf)
    (y,) = module.pieces_of([cloud(1, 3, 0)], centre, 9)
    assert module.lower_to_nearest(squared, x, y, np.zeros(1, np.int64)) == 0
    assert np.isinf(squared).all()

"""The estimate against brute force: on which side it errs, how far, and that no cut of the points changes a bit."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from coreset.errors import DataError, RequestError
from coreset.numerics import coverage_ivf as module
from coreset.numerics.coverage_ivf import Cells, Estimated, cells_of, estimate_over, nearest_centres
from coreset.numerics.nearest import nearest


def cloud(rows: int, features: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Points of a few clusters on a plane, with some noise across it: a bit like descriptors."""
    random = np.random.default_rng(seed)
    plane = np.random.default_rng(0).normal(size=(3, features))
    made = (
        random.normal(size=(rows, 3)) @ plane + random.integers(0, 4, (rows, 1)) + random.normal(size=(rows, features))
    )
    return (made * spread + shift).astype(np.float32)


def members(cells: Cells, points: np.ndarray) -> np.ndarray:
    """Which points lie in a cell that a query looks into, shape [q, n], by float64."""
    centred = (points - cells.centre).astype(np.float32).astype(np.float64)
    cell = cdist(centred, cells.centres.astype(np.float64)).argmin(axis=1)
    looks = np.zeros((len(cells.centred), len(cells.centres)), bool)
    for number, looking in enumerate(cells.looking):
        looks[looking, number] = True
    return looks[:, cell]


def brute_force(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return cdist(queries.astype(np.float64), points.astype(np.float64))


@pytest.mark.parametrize(("features", "spread", "shift"), [(1, 1, 0), (6, 1e-3, 1e2), (40, 1, 0), (160, 6, 1e3)])
def test_is_the_nearest_in_the_cells_that_a_query_looks_into(features: int, spread: float, shift: float) -> None:
    points, queries = cloud(900, features, 1, spread, shift), cloud(200, features, 2, spread, shift)
    cells = cells_of(queries, cells=20, looked_into=3, compared=50)
    found, every = estimate_over([points], cells), brute_force(points, queries)
    np.testing.assert_allclose(found.distances, np.where(members(cells, points), every, np.inf).min(axis=1), rtol=1e-12)
    exact = nearest(points, queries)
    assert (found.distances >= exact).all()
    assert (found.distances > exact).any() or features == 1
    np.testing.assert_array_equal(found.exact[cells.compared], exact[cells.compared])
    assert np.isinf(np.delete(found.exact, cells.compared)).all()
    assert len(cells.compared) == 50


@pytest.mark.parametrize("cells", [1, 7, 500])
def test_equals_the_exact_distance_where_a_query_looks_into_every_cell(cells: int) -> None:
    points, queries = cloud(900, 12, 1), cloud(200, 12, 2)
    found = estimate_over([points], cells_of(queries, cells, looked_into=cells))
    np.testing.assert_array_equal(found.distances, nearest(points, queries))
    assert (found.bias.value, found.bias.low, found.bias.high, found.bias.recall) == (0, 0, 0, 1)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 400), max_size=6),
    seed=st.integers(0, 50),
    ties=st.booleans(),
    dealt=st.sampled_from([1, 37, 1000]),
)
def test_no_cut_of_the_points_changes_a_bit(cuts: list[int], seed: int, ties: bool, dealt: int) -> None:
    points, queries = cloud(400, 6, seed, shift=30), cloud(80, 6, seed + 1, shift=30)
    if ties:
        points, queries = np.round(points), np.round(queries)  # many a point is as near to two centres
    cells = cells_of(queries, cells=9, looked_into=2, compared=30)
    whole = estimate_over([points], cells)
    edges = [0, *sorted(cuts), 400]
    shards = [points[i:j] for i, j in pairwise(edges)]
    order = np.random.default_rng(seed).permutation(len(shards))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "DEALT", dealt)
        cut = estimate_over((shards[i] for i in order), cells)
    merged = estimate_over([points[:150]], cells).merge(estimate_over([points[150:]], cells_of(queries, 9, 2, 30)))
    for found in (cut, merged):
        np.testing.assert_array_equal(found.distances, whole.distances)
        np.testing.assert_array_equal(found.exact, whole.exact)


def test_a_point_between_two_centres_is_of_the_nearer_one_however_little() -> None:
    random = np.random.default_rng(3)
    centres = random.normal(size=(2, 160)).astype(np.float32) * 10
    middle = centres.astype(np.float64).mean(axis=0)
    rows = (middle + random.normal(size=(3000, 1)) * 1e-6 * (centres[0] - centres[1])).astype(np.float32)
    many = np.concatenate([centres, cloud(60, 160, 4, shift=99)])
    y = module.Centred(rows, rows, np.linalg.norm(rows.astype(np.float64), axis=1))
    expected = cdist(rows.astype(np.float64), many.astype(np.float64)).argmin(axis=1)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(nearest_centres(y, many), expected)
    halves = (np.linalg.norm(many, axis=1) ** 2 / 2).astype(np.float32)
    assert ((halves - rows @ many.T).argmin(axis=1) != expected).any()  # float32 alone tells some of them wrong


@pytest.mark.parametrize("looked_into", [1, 2, 4])
def test_the_interval_of_the_bias_holds_the_true_bias(looked_into: int) -> None:
    """From 100 of 300 queries, of which many or very few miss their nearest point."""
    trials, held = 60, 0
    for seed in range(trials):
        points, queries = cloud(1500, 30, 2 * seed), cloud(300, 30, 2 * seed + 1)
        found = estimate_over([points], cells_of(queries, cells=16, looked_into=looked_into, compared=100))
        excess = found.distances - nearest(points, queries)
        assert found.bias.low <= found.bias.value <= found.bias.high
        held += found.bias.low <= excess.mean() <= found.bias.high
        assert abs(found.bias.recall - (excess == 0).mean()) < 0.2
    assert held / trials >= 0.9


def test_no_miss_among_those_measured_is_no_proof_that_there_is_none() -> None:
    found = Estimated(np.full(1000, 8.0), np.r_[np.full(400, 8.0), np.full(600, np.inf)])
    # -ln 0.025 misses of all of the distance.
    assert (found.bias.value, found.bias.low) == (0, 0)
    assert found.bias.high == pytest.approx(3.689 * 8 / 400, rel=1e-3)


def test_a_query_that_met_no_point_is_infinitely_far() -> None:
    queries = np.array([[0.0], [0.1], [100.0], [100.1]], np.float32)
    cells = cells_of(queries, cells=2, looked_into=1, compared=4)
    found = estimate_over([queries[:1]], cells)
    assert np.isfinite(found.distances).tolist() == [True, True, False, False]
    np.testing.assert_allclose(found.exact, [0, 0.1, 100, 100.1], rtol=1e-6)
    assert np.isinf(estimate_over([], cells).distances).all()


def test_cells_are_a_function_of_the_queries_alone() -> None:
    queries = cloud(400, 12, 5)
    one, two = cells_of(queries), cells_of(queries.copy())
    np.testing.assert_array_equal(one.centres, two.centres)
    np.testing.assert_array_equal(one.compared, two.compared)
    assert len(one.looking) == len(one.centres) == module.CELLS
    counts = np.bincount(np.concatenate(one.looking), minlength=400)
    assert (counts == module.LOOKED_INTO).all()


def test_refuses_what_cannot_be_compared() -> None:
    cells = cells_of(cloud(20, 4, 1))
    with pytest.raises(RequestError, match=r"points \(shard 1\): expected rows of 4 features, as the queries have"):
        estimate_over([cloud(3, 4, 1), cloud(3, 5, 1)], cells)
    bad = cloud(3, 4, 1)
    bad[2, 1] = np.nan
    with pytest.raises(DataError, match=r"points \(shard 0\): .* row 2;"):
        estimate_over([bad], cells)
    with pytest.raises(RequestError, match="queries: expected at least one row"):
        cells_of(np.zeros((0, 4), np.float32))

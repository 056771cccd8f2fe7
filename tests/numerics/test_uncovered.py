"""Empty balls, gains and farthest-first order, against brute force."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from coreset.numerics.uncovered import covered_by_first, empty_balls, farthest_first, most_helpful, to_labels


def cloud(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)


def test_a_region_is_an_empty_ball_around_the_farthest_query_outside_of_those_before() -> None:
    points, queries = cloud(60, 0), cloud(300, 1)
    distances = cdist(queries, points).min(axis=1)
    left = set(range(300))
    for region in empty_balls(queries, distances, 8):
        assert distances[region.centre] == max(distances[list(left)])
        assert cdist(queries[[region.centre]], points).min() >= region.radius * (1 - 1e-9)
        apart = cdist(queries[[region.centre]], queries)[0]
        assert set(region.members) == {i for i in left if apart[i] < region.radius}
        assert region.centre in region.members
        left -= set(region.members.tolist())


def test_what_is_covered_is_no_region() -> None:
    queries = cloud(5, 0)
    assert empty_balls(queries, np.zeros(5)) == []
    (one,) = empty_balls(queries, np.array([0, 0, 2.0, 0, 0]))
    assert one.centre == 2


def test_distances_to_labels_are_those_of_brute_force() -> None:
    rows, labels = cloud(200, 2), np.random.default_rng(3).integers(0, 4, 200)
    found = to_labels(rows, labels, 5)
    for label in range(4):
        np.testing.assert_allclose(found[label], cdist(rows, rows[labels == label]).min(axis=1), atol=1e-6)
    assert np.isinf(found[4]).all()


def test_the_most_helpful_first_and_nothing_that_does_not_help() -> None:
    distances = np.array([1.0, 1.0, 1.0, 4.0])
    to_each = np.array([[0.0, 0, 0, 5], [9, 9, 9, 0], [1, 1, 1, 4]])
    found = most_helpful(distances, to_each, 3)
    assert [(label, fall, after) for label, fall, after in found] == [(1, 1.0, 0.75), (0, 0.75, 0.0)]


def test_farthest_first_takes_the_farthest_each_time_and_covers_within_twice_the_best() -> None:
    rows = cloud(120, 4)
    order = farthest_first(rows, 30)
    apart = cdist(rows, rows)
    for n in range(1, 30):
        nearest = apart[:, order[:n]].min(axis=1)
        assert nearest[order[n]] == pytest.approx(nearest.max())
    found = covered_by_first(rows, order, [4, 16])
    for (mean, largest), n in zip(found, (4, 16), strict=True):
        nearest = apart[:, order[:n]].min(axis=1)
        assert (mean, largest) == pytest.approx((nearest.mean(), nearest.max()), rel=1e-6)

"""Nested random subsets: sizes, coverage of each against brute force, and the points for a share of the coverage."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from coreset.numerics.keys import keys, stream
from coreset.numerics.nested_subsets import LEAST, deepest, levels, levels_of, of_subsets, to_reach


def test_a_level_is_the_number_of_zeros_a_key_begins_with() -> None:
    drawn = np.array([2**63, 2**63 - 1, 2**62, 2**62 - 1, 1, 0], np.uint64)
    assert levels(drawn, 3).tolist() == [0, 1, 1, 2, 3, 3]
    assert levels(drawn, 0).tolist() == [0] * 6


def test_subsets_halve_and_the_smallest_has_some_points() -> None:
    count = 100_000
    depth = deepest(count)
    sizes = [(levels_of(stream(0, b"x"), 0, count, depth) >= k).sum() for k in range(depth + 1)]
    assert LEAST / 2 < sizes[-1] < 4 * LEAST
    for k, size in enumerate(sizes):
        expected = count / 2**k
        assert abs(size - expected) < 5 * np.sqrt(expected) + 1


def test_minima_by_level_give_those_of_every_subset() -> None:
    rng = np.random.default_rng(0)
    points, queries = rng.normal(size=(400, 3)), rng.normal(size=(50, 3))
    depth, apart = 3, cdist(queries, points)
    level = levels(keys(stream(1, b"y"), 0, 400), depth)
    minima = np.stack([apart[:, level == k].min(axis=1) for k in range(depth + 1)])
    for k, found in enumerate(of_subsets(minima)[::-1]):
        np.testing.assert_array_equal(found, apart[:, level >= k].min(axis=1))


@pytest.mark.parametrize("power", [0.2, 1.0])
def test_points_to_reach_a_share_are_exact_for_a_power_law(power: float) -> None:
    sizes = [2**k for k in range(4, 14)]
    areas = [size**-power for size in sizes]
    for share in (0.5, 0.9, 0.95, 0.99):
        assert to_reach(sizes, areas, share) == pytest.approx(sizes[-1] * share ** (1 / power))
    assert to_reach(sizes, areas, 1.0) == pytest.approx(sizes[-1])


def test_of_copies_a_small_subset_is_enough() -> None:
    assert to_reach([10, 20, 40], [3.0, 0.0, 0.0], 0.99) == 20
    assert to_reach([10, 20, 40], [1.0, 1.0, 1.0], 0.9) == 10

"""The greedy cover against brute force, row by row."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from coreset.errors import RequestError
from coreset.numerics import kept_apart as module
from coreset.numerics.kept_apart import farther_than, kept_apart


def cloud(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def one_by_one(rows: np.ndarray, radius: float) -> list[int]:
    kept: list[int] = []
    for i, row in enumerate(rows.astype(np.float64)):
        if not kept or np.sqrt(np.square(rows[kept] - row).sum(axis=1)).min() > radius:
            kept.append(i)
    return kept


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.0, 9.0])
@pytest.mark.parametrize("together", [7, 64, 1024])
def test_is_that_of_one_by_one_in_any_batches(radius: float, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER", together)
    rows = np.concatenate([cloud(300, 0), cloud(40, 0)])  # 40 stand twice
    expected = one_by_one(rows, radius)
    for cuts in ([], [1, 50, 50, 300]):
        batches, first, found = np.split(rows, cuts), 0, list[int]()
        for batch, chosen in zip(batches, kept_apart(batches, radius), strict=True):
            found += (first + chosen).tolist()
            first += len(batch)
        assert found == expected


def test_farther_than_is_brute_force_and_a_point_at_the_radius_is_not_farther() -> None:
    rows, points = cloud(200, 1), cloud(150, 2)
    apart = cdist(rows.astype(float), points.astype(float)).min(axis=1)
    for radius in (0.3, 1.0):
        np.testing.assert_array_equal(farther_than(rows, np.split(points, [40]), radius), apart > radius)
    line = np.array([[0.0], [3.0], [4.0]], np.float32)
    assert farther_than(line, [np.zeros((1, 1), np.float32)], 3.0).tolist() == [False, False, True]


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(RequestError, match="radius: expected a distance of 0 or more, found -1"):
        list(kept_apart([cloud(3, 0)], -1.0))

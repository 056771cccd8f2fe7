"""The dimension of shapes whose dimension is known."""

import numpy as np
import pytest

from coreset.numerics.dimension import participation_ratio, two_nn


def flat(dimensions: int, rows: int, seed: int = 0, features: int = 10) -> np.ndarray:
    """A cube of some dimensions, turned in a space of more."""
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(features, features)))
    return (rng.random((rows, dimensions)) @ turned[:dimensions]).astype(np.float32)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_both_estimates_find_the_dimension_of_a_cube(dimensions: int) -> None:
    rows = flat(dimensions, 4000)
    linear, local = participation_ratio(rows), two_nn(rows)
    assert linear.value == pytest.approx(dimensions, rel=0.03)
    assert local.value == pytest.approx(dimensions, rel=0.08)
    assert linear.low < linear.value < linear.high


def test_the_participation_ratio_is_that_of_the_eigenvalues() -> None:
    rows = np.random.default_rng(1).normal(size=(300, 4)) * [3, 1, 0.5, 0.1]
    values = np.linalg.eigvalsh(np.cov(rows.T))
    assert participation_ratio(rows).value == pytest.approx(values.sum() ** 2 / np.square(values).sum(), rel=1e-9)


def test_two_nn_sees_that_a_spiral_is_a_line_and_the_participation_ratio_does_not() -> None:
    angle = 12 * np.sqrt(np.random.default_rng(2).random(3000))
    rows = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1)
    assert two_nn(rows).value == pytest.approx(1, rel=0.1)
    assert participation_ratio(rows).value > 1.8


def test_intervals_cover_the_truth_in_nine_sets_of_ten() -> None:
    # A torus, for at the faces of a cube neighbours are missing.
    hits = 0
    for seed in range(200):
        angles = np.random.default_rng(seed).random((150, 2)) * 2 * np.pi
        found = two_nn(np.concatenate([np.cos(angles), np.sin(angles)], axis=1))
        hits += found.low <= 2 <= found.high
    assert 170 <= hits <= 190


def test_the_intervals_of_groups_are_wider_where_groups_differ() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(6), 100)
    rows = rng.normal(size=(600, 3)) + rng.normal(size=(6, 3))[groups] * [5, 0, 0]
    apart, alone = participation_ratio(rows, groups), participation_ratio(rows)
    assert apart.high - apart.low > 3 * (alone.high - alone.low)


def test_equal_rows_have_no_dimension() -> None:
    rows = np.ones((50, 3), np.float32)
    assert participation_ratio(rows).value == 0
    assert np.isnan(two_nn(rows).value)


def test_copies_do_not_change_two_nn() -> None:
    rows = flat(2, 500)
    assert two_nn(np.concatenate([rows, rows[:100]])) == two_nn(rows)

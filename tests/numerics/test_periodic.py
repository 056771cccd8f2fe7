from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coreset.errors import RequestError
from coreset.numerics.periodic import blocks, enclose, heights, images, nearest_atoms, reduced, wrapped

seeds = st.integers(0, 2**32 - 1)


def skewed_cell(rng):
    """A cell of moderate size, sheared by integers so that it looks much worse than its lattice."""
    cell = rng.normal(size=(3, 3)) * 2 + np.diag(rng.uniform(4, 9, size=3))
    shear = np.array([[1, 0, 0], [rng.integers(-9, 10), 1, 0], [rng.integers(-9, 10), rng.integers(-9, 10), 1]])
    return shear @ cell


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_the_reduced_cell_spans_the_same_lattice_with_the_shortest_vectors(seed):
    cell = skewed_cell(np.random.default_rng(seed))
    small = reduced(cell)
    change = small @ np.linalg.inv(cell)
    np.testing.assert_allclose(change, np.round(change), atol=1e-8)
    assert abs(abs(np.linalg.det(change)) - 1) < 1e-8
    # The successive minima of the lattice, by brute force over small multiples of the reduced vectors.
    multiples = np.array([n for n in product(range(-3, 4), repeat=3) if any(n)])
    vectors = multiples @ small
    order = np.argsort((vectors**2).sum(1), kind="stable")
    independent: list[np.ndarray] = []
    for vector in vectors[order]:
        if np.linalg.matrix_rank(np.array([*independent, vector]), tol=1e-6) > len(independent):
            independent.append(vector)
    np.testing.assert_allclose(np.linalg.norm(small, axis=1), np.linalg.norm(independent, axis=1), rtol=1e-9)


@pytest.mark.parametrize(
    "cell",
    [
        np.zeros((3, 3)),
        [[1, 0, 0], [0, 1, 0], [1, 1, 0]],
        [[1, 0, 0], [0, 1, 0], [0, 0, np.nan]],
        [[1, 0, 0], [0, np.inf, 0], [0, 0, 1]],
        np.eye(2),
    ],
)
def test_a_cell_without_volume_is_refused(cell):
    with pytest.raises(RequestError, match="cell"):
        reduced(np.array(cell, dtype=float))


def test_heights_of_a_sheared_cell():
    np.testing.assert_allclose(heights(np.array([[2.0, 0, 0], [10, 3, 0], [0, 0, 5]])), [2 * 3 / np.hypot(3, 10), 3, 5])


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_wrapped_points_are_equivalent_and_inside(seed):
    rng = np.random.default_rng(seed)
    cell = skewed_cell(rng)
    points = rng.normal(size=(50, 3)) * 30
    inside = wrapped(points, cell)
    fractions = inside @ np.linalg.inv(cell)
    assert fractions.min() > -1e-9 and fractions.max() < 1 + 1e-9
    lattice = (points - inside) @ np.linalg.inv(cell)
    np.testing.assert_allclose(lattice, np.round(lattice), atol=1e-8)
    np.testing.assert_array_equal(wrapped(points[7:9], cell), inside[7:9])


@given(seeds, st.floats(0.1, 12))
@settings(max_examples=30, deadline=None)
def test_no_image_within_the_radius_is_missing(seed, radius):
    rng = np.random.default_rng(seed)
    cell = reduced(skewed_cell(rng))
    positions = wrapped(rng.normal(size=(3, 3)) * 20, cell)
    # The oracle replicates 12 times to each side; a nearly flat cell would need more.
    assume((radius * np.linalg.norm(np.linalg.inv(cell), axis=0)).max() < 11)
    listed = images(cell, positions, radius)
    shifts = np.array(list(product(range(-12, 13), repeat=3))) @ cell
    everything = (shifts[:, None] + positions[None]).reshape(-1, 3)
    corners = np.array(list(product((0, 1), repeat=3))) @ cell
    for point in [*corners, *(rng.random((10, 3)) @ cell)]:
        needed = np.sort(np.linalg.norm(everything - point, axis=1))
        found = np.sort(np.linalg.norm(listed.positions.T - point, axis=1))
        needed, found = needed[needed <= radius], found[found <= radius]
        np.testing.assert_allclose(found, needed, atol=1e-9)
    offsets = (listed.positions.T - positions[listed.atom]) @ np.linalg.inv(cell)
    np.testing.assert_allclose(offsets, np.round(offsets), atol=1e-9)


def test_images_stand_in_the_same_order_in_longer_lists():
    rng = np.random.default_rng(5)
    cell = reduced(skewed_cell(rng))
    positions = wrapped(rng.random((4, 3)) @ cell, cell)
    short, long = images(cell, positions, 5.0), images(cell, positions, 17.0)
    where = [np.nonzero((image == long.positions.T).all(axis=1))[0].item() for image in short.positions.T]
    assert (np.diff(where) > 0).all()


@given(seeds, st.integers(1, 200), st.tuples(*[st.integers(1, 6)] * 3))
@settings(max_examples=30, deadline=None)
def test_blocks_hold_each_point_once_and_balls_enclose_them(seed, count, shape):
    rng = np.random.default_rng(seed)
    cell = reduced(skewed_cell(rng))
    points = np.ascontiguousarray(rng.random((count, 3)) @ cell)
    order, bounds = blocks(points, np.linalg.inv(cell), shape)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    assert bounds[0] == 0 and bounds[-1] == count and (np.diff(bounds) > 0).all()
    around = images(cell, points[:1], 20.0).positions
    centres, radii, distances = enclose(points, order, bounds, around, 5)
    for likely in (0.0, distances.min(), np.median(distances)):  # too small a guess costs time and nothing else
        guessed = enclose(points, order, bounds, around, 5, likely)
        for found, expected in zip(guessed, (centres, radii, distances), strict=True):
            np.testing.assert_array_equal(found, expected)
    for b in range(len(bounds) - 1):
        members = points[order[bounds[b] : bounds[b + 1]]]
        assert np.linalg.norm(members - centres[b], axis=1).max() <= radii[b] + 1e-12
        assert np.sort(np.linalg.norm(around.T - centres[b], axis=1))[4] == pytest.approx(distances[b])
        fractions = members @ np.linalg.inv(cell)
        assert (np.ptp(fractions, axis=0) < 1 / np.array(shape) + 1e-9).all()
    assert np.isinf(enclose(points, order, bounds, around, around.shape[1] + 1)[2]).all()


def test_no_points_make_no_blocks():
    order, bounds = blocks(np.empty((0, 3)), np.eye(3), (2, 2, 2))
    assert len(order) == 0 and bounds.tolist() == [0]


def test_the_nearest_atom_is_that_of_all_images_far_out() -> None:
    rng = np.random.default_rng(5)
    cell = np.array([[4.0, 0, 0], [3.5, 3.0, 0], [-6.0, 5.0, 7.0]])  # skewed, so that its own images are not enough
    positions, points = rng.random((3, 3)) @ cell, rng.uniform(-9, 9, (60, 3))
    shifts = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3), -1).reshape(-1, 3) @ cell
    apart = np.linalg.norm(positions[None, :, None] + shifts - points[:, None, None], axis=3).min(axis=2)
    atoms, distances = nearest_atoms(points, cell, positions)
    np.testing.assert_array_equal(atoms, apart.argmin(axis=1))
    np.testing.assert_allclose(distances, apart.min(axis=1), rtol=1e-12)

"""Planes, lines and surfaces of periodic fields, against fields in closed form, in orthogonal and skewed cells."""

import numpy as np
import pytest

from coreset.errors import RequestError
from coreset.report.figures.atoms import middle_plane, on_plane
from coreset.report.lattice import Plane, coarse, sample, surface

CELLS = {
    "cubic": np.eye(3) * 7.0,
    "skewed": np.array([[9.6, 0.0, 0.0], [4.8, 8.3, 0.0], [1.6, 2.3, 7.4]]),
    "left-handed": np.array([[0.0, 6.0, 1.0], [7.0, 0.5, 0.0], [0.3, 0.2, 5.0]]),
}
GRID = (36, 40, 32)


def wave(cell: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A function with the period of the cell, of Cartesian points."""
    a, b, c = (2 * np.pi * (points @ np.linalg.inv(cell))).T
    return np.cos(a) + 0.5 * np.sin(b - c) + 0.25 * np.cos(a + b)


def on_grid(cell: np.ndarray) -> np.ndarray:
    fractions = np.stack(np.meshgrid(*(np.arange(n) / n for n in GRID), indexing="ij"), -1).reshape(-1, 3)
    return wave(cell, fractions @ cell).reshape(GRID)


@pytest.mark.parametrize("name", CELLS)
def test_a_plane_holds_the_field_at_its_cartesian_points(name: str) -> None:
    cell = CELLS[name]
    plane = Plane(cell, 0.3)
    first, second, third = plane.axes
    assert np.linalg.norm(cell[third]) == pytest.approx(np.linalg.norm(cell, axis=1).min())
    cut = plane.cut(on_grid(cell), 50)
    u, v = plane.coordinates(50)
    points = (u[None, :, None] * plane.frame[0] + v[:, None, None] * plane.frame[1]).reshape(-1, 3)
    points = points + 0.3 * cell[third]
    inside = np.isfinite(cut.ravel())
    assert np.abs(cut.ravel()[inside] - wave(cell, points[inside])).max() < 0.02
    # As much of the picture is filled as the cell's face takes of it.
    face = np.linalg.norm(np.cross(cell[first], cell[second]))
    assert inside.mean() == pytest.approx(face / (np.ptp(u) * np.ptp(v)), abs=0.06)
    fractions = points @ np.linalg.inv(cell)
    within = ((fractions[:, [first, second]] >= -1e-9) & (fractions[:, [first, second]] <= 1 + 1e-9)).all(1)
    assert np.array_equal(inside, within)


@pytest.mark.parametrize("name", CELLS)
def test_distances_from_a_plane_are_those_of_the_nearest_image(name: str) -> None:
    cell = CELLS[name]
    plane = Plane(cell, 0.4)
    points = np.random.default_rng(3).uniform(size=(50, 3)) @ cell
    normal = np.cross(*plane.frame)
    third = plane.axes[2]
    above = (points - 0.4 * cell[third]) @ normal
    images = np.abs(above[:, None] + np.arange(-2, 3) * (cell[third] @ normal)).min(1)
    assert np.allclose(plane.distances(points), images)


@pytest.mark.parametrize("name", CELLS)
def test_atoms_are_marked_where_they_are(name: str) -> None:
    cell = CELLS[name]
    positions = np.array([[0.5, 0.5, 0.5], [0.1, 0.2, 0.9], [0.3, 0.4, 0.5]]) @ cell
    entry = {"cell": cell.tolist(), "positions": (positions + cell[0] - cell[2]).tolist(), "numbers": [13] * 3}
    plane, middle = middle_plane(entry)
    assert middle == 0
    marks = on_plane(entry, plane)
    assert np.linalg.norm(marks - plane.flat(positions[:1]), axis=1).min() < 1e-9
    assert len(marks) < 12


def test_samples_are_linear_and_periodic() -> None:
    field = np.random.default_rng(0).normal(size=(4, 5, 6))
    assert sample(field, np.array([[0.25, 0.4, 0.5]]))[0] == pytest.approx(field[1, 2, 3])
    assert sample(field, np.array([[1.25, -0.6, 2.5]]))[0] == pytest.approx(field[1, 2, 3])
    # Between the last point and the first.
    assert sample(field, np.array([[0.875, 0.0, 0.0]]))[0] == pytest.approx((field[3, 0, 0] + field[0, 0, 0]) / 2)


@pytest.mark.parametrize("name", CELLS)
def test_a_surface_lies_where_the_field_has_the_level(name: str) -> None:
    cell = CELLS[name]
    vertices, faces = surface(on_grid(cell), cell, 0.6)
    assert len(faces) > 100
    assert np.abs(wave(cell, vertices.astype(np.float64)) - 0.6).max() < 0.02
    fractions = vertices @ np.linalg.inv(cell)
    assert fractions.min() > -1e-5
    assert fractions.max() == pytest.approx(1.0, abs=1e-5)
    assert faces.max() < len(vertices)


def test_a_level_out_of_reach_has_no_surface() -> None:
    for level in (-1.0, 0.0, 1.0, 2.0):
        vertices, faces = surface(np.linspace(0, 1, 64).reshape(4, 4, 4), np.eye(3), level)
        assert len(vertices) == len(faces) == 0
    with pytest.raises(RequestError, match="level"):
        surface(np.zeros((4, 4, 4)), np.eye(3), np.nan)


def test_a_coarser_grid_keeps_smooth_fields() -> None:
    cell = CELLS["skewed"]
    thin = coarse(on_grid(cell), 20)
    assert thin.shape == (20, 20, 20)
    fractions = np.stack(np.meshgrid(*(np.arange(20) / 20,) * 3, indexing="ij"), -1).reshape(-1, 3)
    assert np.allclose(thin.ravel(), wave(cell, fractions @ cell))
    field = on_grid(cell)
    assert np.array_equal(coarse(field, 64), field)

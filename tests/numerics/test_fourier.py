"""Norms and spectra against analytic fields, images against brute force, resampling against sums of cosines."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import signal

from coreset.errors import RequestError
from coreset.numerics.fourier import power_spectrum, resample, sobolev, wave_numbers
from coreset.numerics.grids import grid_points

seeds = st.integers(0, 2**32 - 1)
ORTHOGONAL = np.diag([7.0, 8.0, 9.5])
SKEWED = np.array([[7.0, 0.0, 0.0], [4.5, 6.0, 0.0], [-3.0, 2.5, 8.0]])
"""The minimum image of many of its waves has other indices than −n/2 … n/2."""
CELLS = pytest.mark.parametrize("cell", [ORTHOGONAL, SKEWED], ids=["orthogonal", "skewed"])


def any_cell(rng):
    """A cell of moderate size, then sheared by integers: the same lattice from a bad basis."""
    cell = rng.normal(size=(3, 3)) * 2 + np.diag(rng.uniform(4, 9, size=3))
    shear = np.array([[1, 0, 0], [rng.integers(-2, 3), 1, 0], [rng.integers(-2, 3), rng.integers(-2, 3), 1]])
    return shear @ cell


def any_grid(rng, most=7):
    return tuple(int(n) for n in rng.integers(1, most + 1, size=3))


def reciprocal_of(cell):
    a, b, c = cell
    return 2 * np.pi * np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / np.dot(a, np.cross(b, c))


def points_of(cell, grid):
    return grid_points(cell, grid, np.arange(np.prod(grid))).reshape(*grid, 3)


@given(seeds)
@settings(max_examples=20)
def test_waves_are_the_shortest_of_all_aliases(seed):
    rng = np.random.default_rng(seed)
    cell, grid = any_cell(rng), any_grid(rng, most=4)
    rows = reciprocal_of(cell)
    lattice = np.array(grid)[:, None] * rows
    squares = wave_numbers(cell, grid)
    assert squares.shape == grid
    # The first guess is one alias; a shorter one differs from it by less than twice its length. Coordinates of a
    # vector of length r in this lattice are at most r times the lengths of the dual vectors.
    dual = np.linalg.norm(np.linalg.inv(lattice), axis=0)
    for index in product(*(range(n) for n in grid)):
        wave = np.array(index) @ rows
        wave = wave - np.rint(wave @ np.linalg.inv(lattice)) @ lattice
        reach = np.floor(2 * np.linalg.norm(wave) * dual + 1e-9).astype(int)
        assume(np.prod(2 * reach + 1) < 20_000)
        steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
        assert squares[index] == pytest.approx(((wave + steps @ lattice) ** 2).sum(axis=1).min(), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("grid", [(6, 5, 4), (5, 6, 7), (1, 2, 3)])
def test_waves_of_an_orthogonal_cell_by_hand(grid):
    nearest = [
        np.minimum(np.arange(n), n - np.arange(n)) * 2 * np.pi / a for n, a in zip(grid, (7, 8, 9.5), strict=True)
    ]
    expected = sum(np.square(each) for each in np.meshgrid(*nearest, indexing="ij"))
    np.testing.assert_allclose(wave_numbers(ORTHOGONAL, grid), expected, rtol=1e-12)


def test_waves_turn_with_the_cell_and_are_its_lattices_not_its_bases():
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    squares = wave_numbers(SKEWED, (6, 5, 8))
    np.testing.assert_allclose(wave_numbers(SKEWED @ rotation, (6, 5, 8)), squares, rtol=1e-9, atol=1e-12)
    # On an n × n × n grid a sheared basis lists the same waves in another order.
    sheared = np.array([[1, 0, 0], [3, 1, 0], [-2, 1, 1]]) @ SKEWED
    ours, theirs = (np.sort(wave_numbers(cell, (6, 6, 6)), axis=None) for cell in (SKEWED, sheared))
    np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-12)


@CELLS
@pytest.mark.parametrize("index", [(1, 0, 0), (0, -2, 1), (2, 1, -1), (-1, 2, 2)])
def test_the_norms_of_a_plane_wave(cell, index):
    grid = (12, 10, 14)
    wave = np.array(index) @ reciprocal_of(cell)
    field = 0.3 * np.cos(points_of(cell, grid) @ wave + 0.4)
    # ∫ cos² = Ω/2, and ∫ |∇ cos(G·r)|² is |G|² of that; these waves are their own minimum images on this grid.
    l2 = 0.3 * np.sqrt(abs(np.linalg.det(cell)) / 2)
    length = np.linalg.norm(wave)
    found = sobolev(field, cell)
    assert found.l2 == pytest.approx(l2, rel=1e-12)
    assert found.seminorm == pytest.approx(l2 * length, rel=1e-11)
    assert found.norm == pytest.approx(l2 * np.sqrt(1 + length**2), rel=1e-11)


@CELLS
def test_the_norms_of_a_gaussian(cell):
    """exp(−r²/2σ²) repeated in every cell: ∫ f² = π^{3/2} σ³ and ∫ |∇f|² = (3/2) π^{3/2} σ, up to its overlap."""
    sigma, grid = 0.55, (34, 36, 40)
    field = np.zeros(grid)
    points = points_of(cell, grid) - np.array([0.4, 0.3, 0.2]) @ cell
    for shift in product(range(-2, 3), repeat=3):
        field += np.exp(-((points + np.array(shift) @ cell) ** 2).sum(-1) / (2 * sigma**2))
    found = sobolev(field, cell)
    assert found.l2 == pytest.approx(np.sqrt(np.pi**1.5 * sigma**3), rel=1e-9)
    assert found.seminorm == pytest.approx(np.sqrt(1.5 * np.pi**1.5 * sigma), rel=1e-9)
    assert found.norm == pytest.approx(np.sqrt(np.pi**1.5 * (sigma**3 + 1.5 * sigma)), rel=1e-9)


def test_the_seminorm_is_the_gradients_by_finite_differences():
    """In a skewed cell, with a field whose gradient is taken along Cartesian axes."""
    rng = np.random.default_rng(0)
    grid, rows = (10, 12, 9), reciprocal_of(SKEWED)
    waves = np.array(list(product((-1, 0, 1), repeat=3)))[14:] @ rows
    amplitudes, phases = rng.normal(size=13), rng.uniform(0, 6, size=13)
    points, step = points_of(SKEWED, grid), 1e-4

    def field(at):
        return (amplitudes * np.cos(at @ waves.T + phases)).sum(-1)

    slopes = [(field(points + step * axis) - field(points - step * axis)) / (2 * step) for axis in np.eye(3)]
    volume = abs(np.linalg.det(SKEWED))
    expected = np.sqrt(volume * np.mean(np.square(slopes).sum(axis=0)))
    assert sobolev(field(points), SKEWED).seminorm == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("grid", [(4, 3, 5), (3, 4, 5), (3, 5, 4)])
def test_the_nyquist_term_is_kept_on_every_axis(grid):
    axis = grid.index(4)
    sign = (-1.0) ** np.arange(4)
    field = np.broadcast_to(sign.reshape([4 if a == axis else 1 for a in range(3)]), grid)
    found = sobolev(field, ORTHOGONAL)
    volume = 7 * 8 * 9.5
    assert found.l2 == pytest.approx(np.sqrt(volume))
    assert found.seminorm == pytest.approx(np.sqrt(volume) * 2 * 2 * np.pi / ORTHOGONAL[axis, axis])


@given(seeds)
@settings(max_examples=30)
def test_norms_and_spectra_are_the_sum_over_all_indices(seed):
    """The whole transform, written out, against the half that is computed."""
    rng = np.random.default_rng(seed)
    cell, grid = any_cell(rng), any_grid(rng)
    field = rng.normal(size=grid)
    indices = np.array(list(product(*(range(n) for n in grid))))
    phases = 2 * np.pi * ((indices[:, None] * indices[None]) / np.array(grid)).sum(-1)
    coefficients = (np.exp(-1j * phases) @ field.ravel()) / field.size
    power = abs(np.linalg.det(cell)) * np.abs(coefficients) ** 2
    squares = wave_numbers(cell, grid).ravel()
    found = sobolev(field, cell)
    assert found.l2**2 == pytest.approx(power.sum(), rel=1e-9)
    assert found.seminorm**2 == pytest.approx((squares * power).sum(), rel=1e-9, abs=1e-12)
    spectrum = power_spectrum(field, cell, width=0.37)
    expected = np.histogram(np.sqrt(squares), spectrum.edges, weights=power)[0]
    assert spectrum.power.sum() == pytest.approx(found.l2**2, rel=1e-12)
    np.testing.assert_allclose(spectrum.power, expected, rtol=1e-9, atol=1e-12 * power.sum())


def test_a_wave_is_in_the_shell_of_its_length():
    grid = (12, 12, 12)
    for index in [(0, 0, 0), (1, 0, 0), (1, -1, 2)]:
        wave = np.array(index) @ reciprocal_of(SKEWED)
        spectrum = power_spectrum(np.cos(points_of(SKEWED, grid) @ wave), SKEWED)
        shell = int(np.argmax(spectrum.power))
        assert spectrum.edges[shell] <= np.linalg.norm(wave) + 1e-12 < spectrum.edges[shell + 1]
        assert spectrum.power[shell] == pytest.approx(spectrum.power.sum())
        np.testing.assert_allclose(np.diff(spectrum.edges), 0.25)
        assert spectrum.edges[0] == 0
        assert len(spectrum.edges) == len(spectrum.power) + 1


def test_a_constant_has_no_gradient():
    found = sobolev(np.full((4, 6, 5), -0.25), SKEWED)
    assert found.l2 == pytest.approx(0.25 * np.sqrt(abs(np.linalg.det(SKEWED))))
    assert found.seminorm == pytest.approx(0, abs=1e-15)
    assert found.norm == pytest.approx(found.l2)


def test_float32_fields_are_summed_in_float64():
    field = np.random.default_rng(0).normal(size=(20, 18, 16)).astype(np.float32)
    assert sobolev(field, SKEWED) == sobolev(field.astype(np.float64), SKEWED)


def cosines(grid, old, seed):
    """A sum of the waves that a grid of `old` points resolves, below its Nyquist indices, on the points of `grid`."""
    rng = np.random.default_rng(seed)
    highest = [(n - 1) // 2 for n in old]
    at = [np.arange(n) / n for n in grid]
    field = np.zeros(grid)
    for _ in range(10):
        i, j, k = (int(rng.integers(-n, n + 1)) for n in highest)
        phase = i * at[0][:, None, None] + j * at[1][:, None] + k * at[2]
        field += rng.normal() * np.cos(2 * np.pi * phase + rng.uniform(0, 6))
    return field


@given(seeds)
@settings(max_examples=50)
def test_a_resolved_field_is_reproduced_on_any_grid_and_comes_back(seed):
    rng = np.random.default_rng(seed)
    old, new = any_grid(rng), any_grid(rng)
    both = tuple(map(min, old, new))
    np.testing.assert_allclose(resample(cosines(old, both, seed), new), cosines(new, both, seed), atol=1e-11)
    field = rng.normal(size=old)
    finer = tuple(n + int(more) for n, more in zip(old, rng.integers(0, 4, size=3), strict=True))
    np.testing.assert_allclose(resample(resample(field, finer), old), field, atol=1e-11)


@given(seeds)
@settings(max_examples=50)
def test_any_field_is_resampled_as_scipy_does_along_each_axis(seed):
    """An implementation of its own, with the same convention of the Nyquist term."""
    rng = np.random.default_rng(seed)
    field, new = rng.normal(size=any_grid(rng)), any_grid(rng)
    expected = field
    for axis, points in enumerate(new):
        expected = signal.resample(expected, points, axis=axis)
    found = resample(field, new)
    assert found.shape == new
    assert found.dtype == np.float64
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=1e-11)
    assert found.mean() == pytest.approx(field.mean(), abs=1e-12)


def test_a_nyquist_wave_becomes_a_cosine_and_is_kept_by_a_coarser_grid():
    wave = np.broadcast_to((-1.0) ** np.arange(6)[:, None, None], (6, 2, 3))
    finer = np.cos(2 * np.pi * 3 * np.arange(12) / 12)
    np.testing.assert_allclose(resample(wave, (12, 2, 3))[:, 0, 0], finer, atol=1e-14)
    np.testing.assert_allclose(resample(resample(wave, (12, 2, 3)), (6, 2, 3)), wave, atol=1e-14)


def test_resampling_to_the_same_grid_changes_nothing_and_the_field_is_left_alone():
    field = np.random.default_rng(0).normal(size=(4, 5, 6))
    before = field.copy()
    np.testing.assert_array_equal(resample(field, (4, 5, 6)), field)
    resample(field, (3, 8, 6))[:] = 0
    np.testing.assert_array_equal(field, before)


def test_wave_numbers_cannot_be_changed_by_who_asks():
    with pytest.raises(ValueError, match="read-only"):
        wave_numbers(SKEWED, (3, 3, 3))[0] = 1


def test_refuses_what_is_no_field_no_grid_and_no_cell():
    with pytest.raises(RequestError, match=r"field: expected three axes of grid points, found shape \[8\]"):
        sobolev(np.ones(8), SKEWED)
    with pytest.raises(RequestError, match=r"found shape \[0, 2, 2\]"):
        resample(np.ones((0, 2, 2)), (2, 2, 2))
    for call in (lambda: resample(np.ones((2, 2, 2)), (2, 0, 2)), lambda: wave_numbers(SKEWED, (2, 2))):
        with pytest.raises(RequestError, match="grid: expected three positive numbers of points, found"):
            call()
    with pytest.raises(RequestError, match="linearly independent lattice vectors"):
        sobolev(np.ones((2, 2, 2)), np.ones((3, 3)))
    with pytest.raises(RequestError, match="width: expected a positive width"):
        power_spectrum(np.ones((2, 2, 2)), SKEWED, width=0)

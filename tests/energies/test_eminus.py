"""The oracle is the package's own minimum of E[ψ]: F_HF equals it at its density, and departs from it by squares."""

import json
import logging
import shutil
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from coreset.corpus.snapshot import Snapshot
from coreset.energies import eminus as engine_module
from coreset.energies.eminus import Eminus, exchange_correlation, hamiltonian, hartree_potential, occupied
from coreset.energies.engine import Settings
from coreset.errors import RequestError, WorkError

SETTINGS = Settings(cutoff=6.0, smearing=0.005)

EXACT = 1e-9
"""Between F_HF[ρ_scf] and E_scf, Ha; the issue asks for 1e-6."""

SKEWED = np.array([[6.0, 0.0, 0.0], [1.0, 5.5, 0.0], [-0.7, 0.9, 6.5]])


def _cell(
    numbers: list[int], electrons: float, cell: np.ndarray = SKEWED, grid: tuple[int, int, int] = (8, 8, 8)
) -> Snapshot:
    """Atoms in a row along a line that no symmetry singles out."""
    fractions = np.array([[0.2, 0.3, 0.85]]) + np.arange(len(numbers))[:, None] * np.array([[0.05, 0.11, 0.4]])
    return Snapshot(
        name="cells/small",
        cell=cell,
        numbers=np.array(numbers),
        positions=fractions @ cell,
        grid=grid,
        electrons=electrons,
        energy=None,
        group="cells",
        temperature=None,
        composition="X",
        source={},
        wrapped=0,
        digest="0" * 64,
    )


@dataclass(frozen=True)
class Solved:
    """A cell on the engine's grid, its free energy and its density."""

    cell: Snapshot
    energy: float
    density: np.ndarray


ENGINE = Eminus(SETTINGS)


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    cell = _cell([3, 1], 4.0)
    energy, density = ENGINE.self_consistent(cell, tmp_path_factory.mktemp("scf"))
    return Solved(replace(cell, grid=density.shape), energy, density)


def _smooth(shape: tuple[int, ...]) -> np.ndarray:
    i, j, k = (2 * np.pi * np.arange(n) / n for n in shape)
    return np.cos(i)[:, None, None] + np.sin(j)[:, None] * np.cos(k) + 0.5 * np.sin(i[:, None, None] - 2 * k)


def test_harris_foulkes_of_the_converged_density_is_the_converged_energy(solved: Solved, tmp_path: Path) -> None:
    found = ENGINE.harris_foulkes(solved.cell, solved.density, tmp_path)
    assert solved.density.mean() * solved.cell.volume == pytest.approx(4.0)
    assert abs(found.free_energy - solved.energy) < EXACT


@pytest.mark.parametrize(
    ("numbers", "electrons", "settings"),
    [
        ([3], 3.0, replace(SETTINGS, cutoff=4.0)),  # a level with one electron, of entropy 2 k ln 2
        ([1, 1], 2.0, replace(SETTINGS, cutoff=4.0, kpoints=(1, 2, 1))),
    ],
    ids=["open shell", "k points"],
)
def test_so_it_is_with_entropy_and_with_k_points(
    numbers: list[int], electrons: float, settings: Settings, tmp_path: Path
) -> None:
    engine, cell = Eminus(settings), _cell(numbers, electrons)
    energy, density = engine.self_consistent(cell, tmp_path)
    found = engine.harris_foulkes(replace(cell, grid=density.shape), density, tmp_path)
    assert abs(found.free_energy - energy) < EXACT


def test_the_error_is_quadratic_in_the_perturbation(solved: Solved, tmp_path: Path) -> None:
    wave = solved.density * _smooth(solved.density.shape)
    wave -= solved.density * wave.sum() / solved.density.sum()
    sizes = np.array([0.005, 0.01, 0.02, 0.04, 0.08])
    errors = [
        ENGINE.harris_foulkes(solved.cell, solved.density + size * wave, tmp_path).free_energy - solved.energy
        for size in sizes
    ]
    assert min(np.abs(errors)) > 1e3 * EXACT
    slopes = np.diff(np.log(np.abs(errors))) / np.diff(np.log(sizes))
    assert slopes == pytest.approx(np.full(4, 2.0), abs=0.1)


def test_moving_atoms_and_density_by_grid_steps_changes_nothing(solved: Solved, tmp_path: Path) -> None:
    steps = (5, -3, 2)
    shift = np.array(steps) / solved.cell.grid @ solved.cell.cell
    density = solved.density * (1 + 0.02 * _smooth(solved.density.shape))
    moved = replace(solved.cell, positions=solved.cell.positions + shift)
    here = ENGINE.harris_foulkes(solved.cell, density, tmp_path)
    there = ENGINE.harris_foulkes(moved, np.roll(density, steps, axis=(0, 1, 2)), tmp_path)
    assert there.free_energy == pytest.approx(here.free_energy, abs=EXACT)


def test_a_coarser_density_is_resampled(solved: Solved, tmp_path: Path) -> None:
    coarse, fine = (4.0 / solved.cell.volume * (1 + 0.2 * _smooth(grid)) for grid in ((5, 6, 7), solved.cell.grid))
    here = ENGINE.harris_foulkes(solved.cell, fine, tmp_path)
    there = ENGINE.harris_foulkes(replace(solved.cell, grid=(5, 6, 7)), coarse, tmp_path)
    assert there.free_energy == pytest.approx(here.free_energy, abs=EXACT)


def test_the_matrix_is_the_packages_operator() -> None:
    engine = Eminus(replace(SETTINGS, cutoff=2.0, kpoints=(1, 2, 1)))
    scf = engine._system(_cell([13, 1], 4.0, grid=(9, 9, 9)))  # Al has two projectors of one l
    from eminus.dft import H

    rng = np.random.default_rng(0)
    shape = tuple(scf.atoms.s.tolist())
    potential = rng.standard_normal(shape)
    waves = [np.eye(len(squares), dtype=complex)[None] for squares in scf.atoms.Gk2c[:2]]
    fourier = scf.atoms.J(potential.ravel())
    for k in (0, 1):
        arguments = {"phi": fourier, "vxc": np.zeros((1, scf.atoms.Ns)), "vsigma": np.zeros((1, scf.atoms.Ns))}
        gradient = np.zeros((1, scf.atoms.Ns, 3))
        expected = H(scf, k, 0, waves, dn_spin=gradient, **arguments) / scf.atoms.Omega
        local = scf.Vloc.real.reshape(shape) * scf.atoms.Ns / scf.atoms.Omega
        found = hamiltonian(scf, k, local + potential)
        assert found == pytest.approx(found.conj().T, abs=1e-12)
        assert found == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("grid", [(8, 10, 12), (9, 7, 11)])
def test_v_xc_is_the_derivative_of_e_xc(grid: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(1)
    density = 0.05 + 0.02 * rng.uniform(size=grid)
    change = rng.standard_normal(grid)
    engine_module._package()
    _, potential = exchange_correlation(density, SKEWED)
    step = 1e-5
    up, down = (exchange_correlation(density + sign * step * change, SKEWED)[0] for sign in (1, -1))
    element = np.linalg.det(SKEWED) / density.size
    assert (up - down) / (2 * step) == pytest.approx(element * np.sum(potential * change), rel=1e-6)


def test_the_hartree_potential_of_a_wave() -> None:
    i, j, k = np.meshgrid(*(np.arange(n) / n for n in (8, 9, 10)), indexing="ij")
    wave = np.cos(2 * np.pi * (i - 2 * j + k) + 0.3)
    vector = 2 * np.pi * np.linalg.inv(SKEWED) @ np.array([1, -2, 1])
    expected = 4 * np.pi / (vector @ vector) * wave
    assert hartree_potential(0.1 + wave, SKEWED) == pytest.approx(expected, abs=1e-12)


def test_occupations_hold_all_electrons_and_their_entropy() -> None:
    # Two levels with half of their electrons each, whatever the temperature: S = 2 · 2 · ln 2.
    energy, entropy = occupied([np.array([-1.0, -1.0])], np.array([1.0]), 2.0, 0.01)
    assert (energy, entropy) == pytest.approx((-2.0, 0.01 * 4 * np.log(2)))
    # Deep and empty levels count for nothing; k points by their weight.
    levels = [np.array([-9.0, -1.0, 5.0]), np.array([-9.5, -1.0])]
    energy, entropy = occupied(levels, np.array([0.25, 0.75]), 3.0, 0.01)
    assert (energy, entropy) == pytest.approx((2 * (-9 * 0.25 - 9.5 * 0.75) - 1.0, 0.01 * 2 * np.log(2)))
    # S = −dF/dT.
    spread = [np.linspace(-1.0, 1.0, 40)]
    free = [np.subtract(*occupied(spread, np.array([1.0]), 30.0, 0.05 + step)) for step in (-1e-4, 1e-4)]
    _, entropy = occupied(spread, np.array([1.0]), 30.0, 0.05)
    assert entropy / 0.05 == pytest.approx(-(free[1] - free[0]) / 2e-4, rel=1e-4)


def test_electrons_that_the_pseudopotentials_do_not_have(tmp_path: Path) -> None:
    cell = _cell([3, 1], 2.0)
    with pytest.raises(
        RequestError, match=r"cells/small: expected pseudopotentials with 2 valence electrons .* found 4"
    ):
        ENGINE.harris_foulkes(cell, np.ones(cell.grid), tmp_path)


def test_a_basis_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "LARGEST_BASIS", 20)
    cell = _cell([3, 1], 4.0)
    with pytest.raises(RequestError, match=r"energy\.cutoff: expected at most 20 plane waves .* found \d+ at 6 Ha"):
        ENGINE.harris_foulkes(cell, np.ones(cell.grid), tmp_path)


def test_a_basis_that_is_too_small() -> None:
    cell = _cell([3, 1], 4.0)
    with pytest.raises(
        RequestError, match=r"energy\.cutoff: expected a plane wave for each of 2 pairs .* found 1 at 0\.1 Ha .*; raise"
    ):
        Eminus(replace(SETTINGS, cutoff=0.1)).require([cell])


def test_a_cycle_that_does_not_converge_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STEPS", 1)
    with pytest.raises(
        WorkError, match=r"cells/small: eminus: expected convergence within 1 steps, .*; raise energy\."
    ):
        ENGINE.self_consistent(_cell([3, 1], 4.0), tmp_path)


def test_snapshots_that_cannot_be_computed_are_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "free_energy", lambda *_: pytest.fail("an energy was computed"))
    ENGINE.require([_cell([3, 1], 4.0)])
    with pytest.raises(RequestError, match=r"cells/small: expected .* 2 valence electrons in all, .* found 4"):
        ENGINE.require([_cell([3, 1], 4.0), _cell([3, 1], 2.0)])
    monkeypatch.setattr(engine_module, "LARGEST_BASIS", 20)
    with pytest.raises(RequestError, match=r"energy\.cutoff: expected at most 20 plane waves .* found \d+ at 6 Ha"):
        ENGINE.require([_cell([3, 1], 4.0)])


def test_a_missing_package_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eminus", None)
    with pytest.raises(RequestError, match=r"energy\.engine: .* package eminus, found none; install it with pip"):
        ENGINE.check([1])


def test_a_missing_pseudopotential(tmp_path: Path) -> None:
    ENGINE.check([1, 3, 13])
    with pytest.raises(RequestError, match=r"expected a GTH pseudopotential of Og \(Og-q…\), found none"):
        ENGINE.check([1, 118])
    with pytest.raises(
        RequestError, match=r"energy\.pseudopotentials: expected a folder of GTH files, found no folder"
    ):
        Eminus(SETTINGS, tmp_path / "none").check([1])
    with pytest.raises(RequestError, match=r"expected a GTH pseudopotential of H"):
        Eminus(SETTINGS, tmp_path).check([1])
    (tmp_path / "H-q1").write_text("H GTH-PBE-q1\n    2\n")
    with pytest.raises(RequestError, match=r"H-q1, line 2: expected .* add up to 1, found '    2'"):
        Eminus(SETTINGS, tmp_path).check([1])


def test_a_folder_of_ones_own(solved: Solved, tmp_path: Path) -> None:
    own = ENGINE._files([1, 3])
    for file in own.values():
        shutil.copy(file, tmp_path)
    engine = Eminus(SETTINGS, tmp_path)
    assert engine.identity([3, 1]) == ENGINE.identity([1, 3])
    found = engine.harris_foulkes(solved.cell, solved.density, tmp_path)
    assert abs(found.free_energy - solved.energy) < EXACT


def test_identity_is_of_contents_and_settings() -> None:
    identity = ENGINE.identity([3, 1, 3])
    assert identity == json.loads(json.dumps(identity))
    assert "/" not in json.dumps(identity)
    assert list(identity["pseudopotentials"]) == ["H", "Li"]
    for other in (
        replace(SETTINGS, cutoff=7.0),
        replace(SETTINGS, smearing=0.02),
        replace(SETTINGS, kpoints=(1, 1, 2)),
    ):
        assert Eminus(other).identity([1, 3]) != identity


@pytest.mark.parametrize(("name", "value"), [("DENSITY_FLOOR", 1e-11), ("FUNCTIONAL", "pade")])
def test_identity_is_of_all_that_a_diagonalisation_is_told(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ENGINE.identity([1])
    monkeypatch.setattr(engine_module, name, value)
    assert ENGINE.identity([1])["settings"] != before["settings"]


def test_identity_is_of_the_version_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ENGINE.identity([1])
    assert before["version"] == metadata.version("eminus")
    monkeypatch.setattr(engine_module._package(), "__version__", "9.9")
    assert ENGINE.identity([1]) == {**before, "version": "9.9"}


def test_the_import_leaves_logs_and_tensors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "eminus"]:
        monkeypatch.delitem(sys.modules, name)
    types: list[object] = []
    arrays = ModuleType("array_api_compat")
    arrays.torch = SimpleNamespace(set_default_dtype=types.append, float64="float64")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "array_api_compat", arrays)
    handlers = list(logging.root.handlers)
    ENGINE.check([1])
    assert logging.root.handlers == handlers
    assert types == []
    assert sys.modules["array_api_compat"] is arrays

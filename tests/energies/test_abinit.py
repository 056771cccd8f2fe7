"""The oracle is ABINIT's own self-consistent energy: F_HF equals it at its density, and departs from it by squares."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreset.corpus.snapshot import Snapshot
from coreset.energies import abinit
from coreset.energies.abinit import Abinit, fourier_grid
from coreset.energies.engine import Settings
from coreset.errors import RequestError, WorkError

needs_abinit = pytest.mark.skipif(
    shutil.which("abinit") is None, reason="needs the program abinit (Debian's package abinit)"
)

SETTINGS = Settings(cutoff=5.0, smearing=0.004)

EXACT = 1e-6
"""What the issue allows between F_HF[ρ_scf] and E_scf, Ha."""


STAND_IN = (
    f"#!{sys.executable}\n"
    + """
import math, re, struct, sys
if sys.argv[1] == "--version":
    sys.exit(print("9.9"))
points = math.prod(map(int, re.search(r"ngfft((?:\\s+\\d+){3})", open(sys.argv[1]).read())[1].split()))
if sys.argv[1] == "file.abi":
    mark = struct.pack("<i", 8 * points)
    open("fileo_DEN", "wb").write(b"header" + mark + bytes(8 * points) + mark)
else:
    open("run.abo", "w").write("total_energy_dc     : -2.5E+00\\n")
    eigenvalues = " Fermi (or HOMO) energy (hartree) =   0.1\\n kpt#   1, kpt=  0.0  0.0  0.0 (reduced coord)\\n"
    open("runo_EIG", "w").write(eigenvalues + "  -0.2   5.0   5.1   5.2   5.3\\n")
print("last words")
"""
)
"""Prints and leaves what ABINIT does, as far as it is read."""


def _install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is the only program on the path, and called abinit."""
    folder.mkdir()
    (folder / "abinit").write_text(script)
    (folder / "abinit").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@dataclass(frozen=True)
class Solved:
    """A cell, its engine, its free energy and its density."""

    cell: Snapshot
    engine: Abinit
    energy: float
    density: np.ndarray


@pytest.fixture(scope="module")
def solved(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path_factory: pytest.TempPathFactory
) -> Solved:
    engine, cell = Abinit(SETTINGS, pseudopotentials), make_cell()
    return Solved(cell, engine, *engine.self_consistent(cell, tmp_path_factory.mktemp("scf")))


def _smooth(shape: tuple[int, ...]) -> np.ndarray:
    """A wave that neither symmetry nor the exchange of two axes leaves alone, of mean zero."""
    i, j, k = (2 * np.pi * np.arange(n) / n for n in shape)
    wave = np.cos(i)[:, None, None] + np.sin(j)[:, None] * np.cos(k) + 0.5 * np.sin(i[:, None, None] - 2 * k)
    return wave - wave.mean()


@needs_abinit
def test_the_density_lies_where_the_atoms_are(solved: Solved) -> None:
    assert solved.density.shape == solved.cell.grid
    assert solved.density.mean() * solved.cell.volume == pytest.approx(4.0, abs=1e-6)
    # Al's valence density is thin at its core, so the highest value is at H, within a grid step.
    highest = np.array(np.unravel_index(solved.density.argmax(), solved.density.shape)) / solved.density.shape
    hydrogen = solved.cell.positions[0] @ np.linalg.inv(solved.cell.cell)
    away = (highest - hydrogen + 0.5) % 1 - 0.5
    assert np.all(np.abs(away) <= 1.0 / np.array(solved.density.shape))


@needs_abinit
def test_harris_foulkes_of_the_converged_density_is_the_converged_energy(solved: Solved, tmp_path: Path) -> None:
    found = solved.engine.harris_foulkes(solved.cell, solved.density, tmp_path)
    assert abs(found.free_energy - solved.energy) < EXACT


@needs_abinit
def test_so_it_is_with_entropy(pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path) -> None:
    engine, cell = Abinit(replace(SETTINGS, smearing=0.015), pseudopotentials), make_cell()
    energy, density = engine.self_consistent(cell, tmp_path)
    assert abs(engine.harris_foulkes(cell, density, tmp_path).free_energy - energy) < EXACT
    entropies = [
        float(value)
        for run in tmp_path.glob("*/run.abo")
        for value in re.findall(r"'-kT\*entropy' *: *(\S+)", run.read_text())
    ]
    assert len(entropies) >= 4  # two tables of each run
    assert max(entropies) < -1e-3


@needs_abinit
def test_the_error_is_quadratic_in_the_perturbation(solved: Solved, tmp_path: Path) -> None:
    wave = solved.density * _smooth(solved.density.shape)
    wave -= solved.density * wave.sum() / solved.density.sum()
    sizes = np.array([0.01, 0.02, 0.04])
    errors = [
        solved.engine.harris_foulkes(solved.cell, solved.density + size * wave, tmp_path).free_energy - solved.energy
        for size in sizes
    ]
    slope = np.polyfit(np.log(sizes), np.log(np.abs(errors)), 1)[0]
    assert min(np.abs(errors)) > 10 * EXACT
    assert slope == pytest.approx(2.0, abs=0.1)


@needs_abinit
def test_moving_atoms_and_density_by_grid_steps_changes_nothing(solved: Solved, tmp_path: Path) -> None:
    steps = (5, -3, 2)
    shift = np.array(steps) / solved.cell.grid @ solved.cell.cell
    density = np.roll(solved.density * (1 + 0.02 * _smooth(solved.density.shape)), 1, axis=0)
    moved = replace(solved.cell, positions=solved.cell.positions + shift)
    here = solved.engine.harris_foulkes(solved.cell, density, tmp_path)
    there = solved.engine.harris_foulkes(moved, np.roll(density, steps, axis=(0, 1, 2)), tmp_path)
    assert there.free_energy == pytest.approx(here.free_energy, abs=EXACT)


@needs_abinit
def test_left_handed_cells_are_right_too(solved: Solved, tmp_path: Path) -> None:
    order = [1, 0, 2]
    nx, ny, nz = solved.cell.grid
    mirrored = replace(solved.cell, cell=solved.cell.cell[order], grid=(ny, nx, nz))
    found = solved.engine.harris_foulkes(mirrored, solved.density.transpose(order), tmp_path)
    assert found.free_energy == pytest.approx(solved.energy, abs=EXACT)
    energy, density = solved.engine.self_consistent(mirrored, tmp_path)
    assert energy == pytest.approx(solved.energy, abs=EXACT)
    assert np.abs(density - solved.density.transpose(order)).max() < 1e-5


@needs_abinit
def test_k_points_follow_the_axes_of_a_left_handed_cell(solved: Solved, pseudopotentials: Path, tmp_path: Path) -> None:
    nx, ny, nz = solved.cell.grid
    one = Abinit(replace(SETTINGS, kpoints=(1, 2, 1)), pseudopotentials)
    other = Abinit(replace(SETTINGS, kpoints=(1, 1, 2)), pseudopotentials)
    mirrored = replace(solved.cell, cell=solved.cell.cell[[0, 2, 1]], grid=(nx, nz, ny))
    here = one.harris_foulkes(solved.cell, solved.density, tmp_path)
    there = other.harris_foulkes(mirrored, solved.density.transpose(0, 2, 1), tmp_path)
    assert there.free_energy == pytest.approx(here.free_energy, abs=EXACT)
    assert abs(here.free_energy - solved.energy) > 1e-4  # the k points count


@needs_abinit
def test_a_coarser_density_is_resampled(solved: Solved, make_cell: Callable[..., Snapshot], tmp_path: Path) -> None:
    coarse, fine = (4.0 / solved.cell.volume * (1 + 0.2 * _smooth(grid)) for grid in ((8, 9, 10), solved.cell.grid))
    here = solved.engine.harris_foulkes(make_cell(grid=(8, 9, 10)), coarse, tmp_path)
    there = solved.engine.harris_foulkes(solved.cell, fine, tmp_path)
    assert here.free_energy == pytest.approx(there.free_energy, abs=EXACT)


@needs_abinit
def test_bands_are_added_until_the_highest_are_empty(
    solved: Solved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abinit, "BANDS", (0.5, 2.0))
    found = solved.engine.harris_foulkes(solved.cell, solved.density, tmp_path)
    assert abs(found.free_energy - solved.energy) < EXACT
    monkeypatch.setattr(abinit, "BANDS", (0.5,))
    with pytest.raises(
        WorkError, match=r"cells/alh: expected 4 empty bands .* lower energy\.smearing.* energy\.methods"
    ):
        solved.engine.harris_foulkes(solved.cell, solved.density, tmp_path)


@needs_abinit
def test_a_diagonalisation_that_does_not_converge_is_an_error(
    solved: Solved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abinit, "PASSES", 1)
    with pytest.raises(WorkError, match=r"cells/alh: ABINIT: did not converge; lower energy\.cutoff, or leave"):
        solved.engine.harris_foulkes(solved.cell, solved.density, tmp_path)


@needs_abinit
def test_a_cycle_that_does_not_converge_is_an_error(
    solved: Solved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abinit, "STEPS", 2)
    with pytest.raises(WorkError, match=r"cells/alh: ABINIT: did not converge; raise energy\.smearing; it printed"):
        solved.engine.self_consistent(solved.cell, tmp_path)


@needs_abinit
def test_a_failure_quotes_what_abinit_said(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path
) -> None:
    cell = make_cell()
    engine = Abinit(replace(SETTINGS, smearing=-0.004), pseudopotentials)
    with pytest.raises(WorkError, match=r"(?s)cells/alh: ABINIT: ended with status \d+; try another energy.*tsmear"):
        engine.harris_foulkes(cell, np.ones(cell.grid), tmp_path)


def test_what_a_program_leaves_is_read(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of which the cases below are exceptions; here from a path that is relative to another folder."""
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"bin{os.pathsep}/nowhere")
    engine, cell = Abinit(SETTINGS, pseudopotentials), make_cell()
    engine.require([cell])
    assert engine.identity([1])["version"] == "9.9"
    density = np.random.default_rng(0).uniform(size=cell.grid)
    assert engine.harris_foulkes(cell, density, tmp_path / "scratch").free_energy == -2.5
    (written,) = (tmp_path / "scratch").glob("*/fileo_DEN")
    assert np.array_equal(np.frombuffer(written.read_bytes()[10:-4]), density.ravel(order="F"))  # 16, 15, 18: no change


@pytest.mark.parametrize(
    ("there", "instead", "message"),
    [
        ('open("run.abo"', 'open("other"', r"No such file .*run\.abo"),
        ('open("runo_EIG"', 'open("other"', r"No such file .*runo_EIG"),
        ('open("fileo_DEN"', 'open("other"', r"No such file .*fileo_DEN"),
        ("8 * points", "8 * (points - 1)", "fileo_DEN does not end in 4320 values"),
        ("+ bytes(8 * points) + mark", "", "fileo_DEN does not end in 4320 values"),
        ('b"header" + mark + bytes(8 * points) + mark', 'b""', "fileo_DEN does not end in 4320 values"),
        ("-2.5E+00", "NaN", "total_energy_dc: NaN"),
        ("-2.5E+00", "******", r"could not convert string to float: '\*+'"),
        ("total_energy_dc", "total_energy", "no total_energy_dc among what it printed"),
        ("  -0.2   5.0   5.1   5.2   5.3", "", "eigenvalues in the file _EIG are not all there"),
        ("  -0.2   5.0   5.1   5.2   5.3", "  -0.2", "eigenvalues in the file _EIG are not all there"),
    ],
)
def test_files_that_cannot_be_read_are_a_failure(
    there: str,
    instead: str,
    message: str,
    pseudopotentials: Path,
    make_cell: Callable[..., Snapshot],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert there in STAND_IN
    _install(tmp_path / "bin", STAND_IN.replace(there, instead), monkeypatch)
    cell = make_cell()
    expected = rf"(?s)^cells/alh: ABINIT: left no result that can be read \(.*{message}.*\); .*disk.*\nlast words$"
    with pytest.raises(WorkError, match=expected):
        Abinit(SETTINGS, pseudopotentials).harris_foulkes(cell, np.ones(cell.grid), tmp_path)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("#!/bin/sh\necho no libnetcdf.so >&2\nexit 127\n", "status 127, no libnetcdf.so"),
        ("#!/bin/sh\n", "status 0, nothing printed"),
        ("\x7fELF", r"that it cannot be started \(Exec format error\)"),
        ("#!/nowhere/python\n", r"that it cannot be started \(No such file or directory\)"),
        ("#!/bin/sh\nexec /bin/sleep 60\n", r"no answer within 0\.2 s"),
    ],
)
def test_a_program_that_does_not_tell_its_version_is_told_before_any_work(
    script: str, found: str, pseudopotentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", script, monkeypatch)
    if "sleep" in script:
        monkeypatch.setattr(abinit, "VERSION_LIMIT", 0.2)
    engine = Abinit(SETTINGS, pseudopotentials)
    for ask in (lambda: engine.check([1]), lambda: engine.require([]), lambda: engine.identity([1])):
        with pytest.raises(
            RequestError, match=rf"^energy\.engine: expected .*/abinit --version .*, found {found}; install Debian's"
        ):
            ask()


def test_a_program_that_may_not_be_started_is_none(
    pseudopotentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    (tmp_path / "bin" / "abinit").chmod(0o644)
    with pytest.raises(RequestError, match=r"expected the program abinit on the path, found none; install"):
        Abinit(SETTINGS, pseudopotentials).check([1])


def test_electrons_that_the_pseudopotentials_do_not_have(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path
) -> None:
    cell = make_cell(electrons=12.0)
    with pytest.raises(
        RequestError, match=r"cells/alh: expected pseudopotentials with 12 valence electrons .* found 4"
    ):
        Abinit(SETTINGS, pseudopotentials).harris_foulkes(cell, np.ones(cell.grid), tmp_path)


@needs_abinit
def test_snapshots_that_cannot_be_computed_are_told_before_any_work(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot]
) -> None:
    engine = Abinit(SETTINGS, pseudopotentials)
    engine.require([make_cell()])
    with pytest.raises(
        RequestError, match=r"cells/alh: expected pseudopotentials with 12 valence electrons .* found 4"
    ):
        engine.require([make_cell(), make_cell(electrons=12.0)])


@needs_abinit
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESIDUAL", 1e-9),
        ("PASSES", 61),
        ("LINE_STEPS", 9),
        ("BANDS", (1.3,)),
        ("SPARE_BANDS", 5),
        ("EMPTY", 1e-6),
        ("_version", lambda program: "9.8.7"),
    ],
)
def test_identity_is_of_all_that_a_diagonalisation_is_told(
    name: str, value: Any, pseudopotentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Abinit(SETTINGS, pseudopotentials)
    before = engine.identity([1])
    monkeypatch.setattr(abinit, name, value)
    assert engine.identity([1]) != before


def test_a_missing_program_is_told_before_any_work(pseudopotentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match=r"install Debian's package abinit, or conda-forge's"):
        Abinit(SETTINGS, pseudopotentials).check([1])


@needs_abinit
def test_identity_is_of_contents_and_settings(pseudopotentials: Path, tmp_path: Path) -> None:
    engine = Abinit(SETTINGS, pseudopotentials)
    engine.check([13, 1])
    identity = engine.identity([13, 1, 13])
    assert identity == json.loads(json.dumps(identity))
    assert str(pseudopotentials) not in json.dumps(identity)
    assert list(identity["pseudopotentials"]) == ["H", "Al"]
    for name, new in (("13_Al_psml.psp8", "another.psp8"), ("H.psp8", "H.psp8")):
        shutil.copy(pseudopotentials / name, tmp_path / new)
    assert Abinit(SETTINGS, tmp_path).identity([1, 13]) == identity
    with (tmp_path / "H.psp8").open("a") as file:
        file.write("\n")
    assert Abinit(SETTINGS, tmp_path).identity([1, 13]) != identity
    for other in (
        replace(SETTINGS, cutoff=6.0),
        replace(SETTINGS, smearing=0.02),
        replace(SETTINGS, kpoints=(1, 1, 2)),
    ):
        assert Abinit(other, pseudopotentials).identity([1, 13]) != identity


@pytest.mark.parametrize("cutoff", [3.0, 10.0])
def test_the_grid_holds_every_product_of_two_waves(cutoff: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cell = rng.uniform(-9, 9, (3, 3)) + np.diag([5.0, 9.0, 7.0])
        grid = fourier_grid(cell, (3, 50, 3), cutoff)
        assert grid[1] >= 50
        assert all(n == 2**a * 3**b * 5**c for n in grid for a, b, c in [_powers(n)])
        # Any vector of the sphere |G| ≤ 2√(2E): its indices are G·a/2π, and a grid of n points tells ±(n−1)/2 apart.
        directions = rng.standard_normal((2000, 3))
        vectors = 2 * np.sqrt(2 * cutoff) * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        indices = np.floor(np.abs(vectors @ cell.T / (2 * np.pi)))
        assert np.all(2 * indices < np.array(grid))


def _powers(n: int) -> tuple[int, int, int]:
    found = []
    for prime in (2, 3, 5):
        power = 0
        while n % prime ** (power + 1) == 0:
            power += 1
        found.append(power)
    return found[0], found[1], found[2]

"""SPARC's own converged energy is the oracle where the program is there; elsewhere a stand-in prints as SPARC does."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreset.corpus.cube import read_cube
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.sparc_input import parse_cell, parse_grid, parse_positions
from coreset.energies import sparc
from coreset.energies.engine import Settings
from coreset.energies.sparc import Sparc, highest_occupation, inpt, ion, write_density
from coreset.errors import RequestError, WorkError

needs_sparc = pytest.mark.skipif(
    shutil.which("sparc") is None, reason="needs the program sparc (built from github.com/SPARC-X/SPARC)"
)

SETTINGS = Settings(cutoff=5.0, smearing=0.005)

EXACT = 1e-6
"""What the issue allows between F_HF[ρ_scf] and E_scf, Ha."""

STAND_IN = """#!/bin/sh
# SPARC (version July 01, 2026)
cat run.inpt > seen.inpt
cat > run.out <<END
***************************************************************************
*                       SPARC (version July 01, 2026)                     *
***************************************************************************
SMEARING: 0.005
===================================================================
                    Self Consistent Field (SCF#1)
===================================================================
Iteration     Free Energy (Ha/atom)   SCF Error        Timing (sec)
1            -1.2500000000E+00        1.240E-01        0.265
Total number of SCF: 1
WARNING: SCF#1 did not converge to desired accuracy!
====================================================================
                    Energy and force calculation
====================================================================
Free energy per atom               : -9.9000000000E+00 (Ha/atom)
Total free energy                  : -1.9800000000E+01 (Ha)
END
last=1.0
grep -q '^NSTATES: 8$' run.inpt && last=0.000000000001
cat > run.eigen <<END
Final eigenvalues (Ha) and occupation numbers

kred #1 = (0.000000,0.000000,0.000000)
weight = 1.000000
n        eigval                 occ
1       -2.205725127120E-01     2.000000000000
2        7.974121562687E-02     $last
END
echo "The program took 3.536 s."
"""


def _install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    program = folder / "sparc"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def _runs(scratch: Path) -> list[Path]:
    return sorted((path.parent for path in scratch.rglob("run.inpt")), key=lambda path: path.stat().st_mtime_ns)


def test_the_first_step_of_a_given_density_is_read(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    cell = make_cell()
    density = np.random.default_rng(0).uniform(0.1, 1.0, cell.grid)
    monkeypatch.setattr(sparc, "STATES", (1.2, 1.5))  # 4 electrons: 7 states, whose highest is not empty, then 8
    found = Sparc(SETTINGS, pseudopotentials).harris_foulkes(cell, density, tmp_path)
    assert found.free_energy == -1.25 * 2
    first, second = _runs(tmp_path)
    assert "NSTATES: 7\n" in (first / "run.inpt").read_text()
    assert "NSTATES: 8\n" in (second / "run.inpt").read_text()
    text = (second / "seen.inpt").read_text()
    for line in (
        "READ_INIT_DENS: 1",
        "INPUT_DENS_FILE: given.dens",
        "MIXING_VARIABLE: density",
        "MAXIT_SCF: 1",
        "MINIT_SCF: 1",
        "RHO_TRIGGER: 40",
        "SMEARING: 0.005",
        "ELEC_TEMP_TYPE: fermi-dirac",
        "EXCHANGE_CORRELATION: GGA_PBE",
        "KPOINT_GRID: 1 1 1",
        "KPOINT_SHIFT: 0 0 0",
    ):
        assert f"{line}\n" in text
    # Debian's file has exponents of Fortran, which SPARC cannot read.
    aluminium = (pseudopotentials / "13_Al_psml.psp8").read_text()
    assert "2.2298172446944D-02" in aluminium
    ours, theirs = ((second / "z13.psp8").read_text().splitlines(), aluminium.splitlines())
    assert ours[:6] == theirs[:6]
    table = [[float(word.replace("D", "E")) for word in line.split()] for line in theirs[6:600]]
    assert [[float(word) for word in line.split()] for line in ours[6:600]] == table
    _, given = read_cube(second / "given.dens")
    assert given == pytest.approx(density, rel=1e-8)


def test_electrons_in_the_highest_state_are_an_error(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    monkeypatch.setattr(sparc, "STATES", (1.2,))
    cell = make_cell()
    with pytest.raises(
        WorkError, match=r"cells/alh: expected an empty state among SPARC's 7, .* lower energy\.smear.* energy\.methods"
    ):
        Sparc(SETTINGS, pseudopotentials).harris_foulkes(cell, np.ones(cell.grid), tmp_path)


def test_a_run_that_does_not_converge_is_an_error(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN.replace("NSTATES: 8", "NSTATES: 7"), monkeypatch)
    with pytest.raises(
        WorkError, match=r"(?s)cells/alh: SPARC: did not converge; raise energy\.smearing; .*The program took"
    ):
        Sparc(SETTINGS, pseudopotentials).self_consistent(make_cell(), tmp_path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo '[FATAL] no such key'; echo MPI_ABORT was invoked; exit 1", r"status 1; .*no such key$"),
        ("echo nothing; exit 0", r"ended without a result; .*nothing"),
        ("touch run.out; echo '1 0.5 0.0' > run.eigen; echo odd", r"printed no energy of its first step; .*odd"),
        ("touch run.out run.eigen", r"left no result that can be read \(no states and occupations in run\.eigen\)"),
        (
            "touch run.out; echo '1 0.5 odd' > run.eigen",
            r"left no result that can be read \(could not convert .* 'odd'",
        ),
    ],
)
def test_a_failure_quotes_what_sparc_said(
    script: str,
    message: str,
    pseudopotentials: Path,
    make_cell: Callable[..., Snapshot],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _install(tmp_path / "bin", f"#!/bin/sh\n# SPARC (version x)\n{script}\n", monkeypatch)
    cell = make_cell()
    with pytest.raises(WorkError, match=rf"(?s)cells/alh: SPARC: .*{message}"):
        Sparc(SETTINGS, pseudopotentials).harris_foulkes(cell, np.ones(cell.grid), tmp_path)


def test_the_input_says_what_the_snapshot_is(make_cell: Callable[..., Snapshot], tmp_path: Path) -> None:
    cell = make_cell()
    text = inpt(cell, replace(SETTINGS, kpoints=(1, 2, 3)), "GGA_PBE", 9, False)
    assert parse_cell(text, tmp_path) == pytest.approx(cell.cell)
    assert parse_grid(text, tmp_path) == cell.grid
    assert "KPOINT_GRID: 1 2 3\n" in text
    assert "READ_INIT_DENS" not in text
    assert "MAXIT_SCF" not in text
    atoms = parse_positions(ion(cell), cell.cell, tmp_path)
    assert [atom.number for atom in atoms] == [1, 13]
    inside = np.linalg.solve(cell.cell.T, cell.positions.T).T % 1.0 @ cell.cell  # SPARC wants atoms inside
    assert np.array([atom.position for atom in atoms]) == pytest.approx(inside)


def test_atoms_are_grouped_by_element(make_cell: Callable[..., Snapshot]) -> None:
    cell = make_cell()
    three = replace(cell, numbers=np.array([13, 1, 13]), positions=np.diag([1.0, 2.0, 3.0]))
    blocks = ion(three).split("ATOM_TYPE: ")[1:]
    assert [block.splitlines()[:3] for block in blocks] == [
        ["H", "N_TYPE_ATOM: 1", "PSEUDO_POT: z1.psp8"],
        ["Al", "N_TYPE_ATOM: 2", "PSEUDO_POT: z13.psp8"],
    ]


def test_the_density_has_the_header_that_sparc_reads(make_cell: Callable[..., Snapshot], tmp_path: Path) -> None:
    cell = make_cell()
    density = np.random.default_rng(0).uniform(0.1, 1.0, cell.grid)
    path = tmp_path / "given.dens"
    write_density(path, cell, density)
    # What it scans: a line; two words, a number and the rest of the line; the count of atoms and the rest; the steps.
    lines = path.read_text().splitlines()
    words = lines[1].split()
    assert words[:2] == ["Cell", "length:"]
    assert float(words[2]) == pytest.approx(np.linalg.norm(cell.cell[0]), abs=1e-6)
    assert int(lines[2].split()[0]) == 2
    header, values = read_cube(path)
    assert header.cell == pytest.approx(cell.cell, abs=1e-4)  # the tolerance of SPARC
    assert values == pytest.approx(density, rel=1e-8)


def test_left_handed_cells_are_turned(make_cell: Callable[..., Snapshot], tmp_path: Path) -> None:
    nx, ny, nz = make_cell().grid
    right = make_cell()
    left = replace(right, cell=right.cell[[0, 2, 1]], grid=(nx, nz, ny))
    density = np.random.default_rng(0).uniform(0.1, 1.0, right.grid)
    here = inpt(right, replace(SETTINGS, kpoints=(1, 2, 3)), "GGA_PBE", 9, True)
    assert here == inpt(left, replace(SETTINGS, kpoints=(1, 3, 2)), "GGA_PBE", 9, True)
    atoms = [parse_positions(ion(cell), right.cell, tmp_path) for cell in (right, left)]
    assert np.array([atom.position for atom in atoms[1]]) == pytest.approx(
        np.array([atom.position for atom in atoms[0]])
    )
    for name, cell, field in (("right", right, density), ("left", left, density.transpose(0, 2, 1))):
        write_density(tmp_path / name, cell, field)
    assert (tmp_path / "right").read_bytes() == (tmp_path / "left").read_bytes()


def test_the_highest_state_of_every_k_point_counts() -> None:
    first = "n        eigval        occ\n1       -2.2E-01     2.000000000000\n"
    text = f"{first}2        7.9E-02     0.000000000000\n\nkred #2 = (0.5,0.0,0.0)\nweight = 0.5\n"
    text += f"{first}2        7.9E-02     0.250000000000\n"
    assert highest_occupation(text) == 0.25
    with pytest.raises(ValueError, match=r"no states"):
        highest_occupation("")


def test_electrons_that_the_pseudopotentials_do_not_have(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path
) -> None:
    cell = make_cell(electrons=12.0)
    with pytest.raises(
        RequestError, match=r"cells/alh: expected pseudopotentials with 12 valence electrons .* found 4"
    ):
        Sparc(SETTINGS, pseudopotentials).harris_foulkes(cell, np.ones(cell.grid), tmp_path)


def test_snapshots_that_cannot_be_computed_are_told_before_any_work(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    engine = Sparc(SETTINGS, pseudopotentials)
    engine.require([make_cell()])
    with pytest.raises(
        RequestError, match=r"cells/alh: expected pseudopotentials with 12 valence electrons .* found 4"
    ):
        engine.require([make_cell(), make_cell(electrons=12.0)])


def test_what_is_missing_is_told_before_any_work(
    pseudopotentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Sparc(SETTINGS, pseudopotentials)
    _install(tmp_path / "bin", "#!/bin/sh\n", monkeypatch)
    with pytest.raises(RequestError, match=r"sparc: expected SPARC-X, found a program"):
        engine.check([1])
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        with pytest.raises(RequestError, match=r"energy\.engine: expected the program sparc on the path, found none"):
            engine.check([1])
    with pytest.raises(RequestError, match=r"expected a pseudopotential \(\*\.psp8\) of O"):
        engine.check([8])
    folder = tmp_path / "lda"
    folder.mkdir()
    (folder / "H.psp8").write_text((pseudopotentials / "H.psp8").read_text().replace("8      11", "8   -1012", 1))
    with pytest.raises(RequestError, match=r"H\.psp8: expected .* PBE .*, found pspxc -1012; take another file"):
        Sparc(SETTINGS, folder).check([1])


def test_identity_is_of_contents_and_settings(
    pseudopotentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    engine = Sparc(SETTINGS, pseudopotentials)
    engine.check([13, 1])
    identity = engine.identity([13, 1, 13])
    assert identity == json.loads(json.dumps(identity))
    assert "/" not in json.dumps(identity)
    assert identity["version"] == "July 01, 2026"
    assert list(identity["pseudopotentials"]) == ["H", "Al"]
    assert Sparc(replace(SETTINGS, cutoff=6.0), pseudopotentials).identity([1, 13]) == identity
    for other in (replace(SETTINGS, smearing=0.02), replace(SETTINGS, kpoints=(1, 1, 2))):
        assert Sparc(other, pseudopotentials).identity([1, 13]) != identity


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STATES", (1.3,)),
        ("SPARE_STATES", 6),
        ("EMPTY", 1e-6),
        ("PASSES", 41),
        ("STENCIL", 10),
        ("POISSON_TOLERANCE", 1e-8),
        ("CHARGE_TOLERANCE", 1e-7),
        ("_version", lambda program: "another"),
    ],
)
def test_identity_is_of_all_that_a_diagonalisation_is_told(
    name: str, value: Any, pseudopotentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    engine = Sparc(SETTINGS, pseudopotentials)
    before = engine.identity([1])
    monkeypatch.setattr(sparc, name, value)
    assert engine.identity([1]) != before


def test_a_program_from_a_path_that_is_relative(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path / "bin", STAND_IN, monkeypatch)
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"bin{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(sparc, "STATES", (1.5,))
    cell = make_cell()
    found = Sparc(SETTINGS, pseudopotentials).harris_foulkes(cell, np.ones(cell.grid), tmp_path / "scratch")
    assert found.free_energy == -2.5


@dataclass(frozen=True)
class Solved:
    """A cell, its engine, its free energy and its density."""

    cell: Snapshot
    engine: Sparc
    energy: float
    density: np.ndarray


@pytest.fixture(scope="module")
def solved(
    pseudopotentials: Path, make_cell: Callable[..., Snapshot], tmp_path_factory: pytest.TempPathFactory
) -> Solved:
    cell = make_cell(cell=np.diag([7.0, 7.5, 8.0]), grid=(18, 20, 21))
    engine = Sparc(SETTINGS, pseudopotentials)
    return Solved(cell, engine, *engine.self_consistent(cell, tmp_path_factory.mktemp("scf")))


@needs_sparc
def test_harris_foulkes_of_the_converged_density_is_the_converged_energy(solved: Solved, tmp_path: Path) -> None:
    assert solved.density.mean() * solved.cell.volume == pytest.approx(4.0, abs=1e-6)
    found = solved.engine.harris_foulkes(solved.cell, solved.density, tmp_path)
    assert abs(found.free_energy - solved.energy) < EXACT


@needs_sparc
def test_the_error_is_quadratic_in_the_perturbation(solved: Solved, tmp_path: Path) -> None:
    i, j, k = (2 * np.pi * np.arange(n) / n for n in solved.density.shape)
    wave = solved.density * (np.cos(i)[:, None, None] + np.sin(j)[:, None] * np.cos(k))
    wave -= solved.density * wave.sum() / solved.density.sum()
    sizes = np.array([0.02, 0.04, 0.08])
    errors = [
        solved.engine.harris_foulkes(solved.cell, solved.density + size * wave, tmp_path).free_energy - solved.energy
        for size in sizes
    ]
    assert min(np.abs(errors)) > 10 * EXACT
    assert np.polyfit(np.log(sizes), np.log(np.abs(errors)), 1)[0] == pytest.approx(2.0, abs=0.1)


@needs_sparc
def test_left_handed_cells_are_right_too(solved: Solved, tmp_path: Path) -> None:
    nx, ny, nz = solved.cell.grid
    mirrored = replace(solved.cell, cell=solved.cell.cell[[0, 2, 1]], grid=(nx, nz, ny))
    energy, density = solved.engine.self_consistent(mirrored, tmp_path)
    assert energy == pytest.approx(solved.energy, abs=EXACT)
    assert np.abs(density - solved.density.transpose(0, 2, 1)).max() < 1e-5

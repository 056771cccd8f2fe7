"""SPARC: real space and norm-conserving pseudopotentials, the program that the paper's densities come from.

One step (`MAXIT_SCF 1`) of density mixing starts from the density that a cube file gives. The bands of H[ρ] come from
`RHO_TRIGGER` passes of Chebyshev filtering over random orbitals, and the energy that SPARC prints beside that step has
the double counting of the density that was given: F_HF. (What it prints after the last step is that of the density
that came out.) SPARC does not scale the density to N electrons.

Keywords: the manual of SPARC-X, github.com/SPARC-X/SPARC.
"""

import functools
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Float, Float64

from coreset.corpus.cube import read_cube, write_cube
from coreset.corpus.elements import SYMBOLS
from coreset.corpus.snapshot import Snapshot
from coreset.energies.engine import (
    LEAVE_OUT,
    Energy,
    Engine,
    Settings,
    execute,
    failure,
    locate,
    readable,
    require_electrons,
)
from coreset.energies.pseudopotentials import Pseudopotential, find
from coreset.errors import RequestError, WorkError
from coreset.numerics.fourier import resample

PROGRAM = "sparc"

INSTALL = "build it from github.com/SPARC-X/SPARC, or take the engine abinit"

FUNCTIONALS = {11: "GGA_PBE", -101130: "GGA_PBE"}
"""SPARC's name of a pseudopotential's exchange–correlation functional (`pspxc`)."""

PASSES = 40
"""`RHO_TRIGGER`. Of 32 atoms of Al, 4 passes (SPARC's default) leave 1e-2 Ha/atom, 10 1e-4, 20 4e-7, 40 7e-9."""

STENCIL = 12
"""`FD_ORDER`: order of the finite differences."""

POISSON_TOLERANCE = 1e-9
"""`TOL_POISSON`: relative residual of the electrostatic potential."""

CHARGE_TOLERANCE = 1e-8
"""`TOL_PSEUDOCHARGE`: relative error of the charge within the radius that represents an ion."""

SCF_TOLERANCE = 1e-8
"""`TOL_SCF` of a self-consistent run: relative change of the density."""

STATES = (1.2, 1.5, 2.0)
"""States per pair of electrons, tried in turn until the highest state is empty."""

SPARE_STATES = 5
"""States beyond that, for cells of few electrons."""

EMPTY = 1e-7
"""Occupation, of at most 2, of a state that counts as empty."""

_FORTRAN_EXPONENT = re.compile(r"(\d)D([+-]\d)")
_VERSION = re.compile(rb"SPARC \(version ([^)]+)\)")
_FIRST_STEP = re.compile(r"^Iteration +Free Energy \(Ha/atom\).*\n1 +(-?\d\.\d+E[+-]\d+)", re.MULTILINE)
_TOTAL = re.compile(r"^Total free energy +: +(-?\d\.\d+E[+-]\d+)", re.MULTILINE)
_STATE = re.compile(r"^(\d+) +(\S+) +(\S+) *$", re.MULTILINE)


@final
@dataclass(frozen=True)
class Sparc(Engine):
    """For energies with the discretisation that the densities were made with: the grid is the snapshot's own.

    `settings.cutoff` has no meaning here.
    """

    name: ClassVar[str] = "sparc"

    def check(self, numbers: Iterable[int]) -> None:
        _functional(find(self.pseudopotentials, numbers))
        _version(_program())

    def require(self, snapshots: Iterable[Snapshot]) -> None:
        _version(_program())
        for snapshot in snapshots:
            _functional(self._files(snapshot))

    def identity(self, numbers: Iterable[int]) -> dict[str, Any]:
        files = find(self.pseudopotentials, numbers)
        return {
            "engine": self.name,
            "version": _version(_program()),
            "settings": {
                "smearing": self.settings.smearing,
                "kpoints": list(self.settings.kpoints),
                "states": list(STATES),
                "spare_states": SPARE_STATES,
                "empty": EMPTY,
                "passes": PASSES,
                "stencil": STENCIL,
                "poisson": POISSON_TOLERANCE,
                "charge": CHARGE_TOLERANCE,
            },
            "pseudopotentials": {SYMBOLS[number - 1]: file.sha256() for number, file in files.items()},
        }

    def harris_foulkes(self, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"], scratch: Path) -> Energy:
        log, folder = self._run(snapshot, scratch, given=resample(density, snapshot.grid))
        found = _FIRST_STEP.search((folder / "run.out").read_text(errors="replace"))
        if found is None:
            raise failure(_label(snapshot), "printed no energy of its first step", log)
        return Energy(float(found[1]) * len(snapshot.numbers))

    def self_consistent(self, snapshot: Snapshot, scratch: Path) -> tuple[float, Float64[np.ndarray, "mx my mz"]]:
        log, folder = self._run(snapshot, scratch)
        text = (folder / "run.out").read_text(errors="replace")
        found = _TOTAL.search(text)
        if found is None or "did not converge" in text:
            raise failure(_label(snapshot), "did not converge", log, "raise energy.smearing")
        with readable(_label(snapshot), log):
            _, density = read_cube(folder / "run.dens")
        return float(found[1]), np.transpose(density, np.argsort(_axes(snapshot)))

    def _files(self, snapshot: Snapshot) -> dict[int, Pseudopotential]:
        """The pseudopotential of each element, in order of atomic number; their valence charges add up."""
        files = find(self.pseudopotentials, snapshot.numbers.tolist())
        require_electrons(snapshot, {number: file.valence for number, file in files.items()})
        return files

    def _run(
        self, snapshot: Snapshot, scratch: Path, given: Float64[np.ndarray, "nx ny nz"] | None = None
    ) -> tuple[str, Path]:
        """Run SPARC, with more states where electrons reach the highest one: what it printed, and where."""
        files = self._files(snapshot)
        functional, program = _functional(files), _program()
        for factor in STATES:
            states = int(factor * snapshot.electrons / 2) + SPARE_STATES
            folder = Path(tempfile.mkdtemp(dir=scratch))
            for number, file in files.items():
                # Some ONCV files hold exponents of Fortran, 1.0D+00, which C reads as 1.0 and another number.
                text = _FORTRAN_EXPONENT.sub(r"\1E\2", file.path.read_text(errors="replace"))
                (folder / _psp(number)).write_text(text)
            (folder / "run.inpt").write_text(inpt(snapshot, self.settings, functional, states, given is not None))
            (folder / "run.ion").write_text(ion(snapshot))
            if given is not None:
                write_density(folder / "given.dens", snapshot, given)
            log = execute([program, "-name", "run"], folder, folder / "run.log", _label(snapshot), end="MPI_ABORT")
            if not (folder / "run.out").is_file() or not (folder / "run.eigen").is_file():
                raise failure(_label(snapshot), "ended without a result", log)
            with readable(_label(snapshot), log):
                highest = highest_occupation((folder / "run.eigen").read_text(errors="replace"))
            if highest < EMPTY:
                return log, folder
        raise WorkError(
            f"{snapshot.name}: expected an empty state among SPARC's {states}, found electrons in the highest one; "
            f"lower energy.smearing, which is {self.settings.smearing:g} Ha, or {LEAVE_OUT}"
        )


def inpt(snapshot: Snapshot, settings: Settings, functional: str, states: int, given: bool) -> str:
    """The file `run.inpt`: cell, grid, method; `given` starts from `given.dens` and takes one step."""
    axes = _axes(snapshot)
    rows = {
        "LATVEC_SCALE": "1.0 1.0 1.0",
        "LATVEC": "\n" + _rows(snapshot.cell[list(axes)]),
        "FD_GRID": " ".join(str(snapshot.grid[axis]) for axis in axes),
        "FD_ORDER": str(STENCIL),
        "BC": "P P P",
        "KPOINT_GRID": " ".join(str(settings.kpoints[axis]) for axis in axes),
        "KPOINT_SHIFT": "0 0 0",  # SPARC shifts even divisions unless it is told not to
        "EXCHANGE_CORRELATION": functional,
        "ELEC_TEMP_TYPE": "fermi-dirac",
        "SMEARING": repr(float(settings.smearing)),
        "NSTATES": str(states),
        "TOL_SCF": repr(SCF_TOLERANCE),
        "TOL_POISSON": repr(POISSON_TOLERANCE),
        "TOL_PSEUDOCHARGE": repr(CHARGE_TOLERANCE),
        "MIXING_VARIABLE": "density",
        "FIX_RAND": "1",
        "PRINT_FORCES": "0",
        "PRINT_ATOMS": "0",
        "PRINT_EIGEN": "1",
        "PRINT_DENSITY": "0" if given else "1",
    }
    if given:
        rows |= {
            "READ_INIT_DENS": "1",
            "INPUT_DENS_FILE": "given.dens",
            "MAXIT_SCF": "1",
            "MINIT_SCF": "1",
            "RHO_TRIGGER": str(PASSES),
        }
    return "".join(f"{key}: {value}\n" for key, value in rows.items())


def ion(snapshot: Snapshot) -> str:
    """The file `run.ion`: the atoms, element by element, in fractions of the lattice vectors."""
    fractions = np.linalg.solve(snapshot.cell.T, snapshot.positions.T).T[:, list(_axes(snapshot))] % 1.0
    text = ""
    for number in sorted(set(snapshot.numbers.tolist())):
        mine = fractions[snapshot.numbers == number]
        text += f"ATOM_TYPE: {SYMBOLS[number - 1]}\nN_TYPE_ATOM: {len(mine)}\nPSEUDO_POT: {_psp(number)}\n"
        text += f"COORD_FRAC:\n{_rows(mine)}\n"
    return text


def write_density(path: Path, snapshot: Snapshot, density: Float64[np.ndarray, "nx ny nz"]) -> None:
    """A cube file that SPARC reads: its second line must hold two words, a number, then anything."""
    axes = list(_axes(snapshot))
    cell = snapshot.cell[axes]
    lengths = " ".join(f"{length:.6f}" for length in np.linalg.norm(cell, axis=1))
    comment = f"Electron density\nCell length: {lengths}, boundary condition: P P P."
    write_cube(path, cell, snapshot.numbers, snapshot.positions, np.transpose(density, axes), comment)


def highest_occupation(text: str) -> float:
    """Electrons, of at most 2, in the highest state of any k point, from `run.eigen`.

    Raises:
        ValueError: the file holds no states, or other words than numbers.
    """
    states = [(int(state), float(occupation)) for state, _, occupation in _STATE.findall(text)]
    if not states:
        raise ValueError("no states and occupations in run.eigen")
    highest = max(state for state, _ in states)
    return max(occupation for state, occupation in states if state == highest)


def _axes(snapshot: Snapshot) -> tuple[int, int, int]:
    """Order in which the lattice vectors are right-handed, the only order that SPARC takes."""
    return (0, 1, 2) if np.linalg.det(snapshot.cell) > 0 else (0, 2, 1)


def _rows(vectors: Float[np.ndarray, "a 3"]) -> str:
    return "\n".join(" ".join(repr(float(component)) for component in vector) for vector in vectors)


def _psp(number: int) -> str:
    return f"z{number}.psp8"


def _functional(files: Mapping[int, Pseudopotential]) -> str:
    for file in files.values():
        if file.functional not in FUNCTIONALS:
            raise RequestError(
                f"{file.path}: expected a pseudopotential for PBE (pspxc 11 or -101130), found pspxc "
                f"{file.functional}; take another file, or the engine abinit"
            )
    return "GGA_PBE"


def _label(snapshot: Snapshot) -> str:
    return f"{snapshot.name}: SPARC"


def _program() -> str:
    return locate(PROGRAM, INSTALL)


@functools.cache
def _version(program: str) -> str:
    """The version, which SPARC prints only when it computes, from the text within the program."""
    try:
        found = _VERSION.search(Path(program).read_bytes())
    except OSError as error:
        raise RequestError(
            f"energy.engine: expected to read {program}, found {error.strerror}; make it readable, or {INSTALL}"
        ) from None
    if found is None:
        raise RequestError(
            f"energy.engine: {program}: expected SPARC-X, found a program that does not name its version as SPARC-X "
            f"does; {INSTALL}"
        )
    return found[1].decode()

"""ABINIT: plane waves and norm-conserving pseudopotentials.

The density goes, on ABINIT's own Fourier grid, into a file `_DEN` that one step (`nstep 1`) of density mixing
(`iscf 17`) starts from: the bands of H[ρ] are improved until every squared residual ‖(H − ε)ψ‖² is below `tolwfr`. Of
the two energies printed after that step, `total_energy_dc` has the double counting of the density that was given: F_HF.
(`total_energy` takes Hartree and exchange–correlation energy of the density that came out; its error is linear.)

The header of a `_DEN` differs between versions of ABINIT, so a first, cheap run writes a whole file, and only the
values in it are replaced. Symmetry is not used, for a predicted density has none. The variables: docs.abinit.org.
"""

import functools
import math
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
from jaxtyping import Float, Float64
from scipy.fft import next_fast_len
from scipy.special import expit

from coreset.corpus.elements import SYMBOLS
from coreset.corpus.snapshot import Snapshot
from coreset.energies.engine import (
    LEAVE_OUT,
    Energy,
    Engine,
    execute,
    failure,
    locate,
    readable,
    require_electrons,
)
from coreset.energies.pseudopotentials import Pseudopotential, find
from coreset.errors import RequestError, WorkError
from coreset.numerics.fourier import resample

PROGRAM = "abinit"

INSTALL = "install Debian's package abinit, or conda-forge's, or choose another engine"

VERSION_LIMIT = 60.0
"""Seconds after which a program that was asked for its version counts as broken."""

RESIDUAL = 1e-10
"""`tolwfr`, Ha²; docs/energies.md has the error that it leaves."""

PASSES = 60
"""`nnsclo`: passes over all bands before the diagonalisation counts as failed."""

LINE_STEPS = 8
"""`nline`: conjugate-gradient steps of one band in one pass; four of them do not reach small residuals."""

BANDS = (1.2, 2.0, 4.0)
"""Bands per pair of electrons, tried in turn until the spare bands above them are empty."""

SPARE_BANDS = 4
"""`nbdbuf`: bands on top whose residuals do not count, for one cut out of a degenerate level never converges."""

EMPTY = 1e-7
"""Occupation, of at most 2, below which a band counts as empty."""

STEPS = 200
"""`nstep` of a self-consistent run."""

POTENTIAL_RESIDUAL = 1e-14
"""`tolvrs` of a self-consistent run, Ha²."""


@final
@dataclass(frozen=True)
class Abinit(Engine):
    """The default engine. It reads the ONCV files (`.psp8`) that SPARC reads."""

    name: ClassVar[str] = "abinit"

    def check(self, numbers: Iterable[int]) -> None:
        find(self.pseudopotentials, numbers)
        _version(_program())

    def require(self, snapshots: Iterable[Snapshot]) -> None:
        _version(_program())
        for snapshot in snapshots:
            self._files(snapshot)

    def identity(self, numbers: Iterable[int]) -> dict[str, Any]:
        files = find(self.pseudopotentials, numbers)
        return {
            "engine": self.name,
            "version": _version(_program()),
            "settings": {
                **asdict(self.settings),
                "kpoints": list(self.settings.kpoints),
                "residual": RESIDUAL,
                "passes": PASSES,
                "line_steps": LINE_STEPS,
                "bands": list(BANDS),
                "spare_bands": SPARE_BANDS,
                "empty": EMPTY,
            },
            "pseudopotentials": {SYMBOLS[number - 1]: file.sha256() for number, file in files.items()},
        }

    def harris_foulkes(self, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"], scratch: Path) -> Energy:
        energy, _ = self._run(snapshot, density, scratch)
        return Energy(energy)

    def self_consistent(self, snapshot: Snapshot, scratch: Path) -> tuple[float, Float64[np.ndarray, "mx my mz"]]:
        energy, folder = self._run(snapshot, None, scratch)
        axes = _axes(snapshot)
        grid = [self._grid(snapshot)[axis] for axis in axes]
        with readable(_label(snapshot), (folder / "run.log").read_text(errors="replace")):
            density = np.array(_values(folder / "runo_DEN", math.prod(grid)))
        return energy, density.reshape(grid, order="F").transpose(np.argsort(axes))

    def _files(self, snapshot: Snapshot) -> dict[int, Pseudopotential]:
        """The pseudopotential of each element, in order of atomic number; their valence charges add up."""
        files = find(self.pseudopotentials, snapshot.numbers.tolist())
        require_electrons(snapshot, {number: file.valence for number, file in files.items()})
        return files

    def _run(
        self, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"] | None, scratch: Path
    ) -> tuple[float, Path]:
        """One step at the density, or without one to self-consistency: the energy, Ha, and the folder of the run.

        Repeated with more bands where electrons reach the spare ones.
        """
        for factor in BANDS:
            bands = math.ceil(factor * snapshot.electrons / 2) + SPARE_BANDS
            folder = Path(tempfile.mkdtemp(dir=scratch))
            if density is None:
                key, way_out = "total_energy", "raise energy.smearing"
                chosen = f"nstep {STEPS}\ntolvrs {POTENTIAL_RESIDUAL}\nnline {LINE_STEPS}\nprtden 1"
            else:
                key, way_out = "total_energy_dc", f"lower energy.cutoff, or {LEAVE_OUT}"
                self._write(density, snapshot, folder, bands)
                chosen = f"nstep 1\ntolwfr {RESIDUAL}\nnnsclo {PASSES}\nnline {LINE_STEPS}\nprtden 0\n"
                chosen += 'getden_filepath "fileo_DEN"'
            log = self._abinit(snapshot, folder, "run", f"ecut {self.settings.cutoff!r}\n{chosen}", bands)
            with readable(_label(snapshot), log):
                printed = (folder / "run.abo").read_text(errors="replace")
                if "was not enough SCF cycles to converge" in printed:
                    raise failure(_label(snapshot), "did not converge", log, way_out)
                energy = _energy(printed, key)
                eigenvalues = (folder / "runo_EIG").read_text(errors="replace")
                if _spare_occupation(eigenvalues, self.settings.smearing) < EMPTY:
                    return energy, folder
        raise WorkError(
            f"{snapshot.name}: expected {SPARE_BANDS} empty bands among ABINIT's {bands}, found electrons in them; "
            f"lower energy.smearing, which is {self.settings.smearing:g} Ha, or {LEAVE_OUT}"
        )

    def _write(self, density: Float[np.ndarray, "nx ny nz"], snapshot: Snapshot, folder: Path, bands: int) -> None:
        """The density in the folder's `fileo_DEN`."""
        # Half the cutoff and one step of one pass: quick, and the grid, which alone matters, is the same.
        quick = f"ecut {self.settings.cutoff / 2!r}\nnstep 1\ntoldfe 1\nnnsclo 1\nnline 1\nprtden 1"
        log = self._abinit(snapshot, folder, "file", quick, bands)
        given = resample(density, self._grid(snapshot)).transpose(_axes(snapshot))
        with readable(_label(snapshot), log):
            _values(folder / "fileo_DEN", given.size, "r+")[:] = given.ravel(order="F")

    def _abinit(self, snapshot: Snapshot, folder: Path, run: str, chosen: str, bands: int) -> str:
        """Run ABINIT with input RUN.abi, which it names its files after; what it printed."""
        files = self._files(snapshot)
        for number, file in files.items():
            if not (folder / _psp8(number)).exists():
                (folder / _psp8(number)).symlink_to(file.path.resolve())
        text = f"{chosen}\nnband {bands}\nnbdbuf {SPARE_BANDS}\n{self._system(snapshot, list(files))}"
        (folder / f"{run}.abi").write_text(text)
        command = [_program(), f"{run}.abi"]
        return execute(command, folder, folder / f"{run}.log", _label(snapshot), end="abinit_abort")

    def _system(self, snapshot: Snapshot, numbers: list[int]) -> str:
        """The part of the input that is the same in every run: atoms, cell, grid, k points, occupations."""
        axes = list(_axes(snapshot))
        grid, kpoints = self._grid(snapshot), self.settings.kpoints
        variables: dict[str, list[Any]] = {
            "acell": ["3*1.0"],
            "rprim": _rows(snapshot.cell[axes]),
            "natom": [len(snapshot.numbers)],
            "ntypat": [len(numbers)],
            "znucl": numbers,
            "typat": [numbers.index(number) + 1 for number in snapshot.numbers.tolist()],
            "xcart": _rows(snapshot.positions),
            "pseudos": ['"' + ", ".join(_psp8(number) for number in numbers) + '"'],
            "nsym": [1],
            "kptopt": [2],  # time reversal, which any density has
            "ngkpt": [kpoints[axis] for axis in axes],
            "nshiftk": [1],
            "shiftk": [0, 0, 0],
            "ngfft": [grid[axis] for axis in axes],
            "occopt": [3],  # Fermi–Dirac
            "tsmear": [repr(float(self.settings.smearing))],
            "iscf": [17],
            "iomode": [0],  # Fortran files
            "optforces": [0],
            "optstress": [0],
            "prtwf": [0],
            "prtgsr": [0],
        }
        return "".join("\n  ".join([key, *map(str, values)]) + "\n" for key, values in variables.items())

    def _grid(self, snapshot: Snapshot) -> tuple[int, int, int]:
        return fourier_grid(snapshot.cell, snapshot.grid, self.settings.cutoff)


def fourier_grid(cell: Float[np.ndarray, "3 3"], grid: tuple[int, int, int], cutoff: float) -> tuple[int, int, int]:
    """Points along each axis that hold the density of all plane waves of the cutoff, and all of a density on `grid`.

    A product of two such waves has |G| ≤ 2√(2E), and |G·a| ≤ |G||a| bounds its index along the axis a. Sizes are
    products of 2, 3 and 5, as ABINIT's transform wants them.
    """
    indices = 2 * np.sqrt(2 * cutoff) * np.linalg.norm(cell, axis=1) / (2 * np.pi)
    nx, ny, nz = (next_fast_len(max(math.ceil(2 * m), n), real=True) for m, n in zip(indices, grid, strict=True))
    return nx, ny, nz


def _axes(snapshot: Snapshot) -> tuple[int, int, int]:
    """An order in which the lattice vectors are right-handed; ABINIT takes no other."""
    return (0, 1, 2) if np.linalg.det(snapshot.cell) > 0 else (0, 2, 1)


def _rows(vectors: Float[np.ndarray, "a 3"]) -> list[str]:
    return [" ".join(map(repr, vector)) for vector in vectors.tolist()]


def _psp8(number: int) -> str:
    return f"z{number}.psp8"


def _label(snapshot: Snapshot) -> str:
    return f"{snapshot.name}: ABINIT"


def _values(path: Path, count: int, mode: Literal["r", "r+"] = "r") -> Float64[np.ndarray, " m"]:
    """The density in a Fortran file `_DEN`, its last record: x fastest, then y, z; the file itself with mode r+.

    Each record stands between two 4-byte counts of its bytes. Raises ValueError unless this one has so many values.
    """
    end = path.stat().st_size - 4
    if end < 8 * count + 4 or np.memmap(path, np.dtype("<i4"), "r", end)[0] != 8 * count:
        raise ValueError(f"{path.name} does not end in {count} values of the density")
    return np.memmap(path, np.dtype("<f8"), mode, end - 8 * count, count)


def _energy(printed: str, key: str) -> float:
    """What stands behind the key, Ha. Raises ValueError where that is nothing, or no finite number."""
    found = re.search(rf"^{key}\s*:\s*(\S+)$", printed, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {key} among what it printed")
    energy = float(found[1])
    if not math.isfinite(energy):
        raise ValueError(f"{key}: {found[1]}")
    return energy


def _spare_occupation(eigenvalues: str, smearing: float) -> float:
    """Occupation 2 / (1 + exp((ε − μ)/kT)) of the lowest spare band, the largest over the k points, from an `_EIG`.

    Raises ValueError for a file without them.
    """
    fermi = re.findall(r"Fermi .*energy \(hartree\) = *(\S+)", eigenvalues)
    bands = [block.split() for block in re.findall(r"\(reduced coord\)\n((?:[ \d.E+-]+\n)+)", eigenvalues)]
    if not fermi or min(map(len, bands), default=0) < SPARE_BANDS:
        raise ValueError("the eigenvalues in the file _EIG are not all there")
    spare = min(float(levels[-SPARE_BANDS]) for levels in bands)
    return float(2 * expit((float(fermi[-1]) - spare) / smearing))


@functools.cache
def _version(program: str) -> str:
    """What the program prints when it is asked for its version. Raises RequestError where that is nothing."""
    try:
        asked = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_LIMIT,
        )
    except OSError as error:
        found = f"that it cannot be started ({error.strerror})"
    except subprocess.TimeoutExpired:
        found = f"no answer within {VERSION_LIMIT:g} s"
    else:
        version = asked.stdout.strip()
        if asked.returncode == 0 and version:
            return version
        found = f"status {asked.returncode}, {' '.join((asked.stderr.strip() or version or 'nothing printed').split())}"
    raise RequestError(f"energy.engine: expected {program} --version to print a version, found {found}; {INSTALL}")


def _program() -> str:
    return locate(PROGRAM, INSTALL)

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
import shutil
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
from coreset.energies.engine import Energy, Engine, execute, failure, require_electrons
from coreset.energies.pseudopotentials import Pseudopotential, find
from coreset.errors import RequestError, WorkError
from coreset.numerics.fourier import resample

PROGRAM = "abinit"

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
        printed, _ = self._run(snapshot, density, scratch)
        return Energy(_energy(printed, "total_energy_dc", snapshot.name))

    def self_consistent(self, snapshot: Snapshot, scratch: Path) -> tuple[float, Float64[np.ndarray, "mx my mz"]]:
        printed, folder = self._run(snapshot, None, scratch)
        axes = _axes(snapshot)
        grid = [self._grid(snapshot)[axis] for axis in axes]
        density = _values(folder / "runo_DEN").reshape(grid, order="F").transpose(np.argsort(axes))
        return _energy(printed, "total_energy", snapshot.name), np.array(density)

    def _files(self, snapshot: Snapshot) -> dict[int, Pseudopotential]:
        """The pseudopotential of each element, in order of atomic number; their valence charges add up."""
        files = find(self.pseudopotentials, snapshot.numbers.tolist())
        require_electrons(snapshot, {number: file.valence for number, file in files.items()})
        return files

    def _run(
        self, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"] | None, scratch: Path
    ) -> tuple[str, Path]:
        """One step at the density, or without one to self-consistency: what ABINIT printed of it, and its folder.

        Repeated with more bands where electrons reach the spare ones.
        """
        for factor in BANDS:
            bands = math.ceil(factor * snapshot.electrons / 2) + SPARE_BANDS
            folder = Path(tempfile.mkdtemp(dir=scratch))
            if density is None:
                chosen = f"nstep {STEPS}\ntolvrs {POTENTIAL_RESIDUAL}\nnline {LINE_STEPS}\nprtden 1"
            else:
                # Half the cutoff and one step of one pass: quick, and the grid, which alone matters, is the same.
                quick = f"ecut {self.settings.cutoff / 2!r}\nnstep 1\ntoldfe 1\nnnsclo 1\nnline 1\nprtden 1"
                self._abinit(snapshot, folder, "file", quick, bands)
                given = resample(density, self._grid(snapshot)).transpose(_axes(snapshot))
                _values(folder / "fileo_DEN", "r+")[:] = given.ravel(order="F")
                chosen = f"nstep 1\ntolwfr {RESIDUAL}\nnnsclo {PASSES}\nnline {LINE_STEPS}\nprtden 0\n"
                chosen += 'getden_filepath "fileo_DEN"'
            printed = self._abinit(
                snapshot, folder, "run", f"ecut {self.settings.cutoff!r}\n{chosen}", bands, converge=True
            )
            if _spare_occupation((folder / "runo_EIG").read_text(), self.settings.smearing) < EMPTY:
                return printed, folder
        raise WorkError(
            f"{snapshot.name}: expected {SPARE_BANDS} empty bands among ABINIT's {bands}, found electrons in them; "
            f"lower energy.smearing, which is {self.settings.smearing:g} Ha"
        )

    def _abinit(
        self, snapshot: Snapshot, folder: Path, run: str, chosen: str, bands: int, *, converge: bool = False
    ) -> str:
        """Run ABINIT with input RUN.abi, which it names its files after; what it wrote to RUN.abo."""
        files = self._files(snapshot)
        for number, file in files.items():
            if not (folder / _psp8(number)).exists():
                (folder / _psp8(number)).symlink_to(file.path.resolve())
        text = f"{chosen}\nnband {bands}\nnbdbuf {SPARE_BANDS}\n{self._system(snapshot, list(files))}"
        (folder / f"{run}.abi").write_text(text)
        label = f"{snapshot.name}: ABINIT"
        log = execute([_program(), f"{run}.abi"], folder, folder / f"{run}.log", label, end="abinit_abort")
        printed = (folder / f"{run}.abo").read_text(errors="replace")
        if converge and "was not enough SCF cycles to converge" in printed:
            raise failure(label, "did not converge", log)
        return printed

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


def _values(path: Path, mode: Literal["r", "r+"] = "r") -> Float64[np.ndarray, " m"]:
    """The density in a Fortran file `_DEN`, its last record: x fastest, then y, z; the file itself with mode r+.

    Each record stands between two 4-byte counts of its bytes.
    """
    end = path.stat().st_size - 4
    size = int(np.memmap(path, np.dtype("<i4"), "r", end)[0])
    return np.memmap(path, np.dtype("<f8"), mode, end - size, size // 8)


def _energy(printed: str, key: str, name: str) -> float:
    found = re.search(rf"^{key}\s*:\s*(\S+)$", printed, re.MULTILINE)
    if found is None:
        raise failure(f"{name}: ABINIT", f"printed no {key}", printed)
    return float(found[1])


def _spare_occupation(eigenvalues: str, smearing: float) -> float:
    """Occupation 2 / (1 + exp((ε − μ)/kT)) of the lowest spare band, the largest over the k points, from an `_EIG`."""
    fermi = re.findall(r"Fermi .*energy \(hartree\) = *(\S+)", eigenvalues)
    bands = re.findall(r"\(reduced coord\)\n((?:[ \d.E+-]+\n)+)", eigenvalues)
    spare = min(float(block.split()[-SPARE_BANDS]) for block in bands)
    return float(2 * expit((float(fermi[-1]) - spare) / smearing))


@functools.cache
def _version(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _program() -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        raise RequestError(
            f"energy.engine: expected the program {PROGRAM} on the path, found none; install Debian's package abinit, "
            "or conda-forge's, or choose another engine"
        )
    return program

"""What every engine offers: the energy of a given density, by one diagonalisation.

The Harris–Foulkes functional of a density ρ, with the eigenvalues ε_i of H[ρ] and their Fermi–Dirac occupations f_i,

    F_HF[ρ] = Σ_i f_i ε_i − T S − E_H[ρ] + E_xc[ρ + ρ_core] − ∫ V_xc[ρ + ρ_core] ρ + E_ions,

keeps ρ as it is given. At the self-consistent density it is the Kohn–Sham free energy, and it departs from it by the
square of ρ − ρ_scf (Harris, Phys. Rev. B 31, 1770; Foulkes and Haydock, Phys. Rev. B 39, 12520).
"""

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from coreset.corpus.snapshot import Snapshot
from coreset.errors import CoresetError, RequestError, WorkError

ELECTRONS_TOLERANCE = 1e-3
"""Largest difference between the electrons of a snapshot and those of its pseudopotentials."""

ONE_PROCESS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMPI_MCA_ess_singleton_isolated": "1",  # Open MPI would start a daemon for the single process
}
"""Environment of a program that is to stay on one core."""

LEAVE_OUT = "leave the method or rate that gave this density out of energy.methods or energy.rates"
"""The way out that is always there, but for the reference density."""

WAY_OUT = f"try another energy.smearing or, of plane waves, energy.cutoff, or {LEAVE_OUT}"
"""Of a program that ends without a result and does not say which of its settings is to blame."""


@dataclass(frozen=True)
class Settings:
    """What decides an energy besides the atoms, the density and the pseudopotentials.

    Attributes:
        cutoff: plane-wave cutoff, Ha. A real-space engine takes the density's own grid instead.
        smearing: kT of the Fermi–Dirac occupations, Ha.
        kpoints: divisions of a gamma-centred grid.
    """

    cutoff: float
    smearing: float
    kpoints: tuple[int, int, int] = (1, 1, 1)


@dataclass(frozen=True)
class Energy:
    """What an engine found.

    Attributes:
        free_energy: F_HF of the given density, Ha per cell, −TS included.
    """

    free_energy: float


@dataclass(frozen=True)
class Engine(ABC):
    """A program that computes energies; small, and the same on every machine, so that it travels to workers.

    Attributes:
        settings: what the user chose.
        pseudopotentials: folder of the files, None for an engine that brings its own.
    """

    name: ClassVar[str]

    settings: Settings
    pseudopotentials: Path | None = None

    @abstractmethod
    def check(self, numbers: Iterable[int]) -> None:
        """Whether cells of these elements (atomic numbers) could be computed here; computes nothing.

        Raises:
            RequestError: the program or package is missing or broken, or the folder is missing, or the pseudopotential
                of an element.
        """

    @abstractmethod
    def require(self, snapshots: Iterable[Snapshot]) -> None:
        """Whether these very snapshots could be computed, as far as can be told without computing.

        Raises:
            RequestError: what `check` raises, or the valence charges of the pseudopotentials do not add up to a
                snapshot's electrons, or the engine cannot hold a snapshot.
        """

    @abstractmethod
    def identity(self, numbers: Iterable[int]) -> dict[str, Any]:
        """All that decides an energy, as JSON: engine, version, settings, SHA-256 of each element's pseudopotential.

        Holds no path, so the same work has the same digest wherever it is done. Raises what `check` raises.
        """

    @abstractmethod
    def harris_foulkes(self, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"], scratch: Path) -> Energy:
        """F_HF of a density on the snapshot's grid, e/Bohr³, that integrates to the snapshot's electrons.

        One thread; files go to `scratch`, an existing folder that the caller removes.

        Raises:
            RequestError: what `require` raises.
            WorkError: the program failed; its last lines are in the message.
        """

    @abstractmethod
    def self_consistent(self, snapshot: Snapshot, scratch: Path) -> tuple[float, Float[np.ndarray, "mx my mz"]]:
        """The converged Kohn–Sham free energy, Ha, and its density, e/Bohr³, on the grid of the engine.

        Raises as `harris_foulkes` does.
        """


def require_electrons(snapshot: Snapshot, valence: Mapping[int, float]) -> None:
    """Raise RequestError unless the valence charges, by atomic number, add up to the electrons of the snapshot."""
    electrons = sum(valence[int(number)] for number in snapshot.numbers)
    if abs(electrons - snapshot.electrons) > ELECTRONS_TOLERANCE:
        raise RequestError(
            f"{snapshot.name}: expected pseudopotentials with {snapshot.electrons:g} valence electrons in all, as the "
            f"density has, found {electrons:g}; name the folder of those that the density was computed with"
        )


def locate(program: str, way_out: str) -> str:
    """The absolute path of a program, for it is started in another folder than this.

    Raises:
        RequestError: there is none on the path; ends with the way out.
    """
    found = shutil.which(program)
    if found is None:
        raise RequestError(f"energy.engine: expected the program {program} on the path, found none; {way_out}")
    return os.path.abspath(found)


def execute(command: list[str], scratch: Path, log: Path, label: str, *, end: str | None = None) -> str:
    """Run a program in `scratch` on one thread and return what it printed, which is kept in `log`.

    Raises:
        WorkError: it could not be started, or ended with another status than 0; quotes the last that it printed, or
            the last before `end`.
    """
    environment = {**os.environ, **ONE_PROCESS}
    with log.open("wb") as stream:
        try:
            status = subprocess.run(
                command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
            ).returncode
        except OSError as error:
            raise WorkError(f"{label}: could not be started ({error}); install it again on this machine") from error
    text = log.read_text(errors="replace")
    if status != 0:
        raise failure(label, f"ended with status {status}", text.split(end)[0] if end else text)
    return text


@contextmanager
def readable(label: str, printed: str) -> Iterator[None]:
    """Around the reading of what a program left: files that are missing, cut short or no numbers end as a `failure`."""
    try:
        yield
    except CoresetError:
        raise
    except (OSError, ValueError) as error:
        way_out = f"see whether the disk is full and run again, or {LEAVE_OUT}"
        raise failure(label, f"left no result that can be read ({error})", printed, way_out) from error


def failure(label: str, what: str, printed: str, way_out: str = WAY_OUT, lines: int = 12) -> WorkError:
    """A WorkError that names the way out and quotes the last lines of what a program printed."""
    last = "\n".join([line.rstrip() for line in printed.splitlines() if line.strip()][-lines:])
    return WorkError(f"{label}: {what}; {way_out}; it printed last:\n{last or '(nothing)'}")

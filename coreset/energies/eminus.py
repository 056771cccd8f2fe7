"""eminus: plane waves in Python with the pseudopotentials that it brings; for tests, and where no program is installed.

The package gives the basis, the GTH pseudopotentials, PBE and the Ewald sum. The Hamiltonian of a given density is
built here as a matrix over the plane waves |k + G|² ≤ 2 E_cut,

    H_GG' = ½ |k + G|² δ_GG' + V̂(G − G') + Σ_ij β_i(k + G) h_ij β_j(k + G')*,    V = V_loc + V_H[ρ] + V_xc[ρ],

and all its eigenvalues are found by LAPACK, so nothing depends on a tolerance; time grows as the cube of the number of
plane waves. V_xc is the derivative of E_xc as summed over the grid, gradients included (White and Bird, Phys. Rev. B
50, 4954), for F_HF is of second order in the error of ρ only with the potential that belongs to its energy.

Sources: eminus, SoftwareX 29, 102035; GTH, Phys. Rev. B 54, 1703, in the tables of CP2K for PBE.
"""

import hashlib
import importlib
import logging
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Complex128, Float, Float64
from scipy import fft, linalg, optimize, special

from coreset.corpus.elements import SYMBOLS
from coreset.corpus.snapshot import Snapshot
from coreset.energies.engine import Energy, Engine, require_electrons
from coreset.errors import RequestError, WorkError
from coreset.numerics.fourier import resample, wave_numbers

FUNCTIONAL = "pbe"

LARGEST_BASIS = 6000
"""Plane waves of one k point: a matrix of 0.6 GB, and minutes."""

DENSITY_FLOOR = 1e-12
"""e/Bohr³ below which E_xc and V_xc count as zero: the formulas divide by powers of the density."""

EXTRA_BANDS = 4
"""Empty bands of a self-consistent run."""

TOLERANCE = 1e-11
"""Change of energy, Ha, that ends a self-consistent run."""

STEPS = 400
"""Steps after which a self-consistent run counts as failed."""

_ARRAYS = "array_api_compat"


@final
@dataclass(frozen=True)
class Eminus(Engine):
    """Exact diagonalisation for small cells.

    The folder of pseudopotentials, if one is given, holds GTH files named `Al-q3`; without it the package's own are
    used. Of several files of one element that of the fewest electrons is taken.
    """

    name: ClassVar[str] = "eminus"

    def check(self, numbers: Iterable[int]) -> None:
        _package()
        self._files(numbers)

    def require(self, snapshots: Iterable[Snapshot]) -> None:
        with np.errstate(all="ignore"):  # as below
            for snapshot in snapshots:
                self._atoms(snapshot)

    def identity(self, numbers: Iterable[int]) -> dict[str, Any]:
        return {
            "engine": self.name,
            "version": _package().__version__,
            "settings": {
                **asdict(self.settings),
                "kpoints": list(self.settings.kpoints),
                "functional": FUNCTIONAL,
                "floor": DENSITY_FLOOR,
            },
            "pseudopotentials": {
                SYMBOLS[number - 1]: hashlib.sha256(file.read_bytes()).hexdigest()
                for number, file in self._files(numbers).items()
            },
        }

    def harris_foulkes(self, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"], scratch: Path) -> Energy:
        with np.errstate(all="ignore"):  # vacuum underflows, as it should
            scf = self._system(snapshot)
            grid = tuple(scf.atoms.s.tolist())
            return Energy(free_energy(scf, resample(density, grid), self.settings.smearing))

    def self_consistent(self, snapshot: Snapshot, scratch: Path) -> tuple[float, Float64[np.ndarray, "mx my mz"]]:
        """By the package's own minimisation of E[ψ], which shares neither the matrix nor the sum of F_HF.

        It does not converge where states near the Fermi level exchange their electrons, so not for most metals.
        """
        with np.errstate(all="ignore"):  # vacuum underflows, as it should
            scf = self._system(snapshot)
            occupations = scf.atoms.occ
            occupations.smearing = self.settings.smearing
            occupations.bands = occupations.Nstate + EXTRA_BANDS
            occupations.fill()
            energy = float(scf.run())
        if not scf.is_converged:
            raise WorkError(
                f"{snapshot.name}: eminus: expected convergence within {STEPS} steps, found none; "
                "raise energy.smearing, or take the engine abinit"
            )
        return energy, np.asarray(scf.n, dtype=np.float64).reshape(scf.atoms.s)

    def _files(self, numbers: Iterable[int]) -> dict[int, Path]:
        """The pseudopotential of each element, in order of atomic number."""
        folder = self.pseudopotentials
        if folder is None:
            folder = Path(str(_package().__file__)).parent / "psp" / FUNCTIONAL
        elif not folder.is_dir():
            raise RequestError(f"energy.pseudopotentials: expected a folder of GTH files, found no folder {folder}")
        return {number: _file(number, folder) for number in sorted({int(number) for number in numbers})}

    def _atoms(self, snapshot: Snapshot) -> Any:
        """The package's object of atoms, cell and basis.

        Its grid holds the density of all plane waves of the basis (|G| ≤ 2√(2 E_cut)) and all of the snapshot's.
        """
        eminus = _package()
        files = self._files(snapshot.numbers.tolist())
        valence = {number: _valence(file) for number, file in files.items()}
        require_electrons(snapshot, valence)
        atoms = eminus.Atoms(
            [SYMBOLS[number - 1] for number in snapshot.numbers.tolist()],
            snapshot.positions,
            ecut=self.settings.cutoff,
            a=snapshot.cell,
            unrestricted=False,
            verbose="critical",
        )
        atoms.Z = np.array([valence[number] for number in snapshot.numbers.tolist()])
        atoms.s = [max(int(own), given) for own, given in zip(atoms.s, snapshot.grid, strict=True)]
        atoms.kpts.kmesh = list(self.settings.kpoints)
        atoms.build()
        largest = max(len(squares) for squares in atoms.Gk2c)
        if largest > LARGEST_BASIS:
            raise RequestError(
                f"energy.cutoff: expected at most {LARGEST_BASIS} plane waves for eminus, found {largest} at "
                f"{self.settings.cutoff:g} Ha in {snapshot.name}; lower the cutoff, or take the engine abinit"
            )
        smallest = min(len(squares) for squares in atoms.Gk2c)
        if 2 * smallest < snapshot.electrons:
            raise RequestError(
                f"energy.cutoff: expected a plane wave for each of {snapshot.electrons / 2:g} pairs of electrons, "
                f"found {smallest} at {self.settings.cutoff:g} Ha in {snapshot.name}; raise the cutoff"
            )
        return atoms

    def _system(self, snapshot: Snapshot) -> Any:
        """The package's object of a spin-paired calculation: basis, local potential, projectors."""
        atoms = self._atoms(snapshot)
        pot = "gth" if self.pseudopotentials is None else str(self.pseudopotentials.resolve())
        return _package().RSCF(
            atoms, xc=FUNCTIONAL, pot=pot, guess="pseudo", etol=TOLERANCE, opt={"auto": STEPS}, verbose="critical"
        )


def free_energy(scf: Any, density: Float64[np.ndarray, "nx ny nz"], smearing: float) -> float:
    """F_HF[ρ] = Σ_i f_i ε_i − T S − E_H − ∫ V_xc ρ + E_xc + E_ions, Ha, of a density on the grid of `scf`, e/Bohr³."""
    from eminus.energies import get_Eewald

    atoms = scf.atoms
    cell = np.asarray(atoms.a)
    element = atoms.Omega / density.size
    hartree = hartree_potential(density, cell)
    exchange, functional = exchange_correlation(density, cell)
    # Of the package's potential energies on the grid, Vloc holds the volume of one point as a factor.
    local = np.asarray(scf.Vloc).real.reshape(density.shape) / element
    potential = local + hartree + functional
    levels = [linalg.eigvalsh(hamiltonian(scf, k, potential), overwrite_a=True) for k in range(atoms.kpts.Nk)]
    bands, entropy = occupied(levels, np.asarray(atoms.kpts.wk), float(np.sum(atoms.Z)), smearing)
    double_counting = element * float(np.sum(density * (0.5 * hartree + functional)))
    return float(bands - entropy - double_counting + exchange + get_Eewald(atoms))


def hamiltonian(scf: Any, k: int, potential: Float64[np.ndarray, "nx ny nz"]) -> Complex128[np.ndarray, "waves waves"]:
    """H_GG' of a k point, Ha, for a local potential on the grid, Ha; for normalised plane waves."""
    atoms = scf.atoms
    waves = np.stack(np.unravel_index(np.asarray(atoms.active[k][0]), potential.shape))
    spectrum = fft.fftn(potential, norm="forward")
    difference = np.zeros((waves.shape[1],) * 2, dtype=np.int64)
    for index, count in zip(waves, potential.shape, strict=True):
        difference = difference * count + (index[:, None] - index[None, :]) % count
    matrix: Complex128[np.ndarray, "waves waves"] = spectrum.ravel()[difference]
    matrix[np.diag_indices_from(matrix)] += 0.5 * np.asarray(atoms.Gk2c[k])
    if scf.gth.NbetaNL:
        projectors = np.asarray(scf.gth.betaNL[k])
        matrix += projectors @ coupling(scf) @ projectors.conj().T
    return matrix


def coupling(scf: Any) -> Float64[np.ndarray, "projectors projectors"]:
    """h_ij, Ha, over all projectors in the order of the package: atom, l, m, then i."""
    blocks = []
    for symbol in scf.atoms.atom:
        parameters = scf.gth[symbol]
        for momentum in range(parameters["lmax"]):
            count = int(parameters["Nproj_l"][momentum])
            upper = np.triu(np.asarray(parameters["h"][momentum][:count, :count]))
            blocks += [upper + np.triu(upper, 1).T] * (2 * momentum + 1)
    whole: Float64[np.ndarray, "projectors projectors"] = linalg.block_diag(*blocks)
    return whole


def hartree_potential(
    density: Float64[np.ndarray, "nx ny nz"], cell: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "nx ny nz"]:
    """V_H(G) = 4π ρ(G) / |G|², Ha, without its mean, which the ions cancel."""
    nx, ny, nz = density.shape
    squares = wave_numbers(cell, (nx, ny, nz))
    kernel = np.zeros_like(squares)
    np.divide(4 * np.pi, squares, out=kernel, where=squares > 0)
    potential: Float64[np.ndarray, "nx ny nz"] = fft.ifftn(kernel * fft.fftn(density)).real
    return potential


def exchange_correlation(
    density: Float64[np.ndarray, "nx ny nz"], cell: Float64[np.ndarray, "3 3"]
) -> tuple[float, Float64[np.ndarray, "nx ny nz"]]:
    """E_xc = Σ ρ ε(ρ, |∇ρ|²) dV, Ha, and its derivative by ρ at each point over dV, V_xc = ∂e/∂ρ − ∇·(2 ∂e/∂|∇ρ|² ∇ρ).

    The gradient is that of the Fourier series; it leaves out the Nyquist terms, which no real series can derive.
    """
    from eminus.xc import get_xc

    waves = _derivatives(density.shape, cell)
    spectrum = fft.fftn(density)
    gradient = np.stack([fft.ifftn(1j * wave * spectrum).real for wave in waves])
    per_electron, by_density, by_square, _ = get_xc(
        FUNCTIONAL,
        density.reshape(1, -1),
        Nspin=1,
        dn_spin=np.moveaxis(gradient, 0, -1).reshape(1, -1, 3),
        dens_threshold=DENSITY_FLOOR,
    )
    flux = 2 * by_square[0].reshape(density.shape) * gradient
    divergence = fft.ifftn(sum(1j * wave * fft.fftn(part) for wave, part in zip(waves, flux, strict=True))).real
    energy = abs(np.linalg.det(cell)) / density.size * float(np.sum(density.ravel() * per_electron))
    return energy, by_density[0].reshape(density.shape) - divergence


def occupied(
    levels: list[Float64[np.ndarray, " _"]], weights: Float64[np.ndarray, " k"], electrons: float, smearing: float
) -> tuple[float, float]:
    """Σ f ε and T S, Ha: f = 2 / (1 + exp((ε − μ) / kT)), with μ such that Σ f is the number of electrons."""
    energies = np.concatenate(levels)
    weight = 2 * np.concatenate([np.full(len(level), w) for level, w in zip(levels, weights, strict=True)])

    fermi = optimize.brentq(
        lambda level: float(np.sum(weight * special.expit((level - energies) / smearing))) - electrons,
        energies.min() - 50 * smearing,
        energies.max() + 50 * smearing,
        xtol=1e-14,
    )
    # 1 − f by its own formula: near f = 1 the difference has no digits left.
    full, empty = special.expit((fermi - energies) / smearing), special.expit((energies - fermi) / smearing)
    entropy = smearing * float(np.sum(weight * (special.entr(full) + special.entr(empty))))
    return float(np.sum(weight * full * energies)), entropy


def _derivatives(grid: tuple[int, ...], cell: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 nx ny nz"]:
    """G of each Fourier index, Bohr⁻¹, with the Nyquist index of each axis as zero."""
    indices = []
    for count in grid:
        index = fft.fftfreq(count, 1 / count)
        if count % 2 == 0:
            index[count // 2] = 0
        indices.append(index)
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    waves: Float64[np.ndarray, "3 nx ny nz"] = np.einsum(
        "axyz,ac->cxyz", np.stack(np.meshgrid(*indices, indexing="ij")), reciprocal
    )
    return waves


def _file(number: int, folder: Path) -> Path:
    symbol = SYMBOLS[number - 1]
    files = sorted((file for file in folder.glob(f"{symbol}-q*") if _charge(file).isdecimal()), key=_valence)
    if not files:
        raise RequestError(
            f"{folder}: expected a GTH pseudopotential of {symbol} ({symbol}-q…), found none; take the engine abinit, "
            "or name a folder that holds one in energy.pseudopotentials"
        )
    return files[0]


def _charge(file: Path) -> str:
    return file.name.rpartition("-q")[2]


def _valence(file: Path) -> int:
    """The name tells it, and the second line, as electrons of s, p, d, …

    Raises:
        RequestError: they differ.
    """
    second = [*file.read_text(errors="replace").splitlines(), "", ""][1]
    if not all(word.isdecimal() for word in second.split()) or sum(map(int, second.split())) != int(_charge(file)):
        raise RequestError(
            f"{file}, line 2: expected valence electrons of s, p, d, … that add up to {_charge(file)}, found {second!r}"
        )
    return int(_charge(file))


def _package() -> ModuleType:
    """The package, without what its import does to the process.

    It hangs a handler on the root of all logs, which would print every message of ours a second time, and where it
    finds array_api_compat it makes float64 the type of PyTorch's new tensors.
    """
    handlers, compat = list(logging.root.handlers), sys.modules.get(_ARRAYS)
    sys.modules[_ARRAYS] = None  # type: ignore[assignment]  # an import of it fails
    try:
        eminus = importlib.import_module("eminus")
    except ImportError:
        raise RequestError(
            "energy.engine: expected the Python package eminus, found none; install it with pip install eminus, or "
            "take the engine abinit"
        ) from None
    finally:
        del sys.modules[_ARRAYS]
        if compat is not None:
            sys.modules[_ARRAYS] = compat
        logging.root.handlers[:] = handlers
    eminus.config.backend = "numpy"
    eminus.log.verbose = "critical"
    return eminus

"""Measures the tables of docs/energies.md: what a plane-wave cutoff costs and does to ΔE, and of which order ΔE is.

    python docs/energies.py PSEUDOPOTENTIALS jobs/data/al.zarr test/al32_T0500_t0 8 10 20

prints for each cutoff (Ha) ΔE = F_HF[ρ'] − F_HF[ρ], Ha per atom, and the processor seconds of one calculation. ρ is
the density of the snapshot and ρ' = ρ (1 + η), with η smooth noise of seed 0 of such a size that ∫|ρ' − ρ| is 1% of N.

    python docs/energies.py PSEUDOPOTENTIALS jobs/data/al.zarr test/al32_T0500_t0 10 --sizes 0.0025 0.005 0.01 0.02

prints for each cutoff and each size s, with the noise d = ρ' − ρ made as large as ∫|d| = s N, the changes

    F_HF[ρ + d] − F_HF[ρ],  F_HF[ρ − d] − F_HF[ρ],  half their difference (odd in d), half their sum (even in d)

in Ha per atom. The odd part is of first order in d but for terms of third order, the even part of second order.
"""

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from coreset.corpus.snapshot import Snapshot
from coreset.corpus.store import Corpus
from coreset.energies import Settings
from coreset.energies.abinit import Abinit
from coreset.numerics.fourier import wave_numbers
from coreset.numerics.metrics import rescale

SIZE = 0.01
"""∫|ρ' − ρ| / N."""

SMOOTHNESS = 1.5
"""Bohr⁻¹: noise at |G| is damped by exp(−|G|²/this²)."""


def perturbed(snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"]) -> Float[np.ndarray, "nx ny nz"]:
    """ρ' of the title, rescaled to the electrons of the snapshot; e/Bohr³."""
    white = np.random.default_rng(0).standard_normal(snapshot.grid)
    damping = np.exp(-wave_numbers(snapshot.cell, snapshot.grid) / SMOOTHNESS**2)
    change = density * np.fft.ifftn(np.fft.fftn(white) * damping).real
    change *= SIZE * density.sum() / np.abs(change).sum()
    return rescale(density + change, snapshot.electrons, snapshot.volume).reshape(snapshot.grid)


def measure_cutoffs(abinit: Abinit, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"]) -> None:
    """Print ΔE of the noise at this cutoff, and what it costs."""
    start = _processor_seconds()
    energies = [_energy(abinit, snapshot, given) for given in (density, perturbed(snapshot, density))]
    seconds = (_processor_seconds() - start) / 2
    cutoff = abinit.settings.cutoff
    print(
        f"{snapshot.name}  cutoff {cutoff:g} Ha  ΔE {energies[1] - energies[0]:.4e} Ha/atom  {seconds:.1f} s",
        flush=True,
    )


def measure_order(
    abinit: Abinit, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"], sizes: list[float]
) -> None:
    """Print the changes of F_HF by noise of either sign, and their odd and even part, for each size."""
    unit = (perturbed(snapshot, density) - density) / SIZE
    unperturbed = _energy(abinit, snapshot, density)
    for size in sizes:
        up, down = (_energy(abinit, snapshot, density + sign * size * unit) - unperturbed for sign in (1, -1))
        print(
            f"{snapshot.name}  cutoff {abinit.settings.cutoff:g} Ha  noise {size:.2%}  + {up:.3e}  − {down:.3e}  "
            f"odd {(up - down) / 2:.3e}  even {(up + down) / 2:.3e} Ha/atom",
            flush=True,
        )


def _energy(abinit: Abinit, snapshot: Snapshot, density: Float[np.ndarray, "nx ny nz"]) -> float:
    """F_HF, Ha per atom."""
    with tempfile.TemporaryDirectory() as scratch:
        return abinit.harris_foulkes(snapshot, density, Path(scratch)).free_energy / len(snapshot.numbers)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure what the command line asks for, cutoff by cutoff."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pseudopotentials", type=Path)
    parser.add_argument("corpus")
    parser.add_argument("snapshot")
    parser.add_argument("cutoffs", type=float, nargs="+", help="Ha")
    parser.add_argument("--sizes", type=float, nargs="+", help="of noise of either sign: ∫|d| / N")
    asked = parser.parse_args()
    corpus = Corpus.open(asked.corpus)
    (snapshot,) = corpus.select(asked.snapshot)
    density = corpus.density(snapshot).astype(np.float64)
    density = rescale(density, snapshot.electrons, snapshot.volume).reshape(snapshot.grid)
    for cutoff in asked.cutoffs:
        abinit = Abinit(Settings(cutoff=cutoff, smearing=0.002), asked.pseudopotentials)
        if asked.sizes:
            measure_order(abinit, snapshot, density, asked.sizes)
        else:
            measure_cutoffs(abinit, snapshot, density)


if __name__ == "__main__":
    main()

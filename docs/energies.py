"""Measures the table of docs/energies.md: what a plane-wave cutoff costs, and what it does to ΔE.

    python docs/energies.py PSEUDOPOTENTIALS jobs/data/al.zarr test/al32_T0500_t0 8 10 20

prints for each cutoff (Ha) ΔE = F_HF[ρ'] − F_HF[ρ], Ha per atom, and the processor seconds of one calculation. ρ is
the density of the snapshot and ρ' = ρ (1 + η), with η smooth noise of seed 0 of such a size that ∫|ρ' − ρ| is 1% of N.
"""

import resource
import sys
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


def measure(pseudopotentials: Path, corpus: str, name: str, cutoffs: list[float]) -> None:
    """Print one line per cutoff."""
    opened = Corpus.open(corpus)
    (snapshot,) = opened.select(name)
    density = opened.density(snapshot).reshape(snapshot.grid).astype(np.float64)
    density = rescale(density, snapshot.electrons, snapshot.volume).reshape(snapshot.grid)
    for cutoff in cutoffs:
        abinit = Abinit(Settings(cutoff=cutoff, smearing=0.002), pseudopotentials)
        energies = []
        start = _processor_seconds()
        for given in (density, perturbed(snapshot, density)):
            with tempfile.TemporaryDirectory() as scratch:
                energies.append(abinit.harris_foulkes(snapshot, given, Path(scratch)).free_energy)
        change = (energies[1] - energies[0]) / len(snapshot.numbers)
        seconds = (_processor_seconds() - start) / 2
        print(f"{name}  cutoff {cutoff:g} Ha  ΔE {change:.4e} Ha/atom  {seconds:.1f} s", flush=True)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    measure(Path(sys.argv[1]), sys.argv[2], sys.argv[3], [float(word) for word in sys.argv[4:]])

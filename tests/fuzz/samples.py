"""Small valid inputs."""

from pathlib import Path

import numpy as np

from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.store import finish, write_snapshot

CELL = np.array([[6.0, 0.0, 0.0], [1.5, 5.5, 0.0], [-0.7, 0.9, 7.0]])
RELATIVE = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.25], [0.9, 0.05, 0.75]])
GRID = (4, 5, 6)


def snapshot(name: str, seed: int) -> tuple[Snapshot, np.ndarray]:
    """Two O and one H on a grid of 4 × 5 × 6 points."""
    numbers, positions = np.array([8, 8, 1]), RELATIVE @ CELL
    density = np.random.default_rng(seed).uniform(0.1, 1.0, GRID).astype(np.float32)
    made = Snapshot(
        name=name,
        cell=CELL.copy(),
        numbers=numbers,
        positions=positions,
        grid=GRID,
        electrons=13.0,
        energy=-15.5,
        group=name[:-2],
        temperature=300.0,
        composition="HO2",
        source={"x.dens": f"{seed:064x}"},
        wrapped=0,
        digest=content_digest(CELL, numbers, positions, density),
    )
    return made, density


def write_corpus(path: Path) -> None:
    """Two snapshots, each in three slabs or more."""
    names = ["train/a_0", "train/a_1"]
    for seed, name in enumerate(names):
        write_snapshot(path, *snapshot(name, seed), inner=40)
    finish(path, names)


def write_sparc(folder: Path) -> None:
    """What SPARC leaves: X.dens, X.inpt, X.ion, X.out and X.static."""
    positions = RELATIVE @ CELL
    density = np.random.default_rng(0).uniform(0.5, 1.5, GRID)
    density *= 13.0 / (density.mean() * abs(np.linalg.det(CELL)))
    rows = ["Electron density in Cube format printed by SPARC-X", "boundary condition: P P P.", "    3  0.0  0.0  0.0"]
    rows += [f"{n:5d} " + " ".join(f"{x:12.6f}" for x in a / n) for n, a in zip(GRID, CELL, strict=True)]
    rows += [
        f"{number:5d} {charge:12.6f} " + " ".join(f"{x:12.6f}" for x in position)
        for number, charge, position in zip((8, 8, 1), (6, 6, 1), positions, strict=True)
    ]
    rows += [" ".join(f"{value:.6E}" for value in row) for plane in density for row in plane]
    texts = {
        ".dens": "\n".join(rows) + "\n",
        ".inpt": "LATVEC_SCALE: 2.0 1.0 1.0  # lengths\nLATVEC:\n"
        + "\n".join(" ".join(repr(float(x)) for x in row) for row in CELL / np.array([[2.0], [1.0], [1.0]]))
        + "\nFD_GRID: 4 5 6\nBC: P P P\n",
        ".ion": "# three atoms\nATOM_TYPE: O\nN_TYPE_ATOM: 2\nCOORD:\n"
        + "\n".join(" ".join(f"{x:.10f}" for x in atom) for atom in positions[:2])
        + "\nATOM_TYPE: H\nN_TYPE_ATOM: 1\nCOORD_FRAC:\n"
        + " ".join(f"{x:.10f}" for x in RELATIVE[2])
        + "\nRELAX:\n1 1 1\n",
        ".out": "Lattice vectors (Bohr):\n"
        + "\n".join(" ".join(f"{x:.15f}" for x in row) for row in CELL)
        + "\nTotal number of electrons          :  13\n"
        "Total free energy                  : -1.5000000000E+01 (Ha)\n",
        ".static": "Total free energy (Ha): -1.500000000000000E+01\n",
    }
    for suffix, text in texts.items():
        (folder / f"box_T0300_0{suffix}").write_text(text)

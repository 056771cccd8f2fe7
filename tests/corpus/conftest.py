"""Small analytic densities, written as SPARC writes its files, so that every byte of a test's input is known."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"

SKEWED = np.array([[6.0, 0.0, 0.0], [1.5, 5.5, 0.0], [-0.7, 0.9, 7.0]])


@dataclass
class Written:
    """The files of one snapshot and what they were written from."""

    path: Path
    cell: np.ndarray
    positions: np.ndarray
    density: np.ndarray

    def edit(self, suffix: str, old: str, new: str) -> None:
        """Replace the first occurrence of a text, which has to be there."""
        path = self.path.with_suffix(suffix)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def line(self, suffix: str, number: int, new: str | None) -> None:
        """Replace a line, counted from 1; None removes it."""
        path = self.path.with_suffix(suffix)
        lines = path.read_text().split("\n")
        lines[number - 1 : number] = [] if new is None else [new]
        path.write_text("\n".join(lines))


Writer = Callable[..., Written]


@pytest.fixture
def write_sparc(tmp_path: Path) -> Writer:
    """Two O and one H, 13 electrons, on a 4 × 5 × 6 grid: a positive density that integrates to 13 exactly."""

    def write(
        name: str = "box_T0300_s0_0", cell: np.ndarray = SKEWED, fractional: bool = False, seed: int = 0
    ) -> Written:
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        path = folder / f"{Path(name).name}.dens"
        grid = np.array([4, 5, 6])
        relative = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.25], [0.9, 0.05, 0.75]])
        positions = relative @ cell
        density = np.random.default_rng(seed).uniform(0.5, 1.5, tuple(grid))
        density *= 13.0 / (density.mean() * abs(np.linalg.det(cell)))
        rows = [
            "Electron density in Cube format printed by SPARC-X",
            "boundary condition: P P P.",
            "    3    0.0    0.0    0.0",
        ]
        rows += [f"{n:5d} " + " ".join(f"{x:12.6f}" for x in a / n) for n, a in zip(grid, cell, strict=True)]
        rows += [
            f"{number:5d} {charge:12.6f} " + " ".join(f"{x:12.6f}" for x in position)
            for number, charge, position in zip((8, 8, 1), (6, 6, 1), positions, strict=True)
        ]
        for plane in density:
            rows += [" ".join(f"{value:.6E}" for value in row) for row in plane]
        path.write_text("\n".join(rows) + "\n")
        path.with_suffix(".inpt").write_text(
            "LATVEC_SCALE: 2.0 1.0 1.0  # lengths\nLATVEC:\n"
            + "\n".join(" ".join(repr(float(x)) for x in row) for row in cell / np.array([[2.0], [1.0], [1.0]]))
            + "\nFD_GRID: 4 5 6\nBC: P P P\n"
        )
        key, atoms = ("COORD_FRAC:", relative) if fractional else ("COORD:", positions)
        coordinates = [" ".join(f"{x:.10f}" for x in atom) for atom in atoms]
        path.with_suffix(".ion").write_text(
            "# three atoms\nATOM_TYPE: O\nN_TYPE_ATOM: 2\nPSEUDO_POT: o.psp8\n"
            f"{key}\n{coordinates[0]}\n{coordinates[1]}  # the second\nRELAX:\n1 1 1\n0 0 1\n\n"
            f"ATOM_TYPE: H\nN_TYPE_ATOM: 1\nPSEUDO_POT: h.psp8\n{key}\n{coordinates[2]}\n"
        )
        path.with_suffix(".out").write_text(
            "Lattice vectors (Bohr):\n"
            + "\n".join(" ".join(f"{x:.15f}" for x in row) for row in cell)
            + "\nTotal number of electrons          :  13\n"
            "Free energy per atom               : -5.0E+00 (Ha/atom)\n"
            "Total free energy                  : -1.5E+01 (Ha)\n"
        )
        path.with_suffix(".static").write_text("Total free energy (Ha): -1.500000000012345E+01\n")
        return Written(path, cell, positions, density)

    return write

"""A small cell that no symmetry helps, and pseudopotentials that Debian's abinit-data brings."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coreset.corpus.snapshot import Snapshot

DEBIAN = Path("/usr/share/abinit/psp")

NAMES = ("13_Al_psml.psp8", "H.psp8")
"""ONCV, PBE, with 3 and 1 valence electrons."""

CELL = np.array([[7.5, 0.0, 0.0], [1.2, 6.8, 0.0], [-0.9, 0.7, 8.1]])

FRACTIONS = np.array([[0.15, 0.30, 0.78], [0.20, 0.42, 1.12]])
"""H, then Al, so that neither the order of the elements nor the cell's edges can be taken for granted."""


@pytest.fixture(scope="session")
def pseudopotentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all((DEBIAN / name).exists() for name in NAMES):
        pytest.skip("needs the pseudopotentials of Debian's package abinit-data")
    folder = tmp_path_factory.mktemp("pseudopotentials")
    for name in NAMES:
        shutil.copy(DEBIAN / name, folder)
    return folder


@pytest.fixture(scope="session")
def make_cell() -> Callable[..., Snapshot]:
    """AlH in a skewed cell, on the grid that ABINIT chooses at a cutoff of 5 Ha."""

    def make(
        cell: np.ndarray = CELL,
        fractions: np.ndarray = FRACTIONS,
        grid: tuple[int, int, int] = (16, 15, 18),
        electrons: float = 4.0,
    ) -> Snapshot:
        return Snapshot(
            name="cells/alh",
            cell=cell,
            numbers=np.array([1, 13]),
            positions=fractions @ cell,
            grid=grid,
            electrons=electrons,
            energy=None,
            group="cells",
            temperature=None,
            composition="AlH",
            source={},
            wrapped=0,
            digest="0" * 64,
        )

    return make

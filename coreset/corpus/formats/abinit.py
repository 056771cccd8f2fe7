"""ABINIT's `_DEN.nc`, netCDF by the conventions of ETSF: lengths in Bohr, density in e/Bohr³, the first axis fastest.

Of a calculation with spin the first component is the total density. `nelect` is the number of electrons.
"""

import re
from typing import Any

import numpy as np

from coreset.corpus.checks import Checks
from coreset.corpus.elements import SYMBOLS
from coreset.corpus.formats.field import Density, Reading, Structure
from coreset.corpus.formats.netcdf import contents, variable
from coreset.corpus.formats.streams import File
from coreset.errors import DataError

NAMED = re.compile(r"_DEN\.nc$")

_MAGIC = (b"CDF\1", b"CDF\2", b"CDF\5", b"\x89HDF\r\n\x1a\n")


def recognises(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one: netCDF whose variables have ETSF's names, or that has ABINIT's."""
    return head.startswith(_MAGIC) and (b"real_or_complex_density" in head or bool(NAMED.search(name)))


def check(file: File) -> None:
    """Reads the header alone. Raises as `read`."""
    with contents(file) as (dataset, _):
        _structure(dataset, file)


def read(file: File, checks: Checks) -> Reading:
    """The total density.

    Raises:
        RequestError: netCDF4 is not installed.
        DataError: the file is damaged, or lacks a variable.
    """
    with contents(file) as (dataset, source):
        structure = _structure(dataset, file)
        density = Density(structure, str(file), checks)
        values = variable(dataset, "density", file, 5)
        nx, ny, nz = structure.grid
        if values.shape[1:] != (nz, ny, nx, 1):
            raise DataError(
                f"{file}, density: expected the shape (components, {nz}, {ny}, {nx}, 1), found {values.shape}"
            )
        total = np.asarray(values[0, ..., 0], dtype=np.float64)
        density.add(total.transpose(2, 1, 0).ravel())
        electrons = float(variable(dataset, "nelect", file, 0)[()])
        energy = float(variable(dataset, "etot", file, 0)[()]) if "etot" in dataset.variables else None
    if not 0 < electrons < 1e9:
        raise DataError(f"{file}, nelect: expected a number of electrons, found {electrons}")
    # ABINIT writes a constant in place of an energy that it does not know.
    energy = energy if energy is not None and abs(energy) < 1e9 else None
    return Reading(density, [("nelect", electrons)], energy=energy, source=source)


def _structure(dataset: Any, file: File) -> Structure:
    cell = np.asarray(variable(dataset, "primitive_vectors", file, 2)[...], dtype=np.float64)
    atoms = np.asarray(variable(dataset, "reduced_atom_positions", file, 2)[...], dtype=np.float64)
    species = np.asarray(variable(dataset, "atom_species", file, 1)[...])
    charges = np.asarray(variable(dataset, "atomic_numbers", file, 1)[...], dtype=np.float64)
    shapes = cell.shape == (3, 3) and atoms.shape == (len(species), 3)
    if not shapes or not ((species >= 1) & (species <= len(charges))).all():
        raise DataError(f"{file}: expected a cell, and a species and a position of each atom; found other shapes")
    if not all(charge in range(1, len(SYMBOLS) + 1) for charge in charges.tolist()):
        raise DataError(f"{file}, atomic_numbers: expected whole numbers from 1, found {charges.tolist()[:5]}")
    grid = []
    for axis in "123":
        name = f"number_of_grid_points_vector{axis}"
        if name not in dataset.dimensions:
            raise DataError(f"{file}: expected the dimension {name} of a density, found none; set prtden 1")
        grid.append(len(dataset.dimensions[name]))
    numbers = charges[species.astype(np.int64) - 1].astype(np.int64)
    return Structure.fractional(cell, numbers, atoms, (grid[0], grid[1], grid[2]), str(file))

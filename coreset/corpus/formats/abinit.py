"""ABINIT's `_DEN.nc`, netCDF by the conventions of ETSF: lengths in Bohr, density in e/Bohr³, the first axis fastest.

Of a calculation with spin the first component is the total density. `nelect` is the number of electrons.
"""

import re

import numpy as np

from coreset.corpus.checks import Checks
from coreset.corpus.elements import SYMBOLS
from coreset.corpus.formats.field import Density, Reading, Structure
from coreset.corpus.formats.libraries import needed
from coreset.corpus.formats.netcdf import Contents, contents
from coreset.corpus.formats.streams import File
from coreset.errors import DataError

NAMED = re.compile(r"_DEN\.nc$")

_CRYSTAL = ("primitive_vectors", "reduced_atom_positions", "atom_species", "atomic_numbers")

_MAGIC = (b"CDF\1", b"CDF\2", b"CDF\5", b"\x89HDF\r\n\x1a\n")


def recognises(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one: netCDF whose variables have ETSF's names, or that has ABINIT's."""
    return head.startswith(_MAGIC) and (b"real_or_complex_density" in head or bool(NAMED.search(name)))


def check(file: File) -> None:
    """Nothing, for to open the file takes as long as to read it. Raises RequestError where netCDF4 is missing."""
    with needed("netCDF4"):
        import netCDF4  # noqa: F401


def read(file: File, checks: Checks) -> Reading:
    """The total density.

    Raises:
        RequestError: netCDF4 is not installed.
        DataError: the file is damaged, or lacks a variable.
    """
    found = contents(file, *_CRYSTAL, "density", "nelect", "etot")
    structure = _structure(found)
    values = found.array("density", 5)
    nx, ny, nz = structure.grid
    if values.shape[1:] != (nz, ny, nx, 1) or not len(values):
        raise DataError(f"{file}, density: expected the shape (components, {nz}, {ny}, {nx}, 1), found {values.shape}")
    density = Density(structure, str(file), checks)
    density.add(values[0, ..., 0].astype(np.float64).transpose(2, 1, 0).ravel())
    electrons = float(found.array("nelect", 0))
    if not 0 < electrons < 1e9:
        raise DataError(f"{file}, nelect: expected a number of electrons, found {electrons}")
    energy = float(found.array("etot", 0)) if "etot" in found.arrays else np.inf
    # ABINIT writes a huge constant in place of an energy that it does not know.
    known = energy if abs(energy) < 1e9 else None
    return Reading(density, [("nelect", electrons)], energy=known, source={file.stored: found.digest})


def _structure(found: Contents) -> Structure:
    cell = found.array("primitive_vectors", 2).astype(np.float64)
    atoms = found.array("reduced_atom_positions", 2).astype(np.float64)
    species, charges = found.array("atom_species", 1), found.array("atomic_numbers", 1)
    shapes = cell.shape == (3, 3) and atoms.shape == (len(species), 3)
    if not shapes or not ((species >= 1) & (species <= len(charges))).all():
        raise DataError(f"{found.file}: expected a cell, and a species and a position of each atom; found other shapes")
    if not all(charge in range(1, len(SYMBOLS) + 1) for charge in charges.tolist()):
        raise DataError(f"{found.file}, atomic_numbers: expected whole numbers from 1, found {charges.tolist()[:5]}")
    grid = []
    for axis in "123":
        name = f"number_of_grid_points_vector{axis}"
        if name not in found.sizes:
            raise DataError(f"{found.file}: expected the dimension {name} of a density, found none; set prtden 1")
        grid.append(found.sizes[name])
    numbers = charges[species.astype(np.int64) - 1].astype(np.int64)
    return Structure.fractional(cell, numbers, atoms, (grid[0], grid[1], grid[2]), str(found.file))

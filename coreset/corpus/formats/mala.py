"""MALA's densities: a `.npy` of shape (nx, ny, nz) or (nx, ny, nz, 1) in 1/Å³, the unit in which MALA keeps them.

The atoms stand beside it: MALA's own `X.info.json`, an output of Quantum ESPRESSO, or a `.cif`, `.json`, `.xyz` that
ASE reads. Of `X.dens.npy` that is `X.dens.*` or `X.*`, else the only such file in the folder. Descriptors and local
densities of states, which have many values a point, are left alone.
"""

import io
import re
from typing import Any

import numpy as np

from coreset.atomic import parse_json
from coreset.corpus.checks import Checks
from coreset.corpus.cube import BOHR
from coreset.corpus.elements import SYMBOLS
from coreset.corpus.formats.field import Density, Reading, Structure
from coreset.corpus.formats.libraries import needed
from coreset.corpus.formats.streams import File
from coreset.corpus.npy import NpyHeader, parse_npy_header
from coreset.errors import CoresetError, DataError, RequestError, brief

NAMED = re.compile(r"dens\w*\.npy$")

FORMATS = {".out": "espresso-out", ".pwo": "espresso-out", ".cif": "cif", ".json": "json", ".xyz": "extxyz"}
"""What ASE calls the files with atoms."""

_ELECTRONS = re.compile(r"number of electrons\s*=\s*(\d+\.?\d*)")


def recognises(head: bytes, name: str) -> bool:
    """Whether a file that begins so is an array of three axes, or of four with one value a point."""
    try:
        header, _ = parse_npy_header(io.BytesIO(head))
    except ValueError:
        return False
    return _is_density(header.shape) and header.dtype.kind == "f"


def check(file: File) -> None:
    """Reads the header alone. Raises as `read`."""
    with file.open() as stream:
        header, _ = _checked(stream.read(65_536), file)
    _atoms(file, header.shape, {})


def read(file: File, checks: Checks) -> Reading:
    """The density.

    Raises:
        RequestError: no atoms beside it, or more than one file that may hold them; ASE is needed and not installed.
        DataError: bad data.
    """
    content, digest = file.read()
    header, fortran = _checked(content, file)
    source = {file.stored: digest}
    structure, stated = _atoms(file, header.shape, source)
    size, found = structure.points * header.dtype.itemsize, len(content) - header.offset
    if found != size:
        raise DataError(
            f"{file}: expected {size:,} bytes of values for the shape {header.shape}, found {found:,}: it is truncated "
            "or damaged; copy it again"
        )
    values = np.frombuffer(content, dtype=header.dtype, offset=header.offset).astype(np.float64) * BOHR**3
    density = Density(structure, str(file), checks, order="F" if fortran else "C")
    density.add(values)
    return Reading(density, stated, certain=bool(stated), source=source)


def _is_density(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 or (len(shape) == 4 and shape[3] == 1)


def _checked(content: bytes, file: File) -> tuple[NpyHeader, bool]:
    """The header, and whether the first axis is the fastest."""
    try:
        header, fortran = parse_npy_header(io.BytesIO(content[:65_536]))
    except ValueError as error:
        raise DataError(f"{file}: expected the header of a .npy, found another ({error}); copy it again") from None
    if not _is_density(header.shape) or header.dtype.kind != "f":
        raise RequestError(
            f"{file}: expected a density, floating-point numbers of shape (nx, ny, nz) or (nx, ny, nz, 1), found "
            f"{header.dtype} of {header.shape}"
        )
    return header, fortran


def _atoms(file: File, shape: tuple[int, ...], source: dict[str, str]) -> tuple[Structure, list[tuple[str, float]]]:
    """Cell and atoms of the file beside, and the electrons that it states."""
    other = _companion(file)
    content, source[other.stored] = other.read()
    try:
        text = content.decode()
        stated: Any = None
        if other.name.endswith(".info.json"):
            tree = parse_json(content)
            atoms, stated = tree["atoms"], tree.get("number_of_electrons_exact")
            cell, numbers, positions = atoms["cell"], atoms["numbers"], atoms["positions"]
        else:
            suffix = "." + other.name.rsplit(".", 1)[-1].lower()
            with needed("ase"):
                from ase.io import read as read_atoms
            found: Any = read_atoms(io.StringIO(text), format=FORMATS[suffix])
            cell, numbers, positions = found.cell.array, found.numbers, found.positions
            electrons = _ELECTRONS.search(text) if FORMATS[suffix] == "espresso-out" else None
            stated = float(electrons[1]) if electrons else None
        cell, positions = np.array(cell, dtype=np.float64), np.array(positions, dtype=np.float64)
        numbers = np.array(numbers)
        if cell.shape != (3, 3) or positions.shape != (len(numbers), 3) or numbers.dtype.kind not in "iu":
            raise ValueError("other shapes")
        if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(SYMBOLS):
            raise ValueError("unknown elements")
        electrons_stated = [] if stated is None else [(f"{other}", float(stated))]
    except CoresetError:
        raise
    except Exception as error:  # ASE's readers raise many kinds
        raise DataError(
            f"{other}: expected a cell and atoms for {file.name}, found none that can be read "
            f"({type(error).__name__}: {brief(error)})"
        ) from None
    grid = (shape[0], shape[1], shape[2])
    return Structure(cell / BOHR, numbers.astype(np.int64), positions / BOHR, grid, str(other)), electrons_stated


def _companion(file: File) -> File:
    stem = file.name.removesuffix(".npy")
    for name in dict.fromkeys((stem, stem.rsplit(".", 1)[0])):
        for suffix in (".info.json", *FORMATS):
            other = file.beside(name + suffix)
            if other is not None:
                return other
    others = [other for other in file.neighbours() if other.name.lower().endswith(tuple(FORMATS))]
    if len(others) != 1:
        raise RequestError(
            f"{file}: expected one file with its atoms beside it ({stem}.info.json, or {', '.join(FORMATS)}), found "
            f"{len(others)}; name it {stem}.cif, for example"
        )
    return others[0]

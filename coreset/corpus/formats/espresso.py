"""Quantum ESPRESSO's `charge-density.dat` and `.hdf5`, with the `data-file-schema.xml` of the same `.save` folder.

The density stands there as its Fourier coefficients f̂(G), e/Bohr³, each with the Miller indices of G; of a calculation
at the gamma point those of one half of the sphere, the others being their conjugates. The XML file holds the cell, the
atoms, the grid and the electrons, in Hartree atomic units. Records of the `.dat`, each between two counts of bytes::

    gamma_only, number of G, nspin      three integers of 4 bytes
    b1, b2, b3                          reciprocal vectors, Bohr⁻¹
    Miller indices                      3 × 4 bytes for each G
    f̂(G)                                complex, 16 bytes, one record for each component

The first of two components is the total density since version 6.4 and spin up before; the number of electrons tells.
"""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Complex128, Int64
from scipy import fft

from coreset.corpus.checks import Checks
from coreset.corpus.elements import number_of
from coreset.corpus.formats.field import Density, Reading, Structure
from coreset.corpus.formats.netcdf import contents
from coreset.corpus.formats.streams import File
from coreset.errors import DataError, RequestError, brief

NAMED = re.compile(r"^charge-density\.(dat|hdf5)$")

SCHEMA = "data-file-schema.xml"

REAL = 1e-6
"""Of the largest density, the largest imaginary part that rounding may leave."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


def recognises(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one: records of three integers and nine numbers; or HDF5 of its kind."""
    if head.startswith(_HDF5):
        return b"MillerIndices" in head or bool(NAMED.search(name))
    counts = np.frombuffer(head[:24].ljust(24, b"\0"), dtype="<i4")
    return bool(counts[0] == counts[4] == 12 and counts[5] == 72 and counts[2] > 0 and counts[3] in (1, 2, 4))


def check(file: File) -> None:
    """Reads the header alone. Raises as `read`."""
    _schema(file, {})


def read(file: File, checks: Checks) -> Reading:
    """The total density.

    Raises:
        RequestError: no `data-file-schema.xml` beside it; netCDF4 is needed for HDF5 and not installed.
        DataError: bad data, or files that contradict each other.
    """
    source: dict[str, str] = {}
    structure, electrons, energy = _schema(file, source)
    with file.open() as stream:
        hdf5 = stream.read(8) == _HDF5
    gamma, reciprocal, indices, components = (_hdf5 if hdf5 else _fortran)(file, source)
    _check(structure, reciprocal, indices, file)
    coefficients = components[0]
    if len(components) == 2 and _origin(indices, components[0], file) * structure.volume < 0.999 * electrons:
        coefficients = components[0] + components[1]
    density = Density(structure, str(file), checks)
    density.add(_field(indices, coefficients, gamma, structure.grid, file).ravel())
    return Reading(density, [(f"nelec in {SCHEMA}", electrons)], energy=energy, source=source)


def _schema(file: File, source: dict[str, str]) -> tuple[Structure, float, float | None]:
    """Cell, atoms and grid; electrons; total energy, Ha."""
    other = file.beside(SCHEMA)
    if other is None:
        raise RequestError(
            f"{file}: expected {SCHEMA} beside it, which holds the cell, the atoms and the grid; copy the whole folder "
            "*.save"
        )
    content, source[other.stored] = other.read()
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # which could grow without end
            raise ValueError("it declares a document type")
        output = _element(ElementTree.fromstring(content), "output")
        atomic = _element(output, "atomic_structure")
        cell = np.array([_numbers(_element(atomic, f"cell/a{axis}").text, 3) for axis in (1, 2, 3)])
        labels, positions = [], []
        for atom in _element(atomic, "atomic_positions").iter("atom"):
            labels.append(number_of(re.split(r"[_\-]", atom.get("name", "").capitalize())[0]))
            positions.append(_numbers(atom.text, 3))
        if len(labels) != int(atomic.get("nat", len(labels))):
            raise ValueError(f"{atomic.get('nat')} atoms stated, {len(labels)} listed")
        size = _element(output, "basis_set/fft_grid")
        grid = [int(size.get(f"nr{axis}", "0")) for axis in (1, 2, 3)]
        electrons = _numbers(_element(output, "band_structure/nelec").text, 1)[0]
        energies = output.find("total_energy/etot")
        energy = None if energies is None else _numbers(energies.text, 1)[0]
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(
            f"{other}: expected the output of pw.x, found another text ({brief(error)}); copy it again"
        ) from None
    if None in labels:
        raise RequestError(
            f"{other}: expected species named by their elements, such as Fe or Fe1, found another one for atom "
            f"{labels.index(None) + 1}; rename it"
        )
    if not 0 < electrons < 1e9:
        raise DataError(f"{other}, nelec: expected a number of electrons, found {electrons:g}")
    structure = Structure(
        cell,
        np.array(labels, dtype=np.int64),
        np.array(positions).reshape(-1, 3),
        (grid[0], grid[1], grid[2]),
        str(other),
    )
    return structure, electrons, energy


def _element(parent: ElementTree.Element, path: str) -> ElementTree.Element:
    found = parent.find(path)
    if found is None:
        raise ValueError(f"no element {path}")
    return found


def _numbers(text: str | None, count: int) -> list[float]:
    words = (text or "").split()
    if len(words) != count or not all(re.fullmatch(r"[-+0-9.eE]+", word, re.ASCII) for word in words):
        raise ValueError(f"expected {count} numbers, found {' '.join(words)[:40]!r}")
    return [float(word) for word in words]


Coefficients = tuple[bool, np.ndarray, Int64[np.ndarray, "g 3"], list[Complex128[np.ndarray, " g"]]]
"""Whether one half stands for both, reciprocal vectors, Miller indices, and the components."""


def _fortran(file: File, source: dict[str, str]) -> Coefficients:
    content, source[file.stored] = file.read()
    records = list(_records(content, file))
    if len(records) < 4 or [len(each) for each in records[:2]] != [12, 72]:
        raise DataError(f"{file}: expected records of 12 and 72 bytes, Miller indices and coefficients; found others")
    gamma, count, components = (int(n) for n in np.frombuffer(records[0], dtype="<i4"))
    found = [len(each) for each in records]
    if components not in (1, 2, 4) or found != [12, 72, 12 * count, *[16 * count] * components]:
        raise DataError(
            f"{file}: expected {count} G with three indices and {components} components, found records of {found[:8]} "
            "bytes; copy it again"
        )
    indices = np.frombuffer(records[2], dtype="<i4").reshape(count, 3).astype(np.int64)
    fields = [np.frombuffer(record, dtype="<c16").astype(np.complex128) for record in records[3:]]
    return bool(gamma), np.frombuffer(records[1], dtype="<f8").reshape(3, 3), indices, fields


def _records(content: bytes, file: File) -> Iterator[memoryview]:
    view, at = memoryview(content), 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "little", signed=True)
        end = at + 4 + size
        if size < 0 or end + 4 > len(content) or content[end : end + 4] != content[at : at + 4]:
            raise DataError(
                f"{file}, byte {at}: expected a record of {size} bytes between two counts of them, found another or "
                "no second count: it is truncated or damaged; copy it again"
            )
        yield view[at + 4 : end]
        at = end + 4


def _hdf5(file: File, source: dict[str, str]) -> Coefficients:
    found = contents(file, "MillerIndices", "rhotot_g", "rhodiff_g", "m_x", "m_y", "m_z")
    source[file.stored] = found.digest
    gamma = str(found.attributes.get("gamma_only")).strip().upper().strip(".") == "TRUE"
    indices = found.array("MillerIndices", 2).astype(np.int64)
    names = ["rhotot_g", *[name for name in ("rhodiff_g", "m_x", "m_y", "m_z") if name in found.arrays]]
    pairs = [found.array(name, 1).astype(np.float64) for name in names]
    vectors = [found.attributes.get(f"MillerIndices.bg{axis}") for axis in (1, 2, 3)]
    whole = all(isinstance(vector, list) and len(vector) == 3 for vector in vectors)
    if not whole or indices.shape[1] != 3 or any(len(pair) != 2 * len(indices) for pair in pairs):
        raise DataError(f"{file}: expected three indices and one coefficient for each G, found other numbers of them")
    return gamma, np.array(vectors, dtype=np.float64), indices, [pair.view(np.complex128) for pair in pairs]


def _check(structure: Structure, reciprocal: Any, indices: Int64[np.ndarray, "g 3"], file: File) -> None:
    product = reciprocal @ structure.cell.T / (2 * math.pi)
    if product.shape != (3, 3) or not np.allclose(product, np.eye(3), rtol=0.0, atol=1e-6):
        raise DataError(f"{file}: expected the reciprocal vectors of the cell in {SCHEMA}; found those of another one")
    if (2 * np.abs(indices) > np.array(structure.grid)).any():
        bad = int(np.argmax((2 * np.abs(indices) > np.array(structure.grid)).any(axis=1)))
        raise DataError(
            f"{file}, G {bad}: expected Miller indices within the grid {structure.grid}, found {indices[bad].tolist()}"
        )


def _origin(indices: Int64[np.ndarray, "g 3"], values: Complex128[np.ndarray, " g"], file: File) -> float:
    """f̂(0), the mean of the density."""
    zero = np.flatnonzero((indices == 0).all(axis=1))
    if len(zero) != 1:
        raise DataError(f"{file}: expected one coefficient of G = 0, found {len(zero)}; copy it again")
    return float(values[zero[0]].real)


def _field(
    indices: Int64[np.ndarray, "g 3"],
    coefficients: Complex128[np.ndarray, " g"],
    gamma: bool,
    grid: tuple[int, int, int],
    file: File,
) -> np.ndarray:
    """f(r) = Σ f̂(G) exp(iG·r) on the grid, which is real. Raises DataError where it is not."""
    spectrum = np.zeros(grid, dtype=np.complex128)
    place = np.ravel_multi_index(tuple(indices.T), grid, mode="wrap")
    mirror = np.ravel_multi_index(tuple(-indices.T), grid, mode="wrap")
    twice = len(np.unique(place)) < len(place)
    if twice or (gamma and np.isin(place, mirror[mirror != place]).any()):
        raise DataError(f"{file}: expected each G once, found one twice; copy it again")
    spectrum.flat[place] = coefficients
    if gamma:
        spectrum.flat[mirror] = coefficients.conj()
        spectrum[0, 0, 0] = spectrum[0, 0, 0].real
    field = fft.ifftn(spectrum, norm="forward", overwrite_x=True)
    if not np.abs(field.imag).max() <= REAL * np.abs(field.real).max():
        raise DataError(
            f"{file}: expected the coefficients of a real density, f̂(−G) the conjugate of f̂(G), found others; "
            "copy or compute it again"
        )
    real: np.ndarray = field.real
    return real

"""SPARC's input files: `KEY: values`, values on the same or on the following lines, `#` begins a comment."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from coreset.corpus.cube import LARGEST
from coreset.corpus.elements import number_of
from coreset.errors import DataError


@dataclass(frozen=True)
class Block:
    """One keyword, without its colon, and the rows that follow it, each with the number of its line."""

    key: str
    line: int
    rows: list[tuple[int, list[str]]]


@dataclass(frozen=True, eq=False)
class Position:
    """An atom: atomic number, Cartesian position in Bohr, line of the file."""

    number: int
    position: Float64[np.ndarray, "3"]
    line: int


def blocks(text: str, path: Path) -> list[Block]:
    """The keywords of a `.inpt` or `.ion` file in their order.

    Raises:
        DataError: values before the first keyword.
    """
    found: list[Block] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split("#")[0].split()
        if words and words[0].endswith(":"):
            found.append(Block(words[0][:-1], number, []))
            words = words[1:]
        if words and not found:
            raise DataError(f"{path}, line {number}: expected a keyword that ends in ':', found {line.strip()!r}")
        if words:
            found[-1].rows.append((number, words))
    return found


def parse_cell(text: str, path: Path) -> Float64[np.ndarray, "3 3"] | None:
    """Lattice vectors as rows, Bohr; None where the file states no lengths (`LATVEC_SCALE` or `CELL`).

    `LATVEC_SCALE` multiplies the rows of `LATVEC` as they stand, `CELL` multiplies them as unit vectors; without
    `LATVEC` the cell is orthogonal.

    Raises:
        DataError: not the right count of numbers, or a cell without volume.
    """
    keys = _once(blocks(text, path), path)
    vectors = _values(keys["LATVEC"], 9, path).reshape(3, 3) if "LATVEC" in keys else np.eye(3)
    if "LATVEC_SCALE" in keys:
        lengths = keys["LATVEC_SCALE"]
    elif "CELL" in keys:
        lengths = keys["CELL"]
        norms = np.linalg.norm(vectors, axis=1)[:, np.newaxis]
        vectors = vectors / np.where(norms > 0.0, norms, 1.0)
    else:
        return None
    cell: Float64[np.ndarray, "3 3"] = _values(lengths, 3, path)[:, np.newaxis] * vectors
    if not abs(np.linalg.det(cell)) > 0.0:
        raise DataError(
            f"{path}, line {lengths.line}: expected three independent lattice vectors, found a cell without volume"
        )
    return cell


def parse_grid(text: str, path: Path) -> tuple[int, int, int] | None:
    """`FD_GRID`; None where the file gives the mesh in another way. Raises DataError where it is not three numbers."""
    keys = _once(blocks(text, path), path)
    if "FD_GRID" not in keys:
        return None
    nx, ny, nz = _whole(keys["FD_GRID"], 3, path)
    return nx, ny, nz


def parse_positions(text: str, cell: Float64[np.ndarray, "3 3"], path: Path) -> list[Position]:
    """Atoms of a `.ion` file in its order; `COORD` is Cartesian (Bohr) in skewed cells too, `COORD_FRAC` fractional.

    Raises:
        DataError: an unknown species, coordinates without species, a wrong number of them, or something not a number.
    """
    atoms: list[Position] = []
    species: int | None = None
    expected: int | None = None
    for block in blocks(text, path):
        if block.key == "ATOM_TYPE":
            label = block.rows[0][1][0] if block.rows else ""
            species, expected = number_of(label), None
            if species is None:
                raise DataError(
                    f"{path}, line {block.line}: expected a chemical symbol after ATOM_TYPE, found {label!r}"
                )
        elif block.key == "N_TYPE_ATOM":
            (expected,) = _whole(block, 1, path)
        elif block.key in ("COORD", "COORD_FRAC"):
            if species is None or expected is None:
                raise DataError(f"{path}, line {block.line}: expected ATOM_TYPE and N_TYPE_ATOM before {block.key}")
            if len(block.rows) != expected:
                raise DataError(
                    f"{path}, line {block.line}: expected {expected} rows of coordinates (N_TYPE_ATOM), "
                    f"found {len(block.rows)}"
                )
            for line, words in block.rows:
                row = _values(Block(block.key, line, [(line, words)]), 3, path)
                atoms.append(Position(species, row @ cell if block.key == "COORD_FRAC" else row, line))
    return atoms


def _once(found: list[Block], path: Path) -> dict[str, Block]:
    keys: dict[str, Block] = {}
    for block in found:
        first = keys.setdefault(block.key, block)
        if first is not block:
            raise DataError(
                f"{path}, line {block.line}: expected {block.key[:40]} once, found it in line {first.line} too"
            )
    return keys


def _values(block: Block, count: int, path: Path) -> Float64[np.ndarray, " n"]:
    words = [word for _, row in block.rows for word in row]
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.array([])
    plain = all("_" not in word and word.isascii() for word in words)  # float() takes more for numbers than SPARC does
    if len(values) != count or not plain or not (np.abs(values) <= LARGEST).all():
        found = " ".join(words)[:80]
        raise DataError(f"{path}, line {block.line}: expected {count} numbers for {block.key}, found {found!r}")
    return values


def _whole(block: Block, count: int, path: Path) -> list[int]:
    values = _values(block, count, path)
    if (values != np.floor(values)).any():
        raise DataError(
            f"{path}, line {block.line}: expected whole numbers for {block.key}, found {' '.join(map(str, values))}"
        )
    return [int(value) for value in values]

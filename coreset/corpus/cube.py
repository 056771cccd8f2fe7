"""Gaussian cube files: a header with atoms and the steps of the grid, then one number per grid point.

::

    line 1-2      comments
    line 3        number of atoms, origin (Bohr)
    line 4-6      number of points and step (Bohr) along each lattice vector: n, dx, dy, dz
    next lines    atomic number, (valence) charge, x, y, z (Bohr), one atom a line
    then          the values in C order (the last lattice vector fastest), any number a line

Read are periodic grids: point (i, j, k) sits at fractional (i/nx, j/ny, k/nz) and the plane i = nx is not repeated.
Every message names the file and the line.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64

from coreset.atomic import write_bytes
from coreset.corpus.elements import SYMBOLS
from coreset.errors import DataError, RequestError

BOHR = 0.529177210544
"""Ångström; CODATA 2022."""

LARGEST = 1e9
"""Of any number in a header, and of any length in Bohr: products of a few of them are finite."""


@dataclass(frozen=True, eq=False)
class CubeHeader:
    """The lines before the values.

    Attributes:
        steps: as rows, Bohr.
        charges: second column of the atom lines, in SPARC's files the valence charge.
    """

    comments: tuple[str, str]
    grid: tuple[int, int, int]
    steps: Float64[np.ndarray, "3 3"]
    numbers: Int64[np.ndarray, " a"]
    charges: Float64[np.ndarray, " a"]
    positions: Float64[np.ndarray, "a 3"]

    @property
    def lines(self) -> int:
        """Number of lines of the header; the values begin on the next."""
        return 6 + len(self.numbers)

    @property
    def cell(self) -> Float64[np.ndarray, "3 3"]:
        """Lattice vectors as rows, Bohr: steps times numbers of points, so no more exact than the steps are printed."""
        return self.steps * np.array(self.grid, dtype=np.float64)[:, np.newaxis]


def parse_header(lines: Sequence[str], path: Path | str, anywhere: bool = False) -> CubeHeader:
    """Header from the text of a cube file, split at its newlines; the values may be missing.

    `anywhere` takes what SPARC never writes: an origin that is not 0 0 0, which the atoms are then relative to, and
    lengths in ångström, which three negative numbers of points announce.

    Raises:
        DataError: the file ends within its header, or is empty.
        RequestError: a line is not what the format says, or what this reader supports.
    """
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: expected a cube file, found an empty one; copy it again")
    atoms_line = _numbers(lines, 3, path, "the number of atoms and the origin x y z")
    atoms, origin = _count(atoms_line[0], 3, path, "atoms"), atoms_line[1:4]
    if any(origin) and not anywhere:
        raise RequestError(
            f"{path}, line 3: expected the origin 0 0 0, found {_text(lines, 3)!r}; shift the atoms and the grid"
        )
    if len(atoms_line) == 5 and atoms_line[4] != 1:
        raise RequestError(
            f"{path}, line 3: expected one value per grid point, found {atoms_line[4]:g}; write the density alone"
        )
    grid, steps = [], []
    axes = [_numbers(lines, line, path, "the number of grid points and the step dx dy dz") for line in (4, 5, 6)]
    angstrom = anywhere and all(points < 0 for points, *_ in axes)
    for line, (points, *step) in zip((4, 5, 6), axes, strict=True):
        points = -points if angstrom else points
        grid.append(_count(points, line, path, "grid points"))
        steps.append(step)
    if not abs(np.linalg.det(np.array(steps))) > 0.0:
        raise RequestError(f"{path}, lines 4-6: expected three independent steps, found a cell without volume")
    numbers, charges, positions = [], [], []
    for line in range(7, 7 + atoms):
        number, charge, *position = _numbers(lines, line, path, "an atom: its number, charge and x y z")
        if number not in range(1, len(SYMBOLS) + 1):
            raise RequestError(
                f"{path}, line {line}: expected an atomic number from 1 to {len(SYMBOLS)}, found {number:g}"
            )
        numbers.append(int(number))
        charges.append(charge)
        positions.append(position)
    nx, ny, nz = grid
    unit = 1 / BOHR if angstrom else 1.0
    return CubeHeader(
        comments=(lines[0].strip(), lines[1].strip()),
        grid=(nx, ny, nz),
        steps=np.array(steps) * unit,
        numbers=np.array(numbers, dtype=np.int64),
        charges=np.array(charges),
        positions=(np.array(positions) - np.array(origin)) * unit,
    )


def read_header(path: Path) -> CubeHeader:
    """Header of a cube file, its first lines alone being read. Raises as `parse_header`."""
    with path.open("rb") as file:
        lines = [file.readline() for _ in range(6)]
        atoms = lines[2].split()[:1]
        count = int(atoms[0]) if atoms and re.fullmatch(rb"[0-9]{1,9}", atoms[0]) else 0
        lines += itertools.islice(file, count)  # fewer where the file ends
    return parse_header(decode(b"".join(lines), path).split("\n"), path)


def parse_values(text: str, header: CubeHeader, path: Path) -> Float64[np.ndarray, "nx ny nz"]:
    """Values of a cube file; `text` is the whole of it.

    Raises:
        DataError: too few or too many values, or one that is not a finite number; the line is named.
    """
    expected = math.prod(header.grid)
    body = text.split("\n", header.lines)[-1]
    words = body.split()
    shape = "{} × {} × {}".format(*header.grid)
    if len(words) < expected:
        last = text.rstrip().count("\n") + 1
        raise DataError(
            f"{path}, line {last}: the file ends after {len(words)} of {expected} values ({shape}): it is truncated; "
            "copy or compute it again"
        )
    if len(words) > expected:
        line = value_line(text, header, expected)
        raise DataError(
            f"{path}, line {line}: expected {expected} values ({shape}), found {len(words)}; "
            "the first surplus one stands here"
        )
    width, *before = (len(word.lstrip("-")) for word in reversed(words[-2:]))
    if not text[-1].isspace() and before and width < before[0]:
        line = value_line(text, header, expected - 1)
        raise DataError(
            f"{path}, line {line}: the last value {words[-1][:40]!r} is cut off: the file is truncated; "
            "copy or compute it again"
        )
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        values = None
    if values is None or "_" in body or not body.isascii():  # float() takes 1_000, and digits of other alphabets
        bad = next((index for index, word in enumerate(words) if not _is_number(word)), None)
        if bad is not None:
            found = words[bad][:40]
            raise DataError(f"{path}, line {value_line(text, header, bad)}: expected a number, found {found!r}")
    assert values is not None
    if not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values)))
        found = words[bad][:40]
        raise DataError(f"{path}, line {value_line(text, header, bad)}: expected a finite value, found {found}")
    return values.reshape(header.grid)


def value_line(text: str, header: CubeHeader, index: int) -> int:
    """Number of the line on which value `index` (C order) stands."""
    seen = 0
    for number, line in enumerate(text.split("\n")[header.lines :], start=header.lines + 1):
        seen += len(line.split())
        if seen > index:
            return number
    raise IndexError(index)


def read_cube(path: Path) -> tuple[CubeHeader, Float64[np.ndarray, "nx ny nz"]]:
    """Header and values of a cube file. Raises as `parse_header` and `parse_values`."""
    text = decode(path.read_bytes(), path)
    header = parse_header(text.split("\n"), path)
    return header, parse_values(text, header, path)


def write_cube(
    path: Path,
    cell: Float[np.ndarray, "3 3"],
    numbers: Int64[np.ndarray, " a"],
    positions: Float[np.ndarray, "a 3"],
    values: Float[np.ndarray, "nx ny nz"],
    comment: str,
    charges: Float[np.ndarray, " a"] | None = None,
) -> None:
    """Write a field on a periodic grid, whole or not at all; nine digits, so that float32 values survive exactly.

    `comment` fills the two comment lines; `charges` the second column of the atom lines, the atomic numbers by default.

    Raises:
        RequestError: the comment has more than two lines.
    """
    comments = (*comment.split("\n"), "")[:2]
    if comment.count("\n") > 1:
        raise RequestError(f"{path}: expected a comment of at most two lines, found {comment!r}")
    rows = [*comments, f"{len(numbers):5d}" + 3 * f"{0.0:18.10f}"]
    rows += [
        f"{n:5d}" + "".join(f"{x:18.10f}" for x in vector / n) for n, vector in zip(values.shape, cell, strict=True)
    ]
    for number, charge, position in zip(numbers, numbers if charges is None else charges, positions, strict=True):
        rows.append(f"{number:5d}" + "".join(f"{x:18.10f}" for x in (charge, *position)))
    last = values.shape[-1]
    line = "".join("%16.8E" + "\n" * (k % 6 == 5 or k == last - 1) for k in range(last))
    body = "".join(line % tuple(row) for row in values.reshape(-1, last).tolist())
    write_bytes(path, ("\n".join(rows) + "\n" + body).encode())


def decode(content: bytes, path: Path) -> str:
    """Text of a file. Raises DataError where it is not text."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: expected text, found the byte 0x{content[error.start]:02x}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}, line {line}: expected text, found a zero byte")
    return text


def _text(lines: Sequence[str], line: int) -> str:
    return lines[line - 1].strip()


def _numbers(lines: Sequence[str], line: int, path: Path | str, what: str) -> list[float]:
    """The numbers of a header line: an integer and three or four more, as lines 3 to 6 + atoms have them.

    None exceeds `LARGEST`.
    """
    if line >= len(lines):  # the last piece of a split text is what follows its last newline
        raise DataError(f"{path}: the file ends within its header; expected {what} in line {line}: it is truncated")
    words = lines[line - 1].split()
    allowed = {3: (4, 5), 4: (4,), 5: (4,), 6: (4,)}.get(line, (5,))
    if len(words) not in allowed or not all(_is_number(word) and abs(float(word)) <= LARGEST for word in words):
        raise RequestError(f"{path}, line {line}: expected {what}, found {_text(lines, line)[:80]!r}")
    return [float(word) for word in words]


def _count(value: float, line: int, path: Path | str, what: str) -> int:
    if value < 0:
        meaning = "orbitals instead of a density" if what == "atoms" else "lengths in ångström"
        raise RequestError(
            f"{path}, line {line}: expected a positive number of {what}, found {value:g}; "
            f"a negative one announces {meaning}, which is not supported: write the density with lengths in Bohr"
        )
    if value == 0 or value != int(value):
        raise RequestError(f"{path}, line {line}: expected a positive whole number of {what}, found {value:g}")
    return int(value)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word and word.isascii()

"""VASP's CHGCAR, AECCAR0, AECCAR1, AECCAR2 and CHG.

::

    a comment; a scale; three lattice vectors (Å); symbols; counts; Direct or Cartesian; the atoms; a blank line
    nx ny nz
    ρ·V of every point, the first lattice vector fastest, any number a line
    augmentation occupancies, if any; then, of a calculation with spin, the magnetisation in the same way

The first set of values is the total density, with spin or without; what follows is read past. No number of electrons
stands in the file: those of `OUTCAR`, `vasprun.xml`, `INCAR` and `POTCAR` beside it, whichever are there, must agree.
A density of all electrons or of the cores alone (AECCAR) integrates to another number, which the atoms tell.
"""

import re

import numpy as np

from coreset.corpus.checks import Checks
from coreset.corpus.cube import BOHR
from coreset.corpus.elements import SYMBOLS, number_of
from coreset.corpus.formats.field import Density, Reading, Structure
from coreset.corpus.formats.streams import HEAD, File
from coreset.corpus.formats.text import NUMBER, Text
from coreset.errors import DataError, RequestError

NAMED = re.compile(r"CHGCAR|AECCAR|^CHG")
"""What the name of such a file contains."""

OTHERS = re.compile(r"^(LOCPOT|ELFCAR|PARCHG)")
"""Names of other fields in the same format."""

_VECTOR = rf"[ \t]*{NUMBER}(?:[ \t]+{NUMBER}){{2}}[ \t]*\r?\n"
_POSCAR = re.compile(
    rf"[^\n]*\n[ \t]*{NUMBER}(?:[ \t]+{NUMBER}){{0,2}}[^\n]*\n{_VECTOR}{_VECTOR}{_VECTOR}[ \t]*[A-Z\d]".encode()
)
_GRID = re.compile(rb"\n[ \t]*\r?\n[ \t]*\d+[ \t]+\d+[ \t]+\d+[ \t]*\r?\n")

AGREE = 1e-4
"""Electrons by which two files may differ; `OUTCAR` prints four decimals."""


def recognises(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one: a POSCAR with a grid behind it, which many atoms may push out of sight."""
    if not _POSCAR.match(head) or OTHERS.match(name):
        return False
    return bool(_GRID.search(head)) or (len(head) == HEAD and bool(NAMED.search(name)))


def check(file: File) -> None:
    """Reads the header alone. Raises as `read`."""
    with file.open() as stream:
        _structure(Text(stream, str(file)), file)


def read(file: File, checks: Checks) -> Reading:
    """The total density.

    Raises:
        RequestError: a header that is malformed, or without the symbols of the elements.
        DataError: bad data, or files that contradict each other.
    """
    with file.open() as stream:
        text = Text(stream, str(file))
        structure = _structure(text, file)
        density = Density(structure, str(file), checks, order="F")
        for block in text.blocks(structure.points, "values"):
            density.add(block.values / structure.volume, block.place)
        _check_rest(text, structure)
        source = {file.stored: stream.digest()}
    electrons = _electrons(file, structure, source)
    stated = []
    if electrons is not None:
        place, valence = electrons
        total = float(structure.numbers.sum())
        stated = [
            (place, valence),
            (f"the cores: the nuclear charges less the {valence:g} of {place}", total - valence),
            ("the nuclear charges", total),
        ]
    return Reading(density, stated, certain=bool(stated), source=source)


def _structure(text: Text, file: File) -> Structure:
    comment = text.line()
    if comment is None:
        raise DataError(f"{file}: expected a CHGCAR, found an empty file; copy it again")
    scale = _floats(text, (1, 3), "the scale of the lattice")
    cell = np.array([_floats(text, (3,), "a lattice vector, Å") for _ in range(3)])
    if len(scale) == 1 and scale[0] < 0:  # the volume, then
        volume = abs(float(np.linalg.det(cell)))
        scale = np.cbrt(-scale / volume) if volume > 0 else scale * np.nan
    cell = cell * scale
    kinds, counts = _kinds(text, file, comment)
    numbers = np.repeat(np.array(kinds, dtype=np.int64), counts)
    mode = _line(text, "Direct or Cartesian")
    if mode.strip()[:1] in ("S", "s"):
        mode = _line(text, "Direct or Cartesian")
    if mode.strip()[:1] not in tuple("DdCcKk"):
        raise RequestError(f"{_place(text)}: expected Direct or Cartesian, found {mode.strip()[:80]!r}")
    atoms = np.array([_floats(text, (3, *range(4, 10)), "an atom x y z")[:3] for _ in numbers]).reshape(-1, 3)
    positions = atoms @ cell if mode.strip()[0] in "Dd" else atoms * scale
    line = _line(text, "the grid nx ny nz")
    if not line.strip():
        line = _line(text, "the grid nx ny nz")
    grid = _counts(line, text, "the grid nx ny nz")
    if len(grid) != 3:
        raise RequestError(f"{_place(text)}: expected the grid nx ny nz, found {line.strip()[:80]!r}")
    return Structure(cell / BOHR, numbers, positions / BOHR, (grid[0], grid[1], grid[2]), _place(text))


def _kinds(text: Text, file: File, comment: str) -> tuple[list[int], list[int]]:
    """Atomic numbers and counts; VASP 4 wrote no symbols, which then are those of the POTCAR or of the comment."""
    line = _line(text, "the symbols of the elements")
    words = line.split()
    if words and words[0].isdigit():
        potcar = file.beside("POTCAR")
        labels = [label for label, _ in _potcar(potcar, {})] if potcar else comment.split()
        place = f"{_place(text)}: no symbols of elements stand before it; {potcar or 'its first line'}"
    else:
        labels, place = words, _place(text)
        line = _line(text, "the numbers of atoms")
    counts = _counts(line, text, "the numbers of atoms")
    kinds = [number_of(re.split(r"[_/.]", label)[0]) for label in labels]
    known = [number for number in kinds if number is not None]
    if len(known) < len(kinds) or len(kinds) != len(counts):
        raise RequestError(
            f"{place}: expected the symbols of {len(counts)} elements, found {' '.join(labels)[:80]!r}; "
            "write them into the line above their numbers"
        )
    if sum(counts) > 10_000_000:
        raise RequestError(f"{_place(text)}: expected the numbers of atoms, found {line.strip()[:80]!r}")
    return known, counts


def _check_rest(text: Text, structure: Structure) -> None:
    """What follows the total density begins as it should; a number too many would mean that the grid is wrong."""
    rest = text.line()
    while rest is not None and not rest.strip():
        rest = text.line()
    if rest is None or "augmentation" in rest:
        return
    words = rest.split()
    if words == [str(n) for n in structure.grid]:
        return
    atoms = len(words)
    while atoms < len(structure.numbers) and (rest := text.line()) is not None:
        atoms += len(rest.split())
    rest = text.line()
    if atoms != len(structure.numbers) or rest is None or rest.split() != [str(n) for n in structure.grid]:
        raise DataError(
            f"{_place(text)}: expected the end of the {structure.points:,} values, augmentation occupancies or the "
            f"grid of a second set, found {' '.join(words)[:40]!r}; compute or copy it again"
        )


def _electrons(file: File, structure: Structure, source: dict[str, str]) -> tuple[str, float] | None:
    """The valence electrons that the files beside state, and where; None where none does."""
    found: list[tuple[str, float]] = []
    for name, pattern in (
        ("OUTCAR", rb"NELECT *= *(\S+)"),
        ("vasprun.xml", rb'name="NELECT">\s*([^<\s]+)'),
        ("INCAR", rb"(?m)^\s*NELECT\s*=\s*([^\s#!;]+)"),
    ):
        other = file.beside(name)
        if other is not None and (value := _search(other, pattern, source)) is not None:
            found.append((str(other), value))
    potcar = file.beside("POTCAR")
    if potcar is not None:
        charges = {number_of(re.split(r"[_/.]", label)[0]): charge for label, charge in _potcar(potcar, source)}
        missing = sorted({int(number) for number in structure.numbers} - {number for number in charges if number})
        if missing:
            raise DataError(f"{potcar}: expected ZVAL of {SYMBOLS[missing[0] - 1]}, an element of {file}; found none")
        valence = {number: charge for number, charge in charges.items() if number}
        found.append((str(potcar), sum(valence[int(number)] for number in structure.numbers)))
    # INCAR and OUTCAR know of a charged cell, POTCAR does not.
    stated = [each for each in found if not each[0].endswith("POTCAR")] or found
    for place, value in stated[1:]:
        if abs(value - stated[0][1]) > AGREE:
            raise DataError(
                f"{place}: expected the {stated[0][1]:g} electrons of {stated[0][0]}, found {value:g}; "
                "the files are of different calculations"
            )
    return stated[0] if stated else None


def _search(file: File, pattern: bytes, source: dict[str, str]) -> float | None:
    """The number that the first match of the pattern holds; the file is read in pieces."""
    with file.open() as stream:
        piece, match = b"", None
        while match is None and (more := stream.read(1 << 20)):
            piece = piece[-1000:] + more
            match = re.search(pattern, piece)
        if match is None:
            return None
        source[file.stored] = stream.digest()
    try:
        value = float(match[1])
    except ValueError:
        value = np.nan
    if not 0 < value < 1e9:
        raise DataError(
            f"{file}: expected a number of electrons NELECT, found {match[1][:40].decode(errors='replace')!r}"
        )
    return value


def _potcar(file: File, source: dict[str, str]) -> list[tuple[str, float]]:
    """Label and valence charge of each potential, in order."""
    content, source[file.stored] = file.read()
    labels = re.findall(rb"TITEL *= *\S+ +(\S+)", content) or re.findall(rb"VRHFIN *= *([A-Za-z]+)", content)
    charges = re.findall(rb"ZVAL *= *(\d+\.?\d*)", content)
    if not labels or len(labels) != len(charges):
        raise DataError(
            f"{file}: expected TITEL and ZVAL of each element, found {len(labels)} and {len(charges)}; copy it again"
        )
    return [(label.decode(errors="replace"), float(charge)) for label, charge in zip(labels, charges, strict=True)]


def _line(text: Text, what: str) -> str:
    line = text.line()
    if line is None:
        raise DataError(f"{text.path}: the file ends within its header; expected {what} in line {text.number + 1}")
    return line


def _floats(text: Text, allowed: tuple[int, ...], what: str) -> np.ndarray:
    line = _line(text, what)
    words = line.split()
    # Behind an atom may stand T T F and its label.
    numbers = words[:3] if len(words) > 3 and 4 in allowed else words
    plain = len(words) in allowed and all(re.fullmatch(NUMBER, word, re.ASCII) for word in numbers)
    values = np.array([float(word) for word in numbers]) if plain else np.array([])
    if not plain or not (np.abs(values) < 1e9).all():
        raise RequestError(f"{_place(text)}: expected {what}, found {line.strip()[:80]!r}")
    return values


def _counts(line: str, text: Text, what: str) -> list[int]:
    words = line.split()
    if not words or not all(re.fullmatch(r"[0-9]{1,8}", word) and int(word) > 0 for word in words):
        raise RequestError(f"{_place(text)}: expected {what}, found {line.strip()[:80]!r}")
    return [int(word) for word in words]


def _place(text: Text) -> str:
    return f"{text.path}, line {text.number}"

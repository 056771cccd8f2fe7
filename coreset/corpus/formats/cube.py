"""Gaussian cubes as Gaussian, ORCA, GPAW, ASE, Quantum ESPRESSO's `pp.x` and others write them: e/Bohr³ on a grid.

The cell is as many steps long as there are points, so a molecule's box counts as periodic. An origin that is not 0 0 0
is moved there, and the atoms with it. What the second column of the atoms holds differs between programs: the valence
charge, the nuclear charge, or nothing. The density must integrate to the sum of one of them, or to a whole number.
"""

import re

from coreset.corpus.checks import Checks
from coreset.corpus.cube import CubeHeader, parse_header
from coreset.corpus.formats.field import Density, Reading, Structure
from coreset.corpus.formats.streams import File
from coreset.corpus.formats.text import NUMBER, Text
from coreset.errors import DataError

NAMED = re.compile(r"\.(cube|cub)$", re.IGNORECASE)

_AXIS = rf"[ \t]*[-+]?\d+(?:[ \t]+{NUMBER}){{3}}[ \t]*\r?\n"
_HEADER = re.compile(
    rf"[^\n]*\n[^\n]*\n[ \t]*[-+]?\d+(?:[ \t]+{NUMBER}){{3}}(?:[ \t]+\d+)?[ \t]*\r?\n{_AXIS}{_AXIS}{_AXIS}".encode()
)


def recognises(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one: four lines of a whole number and three others behind two of comment."""
    return bool(_HEADER.match(head))


def check(file: File) -> None:
    """Reads the header alone. Raises as `read`."""
    with file.open() as stream:
        _header(Text(stream, str(file)))


def read(file: File, checks: Checks) -> Reading:
    """The density.

    Raises:
        RequestError: a header that is malformed, or of something else than one field: orbitals, several values a point.
        DataError: bad data.
    """
    with file.open() as stream:
        text = Text(stream, str(file))
        header = _header(text)
        structure = Structure(
            header.cell, header.numbers, header.positions, header.grid, f"{file}, lines 3-{header.lines}"
        )
        density = Density(structure, str(file), checks)
        for block in text.blocks(structure.points, "values"):
            density.add(block.values, block.place)
        while (rest := text.line()) is not None:
            if rest.strip():
                raise DataError(
                    f"{file}, line {text.number}: expected the end of the {structure.points:,} values, "
                    f"found {rest.strip()[:40]!r}; compute or copy it again"
                )
        source = {file.stored: stream.digest()}
    stated = [
        ("the second column of the atoms", float(header.charges.sum())),
        ("the nuclear charges", float(header.numbers.sum())),
    ]
    return Reading(density, stated, certain=False, source=source)


def _header(text: Text) -> CubeHeader:
    lines: list[str] = []
    while len(lines) < 6 and (line := text.line()) is not None:
        lines.append(line)
    words = lines[2].split() if len(lines) == 6 else []
    atoms = int(words[0]) if words and re.fullmatch(r"[0-9]{1,9}", words[0]) else 0
    while len(lines) < 6 + atoms and (line := text.line()) is not None:
        lines.append(line)
    # Behind the last piece of a split text stands what follows its last newline.
    return parse_header([*lines, ""], text.path, anywhere=True)

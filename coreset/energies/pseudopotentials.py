"""The folder of pseudopotentials: which file belongs to which element, told by the headers and not by the names.

Format `psp8` (ONCVPSP, D. R. Hamann), as ABINIT and SPARC read it. Line 2 holds `zatom zion pspd`: atomic number,
valence electrons, date; line 3 `pspcod pspxc …`: 8, and the exchange–correlation functional (11 or −101130 is PBE).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from coreset.corpus.elements import SYMBOLS
from coreset.errors import RequestError

PATTERN = "*.psp8"

CODE = 8
"""`pspcod` of the format."""


@dataclass(frozen=True)
class Pseudopotential:
    """One file: atomic number, valence electrons, `pspxc`."""

    path: Path
    number: int
    valence: float
    functional: int

    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def find(folder: Path | None, numbers: Iterable[int]) -> dict[int, Pseudopotential]:
    """The pseudopotential of each element, in order of atomic number.

    Raises:
        RequestError: no folder, a file that is no psp8 file, an element with no file or with two, or files of different
            exchange–correlation functionals.
    """
    if folder is None or not folder.is_dir():
        found = "none" if folder is None else f"{folder}, which is no folder"
        raise RequestError(
            f"energy.pseudopotentials: expected a folder of ONCV pseudopotentials ({PATTERN}), found {found}"
        )
    files = [read(path) for path in sorted(folder.glob(PATTERN))]
    chosen = {number: _of(number, files, folder) for number in sorted({int(number) for number in numbers})}
    if len({file.functional for file in chosen.values()}) > 1:
        functionals = ", ".join(f"{file.functional} of {SYMBOLS[number - 1]}" for number, file in chosen.items())
        raise RequestError(f"{folder}: expected one exchange–correlation functional (pspxc), found {functionals}")
    return chosen


def _of(number: int, files: list[Pseudopotential], folder: Path) -> Pseudopotential:
    mine = [file for file in files if file.number == number]
    if len(mine) == 1:
        return mine[0]
    symbol = SYMBOLS[number - 1]
    if mine:
        names = ", ".join(file.path.name for file in mine)
        raise RequestError(f"{folder}: expected one pseudopotential of {symbol}, found {names}; leave one of them")
    elements = ", ".join(SYMBOLS[file.number - 1] for file in sorted(files, key=lambda file: file.number))
    raise RequestError(
        f"{folder}: expected a pseudopotential ({PATTERN}) of {symbol}, found those of {elements or 'no element'}; "
        "docs/energies.md says where to get them"
    )


def read(path: Path) -> Pseudopotential:
    """What the header of a psp8 file says.

    Raises:
        RequestError: it is none.
    """
    with path.open(errors="replace") as stream:
        lines = [stream.readline() for _ in range(3)]
    try:
        zatom, zion = (float(word) for word in lines[1].split()[:2])
        code, functional = (int(word) for word in lines[2].split()[:2])
    except ValueError:
        code = zatom = zion = functional = 0
    if code != CODE or not 1 <= round(zatom) <= len(SYMBOLS):
        raise RequestError(
            f"{path}: expected the header of a psp8 file (zatom zion pspd; pspcod = {CODE}, …) in its first 3 lines, "
            f"found {lines[1].strip()!r}, {lines[2].strip()!r}"
        )
    return Pseudopotential(path, round(zatom), zion, functional)

"""The Materials Project's charge densities: a pymatgen `Chgcar` as JSON, alone or as `data` of a task's record.

`data.total` holds ρ·V of every point, with spin or without, the last lattice vector fastest; `poscar.structure` holds
lattice and sites in Å. The numbers, nearly all of the text, are parsed as numbers; the rest as JSON. No number of
electrons stands there, so the density must integrate to a whole one, or to the `nelect` that an older record states.
"""

import re
from typing import Any

import numpy as np
from jaxtyping import Float64

from coreset.atomic import parse_json
from coreset.corpus.checks import Checks
from coreset.corpus.cube import BOHR
from coreset.corpus.elements import number_of
from coreset.corpus.formats.field import Density, Reading, Structure
from coreset.corpus.formats.streams import File
from coreset.errors import DataError, brief
from coreset.numerics.decimals import NotDecimal, parse_decimals

NAMED = re.compile(r"^(mp-|mvc-|.*chgcar).*\.json$", re.IGNORECASE)

_MARK = re.compile(rb'"@class"\s*:\s*"(Chgcar|VolumetricData)"|"data_aug"|"poscar"')

_RUN = re.compile(rb"[-+0-9.eE,\[\]\s]{1000,}")
"""What holds nothing but numbers, of a length that no lattice has."""

_STAND_IN = 7_310_000_000_000_000
"""Plus its index, what stands in the JSON for the numbers that were cut out of it."""

BLOCK = 1 << 20
"""Bytes of numbers that are parsed at a time."""


def recognises(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one: a JSON object that names pymatgen's class or its keys."""
    return head.lstrip()[:1] == b"{" and bool(_MARK.search(head))


def check(file: File) -> None:
    """Nothing, for there is no header: the keys may stand in any order."""


def read(file: File, checks: Checks) -> Reading:
    """The total density.

    Raises:
        DataError: bad data.
    """
    content, digest = file.read()
    structure, values, stated = _parse(content, file)
    density = Density(structure, str(file), checks)
    density.add(values / structure.volume)
    return Reading(density, stated, certain=bool(stated), source={file.stored: digest})


def _parse(content: bytes, file: File) -> tuple[Structure, Float64[np.ndarray, " n"], list[tuple[str, float]]]:
    runs: list[tuple[int, int]] = []

    def cut(match: re.Match[bytes]) -> bytes:
        text = match[0]
        first = len(text) - len(text.lstrip(b" \t\r\n,"))
        last = len(text.rstrip(b" \t\r\n,"))
        if text[first : first + 1] != b"[" or text[last - 1 : last] != b"]":
            return text
        runs.append((match.start() + first, match.start() + last))
        return text[:first] + str(_STAND_IN + len(runs) - 1).encode() + text[last:]

    try:
        tree = parse_json(_RUN.sub(cut, content))
        volumetric = tree if "poscar" in tree or "structure" in tree else tree["data"]
        total = volumetric["data"]["total"]
        total = total["data"] if isinstance(total, dict) else total
        crystal = volumetric["poscar"]["structure"] if "poscar" in volumetric else volumetric["structure"]
        cell = np.array(crystal["lattice"]["matrix"], dtype=np.float64)
        numbers = [_number(site) for site in crystal["sites"]]
        fractions = np.array([site["abc"] for site in crystal["sites"]], dtype=np.float64)
        if cell.shape != (3, 3) or fractions.shape != (len(numbers), 3):
            raise ValueError("a lattice and sites of other shapes")
        stated = [("nelect", float(tree["nelect"]))] if tree.get("nelect") else []
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{file}: expected a Chgcar of pymatgen as JSON, with data.total and poscar.structure; found another text "
            f"({type(error).__name__}: {brief(error)}); download it again"
        ) from None
    values, grid = _values(total, content, runs, file)
    structure = Structure.fractional(cell / BOHR, np.array(numbers, dtype=np.int64), fractions, grid, str(file))
    return structure, values, stated


def _number(site: Any) -> int:
    (species,) = site["species"]  # one: a density has no partly occupied sites
    number = number_of(species["element"])
    if number is None:
        raise ValueError(f"unknown element {species['element']!r}")
    return number


def _values(
    total: Any, content: bytes, runs: list[tuple[int, int]], file: File
) -> tuple[Float64[np.ndarray, " n"], tuple[int, int, int]]:
    """The numbers in C order, and the grid that the brackets around them tell."""
    if isinstance(total, int) and 0 <= total - _STAND_IN < len(runs):
        first, last = runs[total - _STAND_IN]
        text = content[first:last]
    else:
        text = str(total).encode() if isinstance(total, list) else b""
    shape = _shape(text)
    if shape is None:
        raise DataError(f"{file}, data.total: expected numbers in three levels of brackets, all of the same lengths")
    bare = text.translate(bytes.maketrans(b"[],", b"   "))
    pieces, at = [], 0
    while at < len(bare):
        end = bare.find(b" ", at + BLOCK)
        end = len(bare) if end < 0 else end
        try:
            pieces.append(parse_decimals(bare[at:end], end - at)[0])
        except NotDecimal as error:
            raise DataError(f"{file}, data.total: expected a finite number, found {error.word!r}") from None
        at = end
    values = np.concatenate(pieces) if pieces else np.empty(0)
    if len(values) != shape[0] * shape[1] * shape[2]:
        raise DataError(f"{file}, data.total: expected {shape} numbers, found {len(values):,}; download it again")
    return values, shape


def _shape(text: bytes) -> tuple[int, int, int] | None:
    """Lengths of three levels of brackets around numbers; None where the levels are not regular."""
    squeezed = re.sub(rb"[^\[\],]+", b"", text)
    row = re.match(rb"\[\[(\[,*\])", squeezed)
    if row is None:
        return None
    plane_end = squeezed.find(b"]]", 1) + 2
    plane = squeezed[1:plane_end]
    ny = plane.count(b"[") - 1
    nx = (len(squeezed) - 1) // (len(plane) + 1)
    regular_plane = b"[" + b",".join([row[1]] * ny) + b"]"
    if plane != regular_plane or squeezed != b"[" + b",".join([plane] * nx) + b"]":
        return None
    return nx, ny, row[1].count(b",") + 1

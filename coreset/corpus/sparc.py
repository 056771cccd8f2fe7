"""SPARC's output: finds snapshots below a folder and reads them.

`X.dens` is a cube file (e/Bohr³, valence electrons). Beside it may stand `X.inpt` (the exact cell), `X.ion` (the exact
positions), `X.out` (cell, electrons, energy) and `X.static` (energy). Files that contradict each other are an error.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32, Float64

from coreset.corpus.checks import Checks
from coreset.corpus.cube import LARGEST, CubeHeader, decode, parse_header, parse_values, read_header, value_line
from coreset.corpus.elements import SYMBOLS, formula
from coreset.corpus.formats.streams import files_of
from coreset.corpus.naming import DEFAULT, Naming, expect_no_folder, snapshot_name
from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.sparc_input import Position, parse_cell, parse_grid, parse_positions
from coreset.errors import DataError, RequestError

_DEFAULT = Checks()

COMPANIONS = (".inpt", ".ion", ".out", ".static")

POSITION_TOLERANCE = 1e-5
"""Bohr; the cube header prints six decimals."""

STEP_TOLERANCE = 1e-6
"""Bohr; the cube header prints six decimals."""

ENERGY_TOLERANCE = 1e-9
"""Relative; `.out` prints eleven digits."""

_FREE_ENERGY = re.compile(r"^Total free energy(?: \(Ha\))?\s*:\s*(\S+)", re.MULTILINE)
_ELECTRONS = re.compile(r"^Total number of electrons\s*:\s*(\S+)", re.MULTILINE)
_LATTICE = re.compile(r"^Lattice vectors \(Bohr\):((?:\s+\S+){9})", re.MULTILINE)
_BOUNDARY = re.compile(r"boundary condition:((?:\s+[A-Z]){3})")


@dataclass(frozen=True)
class SnapshotFiles:
    """A snapshot that is not read yet: its name and its `.dens`; the companions are looked for beside that."""

    name: str
    density: Path

    def companion(self, suffix: str) -> Path | None:
        """The file beside the density with this suffix, if there is one."""
        path = self.density.with_suffix(suffix)
        return path if path.is_file() else None


def list_snapshots(source: Path | str) -> list[SnapshotFiles]:
    """Every `X.dens` of a folder tree (hidden folders left out), or one such file; in order of name.

    Raises:
        RequestError: nothing there, none found, a reserved name, or two files of one name.
    """
    source = Path(source)
    if source.is_file():
        if source.suffix != ".dens":
            raise RequestError(f"{source}: expected a SPARC density X.dens, or a folder that holds some")
        paths = [(PurePosixPath(source.name), source)]
    elif source.is_dir():
        paths = [(relative, path) for path, relative in files_of(source) if path.name.endswith(".dens")]
    else:
        raise RequestError(
            f"{source}: no such file or folder; expected a SPARC density X.dens, or a folder that holds some"
        )
    found: dict[str, SnapshotFiles] = {}
    for relative, path in paths:
        name = snapshot_name(relative)
        if not path.is_file():
            raise RequestError(f"{path}: expected a SPARC density, found a link that leads nowhere; remove it")
        if name in found:
            raise RequestError(f"{path} and {found[name].density} are both named {name}; rename or remove one of them")
        found[name] = SnapshotFiles(name, path)
    if not found:
        raise RequestError(
            f"{source}: no snapshot found; expected SPARC densities X.dens there or in folders below "
            "(PRINT_DENSITY: 1 in the .inpt file writes them)"
        )
    expect_no_folder({name: str(each.density) for name, each in found.items()})
    return [found[name] for name in sorted(found)]


def check_headers(snapshots: list[SnapshotFiles]) -> int:
    """Reads the cube headers alone, so that a malformed one is found before any work; gives the number of grid points.

    Raises:
        RequestError: a header is malformed or not supported.
        DataError: a file is empty, not text, or ends within its header.
    """
    points = 0
    for files in snapshots:
        header = read_header(files.density)
        _check_periodic(header, files.density)
        points += math.prod(header.grid)
    return points


def read_snapshot(
    files: SnapshotFiles,
    checks: Checks = _DEFAULT,
    naming: Naming = DEFAULT,
) -> tuple[Snapshot, Float32[np.ndarray, "nx ny nz"]]:
    """The snapshot and its density, e/Bohr³.

    The density is rounded from its text to float32 once. N is the sum of the valence charges in the cube header; it
    must be that of `.out`, and |Σρ V/points - N| / N at most `checks.electron_tolerance`.

    Raises:
        RequestError: a cube header that is malformed or not supported, a name that `naming` cannot use.
        DataError: bad data, or files that contradict each other.
    """
    texts, source = _read(files)
    header = parse_header(texts[".dens"].split("\n"), files.density)
    _check_periodic(header, files.density)
    cell = _cell(files, texts, header)
    positions, wrapped = _positions(files, texts, header, cell, checks)
    electrons = _electrons(files, texts, header)
    values = parse_values(texts[".dens"], header, files.density)
    _check_density(values, cell, electrons, files.density, texts[".dens"], header, checks)
    density = values.astype(np.float32)
    snapshot = Snapshot(
        name=files.name,
        cell=cell,
        numbers=header.numbers,
        positions=positions,
        grid=header.grid,
        electrons=electrons,
        energy=_energy(files, texts),
        group=naming.group_of(files.name),
        temperature=naming.temperature_of(files.name),
        composition=formula(header.numbers.tolist()),
        source=source,
        wrapped=wrapped,
        digest=content_digest(cell, header.numbers, positions, density),
    )
    return snapshot, density


def _read(files: SnapshotFiles) -> tuple[dict[str, str], dict[str, str]]:
    """Text of each file by its suffix, SHA-256 of each by its name."""
    texts, source = {}, {}
    for suffix in (".dens", *COMPANIONS):
        path = files.companion(suffix)
        if path is not None:
            content = path.read_bytes()
            texts[suffix] = decode(content, path)
            source[path.name] = hashlib.sha256(content).hexdigest()
    return texts, source


def _check_periodic(header: CubeHeader, path: Path) -> None:
    """Along an axis that is not periodic the grid also holds the plane i = nx: its points have unequal weights."""
    boundary = _BOUNDARY.search(header.comments[1])
    if boundary and boundary[1].split() != ["P", "P", "P"]:
        raise RequestError(
            f"{path}, line 2: expected a cell that is periodic in all directions (P P P), found{boundary[1]}; "
            "surfaces, wires and molecules need a periodic cell with vacuum"
        )


def _cell(files: SnapshotFiles, texts: dict[str, str], header: CubeHeader) -> Float64[np.ndarray, "3 3"]:
    """Cell of `.inpt`, else of `.out`, else of the cube header, to which it must agree within the digits there."""
    cell, origin = None, files.density
    if ".inpt" in texts:
        origin = files.density.with_suffix(".inpt")
        cell = parse_cell(texts[".inpt"], origin)
        grid = parse_grid(texts[".inpt"], origin)
        if grid is not None and grid != header.grid:
            raise DataError(
                f"{files.density}, lines 4-6: expected the grid {grid} of {origin.name}, found {header.grid}"
            )
    if cell is None and ".out" in texts:
        lattice = _LATTICE.search(texts[".out"])
        if lattice:
            origin = files.density.with_suffix(".out")
            cell = _floats(lattice[1].split(), origin, texts[".out"], lattice.start()).reshape(3, 3)
    if cell is None:
        return header.cell
    steps = cell / np.array(header.grid)[:, None]
    if not np.allclose(steps, header.steps, rtol=0.0, atol=STEP_TOLERANCE):
        axis = int(np.argmax(np.abs(steps - header.steps).max(axis=1)))
        raise DataError(
            f"{files.density}, line {4 + axis}: expected the step {_vector(steps[axis])} Bohr that the cell of "
            f"{origin.name} gives with {header.grid[axis]} points, found {_vector(header.steps[axis])}; "
            "the files are of different calculations"
        )
    return cell


def _positions(
    files: SnapshotFiles, texts: dict[str, str], header: CubeHeader, cell: Float64[np.ndarray, "3 3"], checks: Checks
) -> tuple[Float64[np.ndarray, "a 3"], int]:
    """Positions of `.ion`, else of the cube header; those of the two must be periodic images of each other."""
    if ".ion" in texts:
        path = files.density.with_suffix(".ion")
        atoms = parse_positions(texts[".ion"], cell, path)
        _check_atoms(atoms, path, header, files.density, cell)
    else:
        path = files.density
        atoms = [
            Position(int(number), position, line)
            for line, (number, position) in enumerate(zip(header.numbers, header.positions, strict=True), start=7)
        ]
    positions = np.array([atom.position for atom in atoms])
    fractional = positions @ np.linalg.inv(cell)
    # The rounding of the inverse must not make an atom on a face of a skewed cell an outside one.
    outside = ((fractional < -1e-12) | (fractional >= 1.0)).any(axis=1)
    if outside.any() and not checks.wrap:
        first = int(np.argmax(outside))
        raise DataError(
            f"{path}, line {atoms[first].line}: expected atoms inside the cell (fractional coordinates in [0, 1)), "
            f"found {SYMBOLS[atoms[first].number - 1]} at {_vector(fractional[first])} "
            f"({int(outside.sum())} such atoms); pass --wrap to move them to their periodic image"
        )
    positions[outside] -= np.floor(fractional[outside]) @ cell
    return positions, int(outside.sum())


def _check_atoms(
    atoms: list[Position], path: Path, header: CubeHeader, density: Path, cell: Float64[np.ndarray, "3 3"]
) -> None:
    if len(atoms) != len(header.numbers):
        raise DataError(
            f"{density}, line 3: expected the {len(atoms)} atoms of {path.name}, found {len(header.numbers)}"
        )
    for line, (atom, number, position) in enumerate(zip(atoms, header.numbers, header.positions, strict=True), start=7):
        if atom.number != number:
            raise DataError(
                f"{density}, line {line}: expected {SYMBOLS[atom.number - 1]} as in {path.name}, line {atom.line}, "
                f"found {SYMBOLS[number - 1]}"
            )
        difference = atom.position - position
        difference -= np.round(difference @ np.linalg.inv(cell)) @ cell
        if not np.abs(difference).max() <= POSITION_TOLERANCE:
            raise DataError(
                f"{density}, line {line}: expected {SYMBOLS[number - 1]} at {_vector(atom.position)} Bohr as in "
                f"{path.name}, line {atom.line}, found {_vector(position)}; the files are of different calculations"
            )


def _electrons(files: SnapshotFiles, texts: dict[str, str], header: CubeHeader) -> float:
    electrons = float(header.charges.sum())
    if not electrons > 0.0:
        raise DataError(
            f"{files.density}, lines 7-{header.lines}: expected valence charges in the second column, "
            f"found {electrons:g} in sum"
        )
    match = _ELECTRONS.search(texts.get(".out", ""))
    if match:
        path = files.density.with_suffix(".out")
        stated = float(_floats([match[1]], path, texts[".out"], match.start())[0])
        if abs(stated - electrons) > 1e-6:
            raise DataError(
                f"{path}, line {_line(texts['.out'], match.start())}: expected {electrons:g} electrons, the valence "
                f"charges in {files.density.name}, found {stated:g}; charged cells are not supported"
            )
    return electrons


def _energy(files: SnapshotFiles, texts: dict[str, str]) -> float | None:
    """The last total free energy of `.out`, else of `.static`, Ha; where both state it they must agree."""
    stated: dict[str, float] = {}
    for suffix in (".out", ".static"):
        matches = list(_FREE_ENERGY.finditer(texts.get(suffix, "")))
        if matches:
            path, start = files.density.with_suffix(suffix), matches[-1].start()
            place = f"{path}, line {_line(texts[suffix], start)}"
            stated[place] = float(_floats([matches[-1][1]], path, texts[suffix], start)[0])
    if not stated:
        return None
    (place, energy), *others = stated.items()
    for other, value in others:
        if not abs(value - energy) <= ENERGY_TOLERANCE * abs(energy):
            raise DataError(
                f"{place}: expected the total free energy {value} Ha of {other}, found {energy}; "
                "the files are of different calculations"
            )
    return energy


def _check_density(
    values: Float64[np.ndarray, "nx ny nz"],
    cell: Float64[np.ndarray, "3 3"],
    electrons: float,
    path: Path,
    text: str,
    header: CubeHeader,
    checks: Checks,
) -> None:
    floor = checks.density_floor or 0.0
    lowest = int(np.argmin(values))
    if values.flat[lowest] < floor:
        below = values.ravel() < floor
        first = int(np.argmax(below))
        raise DataError(
            f"{path}, line {value_line(text, header, first)}: expected densities of at least "
            f"{floor:g} e/Bohr³, found {values.flat[first]:g} ({int(below.sum())} such values, "
            f"the lowest {values.flat[lowest]:g}); compute it again, or lower density_floor"
        )
    if values.max() > np.finfo(np.float32).max:
        highest = int(np.argmax(values))
        raise DataError(
            f"{path}, line {value_line(text, header, highest)}: expected densities that float32 can hold, "
            f"found {values.flat[highest]:g} e/Bohr³; compute it again"
        )
    integral = float(values.sum() * abs(np.linalg.det(cell)) / values.size)
    if not abs(integral - electrons) <= checks.electron_tolerance * electrons:
        raise DataError(
            f"{path}: the density integrates to {integral:.6f} electrons, expected {electrons:g}; the relative "
            f"difference {abs(integral - electrons) / electrons:.1e} exceeds electron_tolerance = "
            f"{checks.electron_tolerance:g}: a value is wrong or the files do not belong together; compute it again, "
            "or raise the tolerance"
        )


def _floats(words: list[str], path: Path, text: str, start: int) -> Float64[np.ndarray, " n"]:
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.array([np.nan])
    plain = all("_" not in word and word.isascii() for word in words)
    if not plain or not (np.abs(values) <= LARGEST).all():
        raise DataError(f"{path}, line {_line(text, start)}: expected numbers, found {' '.join(words)[:80]!r}")
    return values


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _vector(values: Float64[np.ndarray, "3"]) -> str:
    return "({:.6f}, {:.6f}, {:.6f})".format(*values)

"""What a source holds: SPARC's files and those of the other formats, each found by its content, listed and read."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float32

from coreset.corpus.checks import Checks
from coreset.corpus.formats import abinit, cube, espresso, mala, materials_project, vasp
from coreset.corpus.formats.field import Reading
from coreset.corpus.formats.streams import File, plain, walk
from coreset.corpus.naming import Naming, expect_no_folder, snapshot_name
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.sparc import SnapshotFiles, check_headers, read_snapshot
from coreset.errors import RequestError

FORMATS: dict[str, ModuleType] = {
    "Gaussian cube": cube,
    "VASP CHGCAR": vasp,
    "ABINIT _DEN.nc": abinit,
    "Quantum ESPRESSO charge-density": espresso,
    "Materials Project .json": materials_project,
    "MALA .npy": mala,
}
"""Each has `recognises(head, name)`, `check(file)`, `read(file, checks)`, and `NAMED`: names that promise a density."""

SUFFIXES = (".cube", ".cub", ".dens", ".nc", ".dat", ".hdf5", ".json", ".npy", ".vasp")
"""What is left out of the name of a snapshot."""

EXPECTED = f"a density of SPARC (X.dens), {', '.join(FORMATS)}; a folder or a tar that holds some; or a corpus"


@dataclass(frozen=True)
class Found:
    """A snapshot that is not read yet: its name, and its file and format; or SPARC's files."""

    name: str
    file: File | None = None
    format: str = ""
    sparc: SnapshotFiles | None = None

    def __str__(self) -> str:
        return str(self.file or (self.sparc and self.sparc.density))


def find(source: Path) -> list[Found]:
    """Every density of a source, in order of name.

    Raises:
        RequestError: nothing there, or none found; a file whose name promises a density and whose content is none; a
            reserved name, or two files of one name.
        DataError: a compressed file or a tar that is damaged.
    """
    if not source.exists():
        raise RequestError(f"{source}: no such file or folder; expected {EXPECTED}")
    found: dict[str, Found] = {}
    for each in _listed(source):
        if each.name in found:
            raise RequestError(
                f"{each} and {found[each.name]} are both named {each.name}; rename or remove one of them"
            )
        found[each.name] = each
    if not found:
        raise RequestError(f"{source}: no density found; expected {EXPECTED}")
    expect_no_folder({name: str(each) for name, each in found.items()})
    return [found[name] for name in sorted(found)]


def check(each: Found) -> None:
    """Reads the header alone, so that a malformed one is found before any work. Raises as `read`."""
    if each.sparc is not None:
        check_headers([each.sparc])
    elif each.file is not None:
        FORMATS[each.format].check(each.file)


def read(checks: Checks, naming: Naming, each: Found) -> tuple[Snapshot, Float32[np.ndarray, "nx ny nz"]]:
    """The snapshot and its density, e/Bohr³.

    Raises:
        RequestError: a header that is malformed or not supported, a file beside that is missing, or a library.
        DataError: bad data, or files that contradict each other.
    """
    if each.sparc is not None:
        return read_snapshot(each.sparc, checks, naming)
    assert each.file is not None
    reading: Reading = FORMATS[each.format].read(each.file, checks)
    return reading.snapshot(each.name, str(each.file), checks, naming)


def _listed(source: Path) -> list[Found]:
    listed = []
    for file, head in walk(source):
        if file.relative.suffix == ".dens" and file.member is None:
            listed.append(_sparc(file))
            continue
        format = _recognised(file, head)
        if format is not None:
            listed.append(Found(_name(file), file, format))
        elif source.is_file() and file.member is None:
            start = head[:200].decode("ascii", "backslashreplace").split("\n")[0][:60]
            raise RequestError(f"{file}: expected {EXPECTED}; found a file that begins with {start!r}")
    return listed


def _sparc(file: File) -> Found:
    """SPARC's own reader looks for the files beside the density, on the disk."""
    return Found(snapshot_name(file.relative), sparc=SnapshotFiles(snapshot_name(file.relative), file.path))


def _recognised(file: File, head: bytes) -> str | None:
    for name, format in FORMATS.items():
        if format.recognises(head, file.name):
            return name
    # The reader of the format that the name promises says what is wrong, and where.
    return next((name for name, format in FORMATS.items() if format.NAMED.search(file.name)), None)


def _name(file: File) -> str:
    relative = plain(file.relative)
    if relative.suffix.lower() in SUFFIXES:
        return snapshot_name(relative)
    # `CHGCAR.spin` is a whole name, and only a suffix is left out.
    return snapshot_name(relative.with_name(relative.name + ".vasp"))

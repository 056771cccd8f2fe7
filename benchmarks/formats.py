"""CHGCAR text into a float32 density, against pymatgen's reader of the same file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, alternately, apart, row
from coreset.corpus.checks import Checks
from coreset.corpus.formats import vasp
from coreset.corpus.formats.streams import walk

LATTICE = "benchmark\n1.0\n8.0 0.0 0.0\n0.0 8.0 0.0\n0.0 0.0 8.0\nAl\n1\nDirect\n0.0 0.0 0.0\n\n"


def rows(quick: bool) -> list[Row]:
    """One thread; the file is in the page cache of the system for both."""
    import pymatgen
    from pymatgen.io.vasp.outputs import Chgcar

    points = 48 if quick else 192
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "CHGCAR"
        write_chgcar(path, points)
        size = path.stat().st_size
        ours, peer = alternately(
            lambda: read_chgcar(str(path)), lambda: Chgcar.from_file(str(path)), rounds=1 if quick else 7
        )
        held = apart("benchmarks.formats:read_chgcar", path=str(path))["peak"]
        write_chgcar(path, 8)
        held -= apart("benchmarks.formats:read_chgcar", path=str(path))["peak"]
    stage = f"CHGCAR of {points}³ points, {size / 1e6:.0f} MB of text"
    note = (
        f"to a checked float32 density with the file's SHA-256; the peer is pymatgen {pymatgen.core.__version__}, "
        "whose compiled parser takes no checksum, sum or extremes."
    )
    return [
        row(stage, "rate of one core", size / ours * 60 / 1e9, unit="GB/min", at_least=1, note=note),
        row(stage, "time, of pymatgen's `Chgcar.from_file`", ours / peer),
        row(stage, "memory beside the process, of the float32 density", [held / (4 * points**3)]),
    ]


def write_chgcar(path: Path, points: int) -> None:
    """A cube of points³ values that average to 3, five a line with eleven digits as VASP writes them."""
    values = np.random.default_rng(0).uniform(0.0, 6.0, points**3)
    values *= 3.0 / values.mean()
    line = " ".join(["%.11E"] * 5) + "\n"
    with path.open("w") as file:
        file.write(f"{LATTICE}{points} {points} {points}\n")
        whole = values[: len(values) // 5 * 5].reshape(-1, 5)
        for begin in range(0, len(whole), 20_000):
            file.write("".join(line % tuple(each) for each in whole[begin : begin + 20_000].tolist()))
        file.write(" ".join(f"{each:.11E}" for each in values[whole.size :]) + "\n")


def read_chgcar(path: str) -> int:
    """Number of values."""
    ((file, _),) = walk(Path(path))
    density = vasp.read(file, Checks()).density
    return density.finish().size

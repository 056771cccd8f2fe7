"""Densities that ABINIT, Quantum ESPRESSO, VASP and MALA made, and how a test reads them: as `coreset ingest` does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coreset.corpus.checks import Checks
from coreset.corpus.formats.source import check, find, read
from coreset.corpus.naming import Naming
from coreset.corpus.snapshot import Snapshot

DATA = Path(__file__).parents[2] / "data" / "formats"

BOHR = 0.529177210544
"""Ångström, stated once more, so that a wrong digit is seen."""

Read = Callable[..., dict[str, tuple[Snapshot, np.ndarray]]]


@pytest.fixture(scope="session")
def read_all() -> Read:
    """Snapshots of a source by their names; keywords are those of `Checks`."""

    def read_source(source: Path, **checks: float) -> dict[str, tuple[Snapshot, np.ndarray]]:
        found = find(source)
        for each in found:
            check(each)
        return {each.name: read(Checks(**checks), Naming(), each) for each in found}

    return read_source


@pytest.fixture
def read_one(read_all: Read) -> Callable[..., tuple[Snapshot, np.ndarray]]:
    """The only snapshot of a source."""

    def read_source(source: Path, **checks: float) -> tuple[Snapshot, np.ndarray]:
        ((snapshot, density),) = read_all(source, **checks).values()
        integral = density.mean(dtype=np.float64) * abs(np.linalg.det(snapshot.cell))
        assert abs(integral - snapshot.electrons) < 1e-3 * snapshot.electrons
        return snapshot, density

    return read_source


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def alh(read_all: Read) -> tuple[Snapshot, np.ndarray]:
    """ABINIT's AlH in a skewed cell."""
    pytest.importorskip("netCDF4")
    return read_all(DATA / "abinit" / "alh_DEN.nc.gz")["alh_DEN"]


@pytest.fixture(scope="session")
def write_chgcar(alh: tuple[Snapshot, np.ndarray]) -> Callable[..., Path]:
    """That density as pymatgen writes a CHGCAR; with spin, the second set is a third of the first."""
    outputs = pytest.importorskip("pymatgen.io.vasp.outputs")
    from pymatgen.core import Structure
    from pymatgen.io.vasp.inputs import Poscar

    snapshot, density = alh
    structure = Structure(snapshot.cell * BOHR, snapshot.numbers, snapshot.positions * BOHR, coords_are_cartesian=True)

    def write(path: Path, spin: bool = False, augmentation: bool = False) -> Path:
        values = {"total": density.astype(np.float64) * snapshot.volume}
        if spin:
            values["diff"] = values["total"] / 3
        occupations = {1: np.linspace(0, 1, 18), 2: np.linspace(0, 1, 8)}
        aug = dict.fromkeys(values, occupations) if augmentation else {}
        outputs.Chgcar(Poscar(structure), values, data_aug=aug).write_file(str(path))
        return path

    return write


def same_as(one: tuple[Snapshot, np.ndarray], other: tuple[Snapshot, np.ndarray], relative: float = 1e-6) -> None:
    """Asserts that two readings agree within what a text of so many digits holds."""
    (a, x), (b, y) = one, other
    order, order_b = np.lexsort((a.positions[:, 0], a.numbers)), np.lexsort((b.positions[:, 0], b.numbers))
    assert a.grid == b.grid == x.shape == y.shape
    assert (a.electrons, a.composition) == (b.electrons, b.composition)
    np.testing.assert_allclose(a.cell, b.cell, atol=1e-5)
    np.testing.assert_allclose(a.positions[order], b.positions[order_b], atol=1e-5)
    np.testing.assert_allclose(x, y, rtol=relative, atol=relative * y.max())


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    return same_as

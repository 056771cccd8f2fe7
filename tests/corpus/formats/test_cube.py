"""Cubes of Quantum ESPRESSO's pp.x and of ASE, and the variants that other programs write."""

import gzip
import re

import numpy as np
import pytest

from coreset.errors import DataError, RequestError

STEPS = np.array([[0.5, 0.0, 0.0], [0.08, 0.45, 0.0], [-0.06, 0.05, 0.54]])
ATOMS = np.array([[0.3, 0.4, 0.5], [0.9, 0.7, 1.9]])
VALUES = np.random.default_rng(0).uniform(0.5, 1.5, (3, 4, 5))
VALUES *= 9.0 / (VALUES.sum() * np.linalg.det(STEPS))


def text(origin=(0.0, 0.0, 0.0), sign=1, unit=1.0, charges=(8.0, 1.0), more="", values=VALUES) -> str:
    rows = ["made by hand", "in C order", "2 " + " ".join(f"{x * unit:.12f}" for x in origin) + more]
    rows += [
        f"{sign * n} " + " ".join(f"{x * unit:.12f}" for x in step) for n, step in zip((3, 4, 5), STEPS, strict=True)
    ]
    rows += [
        f"{z} {charge} " + " ".join(f"{x * unit:.12f}" for x in position + np.array(origin))
        for z, charge, position in zip((8, 1), charges, ATOMS, strict=True)
    ]
    rows += [" ".join(f"{value:.8E}" for value in row) for plane in values for row in plane]
    return "\n".join(rows) + "\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str, name: str = "x.cube"):
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["alh", "alh-gamma", "h-spin"])
def test_a_cube_of_quantum_espresso_is_its_own_density(read_one, data, assert_same, name):
    cube = read_one(data / "espresso" / f"{name}.cube.gz")
    ours = read_one(data / "espresso" / f"{name}.save")
    assert cube[0].name == name
    assert_same(cube, ours, 5.1e-5)  # five digits


def test_a_cube_of_gpaw_holds_all_electrons(read_one, data):
    """Compared with ASE's reader: positions in ångström, values as they stand."""
    cube = pytest.importorskip("ase.io.cube")
    from ase.units import Bohr

    snapshot, density = read_one(data / "gpaw" / "alh.cube.gz")
    with gzip.open(data / "gpaw" / "alh.cube.gz", "rt") as file:
        expected = cube.read_cube(file)
    assert snapshot.numbers.tolist() == expected["atoms"].numbers.tolist() == [13, 1]
    assert snapshot.electrons == 14
    np.testing.assert_allclose(snapshot.cell * Bohr, expected["atoms"].cell, atol=1e-5)
    np.testing.assert_allclose(snapshot.positions * Bohr, expected["atoms"].positions, atol=1e-5)
    np.testing.assert_array_equal(density.reshape(snapshot.grid), expected["data"].astype(np.float32))


def test_a_cube_as_ase_writes_it(read_one, alh, assert_same, tmp_path):
    io = pytest.importorskip("ase.io")
    ase = pytest.importorskip("ase")
    from ase.units import Bohr

    snapshot, density = alh
    atoms = ase.Atoms(snapshot.numbers, positions=snapshot.positions * Bohr, cell=snapshot.cell * Bohr, pbc=True)
    io.write(tmp_path / "density.cube", atoms, data=density)
    assert_same(read_one(tmp_path / "density.cube"), alh)


@pytest.mark.parametrize(
    "given",
    [
        {"origin": (-2.5, 1.0, 0.125)},
        {"sign": -1, "unit": 0.529177210544},
        {"sign": -1, "unit": 0.529177210544, "origin": (-2.5, 1.0, 0.125)},
        {"charges": (0.0, 0.0)},
        {"charges": (6.0, 1.0)},
        {"more": " 1"},
    ],
)
def test_one_density_written_in_several_ways(read_one, write, given):
    expected, density = read_one(write(text()))
    np.testing.assert_allclose(density, VALUES, rtol=1e-7)
    np.testing.assert_allclose(expected.cell, STEPS * np.array([[3], [4], [5]]), rtol=1e-12)
    assert (expected.electrons, expected.composition) == (9.0, "HO")
    snapshot, density = read_one(write(text(**given)))
    np.testing.assert_allclose(snapshot.cell, expected.cell, rtol=1e-10)
    np.testing.assert_allclose(snapshot.positions, expected.positions, atol=1e-10)
    np.testing.assert_allclose(density, VALUES, rtol=1e-7)
    assert snapshot.electrons == 9.0


def test_the_valence_charges_of_the_atoms_count(read_one, write):
    half = text(charges=(6.0, 0.5), values=VALUES / 9 * 6.5)
    assert read_one(write(half))[0].electrons == 6.5
    with pytest.raises(DataError, match=r"6\.500000 electrons, expected 8 \(the second column of the atoms\)"):
        read_one(write(text(charges=(7.0, 1.0), values=VALUES / 9 * 6.5)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2 0.0", "-2 0.0", "line 3: .* a negative one announces orbitals instead of a density"),
        ("000000\n3 ", "000000 2\n3 ", "line 3: expected one value per grid point, found 2"),
        ("\n3 0.5", "\n-3 0.5", "line 4: .* negative one announces lengths in ångström"),
        ("\n4 0.08", "\n4 0.o8", "line 5: expected the number of grid points and the step"),
        ("8 8.0", "8 8.0 1.0", "line 7: expected an atom"),
        ("1 1.0", "119 1.0", "line 8: expected an atomic number from 1 to 118, found 119"),
    ],
)
def test_a_header_that_is_not_supported_names_its_line(read_one, write, old, new, message):
    changed = text().replace(old, new, 1)
    assert changed != text()
    path = write(changed)
    with pytest.raises(RequestError, match=f"^{re.escape(str(path))}, {message}"):
        read_one(path)


def test_damage_to_values_names_its_line(read_one, write):
    lines = text().split("\n")
    for line, word, message in ((10, "nan", "expected a finite number, found 'nan'"), (12, "1e", "found '1e'")):
        path = write("\n".join([*lines[: line - 1], f"1.0 {word} 1.0 1.0 1.0", *lines[line:]]))
        with pytest.raises(DataError, match=rf"x\.cube, line {line}: .*{message}"):
            read_one(path)
    with pytest.raises(DataError, match=r"line 21: expected the end of the 60 values, found '0\.5'"):
        read_one(write(text() + "0.5\n"))
    whole = text().rstrip()
    for length in range(0, len(whole), 7):
        path = write(whole[:length])
        with pytest.raises((DataError, RequestError), match=re.escape(str(path))):
            read_one(path)


def test_a_density_of_sparc_that_is_compressed_stands_alone(read_one, data, tmp_path):
    (dens,) = (data.parent / "water").rglob("*.dens")
    alone = tmp_path / "alone" / dens.name
    alone.parent.mkdir()
    alone.write_bytes(dens.read_bytes())
    packed = tmp_path / "packed" / f"{dens.name}.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(dens.read_bytes(), 1))
    assert read_one(packed)[0].digest == read_one(alone)[0].digest

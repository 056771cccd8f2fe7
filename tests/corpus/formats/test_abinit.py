"""Files that ABINIT wrote; and ABINIT itself, where it is."""

import gzip
import shutil
import subprocess
import sys

import numpy as np
import pytest

from coreset.errors import DataError, RequestError

netCDF4 = pytest.importorskip("netCDF4")

CELL = np.array([[7.5, 0.0, 0.0], [1.2, 6.8, 0.0], [-0.9, 0.7, 8.1]])
FRACTIONS = np.array([[0.15, 0.30, 0.78], [0.20, 0.42, 0.12]])


def den(data, tmp_path, name="alh"):
    path = tmp_path / f"{name}_DEN.nc"
    path.write_bytes(gzip.decompress((data / "abinit" / f"{name}_DEN.nc.gz").read_bytes()))
    return path


@pytest.mark.parametrize(("name", "energy"), [("alh", -2.7905936849), ("alh-spin", -2.8066101114)])
def test_the_density_of_a_skewed_cell_with_and_without_spin(read_one, data, tmp_path, name, energy):
    path = den(data, tmp_path, name)
    snapshot, density = read_one(path)
    assert (snapshot.name, snapshot.grid, snapshot.electrons) == (f"{name}_DEN", (16, 15, 18), 4.0)
    np.testing.assert_allclose(snapshot.cell, CELL, rtol=1e-12)
    np.testing.assert_allclose(snapshot.positions, FRACTIONS @ CELL, rtol=1e-12)
    assert (snapshot.numbers.tolist(), snapshot.wrapped) == ([1, 13], 1)
    assert snapshot.energy == pytest.approx(energy, abs=1e-10)
    with netCDF4.Dataset(path) as file:
        written = file["density"][:]
    for i, j, k in ((0, 0, 0), (1, 2, 3), (15, 0, 17), (7, 14, 9)):
        assert density[i, j, k] == np.float32(written[0, k, j, i, 0])
    # The hydrogen atom, alone in its part of the cell, has the highest density there.
    peak = np.unravel_index(np.argmax(density), density.shape)
    distance = np.array(peak) / density.shape - FRACTIONS[0]
    assert np.linalg.norm((distance - np.round(distance)) @ CELL) < 0.8


def test_it_is_found_by_its_content(read_one, data, tmp_path):
    path = den(data, tmp_path)
    expected = read_one(path)[0].digest
    path.rename(tmp_path / "density.netcdf")
    snapshot, _ = read_one(tmp_path / "density.netcdf")
    assert (snapshot.name, snapshot.digest) == ("density.netcdf", expected)


@pytest.mark.parametrize(
    ("variable", "index", "value", "message"),
    [
        ("nelect", ..., 5.0, "integrates to 4.000000 electrons, expected 5 "),
        ("nelect", ..., np.nan, "nelect: expected a number of electrons, found nan"),
        ("density", (0, 1, 2, 3, 0), np.nan, r"grid point \(3, 2, 1\): expected a finite density, found nan"),
        ("density", (0, 1, 2, 3, 0), -1.0, r"grid point \(3, 2, 1\): expected densities of at least"),
        ("atom_species", 0, 3, "expected a cell, and a species"),
        ("atomic_numbers", 0, 200.0, "atomic_numbers: expected whole numbers"),
        ("primitive_vectors", 0, 0.0, "expected three independent lattice vectors"),
        ("reduced_atom_positions", 0, np.inf, "expected finite lengths"),
    ],
)
def test_bad_data_are_named_with_their_place(read_one, data, tmp_path, variable, index, value, message):
    path = den(data, tmp_path)
    with netCDF4.Dataset(path, "r+") as file:
        file[variable][index] = value
    with pytest.raises(DataError, match=rf"alh_DEN\.nc.*{message}"):
        read_one(path)


@pytest.mark.parametrize("variable", ["density", "nelect", "primitive_vectors", "atom_species"])
def test_a_missing_variable_is_named(read_one, data, tmp_path, variable):
    path = den(data, tmp_path)
    with netCDF4.Dataset(path, "r+") as file:
        file.renameVariable(variable, "other")
    with pytest.raises(DataError, match=rf"alh_DEN\.nc: expected the variable {variable}, found none"):
        read_one(path)


def test_a_truncated_file(read_one, data, tmp_path):
    path = den(data, tmp_path)
    content = path.read_bytes()
    for length in (0, 3, 100, len(content) // 2, len(content) - 1000):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"alh_DEN\.nc: cannot be read as netCDF, for it is damaged"):
            read_one(path)


def test_a_missing_library_tells_how_to_get_it(read_one, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    with pytest.raises(RequestError, match=r"netCDF4: .*pip install 'coreset-ray\[formats\]'"):
        read_one(data / "abinit" / "alh_DEN.nc.gz")


@pytest.mark.skipif(shutil.which("abinit") is None, reason="needs the program abinit (Debian's package abinit)")
def test_what_abinit_writes_now(read_one, data, alh, assert_same, tmp_path):
    shutil.copy(data / "abinit" / "alh.abi", tmp_path)
    subprocess.run(["abinit", "alh.abi"], cwd=tmp_path, check=True, capture_output=True)
    assert_same(read_one(tmp_path / "alho_DEN.nc"), alh)

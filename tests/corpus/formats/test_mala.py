"""A density from the data with which MALA tests itself: beryllium in a hexagonal cell."""

import gzip
import json
import shutil

import numpy as np
import pytest

from coreset.errors import DataError, RequestError

BOHR = 0.529177210544


@pytest.fixture
def folder(data, tmp_path):
    shutil.copytree(data / "mala", tmp_path / "be")
    (tmp_path / "be" / "Be_snapshot0.out.gz").unlink()
    return tmp_path / "be"


def test_mala_s_own_file_beside_it(read_one, folder):
    snapshot, density = read_one(folder)
    assert (snapshot.name, snapshot.grid, snapshot.electrons) == ("Be_snapshot0.dens", (18, 18, 27), 4.0)
    info = json.loads((folder / "Be_snapshot0.info.json").read_text())
    values = np.load(folder / "Be_snapshot0.dens.npy")[..., 0]
    np.testing.assert_allclose(density, values * BOHR**3, rtol=1e-7)
    np.testing.assert_allclose(snapshot.cell, np.array(info["atoms"]["cell"]) / BOHR, rtol=1e-12)
    np.testing.assert_allclose(snapshot.cell, np.array(info["voxel"]["array"]) * [[18], [18], [27]] / BOHR, rtol=1e-8)
    assert snapshot.composition == "Be2"
    assert density.mean(dtype=float) * snapshot.volume == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("form", ["out", "out.gz", "cif", "json", "xyz"])
def test_atoms_in_a_file_that_ase_reads(read_one, data, folder, form):
    io = pytest.importorskip("ase.io")
    expected, _ = read_one(folder)
    (folder / "Be_snapshot0.info.json").unlink()
    output = gzip.decompress((data / "mala" / "Be_snapshot0.out.gz").read_bytes())
    path = folder / f"Be_snapshot0.{form}"
    if form in ("out", "out.gz"):
        path.write_bytes(gzip.compress(output) if form == "out.gz" else output)
    else:
        (folder / "o").write_bytes(output)
        io.write(path, io.read(folder / "o", format="espresso-out"), format={"xyz": "extxyz"}.get(form, form))
    snapshot, _ = read_one(folder)
    # A cif writes lengths and angles and puts the first vector along x, as this cell has it.
    np.testing.assert_allclose(snapshot.cell, expected.cell, atol=1e-4)
    shift = (snapshot.positions - expected.positions) @ np.linalg.inv(expected.cell)
    assert np.abs(shift - np.round(shift)).max() < 1e-5
    assert (snapshot.electrons, snapshot.composition) == (4.0, "Be2")
    assert path.name in snapshot.source


def test_axes_layout_and_type_of_the_array(read_one, folder):
    path = folder / "Be_snapshot0.dens.npy"
    expected, density = read_one(folder)
    values = np.load(path)
    for other in (values[..., 0], np.asfortranarray(values[..., 0]), values.astype(">f8"), values.astype("f4")):
        np.save(path, other)
        snapshot, found = read_one(folder)
        np.testing.assert_allclose(found, density, rtol=1e-6)
        assert snapshot.grid == expected.grid


def test_descriptors_and_densities_of_states_are_left_alone(read_all, folder):
    np.save(folder / "Be_snapshot0.out.npy", np.ones((18, 18, 27, 11)))
    np.save(folder / "Be_snapshot0.in.npy", np.ones((18, 18, 27, 94)))
    np.save(folder / "Be_snapshot0.dos.npy", np.ones(11))
    assert list(read_all(folder)) == ["Be_snapshot0.dens"]
    with pytest.raises(RequestError, match=r"found a file that begins with"):
        read_all(folder / "Be_snapshot0.out.npy")


def test_no_atoms_or_too_many(read_one, folder):
    (folder / "Be_snapshot0.info.json").rename(folder / "a.info.json")
    (folder / "a.info.json").write_text('"nothing"')
    with pytest.raises(DataError, match=r"a\.info\.json: expected a cell and atoms for Be_snapshot0\.dens\.npy"):
        read_one(folder)
    (folder / "b.cif").write_text("")
    with pytest.raises(RequestError, match=r"dens\.npy: expected one file with its atoms beside it .*, found 2"):
        read_one(folder)


def test_no_pickle_is_loaded(read_all, folder):
    class Evil:
        def __reduce__(self):
            return (open, (str(folder / "evil"), "w"))

    np.save(folder / "Be_snapshot0.dens.npy", np.array([[[Evil()]]], dtype=object), allow_pickle=True)
    with pytest.raises(RequestError, match="expected a density, floating-point numbers"):
        read_all(folder)
    assert not (folder / "evil").exists()


def test_damage(read_one, folder):
    path = folder / "Be_snapshot0.dens.npy"
    whole = path.read_bytes()
    for content in (b"", whole[:5], whole[:60], whole[:-8], whole + b"12345678"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"Be_snapshot0\.dens\.npy: expected"):
            read_one(folder)
    values = np.frombuffer(whole[128:], "f8").copy()
    values[1234] = np.nan
    path.write_bytes(whole[:128] + values.tobytes())
    with pytest.raises(DataError, match=r"grid point \(2, 9, 19\): expected a finite density"):
        read_one(folder)
    path.write_bytes(whole)
    info = (folder / "Be_snapshot0.info.json").read_text()
    for old, new in (('"number_of_electrons_exact": 4.0', '"number_of_electrons_exact": 5.0'), ('"numbers"', '"x"')):
        (folder / "Be_snapshot0.info.json").write_text(info.replace(old, new))
        with pytest.raises(DataError, match=r"Be_snapshot0\."):
            read_one(folder)

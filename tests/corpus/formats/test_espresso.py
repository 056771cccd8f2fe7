"""Files that Quantum ESPRESSO wrote, against the cubes that its own pp.x made of them; and pw.x itself, where it is."""

import shutil
import struct
import subprocess

import numpy as np
import pytest

from coreset.errors import DataError, RequestError

CELL = np.array([[7.5, 0.0, 0.0], [1.2, 6.8, 0.0], [-0.9, 0.7, 8.1]])
FRACTIONS = np.array([[0.15, 0.30, 0.78], [0.20, 0.42, 0.12]])


@pytest.fixture
def save(data, tmp_path):
    def copy(name="alh"):
        shutil.copytree(data / "espresso" / f"{name}.save", tmp_path / f"{name}.save")
        return tmp_path / f"{name}.save"

    return copy


@pytest.mark.parametrize("name", ["alh", "alh-gamma"])
def test_cell_atoms_electrons_and_energy(read_one, data, name):
    snapshot, _ = read_one(data / "espresso" / f"{name}.save")
    assert (snapshot.name, snapshot.grid, snapshot.electrons) == ("charge-density", (15, 15, 15), 4.0)
    np.testing.assert_allclose(snapshot.cell, CELL, rtol=1e-12)
    np.testing.assert_allclose(snapshot.positions, FRACTIONS @ CELL, rtol=1e-10)
    assert snapshot.energy == pytest.approx({"alh": -4.78493873, "alh-gamma": -5.08189152}[name] / 2, abs=1e-8)
    assert sorted(snapshot.source) == ["charge-density.dat", "data-file-schema.xml"]


def records(content):
    found, at = [], 0
    while at < len(content):
        (size,) = struct.unpack("<i", content[at : at + 4])
        found.append(content[at + 4 : at + 4 + size])
        at += size + 8
    return found


def join(pieces):
    return b"".join(struct.pack("<i", len(piece)) + piece + struct.pack("<i", len(piece)) for piece in pieces)


def test_spin_up_and_down_as_before_version_6_4(read_one, save):
    folder = save("h-spin")
    expected = read_one(folder)[0].digest
    path = folder / "charge-density.dat"
    *head, total, difference = records(path.read_bytes())
    total, difference = np.frombuffer(total, "<c16"), np.frombuffer(difference, "<c16")
    assert abs(difference[0]) == pytest.approx(abs(total[0]), rel=1e-3)  # one electron, all of it up
    up, down = (total + difference / 2) / 2, (total - difference / 2) / 2
    path.write_bytes(join([*head, up.tobytes(), down.tobytes()]))
    snapshot, _ = read_one(folder)
    assert snapshot.electrons == 1.0
    assert snapshot.composition == "H"
    assert expected != ""


def test_hdf5(read_one, save, tmp_path):
    netCDF4 = pytest.importorskip("netCDF4")
    folder = save("alh-gamma")
    expected = read_one(folder)[0].digest
    first, vectors, indices, total = records((folder / "charge-density.dat").read_bytes())
    (folder / "charge-density.dat").unlink()
    with netCDF4.Dataset(folder / "charge-density.hdf5", "w") as file:
        file.setncatts({"gamma_only": ".TRUE.", "ngm_g": struct.unpack("<3i", first)[1], "nspin": 1})
        for name, length in (("g", len(indices) // 12), ("x", 3), ("pairs", len(total) // 8)):
            file.createDimension(name, length)
        miller = file.createVariable("MillerIndices", "i4", ("g", "x"))
        miller[:] = np.frombuffer(indices, "<i4").reshape(-1, 3)
        for axis, vector in enumerate(np.frombuffer(vectors, "<f8").reshape(3, 3), start=1):
            miller.setncattr(f"bg{axis}", vector)
        file.createVariable("rhotot_g", "f8", ("pairs",))[:] = np.frombuffer(total, "<f8")
    assert read_one(folder)[0].digest == expected


def test_the_xml_file_is_needed(read_one, save):
    folder = save()
    (folder / "data-file-schema.xml").unlink()
    with pytest.raises(RequestError, match=r"charge-density\.dat: expected data-file-schema\.xml beside it"):
        read_one(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"<nelec>4.0", b"<nelec>5.0", "the density integrates to 4.000000 electrons, expected 5 "),
        (b"<nelec>4.0", b"<nelec>many", "expected the output of pw.x, found another text"),
        (b'nr1="15"', b'nr1="8"', "expected Miller indices within the grid"),
        (b"<a2>1.2", b"<a2>1.3", "expected the reciprocal vectors of the cell in data-file-schema.xml"),
        (b'<atom name="H1"', b'<atom name="Xx"', "expected species named by their elements"),
        (b"<output>", b"<input>", "expected the output of pw.x"),
        (b'nat="2"', b'nat="3"', "expected the output of pw.x, found another text .3 atoms stated, 2 listed"),
    ],
)
def test_files_that_contradict_each_other(read_one, save, old, new, message):
    folder = save()
    path = folder / "data-file-schema.xml"
    head, mark, tail = path.read_bytes().partition(b"<output>")
    head, tail = (head + mark, tail) if old in tail else (b"", head + mark + tail)
    assert old in tail
    path.write_bytes(head + tail.replace(old, new))
    with pytest.raises((DataError, RequestError), match=rf"alh\.save/.*{message}"):
        read_one(folder)


def test_an_entity_is_not_expanded(read_one, save):
    path = save() / "data-file-schema.xml"
    content = path.read_bytes().replace(b"?>", b'?><!DOCTYPE x [<!ENTITY a "aaaa">]>', 1)
    path.write_bytes(content)
    with pytest.raises(DataError, match="it declares a document type"):
        read_one(path.parent)


def test_truncation_and_damage_to_the_records(read_one, save):
    path = save() / "charge-density.dat"
    content = path.read_bytes()
    damaged = [content[:length] for length in (0, 10, 24, 100, 1000, len(content) // 2, len(content) - 1)]
    first, vectors, indices, total = records(content)
    damaged += [join([first, vectors, indices, total[:-16]]), join([first, vectors, indices, total, total])]
    damaged += [join([first, vectors, indices[12:] + indices[:12], np.full(len(total) // 8, np.nan).tobytes()])]
    for each in damaged:
        path.write_bytes(each)
        with pytest.raises(DataError, match=r"charge-density\.dat"):
            read_one(path.parent)


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="needs the program pw.x (Debian's package quantum-espresso)")
def test_what_pw_x_writes_now(read_one, data, assert_same, tmp_path):
    with (data / "espresso" / "alh-gamma.in").open() as given:
        subprocess.run(["pw.x"], stdin=given, cwd=tmp_path, check=True, capture_output=True)
    assert_same(read_one(tmp_path / "alh-gamma.save"), read_one(data / "espresso" / "alh-gamma.save"), 1e-5)

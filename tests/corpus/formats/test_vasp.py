"""A CHG of VASP, and CHGCARs that pymatgen writes of ABINIT's density; the damage is done by hand."""

import bz2
import gzip
import io
import lzma
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from coreset.errors import DataError, RequestError

SMALL = """two atoms
 1.0
 3.0 0.0 0.0
 0.5 2.5 0.0
 -0.4 0.3 2.8
 O H
 1 1
Direct
 0.1 0.2 0.3
 0.6 0.7 -0.1

 2 3 4
"""
"""Å; the second atom lies outside the cell."""

VOLUME = 3.0 * 2.5 * 2.8
VALUES = np.random.default_rng(0).uniform(0.5, 1.5, (2, 3, 4))
VALUES *= 7.0 / VALUES.mean()


def body(values: np.ndarray = VALUES) -> str:
    words = [f"{value:.11E}" for value in values.ravel(order="F")]
    return "\n".join(" ".join(words[at : at + 5]) for at in range(0, len(words), 5)) + "\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str = SMALL + body(), name: str = "CHGCAR") -> Path:
        path = tmp_path / "vasp" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_density_of_vasp_itself(read_one):
    ase = pytest.importorskip("ase")
    path = Path(ase.__file__).parent / "test/testdata/vasp/Li/CHG"
    if not path.is_file():
        pytest.skip("this ASE comes without its test data")
    snapshot, density = read_one(path)
    from ase.calculators.vasp import VaspChargeDensity

    theirs = VaspChargeDensity(str(path))
    assert (snapshot.name, snapshot.composition, snapshot.electrons, snapshot.grid) == ("CHG", "Li", 1.0, (10, 10, 10))
    bohr = 0.529177210544
    np.testing.assert_allclose(density, theirs.chg[0] * bohr**3, rtol=1e-6)
    np.testing.assert_allclose(snapshot.cell, 1.745 / bohr * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]))


@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("augmentation", [False, True])
def test_what_pymatgen_writes(write_chgcar, read_one, assert_same, alh, tmp_path, spin, augmentation):
    found = read_one(write_chgcar(tmp_path / "CHGCAR", spin, augmentation))
    assert found[0].name == "CHGCAR"
    assert_same(found, alh)


def lz4(content: bytes) -> bytes:
    return pytest.importorskip("lz4.frame").compress(content, content_checksum=True)


def zst(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(content)


COMPRESS = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".lz4": lz4, ".zst": zst}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_whatever_it_is_called(write_chgcar, read_one, tmp_path, suffix):
    plain = write_chgcar(tmp_path / "CHGCAR")
    expected = read_one(plain)[0].digest
    for name in (f"CHGCAR{suffix}", "CHGCAR.of_yesterday"):
        path = tmp_path / suffix / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(COMPRESS[suffix](plain.read_bytes()))
        snapshot, _ = read_one(path)
        assert snapshot.digest == expected
        assert snapshot.name == name.removesuffix(suffix)
        assert list(snapshot.source) == [name]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_damage_to_a_compressed_file_is_found_even_behind_the_density(write_chgcar, read_one, tmp_path, suffix):
    path = tmp_path / f"CHGCAR{suffix}"
    whole = COMPRESS[suffix](write_chgcar(tmp_path / "plain", augmentation=True).read_bytes())
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 16
    for content in (whole[: len(whole) // 2], whole[:-3], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_one(path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_inside_a_tar(write_chgcar, read_all, alh, assert_same, tmp_path, mode):
    with tarfile.open(tmp_path / "runs.tar", mode) as archive:
        for name, content in (
            ("./a_T0300_1/CHGCAR.gz", gzip.compress(write_chgcar(tmp_path / "one").read_bytes())),
            ("./a_T0300_1/OUTCAR", b"   NELECT =       4.0000    total number of electrons\n"),
            ("b/CHGCAR", (SMALL + body()).encode()),
            ("b/notes.txt", b"nothing"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    before = sorted(tmp_path.iterdir())
    found = read_all(tmp_path / "runs.tar")
    assert sorted(tmp_path.iterdir()) == before
    assert list(found) == ["a_T0300_1/CHGCAR", "b/CHGCAR"]
    snapshot, _ = found["a_T0300_1/CHGCAR"]
    assert_same(found["a_T0300_1/CHGCAR"], alh)
    assert (sorted(snapshot.source), snapshot.temperature) == (["CHGCAR.gz", "OUTCAR"], 300.0)
    (tmp_path / "one").unlink()
    assert list(read_all(tmp_path)) == ["runs/a_T0300_1/CHGCAR", "runs/b/CHGCAR"]


def test_cells_positions_and_order_by_hand(write, read_one):
    snapshot, density = read_one(write())
    bohr = 0.529177210544
    cell = np.array([[3.0, 0, 0], [0.5, 2.5, 0], [-0.4, 0.3, 2.8]]) / bohr
    np.testing.assert_allclose(snapshot.cell, cell, rtol=1e-12)
    np.testing.assert_allclose(snapshot.positions, np.array([[0.1, 0.2, 0.3], [0.6, 0.7, 0.9]]) @ cell, rtol=1e-12)
    np.testing.assert_allclose(density, VALUES / (VOLUME / bohr**3), rtol=1e-7)
    assert (snapshot.numbers.tolist(), snapshot.electrons, snapshot.wrapped) == ([8, 1], 7.0, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" 1.0\n 3.0 0.0 0.0\n", " 0.5\n 6.0 0.0 0.0\n"),
        (" 1.0\n", f" -{VOLUME}\n"),
        (" 1.0\n", " 1.0 1.0 1.0\n"),
        ("Direct", "Selective dynamics\nDirect"),
        (" 0.1 0.2 0.3\n", " 0.1 0.2 0.3 T T F\n"),
        (" O H\n", " O_pv/1a2b3c H/ffff\n"),
        ("Direct\n 0.1 0.2 0.3\n 0.6 0.7 -0.1", "Cartesian\n 0.28 0.59 0.84\n 2.19 1.72 -0.28"),
    ],
)
def test_one_structure_written_in_several_ways(write, read_one, old, new):
    expected, _ = read_one(write())
    text = SMALL.replace(old, new, 1)
    if old == " 1.0\n 3.0 0.0 0.0\n":
        text = text.replace("0.5 2.5 0.0", "1.0 5.0 0.0").replace("-0.4 0.3 2.8", "-0.8 0.6 5.6")
    assert text != SMALL
    snapshot, _ = read_one(write(text + body()))
    np.testing.assert_allclose(snapshot.cell, expected.cell, rtol=1e-12)
    np.testing.assert_allclose(snapshot.positions, expected.positions, rtol=1e-12)


def test_vasp_4_wrote_no_symbols(write, read_one):
    path = write(SMALL.replace(" O H\n", "") + body())
    with pytest.raises(RequestError, match=r"CHGCAR, line 6: no symbols .* found 'two atoms'; write them"):
        read_one(path)
    write("TITEL  = PAW_PBE O_s 07Sep2000\nZVAL   =    6.000\nTITEL  = PAW_PBE H 1\nZVAL = 1.000\n", "POTCAR")
    assert read_one(path)[0].composition == "HO"
    (path.parent / "POTCAR").unlink()
    assert read_one(write(SMALL.replace(" O H\n", "").replace("two atoms", "O H") + body()))[0].composition == "HO"


def test_the_electrons_of_the_files_beside(write, read_one):
    path = write()
    for name, text in (
        ("OUTCAR", "   NELECT =       7.0000    total number of electrons\n"),
        ("INCAR", "ENCUT = 400\n NELECT = 7 # neutral\n"),
        ("vasprun.xml", '<i name="NELECT">      7.00000000</i>'),
        ("POTCAR", "TITEL = PAW O 1\nZVAL = 6.0\nTITEL = PAW H 1\nZVAL = 1.0\n"),
    ):
        write(text, name)
        snapshot, _ = read_one(path)
        assert snapshot.electrons == 7.0
        assert name in snapshot.source
    write("   NELECT =       7.5000    total number of electrons\n", "OUTCAR")
    with pytest.raises(DataError, match=r"vasprun\.xml: expected the 7\.5 electrons of .*OUTCAR, found 7;"):
        read_one(path)
    (path.parent / "vasprun.xml").unlink()
    (path.parent / "INCAR").unlink()
    with pytest.raises(DataError, match=r"CHGCAR: the density integrates to 7\.000000 electrons, expected 7\.5 "):
        read_one(path)


def test_all_electrons_and_those_of_the_cores(write, read_one):
    write("   NELECT =       7.0000    total number of electrons\n", "OUTCAR")
    assert read_one(write(SMALL + body(VALUES / 7 * 9), "AECCAR2"))[0].electrons == 9.0
    write(SMALL + body(), "AECCAR2")
    (write().parent / "AECCAR2").unlink()
    path = write(SMALL + body(VALUES / 7 * 2), "AECCAR0")
    (path.parent / "CHGCAR").unlink()
    assert read_one(path)[0].electrons == 2.0


def test_without_them_the_integral_is_a_whole_number(write, read_one):
    with pytest.raises(DataError, match=r"integrates to 7\.350000 electrons, expected 7 \(the nearest whole number\)"):
        read_one(write(SMALL + body(VALUES * 1.05)))


@pytest.mark.parametrize(
    ("rest", "good"),
    [
        ("", True),
        ("\n\n", True),
        ("augmentation occupancies   1   2\n 0.1 0.2\n", True),
        (" 0.1 0.2\n 2 3 4\n" + body(), True),
        (" 2 3 4\n" + body(), True),
        ("0.5\n", False),
        ("0.5 0.5 0.5\n", False),
        (" 2 3 5\n" + body(), False),
    ],
)
def test_what_may_follow_the_density(write, read_one, rest, good):
    path = write(SMALL + body() + rest)
    if good:
        read_one(path)
    else:
        with pytest.raises(DataError, match=r"CHGCAR, line \d+: expected the end of the 24 values"):
            read_one(path)


def change(text: str, line: int, new: str) -> str:
    lines = text.split("\n")
    lines[line - 1] = new
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("line", "new", "message"),
    [
        (2, "one", "line 2: expected the scale of the lattice, found 'one'"),
        (3, "3.0 0.0", "line 3: expected a lattice vector, Å, found '3.0 0.0'"),
        (4, "0.5 nan 0.0", "line 4: expected a lattice vector, Å, found '0.5 nan 0.0'"),
        (6, "O Hx", "line 6: expected the symbols of 2 elements, found 'O Hx'"),
        (7, "1 1 1", "line 6: expected the symbols of 3 elements, found 'O H'"),
        (7, "1 -1", "line 7: expected the numbers of atoms, found '1 -1'"),
        (8, "Polar", "line 8: expected Direct or Cartesian, found 'Polar'"),
        (10, "0.6 0.7", "line 10: expected an atom x y z, found '0.6 0.7'"),
        (12, "2 3", "line 12: expected the grid nx ny nz, found '2 3'"),
        (14, "1.0 1.0 x.5 1.0 1.0", "line 14: expected a finite number, found 'x.5'"),
        (15, "1.0 1.0 **** 1.0 1.0", "line 15: expected a finite number, found '\\*\\*\\*\\*'"),
        (16, "1.0 1.0 1.0 1.0 NaN", "line 16: expected a finite number, found 'NaN'"),
        (14, "1.0 1.0 -5.0 1.0 1.0", r"line 14: expected densities of at least -\S+ e/Bohr³, found -"),
        (13, "1.0 1.0 1.0 1.0", "line 17: the file ends after 23 of 24 values: it is truncated"),
    ],
)
def test_damage_is_named_with_its_line(write, read_one, line, new, message):
    path = write(change(SMALL + body(), line, new))
    with pytest.raises((DataError, RequestError), match=f"^{re.escape(str(path))}, {message}"):
        read_one(path)


def test_every_truncation_is_found(write, read_one):
    text = (SMALL + body()).rstrip()
    for length in range(len(text)):
        path = write(text[:length])
        with pytest.raises((DataError, RequestError), match=re.escape(str(path))):
            read_one(path)


def test_a_floor_of_the_user(write, read_one):
    with pytest.raises(DataError, match=r"line 1\d: expected densities of at least 0\.04 e/Bohr³, found 0\.0"):
        read_one(write(), density_floor=0.04)
    read_one(write(), density_floor=0.0)


def test_other_fields_in_the_same_format_are_left_alone(write, read_all):
    path = write()
    for name in ("LOCPOT", "ELFCAR", "PARCHG"):
        write(SMALL + body(VALUES * 3.3), name)
    write(SMALL.split("\n\n")[0] + "\n", "CONTCAR")
    assert list(read_all(path.parent)) == ["CHGCAR"]

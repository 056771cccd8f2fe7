import csv
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coreset.corpus.naming import Naming
from coreset.corpus.sparc import Checks, SnapshotFiles, check_headers, list_snapshots, read_snapshot
from coreset.errors import DataError, RequestError

DATA = Path(__file__).parents[1] / "data"
REAL = list(csv.DictReader((DATA / "manifest.csv").read_text().splitlines()))


MORE = "ATOM_TYPE: H\nN_TYPE_ATOM: 2\nCOORD:\n1 1 1\n2 2 2\n"


def read(written, **checks):
    return read_snapshot(list_snapshots(written.path)[0], Checks(**checks))


@pytest.mark.parametrize("row", REAL, ids=lambda row: row["path"])
def test_real_snapshots_have_the_values_of_the_manifest(row):
    (files,) = list_snapshots(DATA / row["path"])
    snapshot, density = read_snapshot(files)
    assert snapshot.grid == density.shape == (int(row["nx"]), int(row["ny"]), int(row["nz"]))
    assert density.dtype == np.float32
    assert snapshot.points == int(row["n_points"])
    assert snapshot.composition == row["formula"]
    assert len(snapshot.numbers) == int(row["n_atoms"])
    assert snapshot.electrons == float(row["n_electrons"])
    assert snapshot.energy == pytest.approx(float(row["E_free_Ha"]), abs=1e-8)
    assert snapshot.temperature == float(row["T_target_K"])
    assert [f"{density.min():.6e}", f"{density.max():.6e}"] == [row["rho_min"], row["rho_max"]]
    np.testing.assert_allclose(snapshot.cell, np.diag([float(row[f"L{axis}_bohr"]) for axis in "xyz"]), atol=5e-7)
    integral = density.sum(dtype=np.float64) * snapshot.volume / snapshot.points
    assert integral == pytest.approx(snapshot.electrons, rel=1e-6)
    assert snapshot.wrapped == 0
    assert snapshot.source == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (DATA / row["path"]).iterdir()
    }


def test_a_value_of_a_real_density_stands_at_its_c_order_index():
    (files,) = list_snapshots(DATA / REAL[0]["path"])
    _, density = read_snapshot(files)
    body = files.density.read_text().split("\n")[38:]
    assert density[0, 0, 2] == np.float32(body[0].split()[2])
    assert density[0, 1, 0] == np.float32(body[7].split()[0])  # six lines of six and a blank one for each row of 36
    assert density[35, 35, 35] == np.float32(" ".join(body).split()[-1])


def test_names_follow_the_tree():
    names = [files.name for files in list_snapshots(DATA)]
    assert names == sorted(row["path"] for row in REAL)
    assert [files.name for files in list_snapshots(DATA / "al")] == ["train/al32_T0100_s0_0"]
    folder = DATA / "al/train/al32_T0100_s0_0"
    for source in (folder, folder / "al32_T0100_s0_0.dens"):
        assert list_snapshots(source) == [SnapshotFiles("al32_T0100_s0_0", folder / "al32_T0100_s0_0.dens")]
    assert check_headers(list_snapshots(DATA)) == sum(int(row["n_points"]) for row in REAL)


@pytest.mark.parametrize("fractional", [False, True])
def test_a_skewed_cell(write_sparc, fractional):
    written = write_sparc(fractional=fractional)
    snapshot, density = read(written)
    np.testing.assert_allclose(snapshot.cell, written.cell, rtol=1e-15)
    np.testing.assert_allclose(snapshot.positions, written.positions, atol=1e-9)
    np.testing.assert_allclose(density, written.density, rtol=1e-6)
    assert (snapshot.electrons, snapshot.energy, snapshot.composition) == (13.0, -15.0, "HO2")
    assert (snapshot.group, snapshot.temperature) == ("box_T0300_s0", 300.0)


def test_where_cell_positions_and_energy_come_from(write_sparc):
    written = write_sparc()
    written.path.with_suffix(".inpt").unlink()
    np.testing.assert_allclose(read(written)[0].cell, written.cell, rtol=1e-15)
    written.edit(".out", "Total free energy ", "Total")
    assert read(written)[0].energy == -15.00000000012345
    written.path.with_suffix(".out").unlink()
    written.path.with_suffix(".static").unlink()
    written.path.with_suffix(".ion").unlink()
    snapshot, _ = read(written)
    assert snapshot.energy is None
    np.testing.assert_allclose(snapshot.cell, written.cell, atol=6 * 5e-7)
    np.testing.assert_allclose(snapshot.positions, written.positions, atol=5e-7)
    assert list(snapshot.source) == ["box_T0300_s0_0.dens"]


def test_own_naming(write_sparc):
    written = write_sparc()
    naming = Naming(group="^box", temperature=r"T0*(\d+)")
    snapshot, _ = read_snapshot(list_snapshots(written.path)[0], naming=naming)
    assert (snapshot.group, snapshot.temperature) == ("box", 300.0)


def test_nothing_found(tmp_path):
    with pytest.raises(RequestError, match="no such file or folder"):
        list_snapshots(tmp_path / "absent")
    with pytest.raises(RequestError, match=r"no snapshot found; expected SPARC densities X\.dens"):
        list_snapshots(tmp_path)
    (tmp_path / "x.cube").touch()
    with pytest.raises(RequestError, match=r"expected a SPARC density X\.dens"):
        list_snapshots(tmp_path / "x.cube")


def test_names_must_be_unique_and_no_folder_of_another(write_sparc, tmp_path):
    written = write_sparc("a/b")
    (tmp_path / "source/a/b.dens").touch()
    with pytest.raises(RequestError, match="are both named a/b"):
        list_snapshots(tmp_path / "source")
    (tmp_path / "source/a/b.dens").unlink()
    written.path.with_name("c.dens").touch()
    with pytest.raises(RequestError, match="the name a/b is also that of the folder of a/b/c"):
        list_snapshots(tmp_path / "source")


def test_links_are_followed_but_not_in_circles(write_sparc, tmp_path):
    write_sparc("a/x")
    (tmp_path / "source/b").symlink_to(tmp_path / "source/a", target_is_directory=True)
    (tmp_path / "source/a/up").symlink_to(tmp_path / "source", target_is_directory=True)
    (tmp_path / "source/.hidden").mkdir()
    (tmp_path / "source/.hidden/y.dens").touch()
    assert [files.name for files in list_snapshots(tmp_path / "source")] == ["a/x", "b/x"]


def test_atoms_outside_the_cell(write_sparc):
    written = write_sparc()
    outside = written.positions[1] + written.cell[0] - written.cell[2]
    written.line(".ion", 7, " ".join(f"{x:.10f}" for x in outside))
    with pytest.raises(
        DataError,
        match=r"\.ion, line 7: .*found O at \(1\.500000, 0\.600000, -0\.750000\) \(1 such atoms\); pass --wrap",
    ):
        read(written)
    snapshot, _ = read(written, wrap=True)
    assert snapshot.wrapped == 1
    np.testing.assert_allclose(snapshot.positions, written.positions, atol=1e-9)


def test_an_atom_on_the_far_face_is_outside_and_on_the_near_one_inside(write_sparc):
    for shift, inside in ((-0.1, True), (0.9, False)):
        written = write_sparc(f"x{shift}")
        position = written.positions[0] + shift * written.cell[0]
        written.line(".ion", 6, " ".join(f"{x:.17f}" for x in position))
        written.line(".dens", 7, "8 6.0 " + " ".join(f"{x:.6f}" for x in position))
        if inside:
            assert read(written)[0].wrapped == 0
        else:
            with pytest.raises(DataError, match=r"line 6: expected atoms inside the cell"):
                read(written)


@pytest.mark.parametrize(
    ("suffix", "old", "new", "message"),
    [
        (
            ".dens",
            "P P P",
            "P P D",
            r"\.dens, line 2: expected a cell that is periodic in all directions \(P P P\), found P P D",
        ),
        (".dens", "    5 ", "   -5 ", r"\.dens, line 5: .* negative one announces lengths in ångström"),
    ],
)
def test_headers_that_are_not_supported_are_found_before_any_work(write_sparc, suffix, old, new, message):
    written = write_sparc()
    written.edit(suffix, old, new)
    with pytest.raises(RequestError, match=message):
        check_headers(list_snapshots(written.path))
    with pytest.raises(RequestError, match=message):
        read(written)


@pytest.mark.parametrize(
    ("suffix", "old", "new", "message"),
    [
        (
            ".inpt",
            "SCALE: 2.0",
            "SCALE: 2.1",
            r"\.dens, line 4: expected the step \(1\.575000, .* of box_T0300_s0_0\.inpt",
        ),
        (".inpt", "FD_GRID: 4 5 6", "FD_GRID: 4 6 5", r"\.dens, lines 4-6: expected the grid \(4, 6, 5\) of box_"),
        (".ion", "ATOM_TYPE: H", "ATOM_TYPE: He", r"line 9: expected He as in box_T0300_s0_0\.ion, line 16, found H"),
        (".ion", "ATOM_TYPE: H\n", MORE, r"\.dens, line 3: expected the 5 atoms of box_T0300_s0_0\.ion, found 3"),
        (".out", "electrons          :  13", "electrons          :  12", r"\.out, line 5: expected 13 .* found 12"),
        (".out", ":  13", ":  many", r"\.out, line 5: expected numbers, found 'many'"),
        (".out", "-1.5E+01", "-1.5F+01", r"\.out, line 7: expected numbers, found '-1\.5F\+01'"),
        (".dens", "    6.000000 ", "    5.000000 ", r"\.out, line 5: expected 12 electrons"),
    ],
)
def test_files_that_contradict_each_other(write_sparc, suffix, old, new, message):
    written = write_sparc()
    written.edit(suffix, old, new)
    with pytest.raises(DataError, match=message):
        read(written)


def test_a_position_that_differs_from_the_header(write_sparc):
    written = write_sparc()
    moved = written.positions[2] + [0.0, 2e-5, 0.0]
    written.line(".ion", 16, " ".join(f"{x:.10f}" for x in moved))
    with pytest.raises(DataError, match=r"\.dens, line 9: expected H at .* as in box_T0300_s0_0\.ion, line 16, found"):
        read(written)


def test_missing_charges(write_sparc):
    written = write_sparc()
    for line, number in ((7, 8), (8, 8), (9, 1)):
        position = " ".join(f"{x:.6f}" for x in written.positions[line - 7])
        written.line(".dens", line, f"{number} 0.0 {position}")
    with pytest.raises(DataError, match="lines 7-9: expected valence charges in the second column, found 0"):
        read(written)


def value(written, line, column, new):
    words = written.path.read_text().split("\n")[line - 1].split()
    words[column] = new
    written.line(".dens", line, " ".join(words))


def test_negative_and_low_densities_name_their_line(write_sparc):
    written = write_sparc()
    value(written, 12, 3, "-1.0E-09")
    with pytest.raises(
        DataError, match=r"line 12: expected densities of at least 0 e/Bohr³, found -1e-09 \(1 such values"
    ):
        read(written)
    assert read(written, density_floor=-1e-8, electron_tolerance=0.1)[1][0, 2, 3] == np.float32(-1e-9)
    with pytest.raises(DataError, match=r"line 10: expected densities of at least 1 e/Bohr³"):
        read(written, density_floor=1.0)


@pytest.mark.parametrize("word", ["nan", "inf"])
def test_a_density_that_is_not_finite(write_sparc, word):
    written = write_sparc()
    value(written, 29, 5, word)
    with pytest.raises(DataError, match=rf"\.dens, line 29: expected a finite value, found {word}"):
        read(written)


def test_a_flipped_digit_that_breaks_the_electron_count(write_sparc):
    written = write_sparc()
    word = written.path.read_text().split("\n")[14].split()[0]
    value(written, 15, 0, re.sub(r"E.*", "E+02", word))
    with pytest.raises(
        DataError,
        match=r"\.dens: the density integrates to .* electrons, expected 13; .* exceeds electron_tolerance = 0\.001",
    ):
        read(written)
    assert read(written, electron_tolerance=100.0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=st.integers(0, 119), factor=st.sampled_from([0.0, 0.5, 1.5, 10.0, 1e30]))
def test_any_change_beyond_the_tolerance_is_found(write_sparc, tmp_path_factory, index, factor):
    name = f"s{tmp_path_factory.mktemp('x').name}"
    written = write_sparc(name)
    row, column = divmod(index, 6)
    changed = written.density.reshape(20, 6)[row, column] * factor
    value(written, 10 + row, column, f"{changed:.6E}")
    with pytest.raises(DataError, match="integrates to"):
        read(written)


def test_settings_check_themselves():
    with pytest.raises(RequestError, match="electron_tolerance: expected a positive number, found 0"):
        Checks(electron_tolerance=0)
    with pytest.raises(RequestError, match="density_floor: expected a finite number, found nan"):
        Checks(density_floor=float("nan"))


def test_two_energies_must_agree(write_sparc):
    written = write_sparc()
    written.edit(".static", "-1.50", "-1.51")
    with pytest.raises(
        DataError, match=r"\.out, line 7: expected the total free energy -15\.1\d* Ha of .*\.static, line 1"
    ):
        read(written)


def test_a_position_whose_difference_is_no_number_is_not_taken_for_a_periodic_image(write_sparc):
    written = write_sparc()
    written.line(".ion", 6, "1e308 1e308 1e308")
    with pytest.raises(DataError, match=r"\.ion, line 6: expected 3 numbers"):
        read(written)


def test_a_density_beyond_float32_names_its_line(write_sparc):
    written = write_sparc()
    text = written.path.read_text().split("\n")
    text[9] = text[9].replace(text[9].split()[0], "1.000000E+39", 1)
    written.path.write_text("\n".join(text))
    with pytest.raises(DataError, match=r"\.dens, line 10: expected densities that float32 can hold"):
        read(written)


def test_a_link_that_leads_nowhere_is_named(write_sparc, tmp_path):
    written = write_sparc()
    written.path.unlink()
    written.path.symlink_to(written.path.name)
    with pytest.raises(RequestError, match="found a link that leads nowhere"):
        list_snapshots(tmp_path / "source")

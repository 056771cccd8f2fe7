import itertools
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.corpus.cube import parse_header, parse_values, read_cube, read_header, write_cube
from coreset.errors import DataError, RequestError

CELL = np.array([[6.0, 0.0, 0.0], [1.5, 5.5, 0.0], [-0.7, 0.9, 7.0]])
NUMBERS = np.array([8, 1])
POSITIONS = np.array([[0.25, 0.5, 0.75], [1.0, 2.0, 3.0]])


@pytest.fixture
def cube(tmp_path):
    path = tmp_path / "field.cube"
    values = np.random.default_rng(0).normal(size=(3, 4, 7)).astype(np.float32)
    write_cube(path, CELL, NUMBERS, POSITIONS, values, "a field")
    return path, values


def change(path, line, text):
    lines = path.read_text().split("\n")
    lines[line - 1] = text
    path.write_text("\n".join(lines))


def test_what_is_written_is_read_exactly(cube):
    path, values = cube
    header, found = read_cube(path)
    assert np.array_equal(found.astype(np.float32), values)
    np.testing.assert_allclose(header.cell, CELL, atol=1e-9)
    np.testing.assert_allclose(header.positions, POSITIONS, atol=1e-9)
    assert header.numbers.tolist() == header.charges.tolist() == [8, 1]
    assert header.comments == ("a field", "")
    assert os.listdir(path.parent) == ["field.cube"]


def test_ase_reads_what_is_written(cube):
    io = pytest.importorskip("ase.io.cube")
    units = pytest.importorskip("ase.units")
    path, values = cube
    with path.open() as file:
        found = io.read_cube(file)
    np.testing.assert_allclose(found["data"], values, rtol=1e-7)
    np.testing.assert_allclose(found["atoms"].cell.array / units.Bohr, CELL, atol=1e-8)
    np.testing.assert_allclose(found["atoms"].positions / units.Bohr, POSITIONS, atol=1e-8)
    assert found["atoms"].numbers.tolist() == [8, 1]


def test_what_ase_writes_is_read(tmp_path):
    io = pytest.importorskip("ase.io.cube")
    atoms = pytest.importorskip("ase").Atoms("OH", positions=POSITIONS, cell=CELL, pbc=True)
    values = np.random.default_rng(1).uniform(size=(3, 4, 5))
    with (tmp_path / "x.cube").open("w") as file:
        io.write_cube(file, atoms, values)
    header, found = read_cube(tmp_path / "x.cube")
    np.testing.assert_allclose(found, values, rtol=1e-5)
    assert header.grid == (3, 4, 5)


def test_charges_and_two_comment_lines(tmp_path):
    path = tmp_path / "x.cube"
    write_cube(path, CELL, NUMBERS, POSITIONS, np.ones((2, 2, 2)), "one\ntwo", charges=np.array([6.0, 1.0]))
    header = read_header(path)
    assert (header.comments, header.charges.tolist()) == (("one", "two"), [6.0, 1.0])
    with pytest.raises(RequestError, match="at most two lines"):
        write_cube(path, CELL, NUMBERS, POSITIONS, np.ones((2, 2, 2)), "one\ntwo\nthree")


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        write_cube(tmp_path / "x.cube", CELL, NUMBERS, POSITIONS[:1], np.ones((2, 2, 2)), "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (3, "two 0 0 0", "line 3: expected the number of atoms and the origin x y z, found 'two 0 0 0'"),
        (3, "2 0 0", "line 3: expected the number of atoms"),
        (3, "-2 0 0 0", "line 3: .* found -2; a negative one announces orbitals"),
        (3, "0 0 0 0", "line 3: expected a positive whole number of atoms, found 0"),
        (3, "1.5 0 0 0", "line 3: expected a positive whole number of atoms, found 1.5"),
        (3, "2 0 0.5 0", "line 3: expected the origin 0 0 0, found '2 0 0.5 0'"),
        (3, "2 0 0 0 2", "line 3: expected one value per grid point, found 2"),
        (4, "-3 2.0 0 0", "line 4: .* found -3; a negative one announces lengths in ångström"),
        (5, "4 0.4 1.4", "line 5: expected the number of grid points and the step dx dy dz, found '4 0.4 1.4'"),
        (5, "4 0.4 nan 0", "line 5: expected the number of grid points"),
        (6, "7 0 0 0", "lines 4-6: expected three independent steps"),
        (7, "8 8.0 0.25 0.5", "line 7: expected an atom"),
        (8, "0 8.0 0.25 0.5 0", "line 8: expected an atomic number from 1 to 118, found 0"),
        (8, "1.5 8.0 0.25 0.5 0", "line 8: expected an atomic number"),
        (8, "1 1.0 1_0 0.5 0", "line 8: expected an atom"),
    ],
)
def test_a_malformed_header_names_its_line(cube, line, text, message):
    path, _ = cube
    change(path, line, text)
    for read in (read_cube, read_header):
        with pytest.raises(RequestError, match=f"{re.escape(str(path))}, {message}"):
            read(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \n"])
def test_an_empty_file(tmp_path, content):
    path = tmp_path / "x.dens"
    path.write_bytes(content)
    for read in (read_cube, read_header):
        with pytest.raises(DataError, match=r"x\.dens: expected a cube file, found an empty one"):
            read(path)


@pytest.mark.parametrize("content", [b"one\ntwo\n\xff\xfe\n", b"one\ntwo\n1 \x00 0 0\n"])
def test_a_file_that_is_not_text(tmp_path, content):
    path = tmp_path / "x.dens"
    path.write_bytes(content)
    for read in (read_cube, read_header):
        with pytest.raises(DataError, match=r"x\.dens, line 3: expected text, found"):
            read(path)


@pytest.mark.parametrize(
    ("index", "word", "message"),
    [
        (0, "x.5", "expected a number, found 'x.5'"),
        (40, "1_0", "expected a number, found '1_0'"),
        (83, "1.0D+00", "expected a number"),
        (17, "nan", "expected a finite value, found nan"),
        (50, "-inf", "expected a finite value, found -inf"),
    ],
)
def test_a_bad_value_names_its_line(cube, index, word, message):
    path, _ = cube
    lines = path.read_text().split("\n")
    line = 9 + 2 * (index // 7) + (index % 7 == 6)  # rows of seven values are written as six and one
    words = lines[line - 1].split()
    words[index % 7 % 6] = word
    change(path, line, " ".join(words))
    with pytest.raises(DataError, match=f"line {line}: {message}"):
        read_cube(path)


def test_surplus_values_name_the_first(cube):
    path, _ = cube
    path.write_text(path.read_text() + "\n1.0\n2.0\n")
    lines = path.read_text().split("\n")
    with pytest.raises(DataError, match=rf"line {len(lines) - 2}: expected 84 values \(3 × 4 × 7\), found 86"):
        read_cube(path)


def test_a_missing_line_is_a_truncation(cube):
    path, _ = cube
    lines = path.read_text().rstrip().split("\n")
    path.write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(
        DataError, match=rf"line {len(lines) - 2}: the file ends after 77 of 84 values \(3 × 4 × 7\): it is truncated"
    ):
        read_cube(path)


def test_a_missing_last_newline_is_none(cube):
    path, values = cube
    path.write_text(path.read_text().rstrip("\n"))
    assert np.array_equal(read_cube(path)[1].astype(np.float32), values)


def test_every_truncation_is_found(cube):
    path, _ = cube
    text = path.read_text()
    for length in range(len(text) - 1):
        with pytest.raises(DataError, match=r"truncated|empty"):
            parse_values(text[:length], parse_header(text[:length].split("\n"), path), path)


JUNK = st.sampled_from(["", "nan", "inf", "-", "1e", "1.0.0", "0x1p3", "1,5", "··", "1E+-2", "1 2", "é"])


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, 59), word=JUNK, width=st.integers(1, 7))
def test_any_junk_is_found_on_its_line(tmp_path_factory, index, word, width):
    path = tmp_path_factory.mktemp("junk") / "x.cube"
    values = [f"{value:.6E}" for value in np.linspace(0.1, 1.0, 60)]
    values[index] = word
    body = [" ".join(row) for row in itertools.batched(values, width)] if hasattr(itertools, "batched") else [
        " ".join(values[at : at + width]) for at in range(0, 60, width)
    ]  # fmt: skip
    text = "\n".join(["a", "b", "1 0 0 0", "3 1 0 0", "4 0 1 0", "5 0 0 1", "1 1 0 0 0", *body, ""])
    header = parse_header(text.split("\n"), path)
    line = 8 + (59 if word in ("", "1 2") else index) // width
    with (
        pytest.raises(DataError, match=f"line {line}: ")
        if word != ""
        else pytest.raises(DataError, match="59 of 60 values")
    ):
        parse_values(text, header, path)


@pytest.mark.parametrize("count", ["999999999", "9" * 12, "9" * 5000, "1e9", "1e300"])
def test_a_number_of_atoms_that_the_file_cannot_hold_is_found_at_once(cube, count):
    path, _ = cube
    change(path, 3, f"{count} 0 0 0")
    for read in (read_cube, read_header):
        with pytest.raises((DataError, RequestError), match=r"field\.cube"):
            read(path)


@pytest.mark.parametrize("word", ["1e300", "1.0e10", "٣", "１"])
def test_a_number_that_no_header_holds_is_refused(cube, word):
    path, _ = cube
    for line, text in ((4, f"3 {word} 0 0"), (7, f"8 8.0 {word} 0.5 0.75")):
        change(path, line, text)
        for read in (read_cube, read_header):
            with pytest.raises(RequestError, match=rf"line {min(line, 4)}: expected"):
                read(path)


def test_digits_of_other_alphabets_are_no_numbers(cube):
    path, _ = cube
    path.write_text(path.read_text().replace("E-01", "E-0１", 1))
    with pytest.raises(DataError, match=r"line \d+: expected a number, found '.*１'"):
        read_cube(path)


def test_a_long_word_is_not_repeated_whole(cube):
    path, _ = cube
    path.write_text(path.read_text().replace("E-01", "E" + "9" * 5000, 1))
    with pytest.raises(DataError, match="expected a finite value") as caught:
        read_cube(path)
    assert len(str(caught.value)) < 300

from pathlib import Path

import numpy as np
import pytest

from coreset.corpus.sparc_input import parse_cell, parse_grid, parse_positions
from coreset.errors import DataError

PATH = Path("x.inpt")
VECTORS = "LATVEC:\n0 2 2\n2 0 2 # fcc\n2 2 0\n"
FCC = np.array([[0.0, 2, 2], [2, 0, 2], [2, 2, 0]])


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("LATVEC_SCALE: 1 2 3\n" + VECTORS, FCC * [[1], [2], [3]]),
        (VECTORS + "BC: P P P\nLATVEC_SCALE: 1 2 3\n", FCC * [[1], [2], [3]]),
        ("LATVEC_SCALE: 4 5 6.5", np.diag([4, 5, 6.5])),
        ("# CELL: 1 1 1\nCELL: 4 5 6.5 # Bohr\n", np.diag([4, 5, 6.5])),
        ("CELL:\n1 2 3\n" + VECTORS, FCC / 8**0.5 * [[1], [2], [3]]),
    ],
)
def test_cell(text, cell):
    np.testing.assert_allclose(parse_cell(text, PATH), cell, rtol=1e-15)


def test_without_lengths_there_is_no_cell():
    assert parse_cell("BC: P P P\n" + VECTORS, PATH) is None
    assert parse_grid("MESH_SPACING: 0.4\n", PATH) is None
    assert parse_grid("FD_GRID: 4 5 6", PATH) == (4, 5, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BC: P P P\nCELL: 4 5\n", "line 2: expected 3 numbers for CELL, found '4 5'"),
        ("CELL: 4 5 x\n", "line 1: expected 3 numbers for CELL, found '4 5 x'"),
        ("CELL: 4 5 nan\n", "line 1: expected 3 numbers"),
        ("CELL: 4 5 0\n", "line 1: expected three independent lattice vectors"),
        (
            "\nLATVEC_SCALE: 1 1 1\nLATVEC:\n1 0 0\n0 1 0\n",
            "line 3: expected 9 numbers for LATVEC, found '1 0 0 0 1 0'",
        ),
        ("1 2 3\nCELL: 1 1 1\n", "line 1: expected a keyword that ends in ':', found '1 2 3'"),
    ],
)
def test_bad_cells_name_their_line(text, message):
    with pytest.raises(DataError, match=rf"x\.inpt, {message}"):
        parse_cell(text, PATH)


def test_cartesian_and_fractional_positions():
    cell = FCC * 1.5
    text = "ATOM_TYPE: Fe1\nN_TYPE_ATOM: 1\nCOORD:\n1 2 3\n"
    text += "ATOM_TYPE: O\nN_TYPE_ATOM: 2\nCOORD_FRAC:\n0.5 0 0\n\n0 0.25 0.5 # two\n"
    atoms = parse_positions(text, cell, PATH)
    assert [(atom.number, atom.line) for atom in atoms] == [(26, 4), (8, 8), (8, 10)]
    np.testing.assert_allclose([atom.position for atom in atoms], [[1, 2, 3], [0, 1.5, 1.5], [2.25, 1.5, 0.75]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ATOM_TYPE: Qq\n", "line 1: expected a chemical symbol after ATOM_TYPE, found 'Qq'"),
        ("COORD:\n1 2 3\n", "line 1: expected ATOM_TYPE and N_TYPE_ATOM before COORD"),
        ("ATOM_TYPE: H\nCOORD:\n1 2 3\n", "line 2: expected ATOM_TYPE and N_TYPE_ATOM before COORD"),
        (
            "ATOM_TYPE: H\nN_TYPE_ATOM: 2\nCOORD:\n1 2 3\n",
            r"line 3: expected 2 rows of coordinates \(N_TYPE_ATOM\), found 1",
        ),
        ("ATOM_TYPE: H\nN_TYPE_ATOM: 1\nCOORD:\n1 2\n", "line 4: expected 3 numbers for COORD, found '1 2'"),
        ("ATOM_TYPE: H\nN_TYPE_ATOM: 1\nCOORD_FRAC:\n1 2 z\n", "line 4: expected 3 numbers for COORD_FRAC"),
    ],
)
def test_bad_positions_name_their_line(text, message):
    with pytest.raises(DataError, match=rf"x\.inpt, {message}"):
        parse_positions(text, np.eye(3), PATH)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FD_GRID: 4.5 5 6", "line 1: expected whole numbers for FD_GRID, found 4.5 5.0 6.0"),
        ("FD_GRID: 4 5 6\nBC: P P P\nFD_GRID: 4 5 7", "line 3: expected FD_GRID once, found it in line 1 too"),
        ("FD_GRID: 4 5 1_0", "line 1: expected 3 numbers"),
        ("FD_GRID: 4 5 ٣", "line 1: expected 3 numbers"),
        ("FD_GRID: 4 5 1e10", "line 1: expected 3 numbers"),
    ],
)
def test_a_grid_that_is_none_names_its_line(text, message):
    with pytest.raises(DataError, match=message):
        parse_grid(text, Path("x.inpt"))


def test_two_lengths_of_the_cell_contradict_each_other():
    with pytest.raises(DataError, match="line 2: expected LATVEC_SCALE once, found it in line 1 too"):
        parse_cell("LATVEC_SCALE: 1 2 3\nLATVEC_SCALE: 1 2 4", Path("x.inpt"))


def test_half_an_atom_is_none():
    with pytest.raises(DataError, match=r"line 2: expected whole numbers for N_TYPE_ATOM, found 1\.5"):
        parse_positions("ATOM_TYPE: H\nN_TYPE_ATOM: 1.5\nCOORD:\n0 0 0", np.eye(3), Path("x.ion"))

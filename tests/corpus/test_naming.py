from pathlib import PurePosixPath

import pytest

from coreset.corpus.elements import SYMBOLS, formula, number_of
from coreset.corpus.naming import Naming, snapshot_name
from coreset.errors import RequestError


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("train/al32_T0100_s0_0/al32_T0100_s0_0.dens", "train/al32_T0100_s0_0"),
        ("train/al32_T0100_s0_0.dens", "train/al32_T0100_s0_0"),
        ("al32_T0100_s0_0.dens", "al32_T0100_s0_0"),
        ("a/b/c.dens", "a/b/c"),
        ("v1.2/x.y.dens", "v1.2/x.y"),
    ],
)
def test_a_folder_named_like_its_file_is_not_repeated(path, name):
    assert snapshot_name(PurePosixPath(path)) == name


@pytest.mark.parametrize("path", ["a/.x.dens", "a/__x.dens", "a?/x.dens", "zarr.json/x.dens", "a:b.dens"])
def test_names_that_a_store_treats_specially_are_refused(path):
    with pytest.raises(RequestError, match="cannot be named"):
        snapshot_name(PurePosixPath(path))


@pytest.mark.parametrize(
    ("name", "group", "temperature"),
    [
        ("train/al32_T0100_s0_1", "train/al32_T0100_s0", 100.0),
        ("test/h2o10_T0450_t1", "test/h2o10_T0450_t1", 450.0),
        ("defects/al31_monovac_T0200_p0", "defects/al31_monovac_T0200_p0", 200.0),
        ("test/Cr4-Fe4-Co4-Ni4_T1200_t101_0", "test/Cr4-Fe4-Co4-Ni4_T1200_t101", 1200.0),
        ("x_T0300", "x_T0300", 300.0),
        ("molecule", "molecule", None),
    ],
)
def test_group_and_temperature_of_a_name(name, group, temperature):
    assert (Naming().group_of(name), Naming().temperature_of(name)) == (group, temperature)


def test_own_patterns_give_the_first_group_or_the_match():
    assert Naming(group="^[^/]+").group_of("train/a_1") == "train"
    assert Naming(group=r"traj(\d+)").group_of("traj17/frame3") == "17"
    assert Naming(temperature=r"(\d+)K").temperature_of("al/350K/3") == 350.0


def test_bad_patterns_are_named():
    with pytest.raises(RequestError, match=r"group: expected a regular expression, found '\('"):
        Naming(group="(")
    with pytest.raises(RequestError, match="snapshot b: the group pattern 'a' finds no group"):
        Naming(group="a").group_of("b")
    with pytest.raises(RequestError, match="finds 'cold'; expected a number"):
        Naming(temperature="cold").temperature_of("cold_1")


def test_elements_against_ase():
    data = pytest.importorskip("ase.data")
    assert list(SYMBOLS) == data.chemical_symbols[1:]
    assert all(number_of(symbol) == number for number, symbol in enumerate(SYMBOLS, start=1))


def test_labels_and_formulas():
    assert [number_of(label) for label in ("Fe1", "Fe_up", "O", "Xx", "fe", "", "Oxygen", "C2")] == [
        26,
        26,
        8,
        None,
        None,
        None,
        None,
        6,
    ]
    assert formula([8, 1, 1]) == "H2O"
    assert formula([28, 24, 24, 27, 26]) == "CoCr2FeNi"

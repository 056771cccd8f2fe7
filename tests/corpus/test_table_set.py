"""A table as a point set: the same rows from every format, however they are asked for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from coreset.corpus import table_set
from coreset.corpus.table_set import TableSet
from coreset.errors import RequestError

ROWS = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)


def parquet(path: Path, rows: np.ndarray, group: int) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows[:, 1:3]).ravel()), 2)
    columns = {"a": rows[:, 0], "v": vectors, "b": rows[:, 3], "name": ["x"] * len(rows)}
    pq.write_table(pa.table(columns), path, row_group_size=group)


@pytest.fixture(params=["npy", "file", "folder", "zarr"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "npy":
        np.save(tmp_path / "t.npy", ROWS)
        return str(tmp_path / "t.npy")
    if request.param == "file":
        parquet(tmp_path / "t.parquet", ROWS, 70)
        return str(tmp_path / "t.parquet")
    if request.param == "folder":
        (tmp_path / "t").mkdir()
        parquet(tmp_path / "t/a.parquet", ROWS[:180], 70)
        parquet(tmp_path / "t/b.parquet", ROWS[180:], 500)
        return str(tmp_path / "t")
    zarr.create_array(str(tmp_path / "t.zarr"), data=ROWS, chunks=(64, 4))
    return str(tmp_path / "t.zarr")


@pytest.mark.parametrize("numbers", [160 * 2**18, 4 * 33])
def test_pieces_hold_every_row_once(path: str, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_set, "_NUMBERS", numbers)
    points = TableSet.open(path)
    assert points.points == 500
    found = [points.read(piece.member, np.arange(piece.first, piece.stop)) for piece in points.pieces()]
    np.testing.assert_array_equal(np.concatenate(found), ROWS)
    rows = [points.numbers(piece.member, piece.first, piece.stop) for piece in points.pieces()]
    assert np.concatenate(rows).tolist() == list(range(500))


def test_some_rows_are_read_by_their_positions(path: str) -> None:
    points = TableSet.open(path)
    for number, member in enumerate(points.members):
        index = np.flatnonzero(np.random.default_rng(1).random(member.points) < 0.1)
        rows = points.numbers(number, 0, member.points)[index]
        np.testing.assert_array_equal(points.read(number, index), ROWS[rows])
        assert points.read(number, np.empty(0, np.int64)).shape == (0, 4)
        assert points.at(int(rows[0])) == (number, int(index[0]))


def test_the_digest_knows_the_content_and_not_the_place(path: str, tmp_path: Path) -> None:
    digest = TableSet.open(path).digest
    moved = Path(path).rename(tmp_path / f"moved{Path(path).suffix}")
    assert TableSet.open(str(moved)).digest == digest
    file = sorted(each for each in (moved.rglob("*") if moved.is_dir() else [moved]) if each.is_file())[0]
    before = table_set.checksum(str(moved))
    file.write_bytes(file.read_bytes() + b" ")
    assert table_set.checksum(str(moved)) != before


def test_columns_are_chosen_by_globs(tmp_path: Path) -> None:
    parquet(tmp_path / "t.parquet", ROWS, 70)
    path = str(tmp_path / "t.parquet")
    assert TableSet.open(path).columns == ["a", "v[0]", "v[1]", "b"]
    assert TableSet.open(path, ["v", "b"], ["b"]).columns == ["v[0]", "v[1]"]
    np.testing.assert_array_equal(TableSet.open(path, ["b"]).read(0, np.arange(500)), ROWS[:, 3:])
    with pytest.raises(RequestError, match="expected a column of numbers that is not ignored, found none"):
        TableSet.open(path, ["a"], ["a"])
    with pytest.raises(RequestError, match="of kind number, found text"):
        TableSet.open(path, ["n*"])

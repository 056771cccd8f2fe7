"""Tables in files that others wrote: every format gives the same rows, and what is damaged is named."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from coreset.corpus import tables
from coreset.corpus.tables import Table, is_table, open_table
from coreset.errors import DataError, RequestError

ROWS = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)


def parquet(path: Path) -> Path:
    frame = pd.DataFrame({"0": ROWS[:, 0], "1": ROWS[:, 1].astype(np.float64), "2": ROWS[:, 2]})
    pq.write_table(pa.Table.from_pandas(frame), path / "a.parquet", row_group_size=300, compression="none")
    return path / "a.parquet"


def parquet_folder(path: Path) -> Path:
    (path / "t/deep").mkdir(parents=True)
    for name, rows in (("b", ROWS[400:]), ("deep/a", ROWS[:0]), ("a", ROWS[:400])):
        pq.write_table(pa.table({str(i): rows[:, i] for i in range(3)}), path / f"t/{name}.parquet", row_group_size=70)
    return path / "t"


def npy(path: Path) -> Path:
    np.save(path / "a.npy", ROWS.astype(">f4"))
    return path / "a.npy"


def lone_array(path: Path) -> Path:
    zarr.create_array(path / "a.zarr", data=ROWS, chunks=(64, 2))
    return path / "a.zarr"


def group_of_arrays(path: Path) -> Path:
    group = zarr.open_group(path / "g.zarr", mode="w")
    for i in range(3):
        group.create_array(str(i), data=ROWS[:, i], chunks=(128,))
    return path / "g.zarr"


FORMATS = [parquet, parquet_folder, npy, lone_array, group_of_arrays]


def whole(table: Table, names: list[str]) -> np.ndarray:
    return np.concatenate([rows for block in table.blocks for rows in table.features(block, names)])


@pytest.mark.parametrize("write", FORMATS)
def test_every_format_gives_the_rows_in_pieces(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS", 37)
    monkeypatch.setattr(tables, "BLOCK", 256)
    path = str(write(tmp_path))
    assert is_table(path)
    table = open_table(path)
    assert [(column.name, column.kind, column.width) for column in table.columns] == [
        (str(i), "number", 1) for i in range(3)
    ]
    assert table.rows == 1000 and len(table.blocks) > 1
    np.testing.assert_array_equal(whole(table, ["0", "1", "2"]), ROWS)
    np.testing.assert_array_equal(whole(table, ["2"]), ROWS[:, 2:])
    assert max(len(rows) for block in table.blocks for rows in table.features(block, ["1"])) <= 37
    starts = [block.start for block in table.blocks]
    assert starts == np.cumsum([0] + [block.rows for block in table.blocks])[:-1].tolist()


def test_a_url_reads_as_a_path_does(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/t/a.npy", npy(tmp_path).read_bytes())
    memory.pipe("/p/a.parquet", parquet(tmp_path).read_bytes())
    for url in ("memory://t/a.npy", "memory://p/a.parquet", "memory://p"):
        np.testing.assert_array_equal(whole(open_table(url), ["0", "1", "2"]), ROWS)


def test_vectors_count_as_so_many_features_and_texts_are_none(tmp_path: Path) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 3)
    names = pa.array(["x", "y"] * 500).dictionary_encode()
    columns = {"v": vectors, "name": names, "flag": [True, False] * 500, "t": pa.array([0] * 1000, pa.timestamp("s"))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = open_table(str(tmp_path / "a.parquet"))
    assert [(each.name, each.kind, each.width) for each in table.columns] == [
        ("v", "number", 3),
        ("name", "text", 1),
        ("flag", "number", 1),
    ]
    np.testing.assert_array_equal(whole(table, ["flag", "v"])[:, 1:], ROWS)
    (piece,) = table.pieces(table.blocks[0], ["name"])
    assert piece["name"].tolist() == ["x", "y"] * 500
    assert [each.name for each in table.matching(["v*", "flag"], "number")] == ["v", "flag"]
    with pytest.raises(RequestError, match="column 'name' of kind number, found text"):
        table.matching(["name"], "number")
    with pytest.raises(RequestError, match="expected a column 'w', found v, name, flag"):
        table.matching(["w"])


def _lists(rows: Sequence[object], large: bool = False) -> pa.Array:
    return pa.array(rows, (pa.large_list if large else pa.list_)(pa.float32()))


@pytest.mark.parametrize("large", [False, True])
def test_lists_of_one_length_are_vectors(large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pandas writes embeddings; a first file without rows does not say how long they are."""
    monkeypatch.setattr(tables, "ROWS", 37)
    for name, rows in (("a", ROWS[:0]), ("b", ROWS[:400]), ("c", ROWS[400:])):
        column = pa.table({"v": _lists(list(rows), large), "y": rows[:, 0]})
        pq.write_table(column, tmp_path / f"{name}.parquet", row_group_size=70)
    table = open_table(str(tmp_path))
    assert [(each.name, each.kind, each.width) for each in table.columns] == [("v", "number", 3), ("y", "number", 1)]
    np.testing.assert_array_equal(whole(table, ["v"]), ROWS)


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ([1.0, 2.0], "expected a vector of 3 numbers, as in the first row, found 2"),
        ([], "expected a vector of 3 numbers, as in the first row, found 0"),
        (None, "expected a value, found none"),
        ([1.0, None, 2.0], "expected a vector without gaps"),
    ],
)
@pytest.mark.parametrize("row", [11, 95])
def test_a_list_of_another_length_is_named(bad: object, found: str, row: int, tmp_path: Path) -> None:
    rows: list[object] = list(ROWS[:100])
    rows[row] = bad
    pq.write_table(pa.table({"v": _lists(rows), "y": ROWS[:100, 0]}), tmp_path / "a.parquet", row_group_size=40)
    table = open_table(str(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match=f"a.parquet: row {row}, column 'v': {found}"):
        whole(table, ["v"])
    np.testing.assert_array_equal(whole(table, ["y"]), ROWS[:100, :1])


def test_a_first_list_that_is_missing_is_found_where_it_is_read(tmp_path: Path) -> None:
    rows = {"gap": _lists([None, [1.0]]), "empty": _lists([[], [1.0]]), "y": [1.0, 2.0]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    table = open_table(str(tmp_path / "a.parquet"))
    assert whole(table, ["y"]).tolist() == [[1.0], [2.0]]
    for name in ("gap", "empty"):
        with pytest.raises(DataError, match=f"row 0, column '{name}': expected a"):
            whole(table, [name])


def test_a_column_that_cannot_be_read_is_told_with_its_type(tmp_path: Path) -> None:
    columns = {"day": pa.array([0], pa.timestamp("ns")), "tags": [["a"]], "d": [1.0], "price": pa.array([None])}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("d", data=ROWS)
    group.create_array("image", data=ROWS.reshape(1000, 3, 1))
    frame, arrays = open_table(str(tmp_path / "a.parquet")), open_table(str(tmp_path / "g.zarr"))
    assert dict(frame.others) == {"day": "timestamp[ns]", "tags": "list<element: string>", "price": "null"}
    assert dict(arrays.others) == {"image": "float32 of shape [1000, 3, 1]"}
    for table, name, kind in (
        (frame, "day", r"timestamp\[ns\]"),
        (arrays, "image", r"float32 of shape \[1000, 3, 1\]"),
    ):
        for pattern in (name, f"{name[:2]}*"):
            with pytest.raises(RequestError, match=f"column '{name}': expected numbers, .* found {kind}; write it"):
                table.matching([pattern])
        with pytest.raises(RequestError, match=f"column '{name}': expected numbers"):
            table.matching(["*"], "number")
        assert [each.name for each in table.matching(["*"])] == ["d"]
    zarr.create_array(tmp_path / "lone.zarr", data=ROWS.reshape(1000, 3, 1))
    with pytest.raises(RequestError, match=r"found one \(float32 of shape \[1000, 3, 1\]\)"):
        open_table(str(tmp_path / "lone.zarr"))


def test_a_name_is_no_glob_even_if_it_reads_as_one(tmp_path: Path) -> None:
    names = ["gap [eV]", "gap e", "a*", "ab", "[x]", "x"]
    pq.write_table(pa.table({name: [1.0] for name in names}), tmp_path / "a.parquet")
    table = open_table(str(tmp_path / "a.parquet"))

    def found(*patterns: str) -> list[str]:
        return [each.name for each in table.matching(patterns)]

    assert [found(name) for name in names] == [[name] for name in names]
    assert found("gap [[]*", "[x]") == ["gap [eV]", "[x]"]
    assert found("gap *") == ["gap [eV]", "gap e"]
    assert found("a[*b]") == ["a*", "ab"]
    with pytest.raises(RequestError, match=r"expected a column 'gap .V.'"):
        table.matching(["gap [V]"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_a_number_that_is_none_is_named_by_row_and_column(bad: float, tmp_path: Path) -> None:
    rows = ROWS.astype(np.float64)
    rows[700, 1] = bad
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(DataError, match=r"a.npy: row 700, column '1'"):
        whole(open_table(str(tmp_path / "a.npy")), ["0", "1", "2"])


def test_a_gap_is_named_by_row_and_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0, None, 2.0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 1, column 'a': expected a value"):
        whole(open_table(str(tmp_path / "a.parquet")), ["a"])


def test_damage_is_told_by_file(tmp_path: Path) -> None:
    content = bytearray(parquet(tmp_path).read_bytes())
    table = open_table(str(tmp_path / "a.parquet"))
    content[4:60] = bytes(56)
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a.parquet: expected rows of a table"):
        whole(table, ["0", "1", "2"])
    path = npy(tmp_path)
    table = open_table(str(path))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"expected 1000 rows in a.npy#00000, found 0"):
        whole(table, ["0"])
    with pytest.raises(RequestError, match="array of numbers"):
        open_table(str(path))
    next((lone_array(tmp_path) / "c/3").iterdir()).unlink()
    with pytest.raises(DataError, match="chunks, found"):
        open_table(str(tmp_path / "a.zarr"))


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", b"1,2", "found '.csv'"),
        ("a.parquet", b"PAR1", "expected a Parquet file"),
        ("a.npy", b"text", "expected a .npy array"),
        ("missing", None, "found nothing there"),
    ],
)
def test_what_is_no_table_is_refused(name: str, content: bytes | None, found: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=found):
        open_table(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.npy", "a.parquet", "t/z.parquet"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path) -> None:
    parquet_folder(tmp_path)
    os.mkfifo(tmp_path / name)
    place = str(tmp_path / name.split("/")[0])
    found = multiprocessing.get_context("fork").Pool(1)  # which can be ended, whatever it waits for
    with found, pytest.raises(RequestError, match=f"expected regular files, found .*{name}, which is none"):
        found.apply_async(open_table, (place,)).get(60)


def test_files_that_differ_an_empty_table_and_a_pickle_are_refused(tmp_path: Path) -> None:
    parquet_folder(tmp_path)
    pq.write_table(pa.table({"0": [1.0]}), tmp_path / "t/z.parquet")
    with pytest.raises(RequestError, match=r"z.parquet: expected the columns of .*a.parquet, found others"):
        open_table(str(tmp_path / "t"))
    np.save(tmp_path / "empty.npy", ROWS[:0])
    with pytest.raises(RequestError, match="expected a table with rows"):
        open_table(str(tmp_path / "empty.npy"))
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(RequestError, match="array of numbers"):
        open_table(str(tmp_path / "pickle.npy"))
    np.save(tmp_path / "order.npy", np.asfortranarray(ROWS))
    with pytest.raises(RequestError, match="found Fortran order"):
        open_table(str(tmp_path / "order.npy"))

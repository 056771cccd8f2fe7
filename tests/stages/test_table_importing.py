"""An index of rows from anywhere and the ingested table give these rows; what does not fit is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import coreset
from coreset.artifacts.executor import SerialExecutor
from coreset.corpus.tables import open_table
from coreset.errors import DataError, RequestError
from coreset.publishing.verify import verify
from coreset.stages.importing import import_index
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request

RNG = np.random.default_rng(0)
SIZES = {"a.parquet": 400, "b/c.parquet": 300}
SOURCE = {
    file: {
        "x": RNG.normal(size=size).astype(np.float32),
        "y": RNG.normal(size=size).astype(np.float32),
        "day": RNG.integers(0, 9, size),
    }
    for file, size in SIZES.items()
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A table of two files, and one that is the first of them alone."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "t/b").mkdir(parents=True)
    for file, columns in SOURCE.items():
        pq.write_table(pa.table(columns), folder / "t" / file, row_group_size=150)
    found = {"both": folder / "both.zarr", "one": folder / "one.zarr"}
    for name, source in (("both", "t"), ("one", "t/a.parquet")):
        request = Request(("y",), group="day", test=0.3)
        ingest_table(open_table(str(folder / source)), request, found[name], SerialExecutor())
    return found


@pytest.fixture
def index() -> pa.Table:
    """150 rows of both files, in no order."""
    places = [(file, row) for file, size in SIZES.items() for row in range(size)]
    chosen = [places[number] for number in RNG.permutation(len(places))[:150]]
    return pa.table(
        {
            "file": [file for file, _ in chosen],
            "row": [row for _, row in chosen],
            "stratum": pa.array(range(150), pa.int32()),
            "weight": RNG.uniform(1, 2, 150),
            "score": RNG.normal(size=150).astype(np.float32),
        }
    )


def imported(index: pa.Table, corpus: Path, folder: Path, **how: Any) -> Path:
    pq.write_table(index, folder / "index.parquet", **how)
    rows = import_index(folder / "index.parquet", str(corpus), folder / "out", SerialExecutor())
    assert rows == len(index)
    return folder / "out"


def expect_rows(out: Path, index: list[dict[str, Any]]) -> None:
    """The rows of the index, each once, with the values that the files have there."""
    rows = coreset.open(out).to_arrow().to_pylist()
    found = {(row["file"], row["row"]): row for row in rows}
    assert len(found) == len(rows) == len(index)
    for wanted in index:
        row = found[wanted["file"], wanted["row"]]
        source = SOURCE[wanted["file"]]
        assert (row["x"], row["y"]) == (source["x"][wanted["row"]], source["y"][wanted["row"]])
        assert row["group"] == str(source["day"][wanted["row"]])
        assert {name: row[name] for name in wanted} == wanted
    assert len(list(verify(out))) == 1 + len(list(out.glob("part-*.parquet")))


@pytest.mark.parametrize("batch", [2, 64])
def test_the_rows_are_those_of_the_files(
    batch: int, index: pa.Table, corpora: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coreset.corpus.kept.BATCH", batch)
    monkeypatch.setattr("coreset.stages.listing._PIECE", 7)
    out = imported(index, corpora["both"], tmp_path, row_group_size=20)
    expect_rows(out, index.to_pylist())
    # Run again, it stands.
    imported(index, corpora["both"], tmp_path, row_group_size=20)


@pytest.mark.parametrize("form", ["row.parquet", "index.parquet", "file.csv", "row.csv", "row.npy"])
def test_an_index_in_another_form_is_taken(
    form: str, corpora: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coreset.stages.table_importing._PIECE", 11)
    rows = RNG.permutation(400)[:50].astype(np.uint32)
    name, _, kind = form.partition(".")
    columns = {"index" if name == "index" else "row": rows} | ({"file": ["a.parquet"] * 50} if name == "file" else {})
    path = tmp_path / form
    if kind == "npy":
        np.save(path, rows)
    elif kind == "csv":
        pyarrow.csv.write_csv(pa.table(columns), path)
    else:
        pq.write_table(pa.table(columns), path)
    assert import_index(path, str(corpora["one"]), tmp_path / "out", SerialExecutor()) == 50
    nothing = {"score": None, "stratum": None, "weight": 1.0}
    expect_rows(tmp_path / "out", [{"file": "a.parquet", "row": int(row), **nothing} for row in rows])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]


def test_what_coreset_select_keeps_of_scores_from_elsewhere_becomes_rows(
    corpora: dict[str, Path], tmp_path: Path
) -> None:
    kept = coreset.select(SOURCE["a.parquet"]["y"], method="ccs", prune=0.9, strata=10)
    pq.write_table(pa.table({"index": kept, "stratum": pa.nulls(len(kept), pa.int32())}), tmp_path / "kept.parquet")
    import_index(tmp_path / "kept.parquet", str(corpora["one"]), tmp_path / "out", SerialExecutor())
    assert sorted(coreset.open(tmp_path / "out").to_arrow().column("row").to_pylist()) == kept.tolist()


def replaced(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table.column(column).to_pylist()
    values[row] = value
    at = table.schema.get_field_index(column)
    return table.set_column(at, column, pa.array(values, table.schema.field(at).type))


def beyond(table: pa.Table) -> pa.Table:
    """A row that no file has."""
    return replaced(table.slice(0, 1), "row", 0, 2**40)


LAYOUT = {"features": ["x"], "targets": ["y"], "task": "regression", "ranges": [1.0], "classes": []}


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (lambda t: replaced(t, "file", 3, "c.parquet"), RequestError, "found some of 'c.parquet'"),
        (lambda t: t.drop_columns("row"), RequestError, "expected the column `row`, and `file`"),
        (lambda t: t.drop_columns("file"), RequestError, "expected the column `row`, and `file`"),
        (lambda t: t.rename_columns(["snapshot", "index", "stratum", "weight", "score"]), RequestError, "`row`"),
        (lambda t: t.slice(0, 0), RequestError, "expected rows"),
        (lambda t: replaced(t, "row", 0, -1), DataError, "found 1 of 150 that it does not have, the first -1 of "),
        (lambda t: replaced(t, "row", 0, 400), DataError, "found 1 of 150 that it does not have, the first 400 of "),
        (
            lambda t: pa.concat_tables([replaced(replaced(t, "row", 9, 300), "file", 9, "b/c.parquet"), beyond(t)]),
            DataError,
            "found 2 of 151 that it does not have, the first 300 of b/c.parquet, which has 300, from 0 on; give",
        ),
        (lambda t: pa.concat_tables([t, t.slice(9, 1)]), DataError, "twice"),
        (lambda t: replaced(t, "row", 4, None), DataError, "expected a value of 'row'"),
        (lambda t: replaced(t, "weight", 4, 0.0), DataError, "expected positive, finite weights"),
        (lambda t: replaced(t, "score", 4, None), DataError, "in none"),
        (
            lambda t: t.replace_schema_metadata({b"coreset": json.dumps({"layout": LAYOUT})}),
            RequestError,
            "expected rows of a table with the columns and ranges",
        ),
        (lambda t: t.replace_schema_metadata({b"coreset": b'{"layout": 1}'}), DataError, "recipe"),
        (
            lambda t: t.set_column(1, "row", pc.add(t.column("row").cast(pa.float64()), 0.5)),
            DataError,
            "expected whole numbers of 64 bits in the column 'row'.*mend that column",
        ),
        (
            lambda t: t.set_column(2, "stratum", pc.add(t.column("stratum").cast(pa.int64()), 2**31)),
            DataError,
            "expected whole numbers of 32 bits in the column 'stratum'.*mend that column",
        ),
        (
            lambda t: t.set_column(2, "stratum", pa.array(["first"] * len(t))),
            DataError,
            "expected whole numbers of 32 bits in the column 'stratum'.*mend that column",
        ),
        (lambda t: replaced(t, "score", 4, float("nan")), DataError, r"found nan at row \d+; mend it, or leave"),
        (lambda t: replaced(t, "score", 4, float("inf")), DataError, r"found inf at row \d+; mend it, or leave"),
    ],
    ids=range(19),
)
def test_what_does_not_fit_is_refused(
    change: Callable[[pa.Table], pa.Table],
    error: type[Exception],
    expected: str,
    index: pa.Table,
    corpora: dict[str, Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=expected):
        imported(change(index), corpora["both"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.parquet"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.parquet", b"PAR1 is not enough"),
        ("index.npy", b"\x93NUMPY is not enough"),
        ("index.csv", b""),
        ("index.csv", b"row,file\n1\n"),
        ("index.parquet", None),
    ],
)
def test_a_file_that_is_no_index_is_named(
    name: str, content: bytes | None, corpora: dict[str, Path], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, RequestError), match=rf"{name}: "):
        import_index(tmp_path / name, str(corpora["one"]), tmp_path / "out", SerialExecutor())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"row,file\n1\n", b"row\n1\n2,3\n"])
def test_a_csv_that_is_no_table_is_to_be_mended(content: bytes, corpora: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"index\.csv: expected a line of names, and lines .*; mend the file"):
        import_index(tmp_path / "index.csv", str(corpora["one"]), tmp_path / "out", SerialExecutor())


def test_numbers_that_are_no_rows_are_refused(corpora: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "index.npy", np.array([0.5, 1.0]))
    with pytest.raises(RequestError, match="expected numbers of rows, found float64"):
        import_index(tmp_path / "index.npy", str(corpora["one"]), tmp_path / "out", SerialExecutor())

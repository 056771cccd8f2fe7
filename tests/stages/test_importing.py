"""An index file and the corpus give the published rows again; what does not fit is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import coreset
from coreset.artifacts.executor import SerialExecutor
from coreset.corpus.store import Corpus, finish, write_snapshot
from coreset.errors import DataError, RequestError
from coreset.publication import publish
from coreset.publishing.verify import verify
from coreset.stages.importing import import_index


@pytest.fixture(scope="session")
def published(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("public") / "small"
    publish(whole_run / "run", str(place), None)
    return place


@pytest.fixture
def index(published: Path) -> pa.Table:
    return pq.read_table(published / "index.parquet")


def imported(index: Path | pa.Table, corpus: Any, folder: Path) -> Path:
    if isinstance(index, pa.Table):
        pq.write_table(index, folder / "index.parquet")
        index = folder / "index.parquet"
    import_index(index, str(getattr(corpus, "path", corpus)), folder / "out", SerialExecutor())
    return folder / "out"


def rows_of(folder: Path) -> pa.Table:
    return coreset.open(folder).to_arrow(descriptor=False)


def test_the_rows_are_those_that_were_published(published: Path, small_corpus: Corpus, tmp_path: Path) -> None:
    out = imported(published / "index.parquet", small_corpus, tmp_path)
    for file in (out / "part-00000.parquet",):
        assert file.read_bytes() == (published / "data" / file.name).read_bytes()
    assert len(list(verify(out))) == 3
    # The recipe came with the index: the descriptors are those of the job.
    assert coreset.open(out).to_arrow().equals(coreset.open(published).to_arrow())
    one, other = (json.loads((folder / "manifest.json").read_bytes()) for folder in (out, published))
    assert one["select"] == other["select"] and one["points"] == other["points"]
    assert import_index(published / "index.parquet", small_corpus.path, out, SerialExecutor()) == len(rows_of(out))


def test_the_order_of_the_rows_and_the_row_groups_do_not_matter(
    index: pa.Table, published: Path, small_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coreset.corpus.kept.BATCH", 3)
    monkeypatch.setattr("coreset.stages.listing._PIECE", 7)
    shuffled = index.take(np.random.default_rng(0).permutation(len(index)))
    pq.write_table(shuffled, tmp_path / "shuffled.parquet", row_group_size=20)
    out = imported(tmp_path / "shuffled.parquet", small_corpus, tmp_path)
    assert len(list(out.glob("part-*.parquet"))) > 1
    assert rows_of(out).equals(rows_of(published))


@pytest.mark.parametrize("named", ["digest", "snapshot", "digest as snapshot"])
def test_digest_or_name_is_enough(named: str, index: pa.Table, small_corpus: Corpus, tmp_path: Path) -> None:
    column = "snapshot" if named == "snapshot" else "digest"
    given = pa.table({named.split()[-1]: index.column(column), "index": index.column("index")})
    rows = rows_of(imported(given, small_corpus, tmp_path))
    assert rows.column("snapshot").equals(index.column("snapshot"))
    assert rows.column("index").equals(index.column("index"))
    assert rows.column("score").null_count == rows.column("stratum").null_count == len(rows)
    assert set(rows.column("weight").to_pylist()) == {1.0}


@pytest.mark.parametrize("blank", [lambda row: row % 3 == 0, lambda row: row < 100, lambda row: True])
def test_rows_without_a_digest_are_found_by_name(
    blank: Callable[[int], bool], index: pa.Table, published: Path, small_corpus: Corpus, tmp_path: Path
) -> None:
    digests = ["" if blank(row) else digest for row, digest in enumerate(index.column("digest").to_pylist())]
    given = index.set_column(0, "digest", pa.array(digests))
    assert rows_of(imported(given, small_corpus, tmp_path)).equals(rows_of(published))


def test_a_digest_of_one_snapshot_and_the_name_of_another_are_refused(
    index: pa.Table, small_corpus: Corpus, tmp_path: Path
) -> None:
    names, digests = (index.column(name).to_pylist() for name in ("snapshot", "digest"))
    assert names[0] != names[-1]
    with pytest.raises(RequestError) as refused:
        imported(replaced(index, "digest", 0, digests[-1]), small_corpus, tmp_path)
    for told in (names[0], f"expected the digest that {small_corpus.path} states, {digests[0][:16]}", names[-1]):
        assert told in str(refused.value)
    assert not (tmp_path / "out").exists()
    # A name that the corpus does not have says nothing against the digest.
    renamed = index.set_column(1, "snapshot", pa.array([f"old-{name}" for name in names]))
    assert rows_of(imported(renamed, small_corpus, tmp_path)).column("snapshot").to_pylist() == names


def test_other_types_of_columns_that_hold_the_same_are_taken(
    index: pa.Table, published: Path, small_corpus: Corpus, tmp_path: Path
) -> None:
    given = pa.table(
        {
            "comment": pa.repeat(pa.scalar("x"), len(index)),
            "snapshot": index.column("snapshot").dictionary_encode(),
            "index": index.column("index").cast(pa.uint16()),
            "weight": index.column("weight"),
            "score": index.column("score").cast(pa.float64()),
            "stratum": index.column("stratum").cast(pa.int64()),
        }
    )
    assert rows_of(imported(given, small_corpus, tmp_path)).equals(rows_of(published))


def replaced(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table.column(column).to_pylist()
    values[row] = value
    at = table.schema.get_field_index(column)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


LAYOUT = {"features": ["x"], "targets": ["y"], "task": "regression", "ranges": [1.0], "classes": []}


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (lambda t: replaced(t, "digest", 3, "0" * 64), RequestError, "expected the digest that"),
        (lambda t: replaced(t.drop_columns("digest"), "snapshot", 3, "train/x"), RequestError, "found 'train/x'"),
        (lambda t: replaced(t.drop_columns("snapshot"), "digest", 3, "1" * 64), RequestError, "expected snapshots of"),
        (lambda t: t.drop_columns("index"), RequestError, "expected the columns `index`"),
        (lambda t: t.drop_columns(["digest", "snapshot"]), RequestError, "and `digest` or `snapshot`"),
        (lambda t: t.slice(0, 0), RequestError, "expected rows"),
        (
            lambda t: t.replace_schema_metadata({b"coreset": json.dumps({"layout": LAYOUT})}),
            RequestError,
            "found that of a table",
        ),
        (lambda t: replaced(t, "index", 0, -1), DataError, "expected grid indices from 0 to 119, found -1"),
        (lambda t: replaced(t, "index", 0, 120), DataError, "expected grid indices from 0 to 119, found 120"),
        (lambda t: pa.concat_tables([t, t.slice(9, 1)]), DataError, "twice"),
        (lambda t: replaced(t, "index", 4, None), DataError, "expected a value of 'index'"),
        (lambda t: replaced(t, "digest", 4, None), DataError, "expected a value of 'digest'"),
        (lambda t: replaced(t, "weight", 4, 0.0), DataError, "expected positive, finite weights"),
        (lambda t: replaced(t, "weight", 4, float("nan")), DataError, "expected positive, finite weights"),
        (lambda t: replaced(t, "score", 4, None), DataError, "in none"),
        (
            lambda t: t.set_column(2, "index", pc.add(t.column("index").cast(pa.float64()), 0.5)),
            DataError,
            "expected whole numbers of 64 bits in the column 'index'.*mend that column",
        ),
        (
            lambda t: t.set_column(3, "stratum", pc.add(t.column("stratum").cast(pa.int64()), 2**31)),
            DataError,
            "expected whole numbers of 32 bits in the column 'stratum'.*mend that column",
        ),
        (
            lambda t: t.set_column(3, "stratum", pa.array(["first"] * len(t))),
            DataError,
            "expected whole numbers of 32 bits in the column 'stratum'.*mend that column",
        ),
        (lambda t: replaced(t, "score", 4, float("nan")), DataError, r"found nan at index \d+; mend it, or leave"),
        (lambda t: replaced(t, "score", 4, float("inf")), DataError, r"found inf at index \d+; mend it, or leave"),
    ],
    ids=range(20),
)
def test_what_does_not_fit_is_refused(
    change: Callable[[pa.Table], pa.Table],
    error: type[Exception],
    expected: str,
    index: pa.Table,
    small_corpus: Corpus,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=expected):
        imported(change(index), small_corpus, tmp_path)
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]


def test_a_corpus_with_another_density_under_the_name_is_refused(
    published: Path, small_made: Any, make_snapshot: Any, tmp_path: Path
) -> None:
    for number, (snapshot, density) in enumerate(small_made):
        if number == 5:
            snapshot, density = make_snapshot(snapshot.name, 999, temperature=snapshot.temperature)
        write_snapshot(tmp_path / "other.zarr", snapshot, density, inner=40)
    finish(tmp_path / "other.zarr", [snapshot.name for snapshot, _ in small_made])
    with pytest.raises(RequestError, match="holds another density or other atoms under this name"):
        imported(published / "index.parquet", tmp_path / "other.zarr", tmp_path)


def test_a_density_that_is_not_what_its_digest_says_is_refused(
    published: Path, small_corpus: Corpus, tmp_path: Path
) -> None:
    import zarr

    shutil.copytree(small_corpus.path, tmp_path / "corpus.zarr")
    name = rows_of(published).column("snapshot")[0].as_py()
    array = zarr.open_array(tmp_path / "corpus.zarr", path=name, mode="r+")
    array[0, 0, 0] = array[0, 0, 0] + 1
    with pytest.raises(DataError, match="expected the digest"):
        imported(published / "index.parquet", tmp_path / "corpus.zarr", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1 is not enough", None])
def test_a_file_that_is_no_index_is_a_wrong_request(
    content: bytes | None, small_corpus: Corpus, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "index.parquet").write_bytes(content)
    with pytest.raises(RequestError, match=r"index\.parquet: expected"):
        imported(tmp_path / "index.parquet", small_corpus, tmp_path)


@pytest.mark.parametrize(
    "recipe",
    [
        b"{",
        b"[]",
        b'{"name": 3}',
        b'{"name": "x\\n- y"}',
        b'{"select": {"a": [1]}}',
        b'{"cutoff": "<b>"}',
        b'{"descriptor": {"neighbours": "x"}}',
        b'{"select": 1}',
        b'{"job": 1}',
        b'{"job": {"score": 1}}',
        b'{"job": {"score": {"method": "grand", "epoch": 2}}}',
        b'{"job": {"score": {"method": "[x](y)", "epoch": 2, "seeds": 2}}}',
        b'{"scores": {"sha256": "x"}}',
    ],
)
def test_a_damaged_recipe_is_refused(recipe: bytes, index: pa.Table, small_corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="recipe"):
        imported(index.replace_schema_metadata({b"coreset": recipe}), small_corpus, tmp_path)


def test_a_file_of_scores_that_an_index_does_not_name_is_told_as_one(
    index: pa.Table, small_corpus: Corpus, tmp_path: Path
) -> None:
    recipe = b'{"job": {"score": {"method": "file"}}}'
    out = imported(index.replace_schema_metadata({b"coreset": recipe}), small_corpus, tmp_path)
    publish(out, str(tmp_path / "public"), None)
    assert "from a file of SHA-256 not stated" in (tmp_path / "public/README.md").read_text()
    assert "path: scores.parquet" in (tmp_path / "public/job.yaml").read_text()


def test_what_stands_there_is_not_replaced(published: Path, small_corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("x")
    with pytest.raises(RequestError, match="expected a new folder"):
        imported(published / "index.parquet", small_corpus, tmp_path)
    assert (tmp_path / "out/notes.txt").read_text() == "x"

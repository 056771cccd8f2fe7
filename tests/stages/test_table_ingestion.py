"""A table becomes a corpus: every row once, with its group and its place, however the source was cut."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from coreset.artifacts.executor import SerialExecutor
from coreset.corpus import tables
from coreset.corpus.metadata import METADATA
from coreset.corpus.table_corpus import TableCorpus, read_keys, read_rows, read_values
from coreset.corpus.tables import open_table
from coreset.errors import DataError, RequestError
from coreset.stages import table_ingestion, table_request
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request

RNG = np.random.default_rng(3)
N = 1000
COLUMNS: dict[str, Any] = {
    "a": RNG.normal(size=N).astype(np.float32),
    "b": RNG.normal(size=N).astype(np.float32),
    "y": RNG.normal(size=N).astype(np.float32),
    "kind": RNG.choice(["fcc", "bcc", "a/b .."], N),
    "source": RNG.integers(0, 7, N),
    "role": RNG.choice(["train", "train", "test"], N),
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pq.write_table(pa.table(COLUMNS), tmp_path / "t.parquet", row_group_size=300)
    return tmp_path / "t.parquet"


def ingest(source: Path, destination: Path, request: Request) -> TableCorpus:
    digest, layout, shards = ingest_table(open_table(str(source)), request, destination, SerialExecutor())
    corpus = TableCorpus.open(str(destination))
    assert (corpus.digest, corpus.layout, len(corpus.snapshots)) == (digest, layout, shards)
    return corpus


def gathered(corpus: TableCorpus) -> list[tuple[int, str, str, list[float]]]:
    """Of every row: its number, role and group, and its values; in order of the numbers."""
    found = []
    for shard in corpus.snapshots:
        rows, values = read_rows(shard, 0, shard.points), read_values(shard, 0, shard.points)
        found += [
            (int(row), shard.name.split("/")[0], shard.group, each.tolist())
            for row, each in zip(rows, values, strict=True)
        ]
    return sorted(found)


def expected(names: Sequence[str]) -> list[list[float]]:
    return np.stack([np.asarray(COLUMNS[name], np.float32) for name in names], axis=1).tolist()


@pytest.mark.parametrize("most", [16, 2**18])
def test_every_row_stands_once_with_its_group(table: Path, tmp_path: Path, most: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(table_request, "STRETCH", most)
    monkeypatch.setattr(tables, "ROWS", 37)
    corpus = ingest(table, tmp_path / "c", Request(("y",), group="kind", split="role"))
    found = gathered(corpus)
    assert [row for row, *_ in found] == list(range(N))
    assert [values for *_, values in found] == expected(["a", "b", "source", "y"])
    assert [group for _, _, group, _ in found] == COLUMNS["kind"].tolist()
    assert [role for _, role, _, _ in found] == COLUMNS["role"].tolist()
    assert max(shard.points for shard in corpus.snapshots) <= most
    assert corpus.files == (("t.parquet", 0),)
    assert corpus.layout.features == ("a", "b", "source") and corpus.layout.task == "regression"
    assert corpus.layout.ranges == pytest.approx([np.ptp(COLUMNS["y"])])


def test_a_shard_does_not_depend_on_how_many_rows_are_read_at_a_time(
    table: Path, tmp_path: Path, monkeypatch: Any, picture: Callable[[Path], Any]
) -> None:
    request = Request(("y",), features=("[ab]",), group="source")
    whole = ingest(table, tmp_path / "whole", request)
    monkeypatch.setattr(tables, "ROWS", 11)
    assert ingest(table, tmp_path / "pieces", request).digest == whole.digest
    assert picture(tmp_path / "pieces") == picture(tmp_path / "whole")


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.parametrize("stretch", [16, 128, 2**18])
def test_the_corpus_does_not_depend_on_how_the_rows_are_cut_into_files_and_row_groups(
    tmp_path: Path, stretch: int, key: str | None, monkeypatch: Any, picture: Callable[[Path], Any]
) -> None:
    """Row groups smaller and larger than a stretch, and files that end within one."""
    monkeypatch.setattr(table_request, "STRETCH", stretch)
    request = Request(("y",), features=("[ab]",), group="source", split="role", key=key)
    table = pa.table({**COLUMNS, "id": [f"row {i}" for i in RNG.permutation(N)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=N)
    whole = ingest(tmp_path / "t.parquet", tmp_path / "c-whole", request)
    pictures = picture(tmp_path / "c-whole")
    for name, borders, group in (("few", [300, 301, 700], 64), ("many", [*range(7, N, 7)], 3)):
        (tmp_path / name).mkdir()
        for i, (first, stop) in enumerate(zip([0, *borders], [*borders, N], strict=True)):
            pq.write_table(table[first:stop], tmp_path / name / f"{i:04d}.parquet", row_group_size=group)
        corpus = ingest(tmp_path / name, tmp_path / f"c-{name}", request)
        assert corpus.snapshots == tuple(replace(shard, root=str(tmp_path / f"c-{name}")) for shard in whole.snapshots)
        assert corpus.files == tuple((f"{i:04d}.parquet", first) for i, first in enumerate([0, *borders]))
        found = picture(tmp_path / f"c-{name}")
        assert {**found, METADATA: None} == {**pictures, METADATA: None}  # which holds the names of the files


def test_a_row_is_known_by_its_key(tmp_path: Path) -> None:
    ids = RNG.permutation(N) + 5
    pq.write_table(pa.table({**COLUMNS, "id": ids}), tmp_path / "t.parquet")
    corpus = ingest(tmp_path / "t.parquet", tmp_path / "c", Request(("y",), features=("a",), group="kind", key="id"))
    for shard in corpus.snapshots:
        rows = read_rows(shard, 0, shard.points)
        assert read_keys(shard, 0, shard.points).tolist() == ids[rows].tolist()
    without = ingest(tmp_path / "t.parquet", tmp_path / "w", Request(("y",), features=("a",), group="kind"))
    assert "id" not in corpus.layout.features
    for shard in without.snapshots:
        assert read_keys(shard, 3, 9).tolist() == read_rows(shard, 3, 9).tolist()


@pytest.mark.parametrize("buckets", [2**24, 90])
@pytest.mark.parametrize("text", [True, False])
def test_a_key_that_two_rows_have_is_refused(tmp_path: Path, text: bool, buckets: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(table_ingestion, "KEYS", buckets)
    ids = np.arange(N)
    ids[871] = ids[12]
    keys = [f"row {i}" for i in ids] if text else ids
    pq.write_table(pa.table({**COLUMNS, "id": keys}), tmp_path / "t.parquet", row_group_size=100)
    with pytest.raises(DataError, match=r"column 'id': .* found that of row 12 again in row 871"):
        ingest(tmp_path / "t.parquet", tmp_path / "c", Request(("y",), features=("a",), key="id"))
    assert not (tmp_path / "c").exists()


def test_a_key_that_is_no_id_is_named(tmp_path: Path) -> None:
    ids = np.arange(N)
    ids[31] = -4
    pq.write_table(pa.table({**COLUMNS, "id": ids}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t.parquet: row 31, column 'id': expected a key"):
        ingest(tmp_path / "t.parquet", tmp_path / "c", Request(("y",), features=("a",), key="id"))


def test_without_a_column_of_groups_rows_are_dealt_to_folds_and_some_of_these_test(table: Path, tmp_path: Path) -> None:
    corpus = ingest(table, tmp_path / "c", Request(("y",), features=("a", "b"), test=0.2))
    groups = {shard.group for shard in corpus.snapshots}
    assert len(groups) == 20
    assert sum(group.startswith("test/") for group in groups) == 4
    rows = [row for row, *_ in gathered(corpus)]
    assert rows == list(range(N))
    by_group = [sum(s.points for s in corpus.snapshots if s.group == group) for group in groups]
    assert min(by_group) > 20  # 50 are expected


def test_a_class_is_the_number_of_its_name(table: Path, tmp_path: Path) -> None:
    corpus = ingest(table, tmp_path / "c", Request(("kind",), features=("a", "b"), group="source"))
    assert (corpus.layout.task, corpus.layout.classes) == ("classification", ("a/b ..", "bcc", "fcc"))
    assert corpus.layout.outputs == 3
    found = [corpus.layout.classes[int(values[2])] for *_, values in gathered(corpus)]
    assert found == COLUMNS["kind"].tolist()


def test_a_run_that_was_cut_short_is_finished_and_other_content_replaces(table: Path, tmp_path: Path) -> None:
    request = Request(("y",), features=("a",), group="source")
    corpus = ingest(table, tmp_path / "c", request)
    (tmp_path / "c" / METADATA).unlink()
    with pytest.raises(RequestError):
        TableCorpus.open(str(tmp_path / "c"))
    assert ingest(table, tmp_path / "c", request).digest == corpus.digest
    other = ingest(table, tmp_path / "c", Request(("y",), features=("b",), group="source"))
    assert [values for *_, values in gathered(other)] == expected(["b", "y"])


@pytest.mark.parametrize("key", [None, "id"])
@pytest.mark.filterwarnings("error")
def test_any_reader_of_zarr_opens_the_corpus(tmp_path: Path, key: str | None) -> None:
    """With the consolidated metadata, which need no listing, and without, as other libraries do."""
    pq.write_table(pa.table({**COLUMNS, "id": np.arange(N) + 7}), tmp_path / "t.parquet")
    request = Request(("y",), features=("a", "b"), group="kind", split="role", key=key)
    corpus = ingest(tmp_path / "t.parquet", tmp_path / "c", request)
    labels = {"values", "rows", "keys"} if key else {"values", "rows"}
    for consolidated in (None, False):
        group = zarr.open_group(tmp_path / "c", mode="r", use_consolidated=consolidated)
        members = dict(group.members(max_depth=None))
        folders = {"train", "test", *(shard.name.rpartition("/")[0] for shard in corpus.snapshots)}
        shards = {shard.name for shard in corpus.snapshots}
        assert set(members) == folders | shards | {f"{shard}/{label}" for shard in shards for label in labels}
        for shard in corpus.snapshots:
            rows = np.asarray(members[f"{shard.name}/rows"])
            np.testing.assert_array_equal(members[f"{shard.name}/values"], np.array(expected("aby"))[rows])
    assert set(zarr.open_group(tmp_path / "c/train", mode="r").group_keys()) == {"fcc", "bcc", "a%2Fb%20%2E%2E"}


def test_a_corpus_whose_metadata_list_nothing_but_shards_is_read(table: Path, tmp_path: Path) -> None:
    """As they did before other readers were thought of; ingested again it is as if it were new."""
    request = Request(("y",), features=("a",), group="source")
    corpus = ingest(table, tmp_path / "c", request)
    mark = tmp_path / "c" / METADATA
    content = mark.read_bytes()
    root = json.loads(content)
    members = root["consolidated_metadata"]["metadata"]
    root["consolidated_metadata"]["metadata"] = {shard.name: members[shard.name] for shard in corpus.snapshots}
    mark.write_text(json.dumps(root))
    assert TableCorpus.open(str(tmp_path / "c")) == corpus
    ingest(table, tmp_path / "c", request)
    assert mark.read_bytes() == content


def test_what_an_interrupted_writer_left_is_removed(
    table: Path, tmp_path: Path, picture: Callable[[Path], Any]
) -> None:
    request = Request(("y",), features=("a",), group="source")
    shard = ingest(table, tmp_path / "c", request).snapshots[0].name
    whole = picture(tmp_path / "c")
    (tmp_path / "c" / METADATA).unlink()
    shutil.copytree(tmp_path / "c" / shard, (tmp_path / "c" / shard).with_name(".tmp-0123456789ab-000000"))
    ingest(table, tmp_path / "c", request)
    assert picture(tmp_path / "c") == whole


def test_what_is_damaged_is_named(table: Path, tmp_path: Path) -> None:
    corpus = ingest(table, tmp_path / "c", Request(("y",), group="source"))
    shard = corpus.snapshots[0]
    chunk = next(path for path in (tmp_path / "c" / shard.name / "values/c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(DataError, match=f"{shard.name}/values is damaged"):
        read_values(shard, 0, shard.points)
    chunk.unlink()
    with pytest.raises(DataError, match="expected finite float32"):
        read_values(shard, 0, shard.points)
    mark = tmp_path / "c" / METADATA
    mark.write_bytes(mark.read_bytes().replace(b'"points":', b'"points":1', 1))
    with pytest.raises(DataError, match="digest"):
        TableCorpus.open(str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (Request(("z",)), "expected a column 'z', found a, b, y"),
        (Request(("kind",), task="regression"), "expected targets of numbers, found text"),
        (Request(("y", "a"), task="classification"), "expected one target of classes, found 2"),
        (Request(("y",), features=("kind",)), "column 'kind' of kind number, found text"),
        (Request(("y",), group="nowhere"), "^--group: .*expected a column 'nowhere'"),
        (Request(("y",), group="[ab]"), r"^--group: .*expected one column '\[ab\]', found a, b; name one"),
        (Request(("y",), split="*o*"), r"^--split: .*expected one column '\*o\*', found source, role"),
        (Request(("y",), key="*"), r"^--key: .*expected one column '\*', found a, b, y, kind"),
        (Request(("y",), split="kind"), "expected rows of the role 'train', found a/b .., bcc, fcc"),
        (Request(("y",), test=1.0), "expected two groups or more"),
    ],
)
def test_a_request_that_the_table_cannot_meet_is_refused(
    table: Path, tmp_path: Path, request_: Request, found: str
) -> None:
    with pytest.raises(RequestError, match=found):
        ingest(table, tmp_path / "c", request_)
    assert not (tmp_path / "c" / METADATA).exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "request_",
    [
        Request(("2",), task="classification"),
        Request(("1",), group="2"),
        Request(("1",), split="2"),
    ],
)
def test_a_label_that_is_not_finite_is_named(
    tmp_path: Path, request_: Request, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS", 7)
    monkeypatch.setattr(tables, "BLOCK", 16)
    rows = RNG.integers(0, 2, (50, 3)).astype(np.float64)
    rows[31, 2] = bad
    np.save(tmp_path / "t.npy", rows)
    with pytest.raises(DataError, match=rf"t.npy: row 31, column '2': expected a label, .* found {bad}; fill it"):
        ingest(tmp_path / "t.npy", tmp_path / "c", request_)
    assert not (tmp_path / "c").exists()


def test_a_class_is_a_whole_number_and_a_group_any(tmp_path: Path) -> None:
    rows = np.stack([RNG.normal(size=60), np.repeat([0.25, 0.5, 2.0], 20), np.tile([0.0, 1.0, -3.0], 20)], axis=1)
    np.save(tmp_path / "t.npy", rows)
    request = Request(("2",), task="classification", group="1")
    corpus = ingest(tmp_path / "t.npy", tmp_path / "c", request)
    assert corpus.layout.classes == ("-3", "0", "1")
    assert {shard.group for shard in corpus.snapshots} == {"0.25", "0.5", "2"}
    with pytest.raises(
        RequestError, match=r"row 0, column '1': expected a class, .* found 0.25; use --task regression"
    ):
        ingest(tmp_path / "t.npy", tmp_path / "d", Request(("1",), task="classification", group="2"))


def test_a_column_of_vectors_of_one_number_holds_labels(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "t.zarr", mode="w")
    for name, values in (("x", RNG.normal(size=60)), ("y", np.arange(60) % 2), ("g", np.arange(60) % 5)):
        group.create_array(name, data=values.reshape(60, 1))
    request = Request(("y",), task="classification", group="g")
    corpus = ingest(tmp_path / "t.zarr", tmp_path / "c", request)
    assert [int(values[-1]) for *_, values in gathered(corpus)] == [0, 1] * 30
    assert [group for _, _, group, _ in gathered(corpus)] == ["0", "1", "2", "3", "4"] * 12


def test_a_glob_that_only_one_column_matches_is_its_name(
    table: Path, tmp_path: Path, picture: Callable[[Path], Any]
) -> None:
    ingest(table, tmp_path / "named", Request(("y",), ("a",), group="source", split="role"))
    ingest(table, tmp_path / "matched", Request(("[y]",), ("a",), group="sour*", split="ro*"))
    assert picture(tmp_path / "matched") == picture(tmp_path / "named")


def test_a_row_that_is_not_finite_is_named(tmp_path: Path) -> None:
    rows = RNG.normal(size=(50, 3))
    rows[31, 1] = np.nan
    np.save(tmp_path / "t.npy", rows)
    with pytest.raises(DataError, match=r"t.npy: row 31, column '1': expected a finite float32"):
        ingest(tmp_path / "t.npy", tmp_path / "c", Request(("2",)))

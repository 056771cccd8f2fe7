"""One dataset, whatever it is opened as; its descriptors are those that training saw."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import coreset
from coreset.artifacts.manifest import checksum
from coreset.corpus.described import SlabReader
from coreset.corpus.kept import read_kept
from coreset.errors import DataError, RequestError
from coreset.learning.feed import table_arrays
from coreset.learning.slabs import Slab, slabs_of
from coreset.numerics.descriptors import describe
from coreset.publishing.dataset import open_dataset
from coreset.publishing.verify import verify
from coreset.stages.selection import kept_files


def matrix(table: Any) -> np.ndarray:
    return np.array(table.column("descriptor").to_pylist(), np.float32)


def test_descriptors_on_reading_are_those_of_the_grid_points(built: Any) -> None:
    table = coreset.open(built.path).to_arrow()
    snapshots = {snapshot.name: snapshot for snapshot in built.train.snapshots}
    assert table.schema.field("descriptor").type.list_size == built.descriptor.length
    for row in table.slice(0, 240).to_pylist()[::7]:
        snapshot = snapshots[row["snapshot"]]
        point = np.array([[row["x"], row["y"], row["z"]]])
        expected = describe(point, snapshot.cell, snapshot.positions, snapshot.numbers, built.descriptor).features[0]
        np.testing.assert_allclose(row["descriptor"], expected, rtol=1e-6, atol=1e-6)


def test_rows_and_descriptors_are_those_that_training_saw(built: Any) -> None:
    files = kept_files(built.selection, built.train)
    reader = SlabReader(built.train, built.descriptor, files)
    slabs: list[Slab] = []
    for snapshot in built.train.snapshots:
        kept = read_kept(files[snapshot.digest])[snapshot.digest].index
        slabs += slabs_of(snapshot.name, snapshot.digest, snapshot.points, kept)
    seen = [table_arrays(reader(slab)) for slab in slabs]
    x, density = open_dataset(built.path).to_torch().tensors
    assert np.array_equal(x.numpy(), np.concatenate([part[0] for part in seen]))
    assert np.array_equal(density.numpy(), np.concatenate([part[1] for part in seen]))


def test_arrow_pandas_and_torch_agree(built: Any) -> None:
    dataset = coreset.open(str(built.path))
    table, frame, torched = dataset.to_arrow(), dataset.to_pandas(), dataset.to_torch()
    assert len(dataset) == len(table) == len(frame) == len(torched) == 240
    assert list(frame.columns) == table.column_names
    for name in ("snapshot", "index", "x", "y", "z", "density", "score", "stratum", "weight"):
        assert frame[name].tolist() == table.column(name).to_pylist()
    x, density = torched.tensors
    assert x.dtype == density.dtype == torch.float32
    assert np.array_equal(x.numpy(), matrix(table))
    assert np.array_equal(np.stack(frame["descriptor"].tolist()), matrix(table))
    assert density.tolist() == table.column("density").to_pylist()
    one_x, one_density = torched[17]
    assert torch.equal(one_x, x[17])
    assert torch.equal(one_density, density[17])


def test_without_descriptors_the_columns_are_those_of_the_files(built: Any) -> None:
    dataset = open_dataset(built.path)
    expected = pq.read_table(built.path / "part-00000.parquet")
    assert dataset.to_arrow(descriptor=False).equals(expected)
    assert list(dataset.to_pandas(descriptor=False).columns) == expected.column_names


def test_stored_descriptors_are_those_computed_on_reading(build: Any, built: Any, tmp_path: Path) -> None:
    stored = open_dataset(build(tmp_path, stored=True).path)
    assert "descriptor" in pq.read_schema(stored.files[0]).names
    assert np.array_equal(matrix(stored.to_arrow()), matrix(open_dataset(built.path).to_arrow()))
    assert (
        stored.to_arrow().schema.field("descriptor").type
        == open_dataset(built.path).to_arrow().schema.field("descriptor").type
    )
    assert "descriptor" not in stored.to_arrow(descriptor=False).column_names
    assert len(list(verify(stored.path))) == 3


def test_several_files_are_read_in_order_also_where_one_is_empty(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two snapshots to a file, and only 2 of 10 snapshots kept: most files have no row.
    monkeypatch.setattr("coreset.corpus.kept.BATCH", 2)
    made = build(tmp_path, "random-snapshots")
    dataset = open_dataset(made.path)
    assert len(dataset.files) == 5
    assert sorted(pq.read_metadata(file).num_rows for file in dataset.files)[:3] == [0, 0, 0]
    table = dataset.to_arrow()
    assert len(table) == len(dataset) == 240
    assert table.column("snapshot").to_pylist() == sorted(table.column("snapshot").to_pylist())
    x, _ = dataset.to_torch().tensors
    assert x.shape == (240, made.descriptor.length)
    assert len(list(verify(made.path))) == 7


def test_the_snapshots_are_at_hand(built: Any) -> None:
    names = open_dataset(built.path).snapshots.column("name").to_pylist()
    assert names == [snapshot.name for snapshot in built.train.snapshots]


def test_a_wrong_folder_is_told_with_the_way_out(built: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file", built.path / "part-00000.parquet"):
        with pytest.raises(RequestError, match="give the folder that `coreset run` wrote"):
            open_dataset(path)
    assert len(open_dataset(built.path.parent)) == 240


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "found a damaged file"),
        (b"{", "found a damaged file"),
        (b"\xff\xfe", "found a damaged file"),
        (b"[]", "expected a coreset of format 'coreset-1', found 'list'"),
        (b"{}", "found None"),
        (b'{"format": "coreset-2"}', "found 'coreset-2'"),
    ],
)
def test_a_manifest_that_is_none_is_bad_data(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["part-x/../../outside.parquet", "part-link.parquet"])
def test_no_file_outside_the_folder_is_read_whatever_the_manifest_says(name: str, built: Any, tmp_path: Path) -> None:
    folder = tmp_path / "coreset"
    shutil.copytree(built.path, folder)
    (folder / "part-00000.parquet").rename(tmp_path / "outside.parquet")
    (folder / "part-x").mkdir()
    (folder / "part-link.parquet").symlink_to(tmp_path / "outside.parquet")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["shards"][0]["name"] = name
    # Whoever edits a manifest can restate its checksum too.
    (folder / "manifest.json").write_text(json.dumps({**manifest, "checksum": checksum(manifest)}))
    with pytest.raises(DataError, match="outside the folder"):
        open_dataset(folder).to_arrow()


@pytest.fixture
def copy(built: Any, tmp_path: Path) -> Path:
    shutil.copytree(built.path, tmp_path / "coreset")
    return tmp_path / "coreset"


@pytest.mark.parametrize("key", ["cutoff", "rows", "descriptor", "digest"])
def test_an_edited_manifest_is_found_when_it_is_opened(key: str, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest[key] = {**manifest[key], "neighbours": 6} if key == "descriptor" else 7
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest\.json: "):
        open_dataset(copy)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"rows": 1, "rows": 2}',
        b'{"rows": NaN}',
        b'{"rows": ' + b"9" * 5000 + b"}",
        b'{"x": "\\ud800"}',
    ],
    ids=range(5),
)
def test_json_that_nobody_writes_is_bad_data(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json: expected JSON, found a damaged file"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("rows", value) for value in ("240", True, -1, 1.5)),
        *(("descriptor", {"neighbours": value}) for value in (0, "5", 1.5, 10**12)),
        *((("descriptor", {"surplus": 1}), ("shards", 3), ("checksum", 3))),
    ],
)
def test_a_statement_of_another_type_is_refused_by_its_key(key: str, value: Any, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest[key] = {**manifest[key], **value} if isinstance(value, dict) else value
    if key != "checksum":
        manifest["checksum"] = checksum(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=rf"manifest\.json: {key}"):
        open_dataset(copy)


@pytest.mark.parametrize("name", ["part-00000.parquet", "snapshots.parquet"])
def test_a_damaged_or_lost_file_is_named_when_it_is_read(name: str, copy: Path) -> None:
    content = (copy / name).read_bytes()
    for damaged in (b"", content[:-9], b"PAR1" + content[40:], None):
        (copy / name).unlink()
        if damaged is not None:
            (copy / name).write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{name}: expected"):
            open_dataset(copy).to_arrow()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("cell", [[6.0, 0, 0], [0, 1e304, 0], [0, 0, 1.0]]),
        ("cell", [[0.0] * 3] * 3),
        ("species", [0] * 5),
        ("grid", [0, 1, 2]),
    ],
)
def test_a_snapshot_that_cannot_be_is_named(column: str, value: Any, copy: Path) -> None:
    table = pq.read_table(copy / "snapshots.parquet")
    at = table.column_names.index(column)
    values = [value, *table.column(column).to_pylist()[1:]]
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pa.array(values, field.type)), copy / "snapshots.parquet")
    with pytest.raises(DataError, match=rf"snapshots\.parquet: train/a_T0100_0: {column}"):
        open_dataset(copy).to_arrow()


def test_a_manifest_that_is_a_folder_or_a_circle_is_named(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    (copy / "manifest.json").symlink_to("manifest.json")
    with pytest.raises(RequestError, match=r"manifest\.json"):
        open_dataset(copy)

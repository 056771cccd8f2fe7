"""`verify` accepts what was written and finds every change to it."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coreset.errors import DataError, RequestError
from coreset.publishing.verify import verify

PART = "part-00000.parquet"


@pytest.fixture
def copy(built: Any, tmp_path: Path) -> Path:
    shutil.copytree(built.path, tmp_path / "coreset")
    return tmp_path / "coreset"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    # Whoever edits a manifest can restate its checksum too: what is behind it must be found by itself.
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    manifest["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("key", ["cutoff", "name", "rows", "software", "job", "digest"])
def test_an_edited_recipe_is_found(key: str, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_bytes())
    manifest[key] = {"edited": 1} if isinstance(manifest[key], dict) else 7
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest\.json: its content is not what its checksum says"):
        list(verify(copy))


def restate(folder: Path, counts: bool = True) -> None:
    """Makes the manifest agree with the files again: only promises about the rows themselves can still be broken."""

    def change(manifest: dict[str, Any]) -> None:
        for shard in manifest["shards"]:
            for name, stated in shard["files"].items():
                content = (folder / name).read_bytes()
                stated |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if counts:
            names = pq.read_table(folder / PART).column("snapshot").to_pylist()
            manifest["shards"][0]["figures"]["rows_by_snapshot"] = {name: names.count(name) for name in names}
            manifest["rows"] = len(names)

    edit(folder, change)


def test_a_whole_package_is_accepted_and_every_file_named(copy: Path) -> None:
    assert sorted(verify(copy)) == ["README.md", PART, "snapshots.parquet"]
    restate(copy)
    assert len(list(verify(copy))) == 3


def test_a_snapshot_whose_points_stand_in_two_files_is_found(copy: Path) -> None:
    rows = pq.read_table(copy / PART)
    other = PART.replace("part-", "part-9")
    pq.write_table(rows.slice(0, 1), copy / other)
    name = rows.column("snapshot")[0].as_py()

    def add(manifest: dict[str, Any]) -> None:
        stated = manifest["shards"][0]
        figures = {**stated["figures"], "rows": 1, "rows_by_snapshot": {name: 1}}
        manifest["shards"].insert(1, {**stated, "name": other, "files": {other: {}}, "figures": figures})
        manifest["rows"] += 1

    edit(copy, add)
    restate(copy, counts=False)
    with pytest.raises(DataError, match=rf"expected each snapshot in one file, found {name} in {PART} and in {other}"):
        list(verify(copy))


def test_a_package_may_be_moved_and_named_by_the_folder_of_its_run(built: Any, tmp_path: Path) -> None:
    shutil.copytree(built.path, tmp_path / "run" / "coreset")
    assert len(list(verify(tmp_path / "run"))) == 3


@pytest.mark.parametrize("name", [PART, "snapshots.parquet", "README.md"])
def test_a_flipped_bit_is_found_wherever_it_is(name: str, copy: Path) -> None:
    content = (copy / name).read_bytes()
    places = np.unique(np.linspace(0, len(content) - 1, 150).astype(int))
    for place in places.tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        (copy / name).write_bytes(changed)
        with pytest.raises(DataError, match=f"{name}: its SHA-256"):
            list(verify(copy))
    (copy / name).write_bytes(content)
    assert len(list(verify(copy))) == 3


@pytest.mark.parametrize("name", [PART, "snapshots.parquet", "README.md"])
def test_a_file_that_is_lost_or_cut_is_found(name: str, copy: Path) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"{name}: expected {len(content)} bytes, found {len(content) - 1}"):
        list(verify(copy))
    (copy / name).unlink()
    with pytest.raises(DataError, match=f"{name}: expected by manifest.json, found no file"):
        list(verify(copy))


@pytest.mark.parametrize("name", ["part-00001.parquet", "notes.txt", ".hidden", "folder", "link"])
def test_what_the_manifest_does_not_state_is_found(name: str, copy: Path) -> None:
    if name == "folder":
        (copy / name).mkdir()
    elif name == "link":
        (copy / name).symlink_to(copy / PART)
    else:
        shutil.copy(copy / PART, copy / name)
    with pytest.raises(DataError, match=f"found {name} beside them"):
        list(verify(copy))


def test_a_link_to_a_file_outside_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / PART).rename(tmp_path / "outside.parquet")
    (copy / PART).symlink_to(tmp_path / "outside.parquet")
    with pytest.raises(DataError, match="leads outside the folder"):
        list(verify(copy))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(rows=m["rows"] + 1),
        lambda m: m.update(rows=m["rows"] - 1),
        lambda m: m["shards"][0]["figures"]["rows_by_snapshot"].update({"train/a_T0100_0": 1}),
        lambda m: m["shards"][0]["figures"]["rows_by_snapshot"].popitem(),
        lambda m: m["shards"][0]["files"][PART].update(bytes=1),
        lambda m: m["shards"][0]["files"][PART].update(sha256="0" * 64),
        lambda m: m["shards"][0]["files"].update(
            {"../outside": {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}}
        ),
        lambda m: m["shards"].pop(0),
        lambda m: m["shards"].pop(1),
        lambda m: m["shards"].clear(),
        lambda m: m.pop("shards"),
        lambda m: m.pop("rows"),
        lambda m: m["shards"][0].pop("files"),
        lambda m: m["shards"][0]["files"][PART].pop("sha256"),
        lambda m: m["shards"][0]["figures"].pop("rows_by_snapshot"),
        lambda m: m["shards"][0].update(name="part-00009.parquet"),
        lambda m: m["shards"][0].update(name=["x"]),
        lambda m: m.update(format="coreset-9"),
    ],
    ids=range(18),
)
def test_a_changed_statement_is_found(change: Callable[[dict[str, Any]], Any], copy: Path) -> None:
    (copy.parent / "outside").write_bytes(b"")
    edit(copy, change)
    with pytest.raises(DataError, match=re.escape(str(copy))):
        list(verify(copy))


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(folder / PART)
    pq.write_table(change(table), folder / PART)


@pytest.mark.parametrize("row", [0, 100, 239])
def test_a_dropped_row_is_found_even_with_the_checksum_of_the_changed_file(row: int, copy: Path) -> None:
    rewrite(copy, lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]))
    restate(copy, counts=False)
    with pytest.raises(DataError, match=r"expected the rows by snapshot that manifest\.json states"):
        list(verify(copy))


def doubled(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table])


def backwards(table: pa.Table) -> pa.Table:
    return table.take(list(range(len(table)))[::-1])


def beyond(value: int) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index = table.column("index").to_numpy().copy()
        index[0 if value < 0 else -1] = value
        return table.set_column(1, "index", pa.array(index))

    return change


def unknown(table: pa.Table) -> pa.Table:
    return table.set_column(0, "snapshot", pa.array(["train/unknown_0"] * len(table)))


def split_up(table: pa.Table) -> pa.Table:
    """The first point again, behind another snapshot's points."""
    return pa.concat_tables([table, table.slice(0, 1)])


@pytest.mark.parametrize("change", [doubled, backwards, beyond(-1), beyond(120), unknown, split_up], ids=range(6))
def test_broken_promises_about_rows_are_found_behind_true_checksums_and_counts(change: Any, copy: Path) -> None:
    rewrite(copy, change)
    restate(copy)
    with pytest.raises(DataError, match=PART):
        list(verify(copy))


def test_what_is_no_package_is_a_wrong_request(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RequestError, match=r"expected the folder of a coreset, found no manifest\.json"):
            list(verify(path))

"""A manifest's files are checked byte by byte, and never outside their folder."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact, checksum, shard_record, software, verify_files, write_manifest
from coreset.artifacts.materialize import materialize
from coreset.errors import DataError, WorkError

Files = dict[str, dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(64)))
    (folder / "deep" / "b.bin").write_bytes(b"b")
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture
def files(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": len(path.read_bytes()),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_whole_is_named_file_by_file(folder: Path, files: Files) -> None:
    assert list(verify_files(folder, files)) == ["a.bin", "deep/b.bin", "empty"]


@pytest.mark.parametrize("position", range(64))
@pytest.mark.parametrize("bit", [0, 7])
def test_any_flipped_bit_is_found(position: int, bit: int, folder: Path, files: Files) -> None:
    content = bytearray((folder / "a.bin").read_bytes())
    content[position] ^= 1 << bit
    (folder / "a.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.bin: its SHA-256 is not the one in manifest\.json"):
        list(verify_files(folder, files))


@pytest.mark.parametrize("size", [0, 1, 63, 65])
def test_another_size_is_found_and_both_sizes_are_told(size: int, folder: Path, files: Files) -> None:
    (folder / "a.bin").write_bytes(bytes(range(size)))
    with pytest.raises(DataError, match=rf"a\.bin: expected 64 bytes, found {size}"):
        list(verify_files(folder, files))


@pytest.mark.parametrize("name", ["a.bin", "deep/b.bin", "empty"])
@pytest.mark.parametrize("replacement", [None, "folder"])
def test_a_missing_file_is_found(name: str, replacement: str | None, folder: Path, files: Files) -> None:
    (folder / name).unlink()
    if replacement:
        (folder / name).mkdir()
    with pytest.raises(DataError, match=rf"{name}: expected by manifest\.json, found no file"):
        list(verify_files(folder, files))


@pytest.mark.parametrize(
    "name", ["../secret", "deep/../../secret", "{absolute}", "link", "linked/secret", "..", "deep/../a.bin"]
)
def test_a_name_that_leads_outside_is_refused_unread(name: str, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s")
    (folder / "link").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    # Were it read, it would be found good.
    stated = {"bytes": 1, "sha256": hashlib.sha256(b"s").hexdigest()}
    with pytest.raises(DataError, match="leads outside the folder"):
        list(verify_files(folder, {name.format(absolute=secret): stated}))


def test_a_link_that_stays_inside_and_a_linked_folder_are_read(folder: Path, files: Files, tmp_path: Path) -> None:
    (folder / "a.bin").rename(folder / "moved.bin")
    (folder / "a.bin").symlink_to("moved.bin")
    (tmp_path / "alias").symlink_to(folder)
    assert len(list(verify_files(tmp_path / "alias", files))) == 3


def test_a_record_states_size_and_hash_of_every_file_of_a_shard(folder: Path, files: Files) -> None:
    assert shard_record("x", folder, {"n": 1}) == {
        "name": "x",
        "figures": {"n": 1},
        "files": {f"artifact/{name}": stated for name, stated in files.items()},
    }
    assert shard_record("y", folder / "a.bin", {})["files"] == {"a.bin": files["a.bin"]}


def test_a_part_that_the_manifest_does_not_list_is_an_error(toy: Any, tmp_path: Path) -> None:
    artifact = materialize(toy(), root=tmp_path, executor=SerialExecutor())
    with pytest.raises(WorkError, match="expected a shard of part 'set/9', found none"):
        artifact.path("set/9")


@pytest.mark.parametrize("folders", [False, True])
def test_a_shard_is_used_only_while_it_is_what_was_written(toy: Any, folders: bool, tmp_path: Path) -> None:
    artifact = materialize(toy(folders=folders), root=tmp_path, executor=SerialExecutor())
    path = artifact.path("set/1")
    assert artifact.path("set/1") == path  # found good before
    file = path / "deep" / "value" if folders else path
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match=rf"{file.name}: its SHA-256 .* remove {artifact.folder} and run again"):
        artifact.path("set/1")
    assert artifact.path("set/2").exists()
    file.unlink()
    with pytest.raises(DataError, match="found no file"):
        artifact.path("set/1")


def test_an_edited_or_torn_manifest_of_an_artifact_is_not_believed(toy: Any, tmp_path: Path) -> None:
    made = materialize(toy(), root=tmp_path, executor=SerialExecutor())
    path = made.folder / "manifest.json"
    content = path.read_bytes()
    torn = [content[: len(content) // 2], b"", b"[]", b"{}", b"null", content.replace(b'"offset": 10', b'"offset": 11')]
    assert torn[-1] != content
    for bad in torn:
        path.write_bytes(bad)
        with pytest.raises(DataError, match=rf"manifest\.json: .*; remove {made.folder} and run again"):
            _ = Artifact(made.folder).figures
    path.write_bytes(content)
    assert Artifact(made.folder).figures == made.figures


def test_the_software_is_named_with_the_versions_that_are_installed() -> None:
    found = software()
    assert found["python"] == platform.python_version()
    assert {"coreset-ray", "numba", "numpy", "ray", "scipy", "torch", "zarr"} <= set(found)
    assert all(found[name] == metadata.version(name) for name in found if name not in ("python", "machine"))
    assert os.uname().nodename not in found.values()


@pytest.fixture
def made(toy: Any, tmp_path: Path) -> Path:
    return materialize(toy(), root=tmp_path, executor=SerialExecutor()).folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any], restate: bool = True) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    if restate:
        manifest["checksum"] = checksum(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["figures"].update(offset=11),
        lambda m: m["shards"][0]["figures"].update(value=11),
        lambda m: m.update(digest="0" * 64),
        lambda m: m["recipe"].update(version=7),
        lambda m: m["shards"].pop(),
    ],
    ids=range(5),
)
def test_a_changed_figure_is_found(change: Callable[[dict[str, Any]], Any], made: Path) -> None:
    edit(made, change, restate=False)
    with pytest.raises(DataError, match=r"manifest\.json: its content is not what its checksum says"):
        _ = Artifact(made).figures


def test_keys_that_are_numbers_do_not_disturb_the_checksum(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", {"digest": "", "figures": {2: "a", 10: "b"}, "shards": []})
    assert Artifact(tmp_path).figures == {"2": "a", "10": "b"}


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", ".", "", "link", "circle", "a\0b"])
def test_a_shard_outside_the_folder_is_not_given(name: str, made: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (made / "link").symlink_to(tmp_path / "secret")
    (made / "circle").symlink_to("circle")
    edit(made, lambda m: m["shards"][0].update(files={name: {"bytes": 1, "sha256": "0" * 64}}))
    with pytest.raises(DataError, match="leads outside the folder"):
        Artifact(made).path("set/0")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(shards=3),
        lambda m: m["shards"][0].update(files={}),
        lambda m: m["shards"][0].update(name=3),
        lambda m: m["shards"][0].pop("figures"),
        lambda m: m.update(figures=[]),
        lambda m: m.pop("shards"),
        lambda m: m.update(checksuum=""),
    ],
    ids=range(7),
)
def test_a_manifest_of_another_form_is_refused(change: Callable[[dict[str, Any]], Any], made: Path) -> None:
    edit(made, change)
    with pytest.raises(DataError, match=r"manifest\.json: "):
        _ = Artifact(made).shards


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[]", b"\xff"], ids=range(5))
def test_a_file_that_is_no_manifest_or_no_timings_is_refused(content: bytes, made: Path) -> None:
    for name, read in (("manifest.json", lambda made: made.digest), ("timings.json", lambda made: made.timings)):
        (made / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: "):
            read(Artifact(made))


def test_a_name_longer_than_any_file_has_is_missing(folder: Path) -> None:
    with pytest.raises(DataError, match="found no file"):
        list(verify_files(folder, {"x" * 300: {"bytes": 1, "sha256": "0" * 64}}))

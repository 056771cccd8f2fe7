"""An artifact in an object store is that of a folder, byte for byte, whatever the network and other runs do."""

import itertools
import json
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact, checksum
from coreset.artifacts.materialize import is_done, materialize, shards_so_far
from coreset.artifacts.remote import RemotePath
from coreset.artifacts.stage import Part
from coreset.errors import DataError, WorkError

Objects = Callable[[], dict[str, bytes]]

pytestmark = pytest.mark.parametrize("folders", [False, True], ids=["files", "folders"])


class Crash(BaseException):
    pass


@pytest.fixture
def store(bucket: str) -> RemotePath:
    return RemotePath(f"s3://{bucket}/a/store")


@pytest.fixture
def expected(toy: Any, folders: bool, tmp_path: Path) -> dict[str, bytes]:
    """The objects that are to stand in the bucket: the files of the same artifact in a folder."""
    root = tmp_path / "folder"
    materialize(toy(folders=folders), root=root, executor=SerialExecutor())
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "timings.json"]
    return {f"a/store/{path.relative_to(root).as_posix()}": path.read_bytes() for path in files}


def test_it_is_that_of_a_folder(
    toy: Any,
    folders: bool,
    store: RemotePath,
    expected: dict[str, bytes],
    objects: Objects,
    elsewhere: Callable[[], None],
) -> None:
    stage = toy(folders=folders)
    made = materialize(stage, root=store, executor=SerialExecutor())
    assert objects() == expected
    assert set(made.timings) == {part.name for part in stage.parts()}
    for _ in range(2):
        again = toy(folders=folders)
        found = materialize(again, root=store, executor=SerialExecutor())
        assert again.calls == []
        assert found.figures == {"values": ["0", "3", "6"]}
        path = found.path("set/1[?*")
        assert (path / "deep" / "er" / "value" if folders else path).read_text() == "3"
        elsewhere()


def test_a_crash_after_any_request_resumes_to_the_same_objects(
    toy: Any,
    folders: bool,
    bucket: str,
    expected: dict[str, bytes],
    objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = RemotePath._ask
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    for at in itertools.count():
        requests = itertools.count()

        def crash(self: RemotePath, call: Any, at: int = at, requests: Any = requests) -> Any:
            number = next(requests)
            try:
                return ask(self, call)
            finally:
                if number == at:
                    raise Crash

        store = RemotePath(f"s3://{bucket}/a/store")
        with monkeypatch.context() as patched:
            patched.setattr(RemotePath, "_ask", crash)
            try:
                materialize(toy(folders=folders), root=store, executor=SerialExecutor())
            except Crash:
                crashed = True
            else:
                crashed = False
        folder = store / toy(folders=folders).folder
        done, so_far = is_done(toy(folders=folders), store), shards_so_far(folder)
        again = toy(folders=folders)
        materialize(again, root=store, executor=SerialExecutor())
        assert len(again.calls) == (0 if done else 3 - so_far), at
        assert objects() == expected, at
        fs.rm(bucket + "/a", recursive=True)
        if not crashed:
            break
    assert at > 12


def test_requests_that_fail_are_made_again(
    toy: Any, folders: bool, bucket: str, faulty: Any, expected: dict[str, bytes], objects: Objects, elsewhere: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(faulty, "every", 10)
    stage = toy(folders=folders)
    for _ in range(4):
        made = materialize(stage, root=RemotePath(f"faulty://{bucket}/a/store"), executor=SerialExecutor())
        for part in stage.parts():
            assert made.path(part.name).exists()
        elsewhere()
    assert faulty.failures >= 4
    assert len(stage.calls) == 3
    assert objects() == expected


def test_a_request_that_always_fails_names_its_object(
    toy: Any, folders: bool, bucket: str, faulty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulty, "every", 1)
    root = RemotePath(f"faulty://{bucket}/a/store")
    with pytest.raises(OSError, match=rf"faulty://{bucket}/a/store/toy-\w+/manifest\.json: the "):
        materialize(toy(folders=folders), root=root, executor=SerialExecutor())


def test_objects_that_are_put_twice_and_late_change_nothing(
    toy: Any, folders: bool, bucket: str, faulty: Any, expected: dict[str, bytes], objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(faulty, "twice", True)
    root = RemotePath(f"faulty://{bucket}/a/store")
    materialize(toy(folders=folders), root=root, executor=SerialExecutor())
    assert objects() == expected
    # A record that a run before this one put arrives when all is done.
    (root / toy(folders=folders).folder / ".records" / "late.json").write_bytes(b"{}")
    again = toy(folders=folders)
    materialize(again, root=root, executor=SerialExecutor())
    assert again.calls == []
    assert objects() == expected


@pytest.mark.parametrize("late", ["shard", "record"])
def test_a_record_counts_only_with_its_files(
    late: str, toy: Any, folders: bool, bucket: str, faulty: Any, expected: dict[str, bytes], objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A PUT that was answered and is not done: S3 does not do this, and no store may make a manifest of it."""
    monkeypatch.setattr(faulty, "holds", lambda key: "set__1" in key and (".records" in key) == (late == "record"))
    root = RemotePath(f"faulty://{bucket}/a/store")
    with pytest.raises(FileNotFoundError, match=r"set__1\S*: expected what was put there, found it missing"):
        materialize(toy(folders=folders), root=root, executor=SerialExecutor())
    assert not is_done(toy(folders=folders), root)
    monkeypatch.setattr(faulty, "holds", lambda key: False)
    for _, _, named in faulty.held:
        fsspec.filesystem("s3").pipe_file(f"{bucket}/{named['Key']}", named["Body"])
    again = toy(folders=folders)
    materialize(again, root=root, executor=SerialExecutor())
    assert again.calls == []
    assert objects() == expected


def test_a_shard_that_was_cut_short_or_lost_is_made_again(
    toy: Any, folders: bool, bucket: str, store: RemotePath, expected: dict[str, bytes], objects: Objects
) -> None:
    def crash(part: Part) -> None:
        if part.payload == 2:
            raise Crash

    with pytest.raises(Crash):
        materialize(toy(folders=folders, before=crash), root=store, executor=SerialExecutor())
    folder = toy(folders=folders).folder
    names = sorted(name for name in objects() if f"{folder}/set__" in name)
    first, second = (next(name for name in names if f"set__{i}" in name) for i in range(2))
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    fs.pipe_file(f"{bucket}/{first}", b"")
    fs.rm_file(f"{bucket}/{second}")
    again = toy(folders=folders)
    materialize(again, root=store, executor=SerialExecutor())
    assert len(again.calls) == 3
    assert objects() == expected


def flip(bucket: str, name: str) -> None:
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    content = bytearray(fs.cat_file(f"{bucket}/{name}"))
    content[-1] ^= 1
    fs.pipe_file(f"{bucket}/{name}", bytes(content))


def test_a_flipped_bit_is_found_before_the_shard_is_used_and_named(
    toy: Any,
    folders: bool,
    bucket: str,
    store: RemotePath,
    expected: dict[str, bytes],
    objects: Objects,
    elsewhere: Any,
) -> None:
    made = materialize(toy(folders=folders), root=store, executor=SerialExecutor())
    flipped = next(name for name in objects() if "/set__1" in name)
    flip(bucket, flipped)
    elsewhere()
    found = Artifact(made.folder)
    told = rf"s3://{bucket}/a/store/toy-\w+/set__1\S+: its SHA-256 is not the one .* remove {made.folder} and run again"
    for _ in range(2):
        with pytest.raises(DataError, match=told):
            found.path("set/1[?*")
    assert found.path("set/0[?*").exists()
    fsspec.filesystem("s3").rm(str(made.folder), recursive=True)
    materialize(toy(folders=folders), root=store, executor=SerialExecutor())
    assert objects() == expected


def test_a_flipped_bit_of_a_manifest_is_found(toy: Any, folders: bool, bucket: str, store: RemotePath) -> None:
    made = materialize(toy(folders=folders), root=store, executor=SerialExecutor())
    flip(bucket, f"a/store/{made.folder.name}/manifest.json")
    with pytest.raises(DataError, match=rf"s3://{bucket}/a/store/toy-\w+/manifest\.json: "):
        _ = Artifact(made.folder).figures


def test_a_damaged_copy_on_this_machine_is_fetched_again(toy: Any, folders: bool, store: RemotePath) -> None:
    made = materialize(toy(folders=folders), root=store, executor=SerialExecutor())
    path = made.path("set/2[?*")
    file = path / "deep" / "er" / "value" if folders else path
    for damage in (lambda: file.write_text("7"), file.unlink, lambda: file.write_text("")):
        damage()
        assert made.path("set/2[?*") == path
        assert file.read_text() == "6"


def test_a_name_that_leads_outside_is_refused(
    toy: Any, folders: bool, store: RemotePath, elsewhere: Callable[[], None]
) -> None:
    made = materialize(toy(folders=folders), root=store, executor=SerialExecutor())
    manifest = json.loads((made.folder / "manifest.json").read_bytes())
    (stated, *_) = manifest["shards"][0]["files"].values()
    manifest["shards"][0]["files"] = {"../../outside": stated}
    manifest["checksum"] = checksum(manifest)
    (made.folder / "manifest.json").write_bytes(json.dumps(manifest).encode())
    elsewhere()
    with pytest.raises(DataError, match=rf"{made.folder}/manifest\.json: file name '../../outside' leads outside"):
        Artifact(made.folder).path("set/0[?*")
    assert not list(Path(tempfile.gettempdir()).rglob("outside"))


@pytest.mark.parametrize("number", range(3))
def test_a_rival_may_finish_the_artifact_while_a_part_is_computed(
    number: int, toy: Any, folders: bool, store: RemotePath, expected: dict[str, bytes], objects: Objects
) -> None:
    def rival(part: Part) -> None:
        if part.payload == number:
            materialize(toy(folders=folders), root=store, executor=SerialExecutor())

    made = materialize(toy(folders=folders, before=rival), root=store, executor=SerialExecutor())
    assert made.figures == {"values": ["0", "3", "6"]}
    assert objects() == expected


def test_two_runs_write_every_shard_at_the_same_moment(
    toy: Any, folders: bool, store: RemotePath, expected: dict[str, bytes], objects: Objects
) -> None:
    together = threading.Barrier(2, timeout=60)

    def run(_: int) -> Any:
        stage = toy(folders=folders, before=lambda part: together.wait() and None)
        return materialize(stage, root=store, executor=SerialExecutor()).figures

    with ThreadPoolExecutor(2) as pool:
        figures = list(pool.map(run, range(2)))
    assert figures == 2 * [{"values": ["0", "3", "6"]}]
    # What one of them put when the other had finished is swept by whoever comes next.
    materialize(toy(folders=folders), root=store, executor=SerialExecutor())
    assert objects() == expected


@pytest.fixture
def mirrors(bucket: str) -> Path:
    return Path(tempfile.gettempdir()) / f"coreset-{os.geteuid()}"


def test_copies_lie_where_nobody_else_can_reach_them(
    toy: Any, folders: bool, store: RemotePath, mirrors: Path, tmp_path: Path
) -> None:
    materialize(toy(folders=folders), root=store, executor=SerialExecutor())
    assert mirrors.stat().st_mode & 0o777 == 0o700
    mirrors.chmod(0o755)
    with pytest.raises(WorkError, match="expected a folder that only you can use"):
        _ = (store / "toy").mirror
    mirrors.rename(tmp_path / "theirs")
    mirrors.symlink_to(tmp_path / "theirs")
    with pytest.raises(WorkError, match="expected a folder that only you can use"):
        _ = (store / "toy").mirror

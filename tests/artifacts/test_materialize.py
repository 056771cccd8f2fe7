"""To resume is to run again: only what is missing is computed, and the bytes are those of an undisturbed run."""

import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreset import atomic
from coreset.artifacts.executor import Progress, SerialExecutor, Work
from coreset.artifacts.materialize import is_done, materialize, materialize_all
from coreset.artifacts.stage import Part, Place
from coreset.atomic import TEMPORARY
from coreset.errors import WorkError

Picture = Callable[[Path], dict[str, bytes | None]]


class Crash(BaseException):
    pass


class Counting(SerialExecutor):
    """Notes its maps."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[list[tuple[str, str]]] = []

    def map(self, work: Work, parts: Sequence[tuple[str, Part]], place: Place, title: str) -> None:
        self.maps.append([(digest, part.name) for digest, part in parts])
        super().map(work, parts, place, title)


def crash_at(monkeypatch: pytest.MonkeyPatch, at: int) -> list[str]:
    """From now on the `at`-th call to fsync or replace crashes; returns the growing list of calls."""
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def call(*args: Any, name: str = name, real: Any = real) -> Any:
            calls.append(name)
            if len(calls) == at:
                raise Crash
            return real(*args)

        monkeypatch.setattr(os, name, call)
    return calls


@pytest.mark.parametrize("folders", [False, True])
def test_an_artifact_holds_its_shards_and_a_true_manifest(toy: Any, folders: bool, tmp_path: Path) -> None:
    stage = toy(folders=folders)
    artifact = materialize(stage, root=tmp_path, executor=SerialExecutor())
    assert artifact.folder == tmp_path / f"toy-{stage.digest[:16]}"
    assert artifact.digest == stage.digest
    assert artifact.figures == {"values": [10, 13, 16, 19], "offset": 10}
    assert [shard["name"] for shard in artifact.shards] == [f"set/{i}" for i in range(4)]
    stated = {}
    for number, shard in enumerate(artifact.shards):
        assert shard["figures"] == {"value": 10 + 3 * number}
        path = artifact.path(shard["name"])
        assert (path / "deep" / "value" if folders else path).read_text() == str(10 + 3 * number)
        stated |= shard["files"]
    found = {
        file.relative_to(artifact.folder).as_posix(): file for file in artifact.folder.rglob("*") if file.is_file()
    }
    del found["manifest.json"], found["timings.json"]
    assert stated == {
        name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for name, file in found.items()
    }
    assert artifact.manifest["recipe"] == {
        "stage": "toy",
        "version": 1,
        "parameters": {"count": 4, "scale": 3, "folders": folders},
        "inputs": {"source": "0" * 64},
    }


def test_what_stands_is_not_computed_again_nor_mapped(toy: Any, tmp_path: Path, picture: Picture) -> None:
    materialize(toy(), root=tmp_path, executor=SerialExecutor())
    before = picture(tmp_path)
    again, executor = toy(), Counting()
    assert is_done(again, tmp_path)
    assert materialize(again, root=tmp_path, executor=executor).figures["values"] == [10, 13, 16, 19]
    assert again.calls == []
    assert executor.maps == []
    assert picture(tmp_path) == before


def test_the_bytes_know_neither_place_nor_order_nor_time(toy: Any, tmp_path: Path, picture: Picture) -> None:
    class Backwards(SerialExecutor):
        def map(self, work: Work, parts: Sequence[tuple[str, Part]], place: Place, title: str) -> None:
            super().map(work, parts[::-1], place, title)

    materialize(toy(), root=tmp_path / "one", executor=SerialExecutor())
    materialize(toy(), root=tmp_path / "elsewhere" / "two", executor=Backwards())
    assert picture(tmp_path / "one") == picture(tmp_path / "elsewhere" / "two")
    manifest = next((tmp_path / "one").rglob("manifest.json")).read_text()
    assert str(tmp_path) not in manifest
    assert os.uname().nodename not in manifest


def test_the_time_of_each_shard_is_told_outside_the_manifest(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"perf_counter": 100.0, "process_time": 50.0}

    def work(part: Part) -> None:
        clock["perf_counter"] += 10.0 * (part.payload + 1)
        clock["process_time"] += 4.0 * (part.payload + 1)

    for name in clock:
        monkeypatch.setattr(time, name, lambda name=name: clock[name])
    artifact = materialize(toy(before=work), root=tmp_path, executor=SerialExecutor())
    told = {name: dict(spent) for name, spent in artifact.timings.items()}
    # This process holds NumPy and more.
    assert all(spent.pop("peak_bytes") > 2**24 for spent in told.values())
    assert told == {f"set/{i}": {"seconds": 10.0 * (i + 1), "cpu_seconds": 4.0 * (i + 1)} for i in range(4)}
    assert "seconds" not in (artifact.folder / "manifest.json").read_text()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone forgets a peak")
def test_the_peak_of_a_part_is_its_own(toy: Any, tmp_path: Path) -> None:
    def work(part: Part) -> None:
        if part.payload == 0:
            assert np.ones(2**24).sum() == 2**24  # 128 MiB, let go at once

    artifact = materialize(toy(before=work), root=tmp_path, executor=SerialExecutor())
    peaks = [spent["peak_bytes"] for spent in artifact.timings.values()]
    assert max(peaks[1:]) < peaks[0] - 2**26


def test_a_shard_that_stood_keeps_the_time_that_it_took(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow(part: Part) -> None:
        clock[0] += 10.0
        if part.payload == 2:
            raise Crash

    def fast(part: Part) -> None:
        clock[0] += 1.0

    with pytest.raises(Crash):
        materialize(toy(before=slow), root=tmp_path, executor=SerialExecutor())
    artifact = materialize(toy(before=fast), root=tmp_path, executor=SerialExecutor())
    assert [artifact.timings[f"set/{i}"]["seconds"] for i in range(4)] == [10.0, 10.0, 1.0, 1.0]


def test_an_artifact_without_timings_has_none(toy: Any, tmp_path: Path) -> None:
    artifact = materialize(toy(), root=tmp_path, executor=SerialExecutor())
    (artifact.folder / "timings.json").unlink()
    assert artifact.timings == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("number", range(4))
def test_an_error_in_any_part_keeps_the_others_and_the_next_run_computes_the_rest(
    toy: Any, when: str, folders: bool, number: int, tmp_path: Path, picture: Picture
) -> None:
    materialize(toy(folders=folders), root=tmp_path / "undisturbed", executor=SerialExecutor())

    def fail(part: Part) -> None:
        if part.payload == number:
            raise Crash

    root = tmp_path / "disturbed"
    stage = toy(folders=folders, **{when: fail})
    with pytest.raises(Crash):
        materialize(stage, root=root, executor=SerialExecutor())
    assert not is_done(stage, root)
    assert not list(root.rglob("manifest.json"))
    again = toy(folders=folders)
    materialize(again, root=root, executor=SerialExecutor())
    assert again.calls == [f"set/{i}" for i in range(number, 4)]
    assert picture(root) == picture(tmp_path / "undisturbed")


@pytest.mark.parametrize("killed", [False, True], ids=["caught", "killed"])
@pytest.mark.parametrize("folders", [False, True])
def test_a_crash_at_any_call_that_reaches_the_disk_resumes_to_the_same_bytes(
    toy: Any, folders: bool, killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    materialize(toy(count=2, folders=folders), root=tmp_path / "undisturbed", executor=SerialExecutor())
    undisturbed = picture(tmp_path / "undisturbed")
    for at in itertools.count(1):
        root = tmp_path / str(at)
        stage = toy(count=2, folders=folders)
        with monkeypatch.context() as patched:
            calls = crash_at(patched, at)
            if killed:
                # No `finally` runs in a process that was killed, so its temporaries stay.
                patched.setattr(atomic, "remove", lambda path: None)
            try:
                materialize(stage, root=root, executor=SerialExecutor())
            except Crash:
                crashed = True
            else:
                crashed = False
        if not crashed:
            assert len(calls) == at - 1
            break
        folder = root / stage.folder
        done = is_done(stage, root)
        assert not done or at >= len(calls)
        missing = [f"set/{i}" for i in range(2) if not (folder / f"set__{i}.txt").exists()]
        again = toy(count=2, folders=folders)
        materialize(again, root=root, executor=SerialExecutor())
        assert again.calls == ([] if done else missing)
        assert picture(root) == undisturbed, f"crash {at}"
    assert at > 10


def test_the_manifest_takes_its_name_last_when_every_shard_has_its_own(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if target.name == "manifest.json":
            assert sorted(entry.name for entry in target.parent.glob("*.txt")) == [f"set__{i}.txt" for i in range(4)]
        names.append(target.name)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    materialize(toy(), root=tmp_path, executor=SerialExecutor())
    assert names[-1] == "manifest.json"
    assert names.count("manifest.json") == 1


def test_leftovers_of_a_killed_run_are_swept(toy: Any, tmp_path: Path, picture: Picture) -> None:
    materialize(toy(), root=tmp_path / "clean", executor=SerialExecutor())
    folder = tmp_path / "swept" / toy().folder
    (folder / f"{TEMPORARY}abc-set__0.txt").mkdir(parents=True)
    (folder / f"{TEMPORARY}abc-set__0.txt" / "half").write_text("x")
    (folder / f"{TEMPORARY}def-set__1.txt").write_text("1")
    (folder / ".records").mkdir()
    (folder / ".records" / f"{TEMPORARY}abc-set__0.json").write_text("{")
    materialize(toy(), root=tmp_path / "swept", executor=SerialExecutor())
    assert picture(tmp_path / "swept") == picture(tmp_path / "clean")


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("damage", ["cut", "figure", "no checksum", "another kind"])
def test_a_part_whose_record_is_damaged_is_made_again(
    toy: Any, damage: str, folders: bool, tmp_path: Path, picture: Picture
) -> None:
    undisturbed = materialize(toy(folders=folders), root=tmp_path / "undisturbed", executor=SerialExecutor())

    def fail(part: Part) -> None:
        if part.payload == 3:
            raise WorkError("broken off")

    with pytest.raises(WorkError):
        materialize(toy(folders=folders, before=fail), root=tmp_path / "run", executor=SerialExecutor())
    record = tmp_path / "run" / undisturbed.folder.name / ".records" / "set__1.json"
    told = json.loads(record.read_bytes())
    assert told["shard"]["figures"] == {"value": 13}
    if damage == "figure":
        told["shard"]["figures"]["value"] = 12
    if damage == "no checksum":
        del told["checksum"]
    content = json.dumps([1] if damage == "another kind" else told)
    record.write_text(content[: len(content) // 2] if damage == "cut" else content)
    again = toy(folders=folders)
    materialize(again, root=tmp_path / "run", executor=SerialExecutor())
    assert again.calls == ["set/1", "set/3"]
    assert picture(tmp_path / "run") == picture(tmp_path / "undisturbed")


def test_nothing_is_swept_where_a_link_leads(toy: Any, tmp_path: Path, picture: Picture) -> None:
    artifact = materialize(toy(), root=tmp_path / "elsewhere", executor=SerialExecutor())
    (artifact.folder / f"{TEMPORARY}theirs").write_text("precious")
    before = picture(tmp_path / "elsewhere")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / artifact.folder.name).symlink_to(artifact.folder)
    materialize(toy(), root=tmp_path / "store", executor=SerialExecutor())
    assert picture(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
def test_a_rival_may_finish_the_artifact_while_a_part_is_computed(
    toy: Any, number: int, when: str, folders: bool, tmp_path: Path, picture: Picture
) -> None:
    materialize(toy(folders=folders), root=tmp_path / "alone", executor=SerialExecutor())

    def rival(part: Part) -> None:
        if part.payload == number:
            materialize(toy(folders=folders), root=tmp_path / "shared", executor=SerialExecutor())

    artifact = materialize(toy(folders=folders, **{when: rival}), root=tmp_path / "shared", executor=SerialExecutor())
    assert artifact.figures["values"] == [10, 13, 16, 19]
    assert picture(tmp_path / "shared") == picture(tmp_path / "alone")


def test_a_rival_may_finish_the_artifact_before_the_parts_are_counted_or_after_they_are_mapped(
    toy: Any, tmp_path: Path, picture: Picture
) -> None:
    materialize(toy(), root=tmp_path / "alone", executor=SerialExecutor())

    class Late(SerialExecutor):
        def map(self, work: Work, parts: Sequence[tuple[str, Part]], place: Place, title: str) -> None:
            super().map(work, parts, place, title)
            materialize(toy(), root=tmp_path / "after", executor=SerialExecutor())

    class Early(SerialExecutor):
        def scan(self, function: Any, items: Any, merge: Any) -> Any:
            materialize(toy(), root=tmp_path / "before", executor=SerialExecutor())
            return super().scan(function, items, merge)

    for name, executor in (("after", Late()), ("before", Early())):
        materialize(toy(), root=tmp_path / name, executor=executor)
        assert picture(tmp_path / name) == picture(tmp_path / "alone")


def test_several_stages_share_one_map_and_come_back_in_order(toy: Any, other: Any, tmp_path: Path) -> None:
    done = toy(scale=9)
    materialize(done, root=tmp_path, executor=SerialExecutor())
    executor = Counting()
    stages = [toy(count=2), done, other(count=1), toy(count=2)]
    artifacts = materialize_all(stages, root=tmp_path, executor=executor)
    assert [artifact.digest for artifact in artifacts] == [stage.digest for stage in stages]
    expected = [(stages[0].digest, "set/0"), (stages[0].digest, "set/1"), (stages[2].digest, "set/0")]
    assert executor.maps == [expected]
    assert artifacts[1].figures["values"] == [10, 19, 28, 37]


def test_a_failure_in_one_stage_keeps_the_shards_of_the_other(toy: Any, other: Any, tmp_path: Path) -> None:
    def fail(part: Part) -> None:
        if part.payload == 1:
            raise Crash

    with pytest.raises(Crash):
        materialize_all([toy(), other(before=fail)], root=tmp_path, executor=SerialExecutor())
    one, two = toy(), other()
    materialize_all([one, two], root=tmp_path, executor=SerialExecutor())
    assert one.calls == []
    assert two.calls == ["set/1", "set/2", "set/3"]


def test_progress_is_told_of_all_parts_and_of_the_end_even_after_an_error(toy: Any, tmp_path: Path) -> None:
    class Told(Progress):
        def __init__(self) -> None:
            self.events: list[Any] = []

        def begin(self, title: str, total: float) -> None:
            self.events.append(("begin", title, total))

        def end(self, done: bool) -> None:
            self.events.append(("end", done))

    def fail(part: Part) -> None:
        raise Crash

    told = Told()
    with pytest.raises(Crash):
        materialize(toy(before=fail), root=tmp_path, executor=SerialExecutor(told))
    assert told.events == [("begin", "toy", 4.0), ("end", False)]
    materialize(toy(), root=tmp_path, executor=SerialExecutor(told))
    assert told.events[-1] == ("end", True)


def test_the_serial_executor_reads_in_the_order_of_the_requests_and_merges_all_partials() -> None:
    seen: list[str] = []

    def work(digest: str, part: Part, context: Any) -> None:
        seen.append(digest)
        assert list(context.read(str, [3, 1, 2])) == ["3", "1", "2"]
        assert context.device == "cpu"

    executor = SerialExecutor()
    executor.map(work, [("x", Part("a")), ("y", Part("b"))], "task", "")
    assert seen == ["x", "y"]
    assert executor.scan(lambda item: {item}, [3, 1, 2, 1], lambda a, b: a | b) == {1, 2, 3}


def test_a_manifest_is_json_with_sorted_keys(toy: Any, tmp_path: Path) -> None:
    content = (materialize(toy(), root=tmp_path, executor=SerialExecutor()).folder / "manifest.json").read_text()
    assert content == json.dumps(json.loads(content), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def test_names_that_differ_share_no_file() -> None:
    names = ["a/b", "a__b", "a_/b", "a/_b", "a___b", "a/b/c", "a__b/c", "a/b__c"]
    assert len({Part(name).stem for name in names}) == len(names)
    assert not any("/" in Part(name).stem for name in names)

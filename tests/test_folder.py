"""A run's folder is held by one run at a time, and nobody else's is touched."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coreset.errors import RequestError
from coreset.folder import RunFolder

Picture = Callable[[Path], dict[str, bytes | None]]


def test_the_parts_of_a_folder_have_the_names_of_the_contracts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.store == tmp_path / "artifacts"
    assert folder.coreset == tmp_path / "coreset"
    assert folder.summary == tmp_path / "summary.json"


def test_a_folder_that_is_held_names_its_holder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "al")
    with folder.locked(), pytest.raises(RequestError) as caught, RunFolder(folder.path).locked():
        pytest.fail("two runs hold one folder")
    told = str(caught.value)
    assert str(folder.path) in told
    assert f"in use by process {os.getpid()} on {socket.gethostname()}" in told
    assert "wait for that run, or use another --out" in told
    with folder.locked():
        pass


def test_a_refused_run_leaves_the_name_of_the_holder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked():
        before = (tmp_path / ".lock").read_text()
        for _ in range(2):
            with pytest.raises(RequestError), RunFolder(tmp_path).locked():
                pass
        assert (tmp_path / ".lock").read_text() == before


def test_the_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from coreset.folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RequestError, match=f"process {other.pid} on"), RunFolder(tmp_path).locked():
            pass
        other.kill()
    with RunFolder(tmp_path).locked():
        assert f"process {os.getpid()}" in (tmp_path / ".lock").read_text()


def test_an_error_inside_gives_the_folder_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path).locked():
        raise KeyboardInterrupt
    with RunFolder(tmp_path).locked():
        pass


def test_new_empty_own_and_interrupted_folders_are_free(tmp_path: Path) -> None:
    RunFolder(tmp_path / "new").expect_free_for("al")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").expect_free_for("al")
    (tmp_path / "empty" / ".lock").touch()
    RunFolder(tmp_path / "empty").expect_free_for("al")
    RunFolder(tmp_path / "own").write({"name": "al"})
    (tmp_path / "own" / "artifacts").mkdir()
    RunFolder(tmp_path / "own").expect_free_for("al")


def test_another_jobs_folder_is_refused_by_name(tmp_path: Path, picture: Picture) -> None:
    RunFolder(tmp_path).write({"name": "water"})
    before = picture(tmp_path)
    with pytest.raises(RequestError, match=r"expected the folder of job 'al' or a new one, found that of job 'water'"):
        RunFolder(tmp_path).expect_free_for("al")
    assert picture(tmp_path) == before


def other_files(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("x")


def a_file(path: Path) -> None:
    path.write_text("x")


def damaged_record(path: Path) -> None:
    path.mkdir()
    (path / "run.json").write_text("{")


def record_of_another_kind(path: Path) -> None:
    path.mkdir()
    (path / "run.json").write_text("[1]")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (other_files, "expected an empty folder or a run's, found other files; use another --out"),
        (a_file, "expected a folder for the results, found a file; use another --out"),
        (damaged_record, "found a damaged file"),
        (record_of_another_kind, "expected"),
    ],
)
def test_what_is_in_the_way_is_refused_and_stays(
    make: Callable[[Path], None], expected: str, tmp_path: Path, picture: Picture
) -> None:
    make(tmp_path / "out")
    before = picture(tmp_path)
    with pytest.raises(RequestError, match=expected):
        RunFolder(tmp_path / "out").expect_free_for("al")
    assert picture(tmp_path) == before


@pytest.mark.parametrize("name", [".lock", "log.jsonl"])
def test_nothing_is_written_where_a_link_leads(name: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("precious")
    folder = RunFolder(tmp_path / "out")
    folder.write({"name": "al"})
    (folder.path / name).symlink_to(tmp_path / "theirs")
    with pytest.raises(RequestError, match=rf"out/{name}: expected a file of the run's own, found a link; remove it"):
        folder.expect_free_for("al")
    assert (tmp_path / "theirs").read_text() == "precious"


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    folder = RunFolder(tmp_path / "file" / "below")
    with pytest.raises(RequestError, match="file"):
        folder.expect_free_for("al")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record: dict[str, Any] = {"name": "al", "stages": [{"title": "x"}], "error": None}
    RunFolder(tmp_path).write(record)
    assert RunFolder(tmp_path).read() == record
    assert json.loads((tmp_path / "run.json").read_bytes()) == record


@pytest.mark.parametrize("make", [other_files, a_file, damaged_record, record_of_another_kind, None])
def test_a_folder_without_a_record_is_a_wrong_request(make: Callable[[Path], None] | None, tmp_path: Path) -> None:
    if make is not None:
        make(tmp_path / "out")
    with pytest.raises(RequestError, match="out"):
        RunFolder(tmp_path / "out").read()


def test_a_folder_whose_first_record_was_cut_short_is_taken_up_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.path.mkdir()
    (folder.path / ".lock").write_text("")
    (folder.path / ".tmp-abc-run.json").write_text("{")
    folder.expect_free_for("al")
    assert not folder.in_use()
    with folder.locked():
        assert folder.in_use()
        assert [entry.name for entry in folder.path.iterdir()] == [".lock"]
    assert not folder.in_use()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("stages", value) for value in (3, [3], [{"artifact": "../x"}], [{"artifact": "x" * 300}], [{"title": 3}])),
        *(("store", value) for value in (3, "/a\0b", "/" + "x" * 300)),
        *((("job", []), ("name", None), ("error", 3), ("state", ["done"]))),
    ],
)
def test_a_record_of_other_types_is_refused_by_its_key(key: str, value: Any, tmp_path: Path) -> None:
    RunFolder(tmp_path).write({"name": "al", key: value})
    with pytest.raises(RequestError, match=rf"run\.json: {key}"):
        RunFolder(tmp_path).read()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"name": "a", "name": "b"}', '{"x": NaN}'], ids=range(3))
def test_a_record_that_nobody_writes_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RequestError, match=r"run\.json: expected JSON"):
        RunFolder(tmp_path).read()


def test_a_record_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(RequestError, match=r"run\.json: cannot be read"):
        RunFolder(tmp_path).read()

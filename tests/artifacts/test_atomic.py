"""Writes are whole or absent, wherever they are interrupted."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.atomic import TEMPORARY, canonical_json, parse_json, replacing, write_bytes, write_json

Picture = Callable[[Path], dict[str, bytes | None]]


class Crash(BaseException):
    """Like a KeyboardInterrupt: nothing that handles ordinary errors sees it."""


def write(final: Path, kind: str, content: bytes) -> None:
    with replacing(final) as temporary:
        if kind == "file":
            temporary.write_bytes(content)
        else:
            (temporary / "inner").mkdir(parents=True)
            (temporary / "inner" / "a").write_bytes(content)
            (temporary / "b").write_bytes(content * 2)


def expected(kind: str, content: bytes) -> dict[str, bytes | None]:
    if kind == "file":
        return {"final": content}
    return {"final": None, "final/inner": None, "final/inner/a": content, "final/b": content * 2}


class Faults:
    """Counts the calls that reach the disk, and crashes in the one that is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
        self.calls: list[str] = []
        self._at = at
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            if self._at == len(self.calls):
                raise Crash
            return real(*args)

        return call


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_written_stands_alone_under_its_name(kind: str, tmp_path: Path, picture: Picture) -> None:
    write(tmp_path / "deep" / "er" / "final", kind, b"new")
    assert picture(tmp_path / "deep" / "er") == expected(kind, b"new")


def test_contents_are_synced_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        faults = Faults(patched, None)
        write(tmp_path / "final", "folder", b"new")
    # a, inner, b, the temporary itself; then the name; then the folder that holds the name.
    assert faults.calls == ["fsync"] * 4 + ["replace", "fsync"]


def test_the_folders_that_a_write_makes_have_their_names_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "deep" / "er" / "final", "file", b"new")
    assert synced[:2] == [tmp_path, tmp_path / "deep"]
    synced.clear()
    write(tmp_path / "deep" / "er" / "other", "file", b"new")
    assert tmp_path / "deep" not in synced


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_crash_at_any_call_leaves_all_or_nothing(
    kind: str, old: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    for at in range(1, 20):
        root = tmp_path / str(at)
        root.mkdir()
        if old is not None:
            write(root / "final", kind, old)
        before = picture(root)
        with monkeypatch.context() as patched:
            faults = Faults(patched, at)
            try:
                write(root / "final", kind, b"new")
            except Crash:
                renamed = "replace" in faults.calls[:-1]
            else:
                break
        first_wins = kind == "folder" and old is not None
        assert picture(root) == (expected(kind, b"new") if renamed and not first_wins else before)
    assert at == {"file": 4, "folder": 7}[kind]


@pytest.mark.parametrize("error", [Crash, KeyboardInterrupt, ValueError, OSError])
def test_an_error_inside_the_block_passes_through_and_leaves_the_old(
    error: type[BaseException], tmp_path: Path, picture: Picture
) -> None:
    def half_write() -> None:
        with replacing(tmp_path / "final") as temporary:
            temporary.write_bytes(b"half")
            raise error

    write_bytes(tmp_path / "final", b"old")
    with pytest.raises(error):
        half_write()
    assert picture(tmp_path) == {"final": b"old"}


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_sigkill_leaves_the_old_under_the_name_and_the_new_only_under_a_temporary_one(
    name: str, tmp_path: Path, picture: Picture
) -> None:
    write_bytes(tmp_path / "final", b"old")
    program = (
        "import os, signal, sys, pathlib\n"
        "from coreset.atomic import write_bytes\n"
        f"os.{name} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_bytes(pathlib.Path(sys.argv[1]), b'new')\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "final")], check=False)
    assert killed.returncode == -9
    found = picture(tmp_path)
    assert found.pop("final") == b"old"
    assert [(entry.startswith(TEMPORARY), content) for entry, content in found.items()] == [(True, b"new")]


def test_the_first_of_two_folders_wins_and_a_later_file_replaces(tmp_path: Path, picture: Picture) -> None:
    write(tmp_path / "final", "folder", b"first")
    write(tmp_path / "final", "folder", b"second")
    assert picture(tmp_path) == expected("folder", b"first")
    write_bytes(tmp_path / "file", b"first")
    write_bytes(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"


@pytest.mark.parametrize(("kind", "other"), [("file", "folder"), ("folder", "file")])
def test_a_folder_never_takes_the_place_of_a_file_nor_a_file_of_a_folder(
    kind: str, other: str, tmp_path: Path, picture: Picture
) -> None:
    write(tmp_path / "final", other, b"old")
    with pytest.raises(OSError, match="irectory"):
        write(tmp_path / "final", kind, b"new")
    assert picture(tmp_path) == expected(other, b"old")


def test_racing_folders_leave_one_whole_winner(tmp_path: Path, picture: Picture) -> None:
    start = threading.Barrier(8)

    def race(number: int) -> None:
        with replacing(tmp_path / "final") as temporary:
            temporary.mkdir()
            for name in "abc":
                (temporary / name).write_bytes(bytes([number]))
            start.wait()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = picture(tmp_path)
    assert found.pop("final") is None
    winner = found["final/a"]
    assert winner in [bytes([number]) for number in range(8)]
    assert found == {f"final/{name}": winner for name in "abc"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé\n"0'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_canonical_json_loses_nothing_and_knows_no_order(value: Any) -> None:
    def backwards(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: backwards(tree[key]) for key in reversed(list(tree))}
        return [backwards(each) for each in tree] if isinstance(tree, list) else tree

    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(backwards(value)) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(
    number: float, tmp_path: Path, picture: Picture
) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": number})
    write_json(tmp_path / "final", {"a": 1})
    before = picture(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "final", {"a": number})
    assert picture(tmp_path) == before


def test_json_files_depend_on_the_value_alone(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"x": 1, "é": [1.5, None]})
    write_json(tmp_path / "b", {"é": [1.5, None], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_bytes()) == {"x": 1, "é": [1.5, None]}


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**63), 2**64 - 1, 0.1, 1e308, "é\u0000", [], {}, {"a": [1, {"b": None}], "": 2.5}]
)
def test_what_is_written_as_json_is_parsed(value: Any) -> None:
    assert parse_json(canonical_json(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "1 2",
            "NaN",
            "[Infinity]",
            "-Infinity",
            "1e400",
            "[-1e400]",
            '{"a": 1, "a": 1}',
            '[{"a": {"b": 1, "b": 2}}]',
        ),
        *("[" * 100_000, '{"a": ' * 100_000, str(2**64), str(-(2**63) - 1), "9" * 5000, '"\\ud800"', '{"\\uDC00": 1}'),
    ],
    ids=range(17),
)
def test_what_no_json_of_ours_holds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text.encode())


def test_text_in_escapes_is_parsed() -> None:
    assert parse_json(rb'"\u00e9\ud83d\ude00"') == "é😀"

"""Named points of writing: before and after each primitive operation on a file; and a process that dies at one.

Nothing in the package knows of this. The primitives of Python are replaced while `watching`, and what they do outside
one folder is not looked at.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PRIMITIVES = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir")
"""Of the module `os`; pathlib, shutil and zarr call them there."""
_TEMPORARY = re.compile(r"^\.tmp-(?:[0-9a-f]{12}-)?|\.[0-9a-f]{32}\.partial$")
"""What atomic writes, of the package and of zarr, add to a name."""


def what(place: str) -> str:
    """What the file or folder of this final name, relative to a run's folder, is."""
    match [part for part in place.split("/") if part]:
        case []:
            return "the folder"
        case ["coreset"]:
            return "the coreset"
        case ["coreset", "manifest.json"]:
            return "the coreset's manifest"
        case ["coreset", *_]:
            return "a file of the coreset"
        case ["artifacts"]:
            return "the store"
        case ["artifacts", _]:
            return "an artifact"
        case ["artifacts", _, ".records"]:
            return "the records"
        case ["artifacts", _, ".records", _]:
            return "a record"
        case ["artifacts", _, ("manifest.json" | "timings.json") as name]:
            return name
        case ["artifacts", _, _]:
            return "a shard"
        case ["artifacts", _, _, *_]:
            return "a part of a shard"
        case [name]:
            return name
    return "something else"


class Points:
    """Counts the points that a process passes, and ends it with SIGKILL at one of them.

    That is the `number`-th time that it passes the point `target`, such as `before replace of coreset`, or any where
    `target` is empty. Nothing is really synced; what would have been is told in `report`, for `lose`.
    """

    def __init__(self, root: Path, report: Path, target: str = "", number: int = 0) -> None:
        self.passed: list[tuple[str, str]] = []
        """Of each point in turn its kind and its name."""
        self._counts: Counter[str] = Counter()
        self.root = root
        self.report = report
        self.target, self.number = target, number
        # By inode: size and time of a file, and the names in a folder, that are on the disk.
        self._synced: dict[int, tuple[int, int]] = {}
        self._names: dict[int, list[str]] = {}
        self._undo: list[Callable[[], None]] = []
        for folder, _, files in os.walk(root):
            self._names[os.stat(folder).st_ino] = os.listdir(folder)
            for name in files:
                self._note(os.stat(os.path.join(folder, name)))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Replaces the primitives while the block runs."""
        for name in PRIMITIVES:
            self._replace(os, name, name)
        opened = self._opening(io.open)
        for module in (io, builtins):
            self._put(module, "open", opened)
        self._replace(shutil, "copyfile", "copy")
        # These write from C++ and Rust, past Python's `open`; they are known once the process is warm.
        if parquet := sys.modules.get("pyarrow.parquet"):
            self._replace(parquet, "write_table", "write", place=1)
            self._replace(parquet, "ParquetWriter", "open")
        if network := sys.modules.get("coreset.learning.network"):
            self._replace(network, "save_file", "write", place=1)
        try:
            yield
        finally:
            self._restore()

    def pass_by(self, when: str, operation: str, path: Path) -> None:
        """One point; this may be the end."""
        place = "/".join(_TEMPORARY.sub("", part) for part in path.relative_to(self.root).parts)
        kind, point = f"{when} {operation} of {what(place)}", f"{when} {operation} of {place}"
        self.passed.append((kind, point))
        self._counts[point] += 1
        if self.number and self.target in ("", point):
            seen = self._counts[point] if self.target else len(self.passed)
            if seen == self.number:
                self._die(kind)

    def say(self, **told: Any) -> None:
        """Leaves word for whoever waits for this process."""
        self.report.write_text(json.dumps(told))

    def _die(self, kind: str) -> None:
        self._restore()
        self.say(killed=kind, synced=self._synced, names=self._names)
        os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, state: os.stat_result) -> None:
        self._synced[state.st_ino] = (state.st_size, state.st_mtime_ns)

    def _reached_the_disk(self, path: Path) -> None:
        state = path.stat()
        if path.is_dir():
            self._names[state.st_ino] = os.listdir(path)
        else:
            self._note(state)

    def _below(self, place: Any, folder: int | None = None) -> Path | None:
        """The path that a call names, if it lies in the folder that is watched."""
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}")
        elif folder is not None:
            place = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fspath(place))
        path = Path(os.path.abspath(os.fspath(place)))
        return path if path.is_relative_to(self.root) else None

    def _replace(self, module: Any, name: str, operation: str, place: int = 0) -> None:
        real = getattr(module, name)

        def call(*args: Any, **given: Any) -> Any:
            # A rename is of the name that it gives.
            named = args[1] if operation in ("replace", "rename", "copy") else args[place]
            path = self._below(named, given.get("dir_fd"))
            if path is None:
                return real(*args, **given)
            self.pass_by("before", operation, path)
            done = None if operation == "fsync" else real(*args, **given)
            if operation == "fsync":
                self._reached_the_disk(path)
            elif operation == "mkdir":
                self._names.pop(path.stat().st_ino, None)  # of a folder that is gone, whose number it has
            self.pass_by("after", operation, path)
            return done

        self._put(module, name, call)

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *args: Any, **given: Any) -> Any:
            path = self._below(file) if set(mode) & set("wax+") and not isinstance(file, int) else None
            if path is None:
                return real(file, mode, *args, **given)
            self.pass_by("before", "open", path)
            opened = _Written(real(file, mode, *args, **given), self, path)
            self.pass_by("after", "open", path)
            return opened

        return call

    def _put(self, module: Any, name: str, value: Any) -> None:
        real = getattr(module, name)
        setattr(module, name, value)
        self._undo.append(lambda: setattr(module, name, real))

    def _restore(self) -> None:
        while self._undo:
            self._undo.pop()()


class _Written:
    """A file whose writes are points; in all else the file itself."""

    def __init__(self, file: Any, points: Points, path: Path) -> None:
        self._file, self._points, self._path = file, points, path

    def write(self, content: Any) -> Any:
        self._points.pass_by("before", "write", self._path)
        written = self._file.write(content)
        self._file.flush()
        self._points.pass_by("after", "write", self._path)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Written:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)


def lose(root: Path, said: dict[str, Any], power: str, copy: Path | None = None) -> list[str]:
    """What the file system of a machine without power loses of what a dead process, whose report this is, has written.

    "contents": half of every file that was not synced since it was written. "names": every name whose folder was not
    synced since it was given. What was removed stays removed, and what stood when the process began is held to be on
    the disk. Returns the manifests that are gone though their names were synced. A copy may suffer instead.
    """
    where = copy or root
    synced = {int(inode): tuple(state) for inode, state in said["synced"].items()}
    names = {int(inode): set(found) for inode, found in said["names"].items()}

    def kept(path: Path) -> bool:
        return path.name in names.get(path.parent.stat().st_ino, ())

    def lose_below(folder: Path) -> None:
        for path in list(folder.iterdir()):
            there = where / path.relative_to(root)
            if power == "names" and not kept(path):
                shutil.rmtree(there) if path.is_dir() else there.unlink()
            elif path.is_dir():
                lose_below(path)
            elif power == "contents":
                state = path.stat()
                if synced.get(state.st_ino) != (state.st_size, state.st_mtime_ns):
                    os.truncate(there, state.st_size // 2)

    promised = [path for path in root.glob("artifacts/*/manifest.json") if kept(path)]
    if power and root.is_dir():
        lose_below(root)
    stood = [path.relative_to(root) for path in promised]
    return [str(path) for path in stood if not (where / path).exists()]

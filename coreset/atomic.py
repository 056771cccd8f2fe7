"""Writes that are whole or absent: temporary name, fsync, rename, fsync of the folder. And JSON without surprises."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coreset.errors import WorkError

TEMPORARY = ".tmp-"
"""Prefix of every name that may be half-written; nothing that bears it is ever read."""


def canonical_json(value: Any) -> bytes:
    """One text per value: keys sorted, no spaces, floats by their shortest repr. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def parse_json(content: bytes) -> Any:
    """The value of a JSON text, as `canonical_json` and `write_json` make them.

    Raises ValueError for what Python's reader lets through although no text of ours holds it: NaN and infinity, a key
    twice (one value would be lost), integers beyond 64 bits, half a surrogate pair, nesting without end.
    """
    try:
        value = json.loads(
            content, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_number
        )
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {max(names, key=names.count)[:40]!r} stands twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**64:
        raise ValueError(f"{text[:20]}… is too large an integer")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(path: Path) -> list[Path]:
    """The file itself, or every file of a folder in order of its name."""
    return [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())


def sync(path: Path) -> None:
    """Fsync of a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Fsync of everything below, contents before the folders that name them."""
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            sync_tree(entry)
    sync(path)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it that are missing; their names are on the disk when it returns."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def remove(path: Path) -> None:
    """Removes a file or a folder; one that is gone already is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """A temporary sibling of `final` to write a file or a folder into; it takes that name when the block ends well.

    A file replaces what stood there. A folder does not replace a folder: the first wins, for two writers of one
    name write the same bytes. Raises WorkError on a file system whose renames replace no file.
    """
    make_folder(final.parent)
    temporary = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{final.name}")
    try:
        yield temporary
        sync_tree(temporary)
        try:
            os.replace(temporary, final)
        except OSError as error:
            if not (temporary.is_dir() and final.is_dir()):
                if isinstance(error, FileExistsError):
                    raise WorkError(
                        f"{final}: expected a file system on which a rename replaces what stood there, found one on "
                        "which it does not; use another folder. What stood there is kept."
                    ) from None
                raise
        sync(final.parent)
    finally:
        remove(temporary)


def write_bytes(final: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with replacing(final) as temporary:
        temporary.write_bytes(content)


def json_bytes(value: Any) -> bytes:
    """Indented JSON with sorted keys: the same value gives the same bytes. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def write_json(final: Path, value: Any) -> None:
    """Writes `json_bytes` whole or not at all."""
    write_bytes(final, json_bytes(value))

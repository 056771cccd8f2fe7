"""What the metadata of a corpus say, read and checked before any density is."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

import fsspec

from coreset.atomic import parse_json
from coreset.corpus.remote import patiently
from coreset.corpus.snapshot import Snapshot
from coreset.errors import DataError, RequestError, brief


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)

FORMAT = "coreset-corpus-1"
METADATA = "zarr.json"


def read_object(content: bytes, place: Path | str) -> dict[str, Any]:
    """The object that is the metadata of a group or an array, whose place is named."""
    try:
        found = parse_json(content)
    except ValueError as error:
        raise DataError(f"{place}/{METADATA}: expected JSON, found {brief(error)}; ingest again") from None
    if not isinstance(found, dict):
        raise DataError(f"{place}/{METADATA}: expected a JSON object, found {type(found).__name__}; ingest again")
    return found


def members_of(root: Mapping[str, Any], path: str) -> dict[str, dict[str, Any]]:
    """What the consolidated metadata tell of each group and array, by its path below the root."""
    consolidated = root.get("consolidated_metadata")
    members = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(members, dict) or not all(isinstance(member, dict) for member in members.values()):
        raise DataError(f"{path}/{METADATA}: expected the metadata of every snapshot, found none; ingest again")
    for name in members:
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise DataError(
                f"{path}/{METADATA}: the name {name[:80]!r} leads outside the corpus; do not trust this copy"
            )
    return members


def matching(members: Sequence[Named], pattern: str, what: str) -> tuple[Named, ...]:
    """The members of a corpus whose names match a pattern such as `train/*` (`*` also matches `/`), in their order.

    Raises RequestError, beginning with `what`, where no name does.
    """
    found = tuple(member for member in members if fnmatch.fnmatchcase(member.name, pattern))
    if not found:
        names = [member.name for member in members]
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
        raise RequestError(f"{what} is named {pattern!r}; the nearest names are {some(near)}")
    return found


def read_mark(path: str) -> bytes:
    """The root metadata, or a RequestError that says why there are none."""
    try:
        return _read_mark(path)
    except RequestError:
        raise
    except Exception as error:  # clients have errors of their own for what is one of the network, or of the account
        named = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        raise RequestError(f"{path}/{METADATA}: cannot be read ({named}{brief(error)})") from error


def _read_mark(path: str) -> bytes:
    try:
        filesystem, root = fsspec.core.url_to_fs(path)
    except Exception as error:
        raise RequestError(f"{path}: cannot be opened ({brief(error)})") from error
    try:
        return bytes(patiently(lambda: filesystem.cat_file(f"{root}/{METADATA}")))
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise RequestError(
            f"{path}: expected a corpus, which is a folder, found a file; `coreset ingest` makes one"
        ) from None
    if not filesystem.exists(root):
        raise RequestError(f"{path}: no such corpus; `coreset ingest SOURCE {path}` makes one")
    below = {
        file: filesystem.cat_file(file) for file in filesystem.find(root, maxdepth=4) if file.endswith(f"/{METADATA}")
    }
    corpora = sorted(file.removesuffix(f"/{METADATA}") for file, content in below.items() if FORMAT.encode() in content)
    if corpora:
        raise RequestError(f"{path}: expected a corpus, found a folder that holds some: {some(corpora)}")
    if any(b'"snapshot"' in content for content in below.values()):
        raise RequestError(f"{path}: the corpus is unfinished, its ingestion was interrupted; ingest again to finish")
    raise RequestError(f"{path}: expected a corpus, found a folder without {METADATA}; `coreset ingest` makes one")


def snapshot_of(name: str, metadata: dict[str, Any], path: str) -> Snapshot:
    """The snapshot that the metadata of an array describe. Raises DataError where they are damaged."""
    attributes = metadata.get("attributes")
    try:
        return Snapshot.from_json(name, attributes.get("snapshot") if isinstance(attributes, dict) else None)
    except ValueError as error:
        raise DataError(f"{path}/{METADATA}: the metadata of {name} are damaged ({error}); ingest again") from error


def some(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")

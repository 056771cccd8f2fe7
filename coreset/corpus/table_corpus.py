"""A table as a corpus on disk: a Zarr v3 group with one group per shard, whose rows share a stretch and a group.

::

    t.zarr/zarr.json                      columns, files with their first rows, all metadata below; written last
    t.zarr/train/zarr.json                so has train/a; nothing is in them but that they are groups
    t.zarr/train/a/000003/zarr.json       attributes: what is known of the shard
    t.zarr/train/a/000003/values          float32, shape [n, features + targets]
    t.zarr/train/a/000003/rows            int64, shape [n]: the rows' numbers in the table, ascending
    t.zarr/train/a/000003/keys            int64, shape [n]: what a random draw knows each by, where a column says so

A stretch is so many rows of the whole table, whatever files and row groups they came in: the same rows in the same
order give the same shards, bit by bit. What the source held is copied, so that it is read once, found to be whole and
finite, and guarded by a crc32c per chunk from then on. A class is the number of its name in `classes`.
Any Zarr v3 reader opens it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import fsspec
import numpy as np
import zarr
from jaxtyping import Float32, Int64
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.storage import MemoryStore, StorePath

from coreset.atomic import TEMPORARY, canonical_json, remove, replacing, write_bytes
from coreset.corpus.metadata import METADATA, matching, members_of, read_mark, read_object, some
from coreset.corpus.remote import open_store, patiently
from coreset.corpus.store import expect_no_failure_of_the_system
from coreset.errors import DataError, RequestError, WorkError, brief
from coreset.learning.slabs import SLAB

TABLE_FORMAT = "coreset-table-2"

Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class Layout:
    """What a row of a table holds: the descriptor of a table's points, in the place of an atomic one.

    features, targets: names; vectors count as so many. ranges: largest less smallest value of each target, by which
    its errors are divided; classes: their names, where the target is a class.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    task: Task
    ranges: tuple[float, ...]
    classes: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Features per row, d."""
        return len(self.features)

    @property
    def outputs(self) -> int:
        """Outputs of a network: one per target, or per class."""
        return len(self.classes) if self.task == "classification" else len(self.targets)


@dataclass(frozen=True)
class TableShard:
    """Rows of a stretch of a table that share a group: to a table what a snapshot is to densities.

    root: the corpus; digest: SHA-256 of the rows' numbers in the table, their keys and their values; keyed: whether
    they have keys.
    """

    name: str
    root: str
    group: str
    points: int
    digest: str
    keyed: bool = False
    temperature: None = None
    composition: str = ""

    @property
    def identity(self) -> bytes:
        """The 32 bytes of the digest, of the shard as a whole; a row's own identity is its key, or its number."""
        return bytes.fromhex(self.digest)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Rows count as planes of one point each."""
        return self.points, 1, 1


@dataclass(frozen=True)
class Rows:
    """The rows of a shard: their numbers in the table, features and targets, and the keys if they have any."""

    numbers: Int64[np.ndarray, " n"]
    values: Float32[np.ndarray, "n c"]
    keys: Int64[np.ndarray, " n"] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of numbers, keys and values, all little-endian."""
        digest = hashlib.sha256(TABLE_FORMAT.encode())
        for numbers in (self.numbers, self.keys):
            digest.update(b"" if numbers is None else np.ascontiguousarray(numbers, "<i8").tobytes())
        digest.update(np.ascontiguousarray(self.values + np.float32(0.0), "<f4").tobytes())
        return digest.hexdigest()


class _Attributes(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    group: str
    points: Annotated[int, Field(ge=1)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    keyed: bool


class _Root(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    format: Literal["coreset-table-2"]
    digest: str
    features: Annotated[list[str], Field(min_length=1)]
    targets: Annotated[list[str], Field(min_length=1)]
    task: Task
    ranges: list[Annotated[float, Field(ge=0)]]
    classes: list[str]
    files: Annotated[list[Annotated[tuple[str, Annotated[int, Field(ge=0)]], Strict(False)]], Field(min_length=1)]


def write_shard(root: Path, name: str, group: str, rows: Rows) -> None:
    """Writes one shard, whole or not at all; one that stands under its name is replaced if it has other content."""
    final = root / name
    shard = TableShard(name, str(root), group, len(rows.numbers), rows.digest, rows.keys is not None)
    if final.is_dir() and _stated_at(final) == _stated(shard):
        return
    (root / METADATA).unlink(missing_ok=True)
    with replacing(final) as temporary:
        with zarr.config.set({"json_indent": None}):
            written = zarr.open_group(temporary, mode="w", zarr_format=3, attributes={"shard": _stated(shard)})
            for label, array in (("values", rows.values), ("rows", rows.numbers), ("keys", rows.keys)):
                if array is not None:
                    _create(written.store_path / label, array.shape, array.dtype)[...] = array
        remove(final)


def _create(place: StorePath | MemoryStore, shape: tuple[int, ...], dtype: np.dtype) -> zarr.Array[Any]:
    """An array of rows in chunks of a slab, all in one file."""
    chunk = min(SLAB, shape[0])
    return zarr.create_array(
        place,
        shape=shape,
        dtype=dtype,
        chunks=(chunk, *shape[1:]),
        shards=(-(-shape[0] // chunk) * chunk, *shape[1:]),
        serializer=BytesCodec(endian="little"),
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize), Crc32cCodec()],
        # No value, no row and no key is that, so a chunk that is missing is found when it is read.
        fill_value=np.nan if dtype.kind == "f" else -1,
        config={"write_empty_chunks": True},
    )


@lru_cache(maxsize=64)
def _as_written(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The metadata of an array of this shape; the crc32c of its chunks does not know how their bytes are to be read."""
    store = MemoryStore()
    with zarr.config.set({"json_indent": None}):
        _create(store, shape, dtype)
    return store._store_dict[METADATA].to_bytes()


def _stated(shard: TableShard) -> dict[str, Any]:
    return {"group": shard.group, "points": shard.points, "digest": shard.digest, "keyed": shard.keyed}


def _stated_at(folder: Path) -> Any:
    try:
        return read_object((folder / METADATA).read_bytes(), folder)["attributes"]["shard"]
    except (OSError, KeyError, TypeError, DataError):
        return None


def written_shard(root: Path, name: str, points: int) -> TableShard:
    """A shard as it was written. Raises WorkError where it was not, or has another number of rows."""
    try:
        attributes = read_object((root / name / METADATA).read_bytes(), root / name)["attributes"]
        shard = TableShard(name, str(root), **dict(_Attributes.model_validate(attributes["shard"])))
    except (OSError, KeyError, TypeError, ValidationError, DataError):
        shard = None
    if shard is None or shard.points != points:
        raise WorkError(f"{root / name}: expected a shard of {points} rows, found none; ingest again to finish.")
    return shard


def finish_table(root: Path, shards: Sequence[TableShard], layout: Layout, files: Sequence[tuple[str, int]]) -> str:
    """Declares that the corpus consists of these shards; returns its digest. Raises RequestError for others in it.

    files: names of the files of the source, and the number in the table of the first row of each. No writer may be at
    work: what an interrupted one left is removed.
    """
    for leftover in list(root.rglob(f"{TEMPORARY}*")):
        remove(leftover)
    known = {shard.name for shard in shards}
    found = {path.parent.parent.relative_to(root).as_posix() for path in root.rglob(f"values/{METADATA}")}
    if surplus := sorted(found - known):
        raise RequestError(
            f"{root}: holds {len(surplus)} shards that the source does not have ({some(surplus)}); remove the folder, "
            "or ingest into a new one."
        )
    stated = {
        "features": list(layout.features),
        "targets": list(layout.targets),
        "task": layout.task,
        "ranges": list(layout.ranges),
        "classes": list(layout.classes),
        "files": [list(file) for file in files],
    }
    digest = _corpus_digest(shards, stated)
    folders = {folder.as_posix() for name in known for folder in PurePosixPath(name).parents} - {"."}
    metadata = {folder: _group({}) for folder in folders}
    for shard in shards:
        metadata[shard.name] = _group({"shard": _stated(shard)})
        metadata |= _arrays(root, shard)
    consolidated = {"kind": "inline", "must_understand": False, "metadata": metadata}
    mark = {**_group({"format": TABLE_FORMAT, "digest": digest, **stated}), "consolidated_metadata": consolidated}
    for folder in sorted(folders):
        write_bytes(root / folder / METADATA, canonical_json(metadata[folder]))
    write_bytes(root / METADATA, canonical_json(mark))
    return digest


def _group(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _arrays(root: Path, shard: TableShard) -> dict[str, dict[str, Any]]:
    """The metadata of the arrays of a shard, by their paths below the root."""
    places = [f"{shard.name}/{label}" for label in ("values", "rows", *(["keys"] if shard.keyed else []))]
    return {place: read_object((root / place / METADATA).read_bytes(), root / place) for place in places}


def _corpus_digest(shards: Sequence[TableShard], stated: dict[str, Any]) -> str:
    entries = sorted([shard.name, shard.digest, shard.group, shard.points, shard.keyed] for shard in shards)
    return hashlib.sha256(TABLE_FORMAT.encode() + canonical_json([stated, entries])).hexdigest()


@dataclass(frozen=True)
class TableCorpus:
    """A complete table, opened for reading; shards in order of their names."""

    path: str
    snapshots: tuple[TableShard, ...]
    layout: Layout
    digest: str
    files: tuple[tuple[str, int], ...]
    """Names of the files of the source, and the number in the table of the first row of each."""

    @staticmethod
    def open(path: str) -> TableCorpus:
        """Reads the metadata of the whole corpus, one file. Raises DataError where they are damaged."""
        path = path.rstrip("/")
        root = read_object(read_mark(path), path)
        try:
            stated = _Root.model_validate(root.get("attributes"))
            shards = tuple(
                TableShard(name, path, **dict(_Attributes.model_validate(member.get("attributes", {}).get("shard"))))
                for name, member in sorted(members_of(root, path).items())
                if "shard" in member.get("attributes", {})  # else a folder above shards, or an array of one
            )
        except (ValidationError, AttributeError, TypeError) as error:
            raise DataError(
                f"{path}/{METADATA}: expected the metadata of a table, found others ({brief(error)}); ingest again."
            ) from None
        fields = stated.model_dump(mode="json", exclude={"format", "digest"})
        if _corpus_digest(shards, fields) != stated.digest:
            raise DataError(f"{path}/{METADATA}: its content is not what its digest says; ingest again.")
        features, targets = tuple(stated.features), tuple(stated.targets)
        layout = Layout(features, targets, stated.task, tuple(stated.ranges), tuple(stated.classes))
        return TableCorpus(path, shards, layout, stated.digest, tuple(stated.files))

    def select(self, pattern: str) -> tuple[TableShard, ...]:
        """Shards whose names match a glob, in order of name. Raises RequestError where none does."""
        return matching(self.snapshots, pattern, f"{self.path}: no shard")


def is_table_corpus(path: str) -> bool:
    """Whether the mark of completeness at a path or URL is that of a table. Raises as `read_mark`."""
    attributes = read_object(read_mark(path), path).get("attributes")
    return isinstance(attributes, dict) and attributes.get("format") == TABLE_FORMAT


def read_values(shard: TableShard, start: int, stop: int) -> Float32[np.ndarray, "n c"]:
    """Features and targets of the rows start ≤ place < stop. Raises DataError for what is damaged or missing."""
    values = _read(shard, "values", start, stop)
    if values.dtype != np.float32 or values.ndim != 2 or not np.isfinite(values).all():
        raise DataError(f"{shard.root}/{shard.name}/values: expected finite float32, found others; ingest again.")
    return values


def read_rows(shard: TableShard, start: int, stop: int) -> Int64[np.ndarray, " n"]:
    """The rows' numbers in the table. Raises as `read_values`."""
    return _read_whole_numbers(shard, "rows", start, stop)


def read_keys(shard: TableShard, start: int, stop: int) -> Int64[np.ndarray, " n"]:
    """What a random draw knows the rows by: their keys, or else their numbers in the table. Raises as `read_values`."""
    return _read_whole_numbers(shard, "keys" if shard.keyed else "rows", start, stop)


def _read_whole_numbers(shard: TableShard, name: str, start: int, stop: int) -> Int64[np.ndarray, " n"]:
    found = _read(shard, name, start, stop)
    if found.dtype != np.int64 or found.ndim != 1 or (found < 0).any():
        raise DataError(f"{shard.root}/{shard.name}/{name}: expected whole numbers from 0, found others; ingest again.")
    return found


def _read(shard: TableShard, name: str, start: int, stop: int) -> np.ndarray:
    place = f"{shard.root}/{shard.name}/{name}"
    try:
        filesystem, root = fsspec.core.url_to_fs(place)
        metadata = patiently(lambda: filesystem.cat_file(f"{root}/{METADATA}"))
        store = open_store(shard.root) if "://" in shard.root else shard.root
        array = zarr.open_array(store, path=f"{shard.name}/{name}", mode="r")
        if array.shape[:1] != (shard.points,) or metadata != _as_written(array.shape, array.dtype):
            raise DataError(f"{place}/{METADATA} is not what was written; copy the corpus again, or ingest again.")
        return np.asarray(array[start:stop])
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        if not isinstance(error, FileNotFoundError):
            expect_no_failure_of_the_system(error)
        raise DataError(f"{place} is damaged ({brief(error)}); copy the corpus again, or ingest again.") from None

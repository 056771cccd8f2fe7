"""A corpus on disk: a Zarr v3 group with one array per snapshot.

::

    al.zarr/zarr.json                            consolidated metadata, written last: the mark of completeness
    al.zarr/train/zarr.json
    al.zarr/train/al32_T0100_s0_0/zarr.json      attributes: all that is known of the snapshot
    al.zarr/train/al32_T0100_s0_0/c/0/0/0        its density, float32, e/Bohr³: slabs along the first vector, in one
                                                 shard, or several of a large one

Slabs are compressed without loss (Blosc: bit shuffle, Zstandard) and carry a crc32c. No file holds a time or a path:
the same snapshots give the same bytes. Any Zarr v3 reader opens it.
"""

import errno
import filecmp
import hashlib
import math
import os
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float32
from zarr.abc.buffer import Buffer as AbstractBuffer
from zarr.buffer.cpu import Buffer
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.errors import ZarrUserWarning
from zarr.storage import LocalStore, MemoryStore

from coreset.atomic import TEMPORARY, canonical_json, remove, replacing, sync, write_bytes
from coreset.corpus.metadata import FORMAT, METADATA, matching, members_of, read_mark, read_object, snapshot_of, some
from coreset.corpus.remote import open_store
from coreset.corpus.snapshot import Snapshot, content_digest, digest_of_planes
from coreset.errors import DataError, RequestError, WorkError, brief

SLAB_POINTS = 65_536
"""Largest number of points in an inner chunk, a slab of one plane at least; more would not compress better."""

SHARD_POINTS = 2**25
"""Largest number of points in a shard, a slab at least: it is written from memory."""

_BYTES = BytesCodec(endian="little")
_COMPRESSORS = (BloscCodec(cname="zstd", clevel=9, shuffle="bitshuffle", typesize=4), Crc32cCodec())


def write_snapshot(
    root: Path, snapshot: Snapshot, density: Float32[np.ndarray, "nx ny nz"], *, inner: int = SLAB_POINTS
) -> None:
    """Write one snapshot, whole or not at all; writers of different snapshots need not know of each other.

    The same content again changes nothing. New or other content takes the mark of completeness away first, so that
    `finish` has to be called again.

    Raises:
        WorkError: the density is not the one that the snapshot's digest was computed of.
    """
    if density.dtype != np.float32 or density.shape != snapshot.grid:
        raise WorkError(
            f"{snapshot.name}: expected float32 of shape {snapshot.grid}, found {density.dtype} of {density.shape}"
        )
    if content_digest(snapshot.cell, snapshot.numbers, snapshot.positions, density) != snapshot.digest:
        raise WorkError(f"{snapshot.name}: expected the density whose digest is {snapshot.digest}, found another one")
    final = root / snapshot.name
    with replacing(final) as temporary:
        _write_array(temporary, snapshot, density, inner)
        if final.is_dir() and not _same_files(temporary, final):
            _unmark(root)
            remove(final)
        elif not final.is_dir():
            _unmark(root)


def _write_array(folder: Path, snapshot: Snapshot, density: Float32[np.ndarray, "nx ny nz"], inner: int) -> None:
    nx, ny, nz = snapshot.grid
    slabs = min(nx, math.ceil(snapshot.points / inner))
    thickness = math.ceil(nx / slabs)
    planes = _planes_of_shard(snapshot.grid, thickness)
    with zarr.config.set({"json_indent": None}):
        array = zarr.create_array(
            LocalStore(folder),
            shape=snapshot.grid,
            dtype="float32",
            chunks=(thickness, ny, nz),
            shards=(planes, ny, nz),
            serializer=_BYTES,
            compressors=_COMPRESSORS,
            filters=None,
            fill_value=np.float32(np.nan),  # no density is NaN, so a chunk that is missing is found when it is read
            dimension_names=("i", "j", "k"),
            attributes={"units": "e/Bohr^3", "snapshot": snapshot.to_json()},
        )
        for first in range(0, nx, planes):
            array[first : first + planes] = density[first : first + planes]


def _planes_of_shard(grid: tuple[int, ...], thickness: int) -> int:
    nx, ny, nz = grid
    return thickness * min(math.ceil(nx / thickness), max(1, SHARD_POINTS // (thickness * ny * nz)))


def _same_files(one: Path, other: Path) -> bool:
    files, others = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (one, other)
    )
    return files == others and all(filecmp.cmp(one / path, other / path, shallow=False) for path in files)


def _unmark(root: Path) -> None:
    mark = root / METADATA
    if mark.exists():
        mark.unlink()
        sync(root)


def finish(root: Path, names: Collection[str]) -> str:
    """Declare that the corpus consists of these snapshots: writes its consolidated metadata; returns its digest.

    No writer may be at work: what an interrupted one left is removed.

    Raises:
        WorkError: a snapshot of `names` was not written.
        RequestError: the folder holds a snapshot that is not in `names`.
        DataError: two snapshots have the same content, so their points could not be told apart.
    """
    present = _written(root)
    missing, surplus = sorted(set(names) - set(present)), sorted(set(present) - set(names))
    if missing or not present:
        raise WorkError(
            f"{root}: {len(missing)} of {len(names)} snapshots are not written ({some(missing)}); "
            "ingest again to finish"
        )
    if surplus:
        raise RequestError(
            f"{root}: holds {len(surplus)} snapshots that the source does not have ({some(surplus)}); "
            "remove the folder, or ingest into a new one"
        )
    snapshots = tuple(snapshot_of(name, read_object(present[name], root / name), str(root)) for name in sorted(present))
    names_of: dict[str, str] = {}
    for snapshot in snapshots:
        other = names_of.setdefault(snapshot.digest, snapshot.name)
        if other != snapshot.name:
            raise DataError(
                f"{root}: {other} and {snapshot.name} have the same atoms, cell and density; remove one of them"
            )
    digest = corpus_digest(snapshots)
    for group, content in _consolidate(present, digest).items():
        write_bytes(root / group / METADATA, content)
    return digest


def _written(root: Path) -> dict[str, bytes]:
    """Metadata of each complete array below `root`, by name; temporary leftovers are removed on the way."""
    found = {}
    for parent, folders, files in os.walk(root):
        here = Path(parent)
        for name in [name for name in (*folders, *files) if name.startswith(TEMPORARY)]:
            remove(here / name)
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY)]
        content = (here / METADATA).read_bytes() if METADATA in files else b"{}"
        if read_object(content, here).get("node_type") == "array":
            folders.clear()
            found[here.relative_to(root).as_posix()] = content
    return found


def _consolidate(arrays: dict[str, bytes], digest: str) -> dict[str, bytes]:
    """Metadata of every group by its path, the root (the mark) last. Made in memory: on disk it must appear at once."""
    content: dict[str, AbstractBuffer] = {
        f"{name}/{METADATA}": Buffer.from_bytes(metadata) for name, metadata in arrays.items()
    }
    store = MemoryStore(content)
    with zarr.config.set({"json_indent": None}), warnings.catch_warnings():
        # Consolidated metadata is not in the Zarr v3 specification yet; readers that do not know it ignore it.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=ZarrUserWarning)
        groups = {folder.as_posix() for name in arrays for folder in PurePosixPath(name).parents} - {"."}
        zarr.create_group(store, attributes={"format": FORMAT, "digest": digest, "length": "Bohr", "energy": "Ha"})
        for group in sorted(groups):  # a parent before its children, for they would make it
            zarr.create_group(store, path=group)
        zarr.consolidate_metadata(store)
    ordered = (*sorted(groups), "")
    return {group: content[f"{group}/{METADATA}".lstrip("/")].to_bytes() for group in ordered}


def corpus_digest(snapshots: tuple[Snapshot, ...]) -> str:
    """SHA-256 of the format's name and of the sorted (name, digest, group) of every snapshot as canonical JSON."""
    entries = sorted((snapshot.name, snapshot.digest, snapshot.group) for snapshot in snapshots)
    return hashlib.sha256(FORMAT.encode() + canonical_json(entries)).hexdigest()


@dataclass(frozen=True, eq=False)
class Corpus:
    """A complete corpus, opened for reading; small enough to be sent to every worker.

    Attributes:
        path: folder, or a URL that fsspec knows (`s3://…`).
        snapshots: in order of name.
        digest: `corpus_digest`.
    """

    path: str
    snapshots: tuple[Snapshot, ...]
    digest: str
    _arrays: dict[str, zarr.Array[Any]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}}

    @staticmethod
    def open(path: Path | str) -> "Corpus":
        """Reads the metadata of the whole corpus, one file.

        Raises:
            RequestError: nothing there, not a corpus, an unfinished one, or one of another version.
            DataError: the metadata are damaged.
        """
        path = str(path).rstrip("/")
        root = read_object(read_mark(path), path)
        attributes = root.get("attributes")
        if not isinstance(attributes, dict) or "format" not in attributes:
            raise RequestError(
                f"{path}: expected a corpus (`coreset ingest` makes one), found Zarr data of another kind"
            )
        if attributes["format"] != FORMAT:
            raise RequestError(
                f"{path}: expected the format {FORMAT}, found {str(attributes['format'])[:80]}; "
                "ingest the source again, or use the version of coreset that wrote it"
            )
        members = members_of(root, path)
        names = sorted(name for name, member in members.items() if member.get("node_type") == "array")
        snapshots = tuple(snapshot_of(name, members[name], path) for name in names)
        digest = corpus_digest(snapshots)
        if digest != attributes.get("digest"):
            raise DataError(
                f"{path}/{METADATA}: expected the digest {str(attributes.get('digest'))[:80]}, found {digest}; "
                "ingest again"
            )
        return Corpus(path, snapshots, digest)

    @staticmethod
    def unlisted(path: str) -> "Corpus":
        """For reading the densities of snapshots that are known: the list of all, which may be long, is not read."""
        return Corpus(path, (), "")

    def select(self, pattern: str) -> tuple[Snapshot, ...]:
        """Snapshots whose names match a pattern such as `train/*` (`*` also matches `/`), in order of name.

        Raises:
            RequestError: no name matches.
        """
        return matching(self.snapshots, pattern, f"{self.path}: no snapshot")

    def density(
        self, snapshot: Snapshot, start: int | None = None, stop: int | None = None
    ) -> Float32[np.ndarray, " n"]:
        """Densities at the grid points start ≤ index < stop in C order, e/Bohr³; only their slabs are read.

        Raises:
            RequestError: the range does not lie in the grid.
            DataError: what is stored is damaged or missing.
        """
        start, stop = 0 if start is None else start, snapshot.points if stop is None else stop
        if not 0 <= start <= stop <= snapshot.points:
            raise RequestError(
                f"{snapshot.name}: expected 0 <= start <= stop <= {snapshot.points}, found start={start}, stop={stop}"
            )
        plane = snapshot.grid[1] * snapshot.grid[2]
        first, last = start // plane, -(-stop // plane)
        array = self._array(snapshot)
        assert array.shards is not None  # as it was opened
        within = array.shards[0]
        file = f"{self.path}/{snapshot.name}/c"
        if first // within == (last - 1) // within:
            file += f"/{first // within}/0/0"
        try:
            planes = np.asarray(array[first:last], dtype=np.float32)
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            expect_no_failure_of_the_system(error)
            raise DataError(
                f"{snapshot.name}: {file} is damaged ({brief(error)}); copy the corpus again, or ingest again"
            ) from error
        values = planes.reshape(-1)[start - first * plane : stop - first * plane]
        if not (finite := np.isfinite(values)).all():
            if np.isnan(values).any():
                found = f"{file} is missing or lacks a part"
            else:
                bad = int(np.argmin(finite))
                found = f"{file}: expected finite densities, found {values[bad]} at point {start + bad}"
            raise DataError(f"{snapshot.name}: {found}; copy the corpus again, or ingest again")
        return values

    def verify(self, snapshot: Snapshot) -> None:
        """Reads the whole density and compares the digest of the content.

        Raises:
            DataError: they differ, or the data are damaged.
        """
        plane = snapshot.grid[1] * snapshot.grid[2]
        thick = max(1, SHARD_POINTS // plane)
        planes = (
            each
            for first in range(0, snapshot.points, thick * plane)
            for each in self.density(snapshot, first, min(first + thick * plane, snapshot.points)).reshape(-1, plane)
        )
        digest = digest_of_planes(snapshot.cell, snapshot.numbers, snapshot.positions, snapshot.grid, planes)
        if digest != snapshot.digest:
            raise DataError(
                f"{self.path}/{snapshot.name}: expected the digest {snapshot.digest}, found {digest}; ingest again"
            )

    def _array(self, snapshot: Snapshot) -> zarr.Array[Any]:
        array = self._arrays.get(snapshot.name)
        if array is None:
            array = _open_array(self.path, snapshot)
            self._arrays.clear()  # a scan goes from snapshot to snapshot, and would hold them all
            self._arrays[snapshot.name] = array
        return array


def _open_array(path: str, snapshot: Snapshot) -> zarr.Array[Any]:
    """The array of a snapshot, whose metadata say of it, and of its own form, what this module writes.

    The crc32c of a chunk knows neither the type of its numbers nor the atoms: the metadata, which the corpus holds
    twice, must tell the same.
    """
    file = f"{path}/{snapshot.name}/{METADATA}"
    try:
        array = zarr.open_array(open_store(path) if "://" in path else path, path=snapshot.name, mode="r")
        stored = Snapshot.from_json(snapshot.name, array.attrs.get("snapshot"))
        told, known = canonical_json(stored.to_json()), canonical_json(snapshot.to_json())
        same = told == known and array.shape == snapshot.grid and _as_written(array)
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        # All that Zarr can raise for metadata that are none.
        expect_no_failure_of_the_system(error)
        raise DataError(
            f"{snapshot.name}: {file} is damaged ({brief(error)}); copy the corpus again, or ingest again"
        ) from error
    if not same:
        raise DataError(
            f"{snapshot.name}: {file} is damaged (its metadata are not those of the corpus); "
            "copy the corpus again, or ingest again"
        )
    return array


def _as_written(array: zarr.Array[Any]) -> bool:
    _, ny, nz = array.shape
    thickness = array.chunks[0]
    codec = ShardingCodec(
        chunk_shape=(thickness, ny, nz),
        codecs=(_BYTES, *_COMPRESSORS),
        index_codecs=(_BYTES, Crc32cCodec()),
        index_location="end",
    )
    return (
        array.dtype == np.float32
        and np.isnan(array.fill_value)
        and array.shards == (_planes_of_shard(array.shape, thickness), ny, nz)
        and [each.to_dict() for each in getattr(array.metadata, "codecs", ())] == [codec.to_dict()]
    )


def expect_no_failure_of_the_system(error: Exception) -> None:
    """Raises an error that tells nothing of what is stored, such as that of a network, which may pass."""
    if isinstance(error, ConnectionError | TimeoutError):
        raise error
    if isinstance(error, OSError) and error.errno not in (None, errno.EISDIR, errno.ELOOP, errno.ENOTDIR):
        raise error

"""The manifest: written last, it says that an artifact is whole, what made it and what each shard must hash to."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from coreset.artifacts.remote import Location, RemotePath, in_parallel, keep_json
from coreset.atomic import canonical_json, files_below, parse_json, remove, replacing, sha256_file
from coreset.errors import DataError, WorkError, brief

MANIFEST = "manifest.json"
TIMINGS = "timings.json"
"""Seconds that each shard took, by part, and what its process held; outside the manifest, for runs differ in them."""
_LIBRARIES = ("coreset-ray", "faiss-cpu", "numba", "numpy", "pyarrow", "ray", "scipy", "torch", "zarr")


class _Record(BaseModel):
    """The types of what a shard's record holds; without a name or files, no part finds it."""

    model_config = ConfigDict(strict=True)

    name: str = ""
    files: Annotated[dict[str, dict[str, Any]], Field(min_length=1)] = {}
    figures: dict[str, Any]


class _Statement(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    checksum: str = ""
    recipe: dict[str, Any] = {}
    software: dict[str, str] = {}
    digest: str = ""
    figures: dict[str, Any] = {}
    shards: list[_Record] = []


_TIMINGS = TypeAdapter(dict[str, dict[str, float]], config=ConfigDict(strict=True))


def software() -> dict[str, str]:
    """The versions that byte identity is promised for."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions


def shard_record(name: str, path: Path, figures: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of a shard: every file's size and SHA-256, relative to the artifact, and the figures."""
    files = {
        (PurePosixPath(path.name) / file.relative_to(path).as_posix()).as_posix() if path.is_dir() else path.name: {
            "bytes": file.stat().st_size,
            "sha256": sha256_file(file),
        }
        for file in files_below(path)
    }
    return {"name": name, "files": files, "figures": figures}


def checksum(manifest: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a manifest, or a record, without its own, so that no figure changes unseen."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(canonical_json(rest)).hexdigest()


def sealed(statement: dict[str, Any]) -> dict[str, Any]:
    """A statement with its checksum."""
    stated = parse_json(canonical_json(statement))  # as it will be read: keys are text, and lie in another order
    return {**stated, "checksum": checksum(stated)}


def write_manifest(path: Location, statement: dict[str, Any]) -> None:
    """Writes the mark of completeness, with its checksum."""
    keep_json(path, sealed(statement))


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: shards and their manifest.

    What reads the manifest raises DataError for one that is damaged, or that names files outside of the folder.
    """

    folder: Location

    @property
    def stands(self) -> bool:
        """Whether it is whole; a plan has promises of artifacts that are not made yet."""
        return (self.folder / MANIFEST).is_file()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest, read once. Raises DataError where it is not what was written."""
        path = self.folder / MANIFEST
        manifest: dict[str, Any] = self._read(path, _Statement)
        if manifest.get("checksum") != checksum(manifest):
            raise DataError(f"{path}: its content is not what its checksum says, or it has none; {self._way_out}.")
        return manifest

    def _read(self, path: Location, model: type[BaseModel] | TypeAdapter) -> Any:
        try:
            found = parse_json(path.read_bytes())
            model.validate_python(found) if isinstance(model, TypeAdapter) else model.model_validate(found)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(map(str, problem["loc"]))[:80]
            raise DataError(f"{path}: {key}: {problem['msg']}; {self._way_out}.") from None
        except ValueError as error:
            raise DataError(f"{path}: expected JSON, found a damaged file ({brief(error)}); {self._way_out}.") from None
        return found

    def _stated(self, key: str) -> Any:
        if key not in self.manifest:
            raise DataError(f"{self.folder / MANIFEST}: expected {key!r}, found none; {self._way_out}.")
        return self.manifest[key]

    @property
    def digest(self) -> str:
        """The recipe's digest, by which later stages refer to this artifact."""
        digest: str = self._stated("digest")
        return digest

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the whole."""
        figures: dict[str, Any] = self._stated("figures")
        return figures

    @property
    def shards(self) -> list[dict[str, Any]]:
        """The shards' records, in order of the parts."""
        shards: list[dict[str, Any]] = self._stated("shards")
        return shards

    @cached_property
    def timings(self) -> dict[str, dict[str, float]]:
        """Of each shard, by its part; empty where unknown.

        `seconds` (wall) and `cpu_seconds`, those of its phases, and `peak_bytes`, which its process held at most.
        """
        try:
            timings: dict[str, dict[str, float]] = self._read(self.folder / TIMINGS, _TIMINGS)
        except FileNotFoundError:
            return {}
        return timings

    @property
    def _way_out(self) -> str:
        return way_out_of(self.folder)

    @cached_property
    def _files(self) -> dict[str, dict[str, dict[str, Any]]]:
        whole = (shard for shard in self.shards if "name" in shard and "files" in shard)
        return {shard["name"]: shard["files"] for shard in whole}

    def path(self, name: str) -> Path:
        """The file or folder of the shard whose part is called `name`, on this machine, found to be what was written.

        Raises WorkError where there is no such part, DataError for a file that is missing or was changed. A process
        reads each file for this once, unless its size or time changes.
        """
        files = self._files.get(name)
        if files is None:
            raise WorkError(f"{self.folder}: expected a shard of part {name!r}, found none.")
        here = copies_of(self.folder)
        key = (self.folder, name, self.manifest["checksum"], *(_stamp(here / file) for file in files))
        if key not in _found_good:
            find_shard(self.folder, files)
            if len(_found_good) >= _REMEMBERED:
                _found_good.clear()
            if None not in key:  # what is fetched only now is looked at once more
                _found_good.add(key)
        return _root(here, files)


_found_good: set[tuple[Any, ...]] = set()
"""The shards that this process has looked at, with size and time of each file."""
_REMEMBERED = 10_000


def way_out_of(folder: Location) -> str:
    """What to do where an artifact is damaged."""
    return f"remove {folder} and run again, which computes it anew"


def copies_of(folder: Location) -> Path:
    """Where the files of an artifact are read: where it lies, or in its mirror."""
    return folder.mirror if isinstance(folder, RemotePath) else folder


def find_shard(folder: Location, files: dict[str, dict[str, Any]]) -> Path:
    """The file or folder, on this machine, that holds these files of a shard; they are found to be as stated.

    Those of a store at a URL are fetched, unless they were before. Raises DataError as `verify_files`.
    """
    if isinstance(folder, RemotePath):
        in_parallel(lambda name: _fetch(folder, name, files[name]), files)
    else:
        for _ in verify_files(folder, files, way_out_of(folder)):
            pass
    return _root(copies_of(folder), files)


def _fetch(folder: RemotePath, name: str, stated: dict[str, Any]) -> None:
    copy, place = inside(folder.mirror, name, folder), folder / name
    try:
        _expect(copy, stated, place, "")
    except DataError:
        with replacing(copy) as temporary:
            try:
                place.fetch(temporary)
            except FileNotFoundError:
                remove(temporary)
            _expect(temporary, stated, place, way_out_of(folder))


def _root(folder: Path, files: dict[str, dict[str, Any]]) -> Path:
    file = inside(folder, next(iter(files)))
    return folder / file.relative_to(folder).parts[0]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def inside(folder: Path, name: str, place: Location | None = None) -> Path:
    """The file of this name below a folder. Raises DataError for a name, or a link, that leads outside.

    place: the folder's name in the message, where it is the mirror of another.
    """
    relative = PurePosixPath(name)
    path = folder / relative
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
        within = False
    if not within or not relative.parts or relative.is_absolute() or ".." in relative.parts:
        raise DataError(
            f"{(place or folder) / MANIFEST}: file name {name[:80]!r} leads outside the folder; do not trust this copy."
        )
    return path


def verify_files(
    folder: Path, files: dict[str, dict[str, Any]], way_out: str = "copy the folder again"
) -> Iterator[str]:
    """Yields each file's name once its size and SHA-256 are found to be those stated.

    Raises DataError for a missing or changed file, or for a name that leads outside the folder.
    """
    for name, stated in files.items():
        path = inside(folder, name)
        _expect(path, stated, path, way_out)
        yield name


def _expect(path: Path, stated: dict[str, Any], place: Location, way_out: str) -> None:
    """Raises DataError, naming the place, unless the file has the size and the SHA-256 that are stated."""
    try:
        there = path.is_file()
    except OSError:  # a name longer than any file's
        there = False
    if not there:
        raise DataError(f"{place}: expected by {MANIFEST}, found no file; {way_out}.")
    size = path.stat().st_size
    if size != stated["bytes"]:
        raise DataError(f"{place}: expected {stated['bytes']} bytes, found {size}; {way_out}.")
    if sha256_file(path) != stated["sha256"]:
        raise DataError(
            f"{place}: its SHA-256 is not the one in {MANIFEST}, so it was changed after it was written; {way_out}."
        )

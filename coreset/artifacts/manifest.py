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

from coreset.atomic import canonical_json, files_below, parse_json, sha256_file, write_json
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
    """SHA-256 of a manifest's canonical JSON without its own checksum, so that no figure in it changes unseen."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(canonical_json(rest)).hexdigest()


def write_manifest(path: Path, statement: dict[str, Any]) -> None:
    """Writes the mark of completeness, with its checksum."""
    stated = parse_json(canonical_json(statement))  # as it will be read: keys are text, and lie in another order
    write_json(path, {**stated, "checksum": checksum(stated)})


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: shards and their manifest.

    What reads the manifest raises DataError for one that is damaged, or that names files outside of the folder.
    """

    folder: Path

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

    def _read(self, path: Path, model: type[BaseModel] | TypeAdapter) -> Any:
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
        return f"remove {self.folder} and run again, which computes it anew"

    @cached_property
    def _files(self) -> dict[str, dict[str, dict[str, Any]]]:
        whole = (shard for shard in self.shards if "name" in shard and "files" in shard)
        return {shard["name"]: shard["files"] for shard in whole}

    def path(self, name: str) -> Path:
        """The file or folder of the shard whose part is called `name`, found to be what was written.

        Raises WorkError where there is no such part, DataError for a file that is missing or was changed. A process
        reads each file for this once, unless its size or time changes.
        """
        files = self._files.get(name)
        if files is None:
            raise WorkError(f"{self.folder}: expected a shard of part {name!r}, found none.")
        key = (self.folder, name, self.manifest["checksum"], *(_stamp(self.folder / file) for file in files))
        if key not in _found_good:
            for _ in verify_files(self.folder, files, self._way_out):
                pass
            if len(_found_good) >= _REMEMBERED:
                _found_good.clear()
            _found_good.add(key)
        file = inside(self.folder, next(iter(files)))
        return self.folder / file.relative_to(self.folder).parts[0]


_found_good: set[tuple[Any, ...]] = set()
"""The shards that this process has looked at, with size and time of each file."""
_REMEMBERED = 10_000


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def inside(folder: Path, name: str) -> Path:
    """The file of this name below a folder. Raises DataError for a name, or a link, that leads outside."""
    relative = PurePosixPath(name)
    path = folder / relative
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
        within = False
    if not within or not relative.parts or relative.is_absolute() or ".." in relative.parts:
        raise DataError(
            f"{folder / MANIFEST}: file name {name[:80]!r} leads outside the folder; do not trust this copy."
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
        try:
            there = path.is_file()
        except OSError:  # a name longer than any file's
            there = False
        if not there:
            raise DataError(f"{path}: expected by {MANIFEST}, found no file; {way_out}.")
        size = path.stat().st_size
        if size != stated["bytes"]:
            raise DataError(f"{path}: expected {stated['bytes']} bytes, found {size}; {way_out}.")
        if sha256_file(path) != stated["sha256"]:
            raise DataError(
                f"{path}: its SHA-256 is not the one in {MANIFEST}, so it was changed after it was written; {way_out}."
            )
        yield name

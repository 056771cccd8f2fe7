"""The manifest: written last, it says that an artifact is whole, what made it and what each shard must hash to."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from coreset.atomic import canonical_json, files_below, sha256_file
from coreset.errors import DataError, WorkError

MANIFEST = "manifest.json"
TIMINGS = "timings.json"
"""Seconds that each shard took, by part, and what its process held; outside the manifest, for runs differ in them."""
_LIBRARIES = ("coreset-ray", "faiss-cpu", "numba", "numpy", "pyarrow", "ray", "scipy", "torch", "zarr")


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
    """SHA-256 of a manifest's canonical JSON without its own checksum, so that an edited recipe is seen too."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(canonical_json(rest)).hexdigest()


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with its checksum."""
    return {**manifest, "checksum": checksum(manifest)}


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: shards and their manifest."""

    folder: Path

    @property
    def stands(self) -> bool:
        """Whether it is whole; a plan has promises of artifacts that are not made yet."""
        return (self.folder / MANIFEST).is_file()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest, read once. Raises DataError where it is not what was written."""
        path = self.folder / MANIFEST
        try:
            manifest: dict[str, Any] = json.loads(path.read_bytes())
            whole = manifest["checksum"] == checksum(manifest)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise DataError(f"{path}: its content is not what its checksum says, or it has none; {self._way_out}.")
        return manifest

    @property
    def digest(self) -> str:
        """The recipe's digest, by which later stages refer to this artifact."""
        digest: str = self.manifest["digest"]
        return digest

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the whole."""
        figures: dict[str, Any] = self.manifest["figures"]
        return figures

    @property
    def shards(self) -> list[dict[str, Any]]:
        """The shards' records, in order of the parts."""
        shards: list[dict[str, Any]] = self.manifest["shards"]
        return shards

    @cached_property
    def timings(self) -> dict[str, dict[str, float]]:
        """Of each shard, by its part; empty where unknown.

        `seconds` (wall) and `cpu_seconds`, those of its phases, and `peak_bytes`, which its process held at most.
        """
        try:
            timings: dict[str, dict[str, float]] = json.loads((self.folder / TIMINGS).read_bytes())
        except FileNotFoundError:
            return {}
        return timings

    @property
    def _way_out(self) -> str:
        return f"remove {self.folder} and run again, which computes it anew"

    @cached_property
    def _files(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {shard["name"]: shard["files"] for shard in self.shards}

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
        return self.folder / PurePosixPath(next(iter(files))).parts[0]


_found_good: set[tuple[Any, ...]] = set()
"""The shards that this process has looked at, with size and time of each file."""
_REMEMBERED = 10_000


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def inside(folder: Path, name: str) -> Path:
    """The file of this name below a folder. Raises DataError for a name, or a link, that leads outside."""
    relative = PurePosixPath(name)
    path = folder / relative
    if relative.is_absolute() or ".." in relative.parts or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder / MANIFEST}: file name {name!r} leads outside the folder; do not trust this copy.")
    return path


def verify_files(
    folder: Path, files: dict[str, dict[str, Any]], way_out: str = "copy the folder again"
) -> Iterator[str]:
    """Yields each file's name once its size and SHA-256 are found to be those stated.

    Raises DataError for a missing or changed file, or for a name that leads outside the folder.
    """
    for name, stated in files.items():
        path = inside(folder, name)
        if not path.is_file():
            raise DataError(f"{path}: expected by {MANIFEST}, found no file; {way_out}.")
        size = path.stat().st_size
        if size != stated["bytes"]:
            raise DataError(f"{path}: expected {stated['bytes']} bytes, found {size}; {way_out}.")
        if sha256_file(path) != stated["sha256"]:
            raise DataError(
                f"{path}: its SHA-256 is not the one in {MANIFEST}, so it was changed after it was written; {way_out}."
            )
        yield name

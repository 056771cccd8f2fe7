"""`materialize`: the artifact of a stage, computing only the shards that are missing. So to resume is to run again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coreset.artifacts.executor import Executor, SerialExecutor
from coreset.artifacts.manifest import (
    MANIFEST,
    TIMINGS,
    Artifact,
    checksum,
    find_shard,
    sealed,
    shard_record,
    software,
    write_manifest,
)
from coreset.artifacts.remote import Location, RemotePath, in_parallel, keep_json
from coreset.artifacts.stage import Context, Part, Stage, forget_peak_memory, peak_memory, timed
from coreset.atomic import TEMPORARY, parse_json, remove, replacing
from coreset.errors import WorkError

_RECORDS = ".records"
"""Holds one file per shard until the manifest takes them all over."""


@dataclass(frozen=True)
class _Site:
    """One artifact under construction."""

    stage: Stage
    shared: Any
    folder: Location

    def shard(self, part: Part) -> str:
        return f"{part.stem}{self.stage.suffix}"

    def record(self, part: Part) -> str:
        return f"{_RECORDS}/{part.stem}.json"

    def missing(self) -> list[Part]:
        parts = self.stage.parts()
        if isinstance(self.folder, RemotePath):
            found = self._put_so_far(self.folder)
            return [part for part in parts if part.name not in found]
        return [part for part in parts if not self._stands(part)]

    def _stands(self, part: Part) -> bool:
        """Whether the part's shard is whole."""
        if isinstance(self.folder, RemotePath):
            folder = self.folder
            return self._put(part, lambda name: (folder / name).size) is not None
        return (self.folder / self.shard(part)).exists() and self._recorded(part) is not None

    def _recorded(self, part: Part) -> dict[str, Any] | None:
        """The part's record; None where there is none, or a damaged one, whose part is made again."""
        try:
            record: dict[str, Any] = parse_json((self.folder / self.record(part)).read_bytes())
            whole = record["checksum"] == checksum(record)
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
            return None
        return record if whole else None

    def _put_so_far(self, folder: RemotePath) -> dict[str, Any]:
        """By part, the records of the shards that are whole in a store at a URL."""
        there = folder.sizes()
        parts = [part for part in self.stage.parts() if self.record(part) in there]
        records = in_parallel(lambda part: self._put(part, there.get), parts)
        return {part.name: record for part, record in zip(parts, records, strict=True) if record is not None}

    def _put(self, part: Part, size: Callable[[str], int | None]) -> dict[str, Any] | None:
        """The part's record if every file that it states has its size: they were put one by one, in any order."""
        record = self._recorded(part)
        if record is None:
            return None
        whole = all(size(name) == stated["bytes"] for name, stated in record["shard"]["files"].items())
        return record if whole else None

    def produce(self, part: Part, context: Context) -> None:
        final, record = self.shard(part), self.folder / self.record(part)
        if context.team.agreed(self._stands(part)):
            return  # an attempt before this one, in a group that was started again, has made it
        if context.team.rank:
            with tempfile.TemporaryDirectory(prefix="coreset-rank-") as scratch:
                self.stage.compute(part, self.shared, Path(scratch) / final, context)
            return
        try:
            if isinstance(self.folder, RemotePath):
                with self.folder.scratch() as here:
                    made = self._make(part, here / final, context)
                    self.folder.take(here / final)
                    keep_json(record, sealed(made))
            else:
                with replacing(self.folder / final) as temporary:
                    # The record goes first: a shard that stands under its final name always has one.
                    keep_json(record, sealed(self._make(part, temporary, context)))
        except OSError:
            # Another run that shares the store may have finished the artifact meanwhile, and swept this shard's place.
            if not self.manifest.is_file():
                raise

    def _make(self, part: Part, path: Path, context: Context) -> dict[str, Any]:
        """Computes the shard at a path, under any name; returns its record."""
        forget_peak_memory()
        with timed(context.spent):
            figures = self.stage.compute(part, self.shared, path, context)
        context.spent["peak_bytes"] = float(peak_memory())
        record, final = shard_record(part.name, path, figures), self.shard(part)
        record["files"] = {name.replace(path.name, final, 1): stated for name, stated in record["files"].items()}
        return {"shard": record, "spent": context.spent}

    @property
    def manifest(self) -> Location:
        return self.folder / MANIFEST

    def finish(self) -> None:
        try:
            if not self.manifest.is_file():
                records = self._records()
                shards = [record["shard"] for record in records]
                # Not in the manifest: what was made does not depend on how long it took.
                timings = {record["shard"]["name"]: record["spent"] for record in records}
                keep_json(self.folder / TIMINGS, timings)
                write_manifest(self.manifest, self._statement(shards))
        except FileNotFoundError:
            if not self.manifest.is_file():
                raise

    def _records(self) -> list[dict[str, Any]]:
        """Those of all parts. Raises FileNotFoundError where a shard, or its record, is not there or not whole."""
        parts = self.stage.parts()
        there = self._put_so_far(self.folder) if isinstance(self.folder, RemotePath) else None
        found = [self._recorded(part) if there is None else there.get(part.name) for part in parts]
        for part, record in zip(parts, found, strict=True):
            if record is None:
                raise FileNotFoundError(
                    f"{self.folder / self.shard(part)}: expected what was put there, found it missing or cut short"
                )
        return [record for record in found if record is not None]

    def _find(self, record: dict[str, Any], below: str = "") -> Path:
        files = record["files"]
        if below:
            files = {name: stated for name, stated in files.items() if name.split("/")[1] == below}
        return find_shard(self.folder, files)

    def _statement(self, shards: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "recipe": self.stage.recipe(),
            "digest": self.stage.digest,
            "software": software(),
            "shards": shards,
            "figures": self.stage.figures(self.shared, shards, self._find),
        }


def shards_so_far(folder: Location) -> int:
    """How many shards of an artifact are made that is not whole."""
    records = folder / _RECORDS
    if isinstance(records, RemotePath):
        return len(records.sizes())
    return sum(not path.name.startswith(".") for path in records.glob("*.json"))


def _tidy(folder: Location) -> None:
    """Removes from a whole artifact what its making left."""
    if isinstance(folder, RemotePath):
        records = folder / _RECORDS
        in_parallel(lambda name: (records / name).remove(), records.sizes())
        return
    if folder.is_symlink():
        return  # what it leads to is another's
    for entry in folder.iterdir():
        if entry.name == _RECORDS or entry.name.startswith(TEMPORARY):
            remove(entry)


@dataclass(frozen=True)
class _Produce:
    """The function that every executor maps: picklable, and the same for all."""

    sites: dict[str, _Site] = field(repr=False)

    def __call__(self, digest: str, part: Part, context: Context) -> None:
        site = self.sites[digest]
        try:
            site.produce(part, context)
        except Exception as error:
            told = WorkError(OUT_OF_MEMORY.format(what=site.stage.title)) if is_of_memory(error) else error
            told.add_note(f"part {part.name!r} of {site.stage.title}, {site.folder.name}")
            raise told from error.__cause__ if told is error else error


OUT_OF_MEMORY = (
    "{what}: there was not enough memory; lower cluster.workers or training.cache, or use a machine that has more, "
    "and run again: what was finished is kept."
)


def is_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: PyTorch has an exception of its own for that on a GPU, and on the CPU none but a text."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return "MemoryError" in names or "OutOfMemoryError" in names or "can't allocate memory" in str(error)


def is_done(stage: Stage, root: Location) -> bool:
    """Whether the stage's artifact is whole."""
    return Artifact(root / stage.folder).stands


def materialize(stage: Stage, *, root: Location, executor: Executor) -> Artifact:
    """The artifact of one stage under the store `root`."""
    return materialize_all([stage], root=root, executor=executor)[0]


def materialize_all(stages: Sequence[Stage], *, root: Location, executor: Executor) -> list[Artifact]:
    """The artifacts of several stages that run in the same place, mapped together so that they share one start-up."""
    wanted = {stage.digest: stage for stage in stages if not is_done(stage, root)}
    prepared = zip(wanted.items(), executor.prepare(list(wanted.values())), strict=True)
    sites = {digest: _Site(stage, shared, root / stage.folder) for (digest, stage), shared in prepared}
    parts = [(digest, part) for digest, site in sites.items() for part in site.missing()]
    if parts:
        executor.map(_Produce(sites), parts, stages[0].place, stages[0].title)
    for site in sites.values():
        site.finish()
    made = [Artifact(root / stage.folder) for stage in stages]
    for artifact in made:
        # Also where it stood already: what wrote its manifest may have been killed before it could tidy up.
        _tidy(artifact.folder)
    return made


@dataclass(frozen=True)
class Store:
    """Materializes into one folder; stages of one part in this process, as starting others would gain nothing."""

    root: Location
    executor: Executor

    def __call__(self, stages: Sequence[Stage]) -> list[Artifact]:
        """The artifacts of some stages."""
        several = max(len(stage.parts()) for stage in stages) > 1
        executor = self.executor if several else SerialExecutor(self.executor.progress)
        return materialize_all(stages, root=self.root, executor=executor)

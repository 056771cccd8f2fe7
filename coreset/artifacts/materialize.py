"""`materialize`: the artifact of a stage, computing only the shards that are missing. So to resume is to run again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coreset.artifacts.executor import Executor, SerialExecutor
from coreset.artifacts.manifest import MANIFEST, TIMINGS, Artifact, shard_record, software, write_manifest
from coreset.artifacts.stage import Context, Part, Stage, forget_peak_memory, peak_memory, timed
from coreset.atomic import TEMPORARY, remove, replacing, write_json
from coreset.errors import WorkError

_RECORDS = ".records"
"""Holds one file per shard until the manifest takes them all over."""


@dataclass(frozen=True)
class _Site:
    """One artifact under construction."""

    stage: Stage
    shared: Any
    folder: Path

    def shard(self, part: Part) -> Path:
        return self.folder / f"{part.stem}{self.stage.suffix}"

    def record(self, part: Part) -> Path:
        return self.folder / _RECORDS / f"{part.stem}.json"

    def missing(self) -> list[Part]:
        return [part for part in self.stage.parts() if not (self.shard(part).exists() and self.record(part).exists())]

    def produce(self, part: Part, context: Context) -> None:
        final = self.shard(part)
        if context.team.agreed(final.exists() and self.record(part).exists()):
            return  # an attempt before this one, in a group that was started again, has made it
        if context.team.rank:
            with tempfile.TemporaryDirectory(prefix="coreset-rank-") as scratch:
                self.stage.compute(part, self.shared, Path(scratch) / final.name, context)
            return
        try:
            with replacing(final) as temporary:
                forget_peak_memory()
                with timed(context.spent):
                    figures = self.stage.compute(part, self.shared, temporary, context)
                context.spent["peak_bytes"] = float(peak_memory())
                # The record goes first: a shard that stands under its final name always has one.
                record = shard_record(part.name, temporary, figures)
                record["files"] = {
                    name.replace(temporary.name, final.name, 1): stated for name, stated in record["files"].items()
                }
                write_json(self.record(part), {"shard": record, "spent": context.spent})
        except OSError:
            # Another run that shares the store may have finished the artifact meanwhile, and swept this shard's place.
            if not self.manifest.is_file():
                raise

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST

    def finish(self) -> None:
        try:
            if not self.manifest.is_file():
                records = [json.loads(self.record(part).read_bytes()) for part in self.stage.parts()]
                shards = [record["shard"] for record in records]
                # Not in the manifest: what was made does not depend on how long it took.
                timings = {record["shard"]["name"]: record["spent"] for record in records}
                write_json(self.folder / TIMINGS, timings)
                write_manifest(self.manifest, self._statement(shards))
        except FileNotFoundError:
            if not self.manifest.is_file():
                raise

    def _statement(self, shards: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "recipe": self.stage.recipe(),
            "digest": self.stage.digest,
            "software": software(),
            "shards": shards,
            "figures": self.stage.figures(self.shared, shards, self.folder),
        }


def _tidy(folder: Path) -> None:
    """Removes from a whole artifact what its making left."""
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
            told = WorkError(OUT_OF_MEMORY.format(what=site.stage.title)) if _is_of_memory(error) else error
            told.add_note(f"part {part.name!r} of {site.stage.title}, {site.folder.name}")
            raise told from error.__cause__ if told is error else error


OUT_OF_MEMORY = (
    "{what}: there was not enough memory; lower cluster.workers or training.cache, or use a machine that has more, "
    "and run again: what was finished is kept."
)


def _is_of_memory(error: Exception) -> bool:
    """PyTorch has an exception of its own for that on a GPU, and on the CPU none but a text."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return "MemoryError" in names or "OutOfMemoryError" in names or "can't allocate memory" in str(error)


def is_done(stage: Stage, root: Path) -> bool:
    """Whether the stage's artifact is whole."""
    return Artifact(root / stage.folder).stands


def materialize(stage: Stage, *, root: Path, executor: Executor) -> Artifact:
    """The artifact of one stage under the store `root`."""
    return materialize_all([stage], root=root, executor=executor)[0]


def materialize_all(stages: Sequence[Stage], *, root: Path, executor: Executor) -> list[Artifact]:
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

    root: Path
    executor: Executor

    def __call__(self, stages: Sequence[Stage]) -> list[Artifact]:
        """The artifacts of some stages."""
        several = max(len(stage.parts()) for stage in stages) > 1
        executor = self.executor if several else SerialExecutor(self.executor.progress)
        return materialize_all(stages, root=self.root, executor=executor)

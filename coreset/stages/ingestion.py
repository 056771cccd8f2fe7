"""Raw files, or another corpus, into the corpus format: one snapshot per part, checked before it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from coreset.artifacts.executor import Executor
from coreset.artifacts.stage import Context, Part
from coreset.corpus.checks import Checks
from coreset.corpus.formats import source as formats
from coreset.corpus.metadata import METADATA
from coreset.corpus.naming import Naming
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.store import SLAB_POINTS, Corpus, finish, write_snapshot
from coreset.errors import RequestError


@dataclass(frozen=True)
class Source:
    """What is to be ingested: snapshots, each with a name, and how one is read."""

    items: Sequence[Any]
    read: Callable[[Any], tuple[Snapshot, np.ndarray]]


def open_source(source: Path, checks: Checks, naming: Naming, fresh: bool = False) -> Source:
    """The files of any format, a tree or a tar of them; or a corpus to be re-sharded. Headers are read, and no more.

    Raises DataError for a corpus with a name that is no path below it; RequestError for anything else, for names that
    `naming` cannot use, and where `fresh` says that names or atoms are to be read in a certain way but the source is a
    corpus, which has them already.
    """
    if (source / METADATA).is_file():
        if fresh:
            raise RequestError(
                f"{source}: --group, --temperature and --wrap apply to raw files, found a corpus; leave them out."
            )
        corpus = Corpus.open(source)
        return Source(corpus.snapshots, partial(_from_corpus, corpus))
    found = formats.find(source)
    for each in found:
        naming.group_of(each.name)
        naming.temperature_of(each.name)
        formats.check(each)
    return Source(found, partial(formats.read, checks, naming))


def ingest(source: Source, destination: Path, executor: Executor, *, inner: int = SLAB_POINTS) -> str:
    """Writes the corpus and returns its digest; a snapshot that stands already is read again and kept.

    Raises RequestError when the destination is no corpus but something else, DataError for bad data.
    """
    if destination.exists() and not destination.is_dir():
        raise RequestError(f"{destination}: expected a folder to write the corpus into, found a file.")
    if destination.is_dir() and any(destination.iterdir()) and not _holds_a_corpus(destination):
        raise RequestError(
            f"{destination}: expected a new folder or a corpus, found other files; choose another folder."
        )
    work = partial(_write, source.read, destination, inner)
    parts = [("", Part(item.name, item)) for item in source.items]
    executor.map(work, parts, "data", "ingestion")
    return finish(destination, [item.name for item in source.items])


def _holds_a_corpus(folder: Path) -> bool:
    return any(folder.rglob(METADATA))


def _from_corpus(corpus: Corpus, snapshot: Snapshot) -> tuple[Snapshot, np.ndarray]:
    return snapshot, corpus.density(snapshot).reshape(snapshot.grid)


def _write(
    read: Callable[[Any], tuple[Snapshot, np.ndarray]],
    destination: Path,
    inner: int,
    _: str,
    part: Part,
    context: Context,
) -> None:
    write_snapshot(destination, *read(part.payload), inner=inner)

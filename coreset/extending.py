"""`coreset extend`: new snapshots for a published coreset, without going back to the corpus that it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coreset.artifacts.executor import Executor
from coreset.artifacts.manifest import Artifact, software
from coreset.artifacts.materialize import Store
from coreset.artifacts.stage import Stage
from coreset.corpus.described_set import DescribedSet
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.errors import RequestError
from coreset.publishing.dataset import Dataset, open_dataset
from coreset.publishing.kept_set import KeptSet
from coreset.publishing.package import CARD, FORMAT, snapshots_digest, write_folder
from coreset.publishing.verify import verify
from coreset.stages.asked import PROBES, Asked
from coreset.stages.audit import Nearby, Scan, parts_of
from coreset.stages.extension import Added, AddedPoints, Described, Novel
from coreset.stages.extraction import Extraction
from coreset.stages.space import Space

PROBED = 2_000
"""Kept points whose nearest other kept point is looked for, for the default radius."""

Materialize = Callable[[Sequence[Stage]], list[Artifact]]


@dataclass(frozen=True)
class Extension:
    """A checked request."""

    dataset: Dataset
    kept: KeptSet
    new: SnapshotSet
    """The snapshots that the coreset does not know."""
    known: tuple[str, ...]
    """Names of those that it does: their points were selected from once."""
    corpus: str
    """Digest of the new corpus."""
    radius: float | None
    """None takes the median spacing of the coreset: see `spacing`."""
    seed: int

    @classmethod
    def of(cls, coreset: Path, new: SnapshotSet, corpus: str, radius: float | None, seed: int) -> Extension:
        """Raises RequestError for a snapshot whose name the coreset has for another, and where nothing is new."""
        kept = KeptSet.open(coreset.resolve())
        dataset = open_dataset(kept.path)
        assert isinstance(dataset, Dataset)
        digests = {snapshot.digest for snapshot in dataset.known.values()}
        fresh = tuple(snapshot for snapshot in new.snapshots if snapshot.digest not in digests)
        for snapshot in fresh:
            if snapshot.name in dataset.known:
                raise RequestError(
                    f"{new.corpus}: {snapshot.name}: expected a name that is new to {dataset.path}, found that of "
                    "another snapshot there; give the new one another name."
                )
        if not fresh:
            raise RequestError(f"{new.corpus}: expected snapshots that {dataset.path} does not know, found none.")
        known = tuple(snapshot.name for snapshot in new.snapshots if snapshot.digest in digests)
        return cls(dataset, kept, SnapshotSet(new.corpus, fresh), known, corpus, radius, seed)


def spacing(kept: KeptSet, seed: int, materialize: Materialize) -> float:
    """The median distance from a kept point to its nearest other kept point that is not equal to it."""
    (probes,) = materialize([Asked(kept, Space(), PROBED, PROBES, seed)])
    scan = Scan(kept, Space(), probes, probes, "point", "none", seed)
    (compared,) = materialize([scan])
    squared = np.minimum.reduce(
        [Nearby.read(folder, len(scan.labellings)).by_level.min(axis=0) for folder in parts_of(compared)]
    )
    apart = squared[(squared > 0) & np.isfinite(squared)]
    if not len(apart):
        raise RequestError(f"--radius: expected a distance, for the points of {kept.path} have none between them.")
    return float(np.sqrt(np.median(apart)))


def extend(request: Extension, destination: Path, materialize: Materialize) -> dict[str, Any]:
    """Writes the extended coreset; returns how many points were seen, found novel and added."""
    for _ in verify(request.dataset.path):
        pass  # what is copied must be what its manifest states
    kept, manifest = request.kept, request.dataset.manifest
    radius = spacing(kept, request.seed, materialize) if request.radius is None else request.radius
    points = DescribedSet.of(request.new, kept.descriptor)
    (described,) = materialize([Described(kept)])
    (novel,) = materialize([Novel(points, described, radius)])
    (added,) = materialize([Added(points, novel, radius, request.seed)])
    (selection,) = materialize([AddedPoints(request.new, added)])
    stored = "descriptor" in request.dataset.rows(request.dataset.files[0]).column_names
    (extraction,) = materialize([Extraction(request.new, selection, kept.descriptor, stored)])
    figures = {
        "radius": radius,
        "radius_by": "median spacing" if request.radius is None else "request",
        "snapshots": len(request.new.snapshots),
        "known": list(request.known),
        "points": points.points,
        "novel": sum(shard["figures"]["novel"] for shard in novel.shards),
        "added": selection.figures["kept"],
    }
    source = {
        "corpus": request.corpus,
        "seed": request.seed,
        "method": "farther than the radius from all kept",
        **figures,
    }
    before = {key: value for key, value in manifest.items() if key not in ("shards", "descriptor", "sources")}
    snapshots = (*request.dataset.known.values(), *request.new.grids)
    stated = {
        "format": FORMAT,
        "name": manifest.get("name", destination.name),
        "digest": extraction.digest,
        "rows": len(request.dataset) + extraction.figures["rows"],
        "descriptor": manifest["descriptor"],
        "sources": [*manifest.get("sources", []), before, source],
        "software": software(),
        "snapshots": snapshots_digest(snapshots),
    }
    write_folder(destination, stated, _parts(request.dataset, extraction), snapshots, _card(request.dataset, figures))
    return {"rows": stated["rows"], **figures}


def _parts(dataset: Dataset, extraction: Artifact) -> list[tuple[Path, dict[str, Any]]]:
    """The files of rows, those of the coreset first, under names that follow on each other."""
    old = [shard for shard in dataset.manifest["shards"] if shard["name"].startswith("part-")]
    found = list(zip(dataset.files, old, strict=True))
    for shard in extraction.shards:
        if not shard["figures"]["rows"]:
            continue
        path, name = extraction.path(shard["name"]), f"part-{len(found):05d}.parquet"
        files = {name: next(iter(shard["files"].values()))}
        found.append((path, {"name": name, "files": files, "figures": shard["figures"]}))
    return found


def _card(dataset: Dataset, figures: dict[str, Any]) -> str:
    path = dataset.path / CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return f"""{text.rstrip()}

## Extension

{figures["added"]:,} of {figures["points"]:,} points of {figures["snapshots"]} further snapshots were added: each is
farther than {figures["radius"]:.6g} from every point that was kept before it, in the space of descriptors. Their score
and stratum are null, and their weight is 1. `manifest.json` states both sources.
"""


def request_of(coreset: Path, corpus: str, snapshots: str | None, radius: float | None, seed: int) -> Extension:
    """Opens and checks both; see `Extension.of`."""
    try:
        opened = Corpus.open(corpus if "://" in corpus else str(Path(corpus).resolve()))
        chosen = opened.snapshots if snapshots is None else opened.select(snapshots)
    except RequestError as error:
        raise RequestError(f"CORPUS: {error}") from None
    return Extension.of(coreset, SnapshotSet(opened.path, chosen), opened.digest, radius, seed)


def extend_folder(request: Extension, destination: Path, store: Path, executor: Executor) -> dict[str, Any]:
    """`extend` with artifacts in a store, which may be removed once the folder stands."""
    if destination.resolve() == request.dataset.path.resolve():
        raise RequestError(f"--out: expected another folder than the coreset's own, found {destination}.")
    return extend(request, destination, Store(store, executor))

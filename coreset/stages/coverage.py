"""How well a coreset covers held-out points: distance from each query to its nearest kept point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Place, Stage
from coreset.corpus.kept import batches_of, read_kept
from coreset.corpus.split import Features, SnapshotSet
from coreset.errors import DataError, WorkError
from coreset.numerics.query_sampling import Sample, doublings
from coreset.stages.selection import kept_files

COMPARED_AT_ONCE = 2**18
"""Kept points that are described, and compared with the queries, at a time."""

_CURVE = 101
"""Points of the p–r curve that the manifest keeps."""

FIRST, MOST = 2_000, 64_000
"""Queries that `queries: auto` asks at first, about, and at most."""


@dataclass(frozen=True)
class Coverage(Stage):
    """AUC_pr = E[min_s d(x, s)] over queries x from the validation groups (paper, IV.2.3), Euclidean."""

    name: ClassVar[str] = "coverage"
    suffix: ClassVar[str] = ".npy"

    train: SnapshotSet
    selection: Artifact
    against: SnapshotSet
    queries: int
    scaling: str
    descriptor: Features
    estimated: bool = False
    """Whether each query is compared with some of the points: see `numerics.coverage_ivf`."""

    @property
    def title(self) -> str:
        return "coverage"

    @property
    def comparisons(self) -> int:
        """Distances of each kept point, on average: to all queries, or to its cell's and to centres."""
        if not self.estimated:
            return self.queries
        from coreset.numerics.coverage_ivf import CELLS, COMPARED, LOOKED_INTO

        return CELLS + self.queries * LOOKED_INTO // CELLS + min(COMPARED, self.queries)

    def parameters(self) -> dict[str, Any]:
        groups = [snapshot.group for snapshot in self.against.snapshots]
        parameters = {
            "queries": self.queries,
            "scaling": self.scaling,
            "descriptor": asdict(self.descriptor),
            "groups": groups,
        }
        if self.estimated:
            from coreset.numerics.coverage_ivf import CELLS, COMPARED, LOOKED_INTO

            parameters["ivf"] = {"cells": CELLS, "looked_into": LOOKED_INTO, "compared": COMPARED}
        return parameters

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest, "selection": self.selection.digest, "against": self.against.digest}

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.train.snapshots))]

    @property
    def place(self) -> Place:  # type: ignore[override]
        """Actors, where FAISS can use the GPUs that they hold; elsewhere all cores do more than one for each GPU."""
        from coreset.numerics.nearest import faiss_is_for_gpus

        return "actor" if not self.estimated and faiss_is_for_gpus() else "task"

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        if self.estimated:
            from coreset.numerics.coverage_ivf import estimate_over

            found = estimate_over(self._kept(part, context.device), self._cells)
            minima = np.stack([found.distances, found.exact])
        else:
            from coreset.numerics.nearest import nearest

            queries, _ = self._queries
            minima = np.full(len(queries), np.inf)
            for points in self._kept(part, context.device):
                np.minimum(minima, nearest(points, queries, device=context.device), out=minima)
        with path.open("wb") as file:
            np.save(file, minima)
        return {}

    def _kept(self, part: Part, device: str) -> Iterator[np.ndarray]:
        """Descriptors of what is kept of each snapshot, divided by the scale of each feature."""
        from coreset.corpus.described import describe_points

        _, scale = self._queries
        files = kept_files(self.selection, self.train)
        for snapshot in self.train.snapshots[part.payload.first : part.payload.stop]:
            selected = read_kept(files[snapshot.digest]).get(snapshot.digest)
            index = np.empty(0, np.int64) if selected is None else selected.index
            for start in range(0, len(index), COMPARED_AT_ONCE):
                some = index[start : start + COMPARED_AT_ONCE]
                yield describe_points(snapshot, some, self.descriptor, device).features / scale

    @cached_property
    def _cells(self) -> Any:
        from coreset.numerics.coverage_ivf import cells_of

        return cells_of(self._queries[0])

    @cached_property
    def _queries(self) -> tuple[np.ndarray, np.ndarray]:
        """Descriptors of the queries, divided by the scale of each feature, and that scale."""
        from coreset.corpus.described import describe_points

        features = np.concatenate(
            [
                describe_points(snapshot, index, self.descriptor).features
                for snapshot, index in zip(
                    self.against.snapshots, query_indices(self.against, self.queries), strict=True
                )
            ]
        )
        scale = np.ones(features.shape[1], np.float32)
        if self.scaling == "standard":
            spread = features.std(0, dtype=np.float64)
            scale = np.where(spread > 0, spread, 1.0).astype(np.float32)
        return features / scale, scale

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        from coreset.numerics.coverage import summarise

        merged = _merged(map(find, records))
        coverage = summarise(_found(merged))
        chosen = np.linspace(0, len(coverage.p) - 1, _CURVE).round().astype(int)
        return {
            "auc": coverage.auc,
            "queries": len(coverage.distances),
            "p": coverage.p[chosen].tolist(),
            "r": coverage.r[chosen].tolist(),
            **({"bias": asdict(_bias(merged))} if self.estimated else {}),
        }


def _shares(against: SnapshotSet, queries: int) -> list[int]:
    """Queries of each snapshot: an equal number, one more of the first few, none beyond its points."""
    each, more = divmod(queries, len(against.snapshots))
    return [min(snapshot.points, each + (i < more)) for i, snapshot in enumerate(against.snapshots)]


def query_indices(against: SnapshotSet, queries: int) -> list[np.ndarray]:
    """Grid indices of the queries in each snapshot: the points with the smallest keys."""
    from coreset.numerics.keys import smallest, stream

    return [
        smallest(stream(0, snapshot.identity, b"/queries"), snapshot.points, wanted)
        for snapshot, wanted in zip(against.snapshots, _shares(against, queries), strict=True)
    ]


def equal_share(against: SnapshotSet) -> int:
    """Queries at most: equally many of each snapshot, as many as the smallest has."""
    return len(against.snapshots) * min(snapshot.points for snapshot in against.snapshots)


def numbers_to_ask(against: SnapshotSet, queries: int | str) -> list[int]:
    """Numbers of queries to measure in turn, until one is enough: that which is stated alone, or with `auto` doublings.

    Each asks again what those before it asked, and as many more.
    """
    if isinstance(queries, int):
        return [queries]
    # The variance within a snapshot needs two of its points.
    most = min(equal_share(against), max(MOST, 2 * len(against.snapshots)))
    return doublings(max(FIRST, 2 * len(against.snapshots)), most)


def query_sample(against: SnapshotSet, queries: int) -> Sample:
    """How the queries were drawn, for what sampling them leaves unknown."""
    points = np.array([snapshot.points for snapshot in against.snapshots])
    return Sample(np.array(_shares(against, queries)), points)


def query_groups(against: SnapshotSet, queries: int) -> np.ndarray:
    """Number of the group of each query."""
    number = {name: i for i, name in enumerate(against.groups)}
    groups = np.array([number[snapshot.group] for snapshot in against.snapshots])
    return np.repeat(groups, _shares(against, queries))


def distances_of(coverages: Sequence[Artifact]) -> np.ndarray:
    """Distance of every query to each coreset, shape [coresets, queries], in the order of the queries."""
    return np.stack([minima(each) for each in coverages])


def minima(coverage: Artifact) -> np.ndarray:
    """Distance of every query to the coreset, as it is estimated where it is, in the order of the queries."""
    return _found(_merged(coverage.path(shard["name"]) for shard in coverage.shards))


def bias_of(coverages: Sequence[Artifact]) -> dict[str, float]:
    """By how much the mean AUC_pr of some coresets is too high, `value`, `low` and `high`: zero where it is exact."""
    exact = dict.fromkeys(("value", "low", "high"), 0.0)
    return {name: float(np.mean([each.figures.get("bias", exact)[name] for each in coverages])) for name in exact}


def bias_of_difference(ours: dict[str, float], theirs: dict[str, float]) -> float:
    """By how much a difference of two may be wrong, either way, for the bias of each."""
    return max(ours["high"] - theirs["low"], theirs["high"] - ours["low"])


def _merged(shards: Iterable[Path]) -> np.ndarray:
    merged: np.ndarray = np.minimum.reduce([_shard(path) for path in shards])
    return merged


def _shard(path: Path) -> np.ndarray:
    try:
        distances: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(
            f"{path}: expected distances, found a damaged file ({error}); remove its folder and run again."
        ) from None
    return distances


def _found(minima: np.ndarray) -> np.ndarray:
    """The distances: what an exact search writes, and the first row of what an estimate does."""
    if minima.ndim == 1:
        return minima
    distances: np.ndarray = minima[0]
    if missed := np.isinf(distances).sum():
        raise WorkError(
            f"coverage: expected every query to meet a point, found {missed} of {len(distances)} with none in the "
            "cells they look into; raise coverage.exact_up_to, so that they are compared with every point."
        )
    return distances


def _bias(minima: np.ndarray) -> Any:
    from coreset.numerics.coverage_ivf import Estimated

    return Estimated(*minima).bias

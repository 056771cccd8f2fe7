"""How well a random subset of a point set covers the queries: the peer of a coreset of equal size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.corpus.point_set import PointSet
from coreset.stages.asked import Drawn
from coreset.stages.audit import scale_of
from coreset.stages.space import Space

RANDOM = b"/random"
"""Purpose of the keys that say which points are in the subset."""


@dataclass(frozen=True)
class RandomSubset(Stage):
    """Distances of the queries to the points whose key is at most `limit`."""

    name: ClassVar[str] = "random"
    suffix: ClassVar[str] = ".npy"

    points: PointSet
    space: Space
    queries: Artifact
    scaling: str
    seed: int
    limit: int

    @property
    def title(self) -> str:
        return "random subset"

    def parameters(self) -> dict[str, Any]:
        own = {"scaling": self.scaling, "seed": self.seed, "limit": self.limit}
        return {**own, **self.points.parameters(), **self.space.parameters()}

    def inputs(self) -> dict[str, str]:
        return {"points": self.points.digest, "queries": self.queries.digest}

    def parts(self) -> list[Part]:
        return [
            Part(f"part-{number:05d}", batch, work=sum(piece.stop - piece.first for piece in batch))
            for number, batch in enumerate(self.points.batches())
        ]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        from coreset.numerics.nearest import nearest

        queries, scale = self._queries
        minima, drawn = np.full(len(queries), np.inf), 0
        for piece in part.payload:
            keys = self.points.keys(self.seed, RANDOM, piece)
            index = piece.first + np.flatnonzero(keys <= np.uint64(self.limit))
            if len(index):
                rows = self.space.features(self.points, piece.member, index) / scale
                np.minimum(minima, nearest(rows, queries), out=minima)
                drawn += len(index)
        with path.open("wb") as file:
            np.save(file, minima)
        return {"drawn": drawn}

    @cached_property
    def _queries(self) -> tuple[np.ndarray, np.ndarray]:
        queries = Drawn.read(self.queries)
        scale = scale_of(queries, self.scaling)
        return queries.features / scale, scale

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        return {"points": sum(record["figures"]["drawn"] for record in records)}


def limit_for(points: PointSet, wanted: int, seed: int) -> int:
    """The key of the wanted-th smallest of all keys, so that so many are at most it.

    Of few points exactly; beyond `_EXACT`, where it hardly matters, that which as many are expected to be below.
    """
    share = wanted / points.points
    if wanted > _EXACT:
        return int(share * 2.0**64)
    enough = min(1.0, share + 8 * np.sqrt(share / points.points) + 64 / points.points)
    loose = np.uint64(min(int(enough * 2.0**64), 2**64 - 1))
    held = []
    for piece in points.pieces():
        keys = points.keys(seed, RANDOM, piece)
        held.append(keys[keys <= loose])
    return int(np.partition(np.concatenate(held), wanted - 1)[wanted - 1])


_EXACT = 2**22


def random_distances(artifact: Artifact) -> np.ndarray:
    """The distance of each query to the subset."""
    shards = [np.load(artifact.path(each["name"]), allow_pickle=False) for each in artifact.shards]
    least: np.ndarray = np.minimum.reduce(shards)
    return least

"""One pass over all points of a set: what every query is near to, of which member, and what its points repeat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float32, Int64

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.corpus.point_set import Piece, PointSet
from coreset.numerics.duplicates import hash_rows
from coreset.numerics.keys import keys, stream
from coreset.numerics.nearest import PIECE, Centred, centred_queries, lower_to_nearest, pieces_of
from coreset.numerics.nearest_labels import NearestLabels
from coreset.numerics.nested_subsets import deepest, levels
from coreset.stages.asked import Drawn
from coreset.stages.space import Space

SIZES = b"/sizes"
"""Purpose of the keys that say to which random subsets a point belongs."""

DROPPED = b"/dropped"
"""Purpose of the keys that say which queries decide in which order parts are left out."""
DECIDING, MOST_PARTS = 2_048, 1_000
"""How many queries those are, and parts that are left out whole, at most."""

LeftOut = Literal["nothing", "trajectory", "point"]
"""What of the set a query does not count, since it is of that set itself: its own trajectory, or itself."""


@dataclass(frozen=True)
class Labelling:
    """One way to divide members: each label's name, and the number of each member's label."""

    kind: str
    names: tuple[str, ...]
    of_member: tuple[int, ...]


def labellings(points: PointSet) -> list[Labelling]:
    """By member, trajectory or group, temperature and composition, as far as members have them and differ in them."""
    values: dict[str, list[str | None]] = {points.member_kind: [member.name for member in points.members]}
    if points.groups is not None:
        values[points.group_kind] = [member.group for member in points.members]
    for kind in sorted({kind for member in points.members for kind in member.labels}):
        values[kind] = [member.labels.get(kind) for member in points.members]
    found = list[Labelling]()
    values = dict(
        sorted(values.items(), key=lambda item: item[0] == "shard")
    )  # of two that are one the group tells more
    for kind, of_member in values.items():
        names = list(dict.fromkeys(str(value) for value in of_member))
        number = {name: i for i, name in enumerate(names)}
        numbers = tuple(number[str(value)] for value in of_member)
        if len(names) > 1 and all(numbers != each.of_member for each in found):
            found.append(Labelling(kind, tuple(names), numbers))
    return found


@dataclass(frozen=True)
class Nearby:
    """What a pass finds of the queries and of the probes, in squared distances.

    by_level: to the nearest point that begins with so many zeros, see `nested_subsets`, shape [levels, q]; by_label: of
    each labelling; own, other: of each probe, its nearest other point in its own member, and in any other; by_part: of
    some queries, to the nearest point of each part that was seen, by its number.
    """

    by_level: Float[np.ndarray, "l q"]
    by_label: tuple[NearestLabels, ...]
    own: Float[np.ndarray, " p"]
    other: NearestLabels
    by_part: dict[int, Float[np.ndarray, " s"]] = field(default_factory=dict)

    @classmethod
    def none(cls, levels: int, labellings: int, queries: int, probes: int) -> Nearby:
        """Before any point."""
        by_label = tuple(NearestLabels.none(queries) for _ in range(labellings))
        return cls(np.full((levels, queries), np.inf), by_label, np.full(probes, np.inf), NearestLabels.none(probes))

    def merge(self, other: Nearby) -> Nearby:
        """Of the points of both; in any order the same."""
        return Nearby(
            np.minimum(self.by_level, other.by_level),
            tuple(mine.merge(theirs) for mine, theirs in zip(self.by_label, other.by_label, strict=True)),
            np.minimum(self.own, other.own),
            self.other.merge(other.other),
            {
                part: np.minimum(self.by_part.get(part, np.inf), other.by_part.get(part, np.inf))
                for part in self.by_part | other.by_part
            },
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """As arrays to be written."""
        labelled = {f"label-{i}": each for i, each in enumerate(self.by_label)} | {"other": self.other}
        found = {"by_level": self.by_level, "own": self.own}
        found |= {f"part-{part}": squared for part, squared in self.by_part.items()}
        for name, each in labelled.items():
            found |= {f"{name}-{part}": getattr(each, part) for part in ("first", "label", "second")}
        return found

    @classmethod
    def read(cls, folder: Path, labellings: int) -> Nearby:
        """What `arrays` gave."""

        def array(name: str) -> np.ndarray:
            found: np.ndarray = np.load(folder / f"{name}.npy", allow_pickle=False)
            return found

        def labelled(name: str) -> NearestLabels:
            return NearestLabels(*(array(f"{name}-{part}") for part in ("first", "label", "second")))

        by_label = tuple(labelled(f"label-{i}") for i in range(labellings))
        by_part = {int(path.stem.removeprefix("part-")): array(path.stem) for path in folder.glob("part-*.npy")}
        return cls(array("by_level"), by_label, array("own"), labelled("other"), by_part)


@dataclass(frozen=True)
class Scan(Stage):
    """Exact nearest neighbours of queries and probes among all points, and a hash of every point."""

    name: ClassVar[str] = "audit"
    version: ClassVar[int] = 2
    suffix: ClassVar[str] = ""

    points: PointSet
    space: Space
    queries: Artifact
    probes: Artifact
    """Points of the set itself."""
    left_out: LeftOut
    scaling: str
    seed: int

    @property
    def title(self) -> str:
        return "comparison"

    def parameters(self) -> dict[str, Any]:
        own = {"left_out": self.left_out, "scaling": self.scaling, "seed": self.seed}
        divided = {each.kind: [list(each.names), list(each.of_member)] for each in self.labellings}
        return {**own, "labels": divided, **self.points.parameters(), **self.space.parameters()}

    def inputs(self) -> dict[str, str]:
        return {"points": self.points.digest, "queries": self.queries.digest, "probes": self.probes.digest}

    def parts(self) -> list[Part]:
        return [
            Part(f"part-{number:05d}", batch, work=sum(piece.stop - piece.first for piece in batch))
            for number, batch in enumerate(self.points.batches())
        ]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        asked = self._asked
        found = Nearby.none(self.deepest + 1, len(self.labellings), asked.queries, len(asked.probed))
        hashes, counts = [], np.zeros(self.deepest + 1, np.int64)
        for piece in part.payload:
            features = self.space.features(self.points, piece.member, np.arange(piece.first, piece.stop))
            level = levels(self.points.keys(self.seed, SIZES, piece), self.deepest)
            counts += np.bincount(level, minlength=len(counts))
            hashes.append(hash_rows(features))
            self._compare(found, piece, features / asked.scale, level)
        path.mkdir()
        for name, array in found.arrays().items():
            np.save(path / f"{name}.npy", array)
        together = np.concatenate(hashes)
        order = np.argsort(together, kind="stable")
        np.save(path / "hashes.npy", together[order])
        np.save(path / "positions.npy", order.astype(np.uint32))
        return {"points": len(together), "levels": counts.tolist()}

    def _compare(self, found: Nearby, piece: Piece, rows: Float32[np.ndarray, "n d"], level: np.ndarray) -> None:
        """Takes the points of one piece in, level by level."""
        asked = self._asked
        order = np.argsort(level, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        own = np.full(len(asked.centred), -1)
        mine = (asked.member == piece.member) & (asked.position >= piece.first) & (asked.position < piece.stop)
        own[mine] = place[asked.position[mine] - piece.first]
        closed = asked.closed_to(piece.member)
        beside = asked.probed == piece.member
        edges = np.searchsorted(level[order], np.arange(self.deepest + 2))
        for number, (first, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
            if first == stop:
                continue
            bound = np.concatenate(
                [
                    self._bound(found, piece.member, number),
                    np.where(beside, found.own, found.other.first),
                ]
            )
            # A tie with the bound may change a label, so it is looked for too; at zero nothing is nearer.
            squared = np.nextafter(bound, np.inf)
            squared[closed] = 0.0
            seen = first
            for y in pieces_of([rows[order[first:stop]]], asked.centre, PIECE):
                lower_to_nearest(squared, asked.centred, y, np.where(own >= seen, own - seen, -1))
                seen += len(y)
            squared[closed | (squared > bound)] = np.inf
            self._take_in(found, piece.member, number, squared, beside)

    def _bound(self, found: Nearby, member: int, level: int) -> Float[np.ndarray, " q"]:
        """Above which squared distance a point of this member and level changes nothing for a query."""
        bound: Float[np.ndarray, " q"] = found.by_level[level]
        for labelling, nearest in zip(self.labellings, found.by_label, strict=True):
            bound = np.maximum(bound, nearest.bound(labelling.of_member[member]))
        if self.parts_left_out is not None:
            deciding, part = self._asked.deciding, self.parts_left_out.of_member[member]
            bound[deciding] = np.maximum(bound[deciding], found.by_part.get(part, np.inf))
        return bound

    def _take_in(self, found: Nearby, member: int, level: int, squared: np.ndarray, beside: np.ndarray) -> None:
        queried, probed = np.split(squared, [self._asked.queries])
        np.minimum(found.by_level[level], queried, out=found.by_level[level])
        for labelling, nearest in zip(self.labellings, found.by_label, strict=True):
            nearest.lower(queried, labelling.of_member[member])
        if self.parts_left_out is not None:
            part, squared = self.parts_left_out.of_member[member], queried[self._asked.deciding]
            found.by_part[part] = np.minimum(found.by_part.get(part, np.inf), squared)
        np.minimum(found.own, probed, out=found.own, where=beside)
        found.other.lower(np.where(beside, np.inf, probed), member)

    @cached_property
    def labellings(self) -> list[Labelling]:
        """How members are divided."""
        return labellings(self.points)

    @cached_property
    def parts_left_out(self) -> Labelling | None:
        """The finest division whose parts may be left out whole: of a table's shards, which are none, their groups."""
        fit = (each for each in self.labellings if each.kind != "shard" and len(each.names) <= MOST_PARTS)
        return next(fit, None)

    @cached_property
    def deepest(self) -> int:
        """How often the set is halved."""
        return deepest(self.points.points)

    @cached_property
    def _asked(self) -> _Asked:
        return _Asked.of(self)

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        counts = np.sum([record["figures"]["levels"] for record in records], axis=0)
        return {"points": self.points.points, "sizes": np.cumsum(counts[::-1]).tolist()}


@dataclass(frozen=True)
class _Asked:
    """Queries, then probes: what all parts compare their points with."""

    queries: int
    deciding: Int64[np.ndarray, " s"]
    """The queries that decide in which order parts are left out."""
    probed: Int64[np.ndarray, " p"]
    """The member of each probe."""
    member: Int64[np.ndarray, " x"]
    position: Int64[np.ndarray, " x"]
    """Which point of the set each is itself; −1 of those that are no points of it."""
    excluded: Int64[np.ndarray, " x"]
    """The trajectory that each does not count, −1 for none."""
    of_member: Int64[np.ndarray, " m"]
    """The trajectory of each member; −1 for none."""
    centre: Float[np.ndarray, " d"]
    centred: Centred
    scale: Float32[np.ndarray, " d"]

    @classmethod
    def of(cls, scan: Scan) -> _Asked:
        queries, probes = Drawn.read(scan.queries), Drawn.read(scan.probes)
        points, nobody = scan.points, np.full(len(queries), -1)
        of_member, excluded = np.full(len(points.members), -1), nobody
        if scan.left_out == "trajectory":
            number = {name: i for i, name in enumerate(points.groups or ())}
            of_member = np.array([number[str(member.group)] for member in points.members])
            excluded = of_member[queries.member]
        itself = scan.left_out != "nothing"
        scale = scale_of(queries, scan.scaling)
        centre, centred = centred_queries(np.concatenate([queries.features, probes.features]) / scale)
        return cls(
            len(queries),
            deciding(len(queries), scan.seed),
            probes.member,
            np.concatenate([queries.member if itself else nobody, probes.member]),
            np.concatenate([queries.position if itself else nobody, probes.position]),
            np.concatenate([excluded, np.full(len(probes), -1)]),
            of_member,
            centre,
            centred,
            scale,
        )

    def closed_to(self, member: int) -> np.ndarray:
        """Which of them do not count the points of this member."""
        of_it: np.ndarray = (self.excluded >= 0) & (self.excluded == self.of_member[member])
        return of_it


def deciding(queries: int, seed: int) -> Int64[np.ndarray, " s"]:
    """The places of the `DECIDING` queries with the smallest keys, ascending."""
    order = np.argsort(keys(stream(seed, b"queries", DROPPED), 0, queries), kind="stable")
    return np.sort(order[:DECIDING])


def scale_of(queries: Drawn, scaling: str) -> Float32[np.ndarray, " d"]:
    """What each feature is divided by: 1, or with `standard` its standard deviation over the queries."""
    if scaling == "none":
        return np.ones(queries.features.shape[1], np.float32)
    spread = queries.features.std(0, dtype=np.float64)
    found: Float32[np.ndarray, " d"] = np.where(spread > 0, spread, 1.0).astype(np.float32)
    return found


def parts_of(artifact: Artifact) -> Iterator[Path]:
    """The folder of each part, in order."""
    for shard in artifact.shards:
        yield artifact.path(shard["name"])

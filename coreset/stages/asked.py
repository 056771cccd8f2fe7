"""Some points of a point set, drawn by their hashed keys, with their features: queries, and samples of other use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Int64

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, Part, Stage
from coreset.corpus.point_set import PointSet
from coreset.numerics.query_sampling import Sample
from coreset.stages.space import Space

QUERIES, PROBES, SAMPLE = b"/queries", b"/probes", b"/sample"
"""What a draw is for; draws for different ends are independent."""

_PART = "points"


@dataclass(frozen=True)
class Asked(Stage):
    """`wanted` points, or all there are; of each snapshot a number in proportion to its points, of a table any."""

    name: ClassVar[str] = "asked"
    suffix: ClassVar[str] = ""

    points: PointSet
    space: Space
    wanted: int
    purpose: bytes
    seed: int

    @property
    def title(self) -> str:
        return "draws"

    def parameters(self) -> dict[str, Any]:
        own = {"wanted": self.wanted, "purpose": self.purpose.decode(), "seed": self.seed}
        return {**own, **self.points.parameters(), **self.space.parameters()}

    def inputs(self) -> dict[str, str]:
        return {"points": self.points.digest}

    def parts(self) -> list[Part]:
        return [Part(_PART)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        member, position = draw(self.points, self.wanted, self.purpose, self.seed)
        path.mkdir()
        features = [
            self.space.features(self.points, number, position[member == number])
            for number in np.unique(member).tolist()
        ]
        np.save(path / "member.npy", member)
        np.save(path / "position.npy", position)
        np.save(path / "features.npy", np.concatenate(features))
        return {"drawn": len(member)}


@dataclass(frozen=True)
class Drawn:
    """Points that were drawn, in order of their member and of their position in it."""

    member: Int64[np.ndarray, " n"]
    position: Int64[np.ndarray, " n"]
    features: Float32[np.ndarray, "n d"]

    def __len__(self) -> int:
        return len(self.member)

    @classmethod
    def read(cls, artifact: Artifact) -> Drawn:
        """What `Asked` wrote."""
        folder = artifact.path(_PART)
        return cls(
            *(np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("member", "position", "features"))
        )

    def groups(self, points: PointSet) -> Int64[np.ndarray, " n"] | None:
        """The number of each point's trajectory; None where there are none."""
        if points.groups is None:
            return None
        number = {name: i for i, name in enumerate(points.groups)}
        of_member = np.array([number[str(member.group)] for member in points.members])
        found: Int64[np.ndarray, " n"] = of_member[self.member]
        return found

    def sample(self, points: PointSet) -> Sample:
        """How they were drawn, for what a sample leaves unknown; they must stand stratum after stratum."""
        counts = np.bincount(self.member, minlength=len(points.members))
        strata = Strata.of(points)
        drawn = np.array([counts[list(members)].sum() for members in strata.members])
        asked = drawn > 0
        return Sample(drawn[asked], np.array(strata.points)[asked])


@dataclass(frozen=True)
class Strata:
    """Members by identity: each snapshot is one stratum, all files of a table are one."""

    members: tuple[tuple[int, ...], ...]
    points: tuple[int, ...]

    @classmethod
    def of(cls, points: PointSet) -> Strata:
        """In order of their first member."""
        found: dict[bytes, list[int]] = {}
        for number, member in enumerate(points.members):
            found.setdefault(member.identity, []).append(number)
        sizes = tuple(sum(points.members[number].points for number in members) for members in found.values())
        return cls(tuple(map(tuple, found.values())), sizes)

    @cached_property
    def smallest(self) -> int:
        """Queries that give every stratum two, so that its own variance can be seen."""
        return sum(min(2, points) for points in self.points)

    def shares(self, wanted: int) -> list[int]:
        """How many points of each: in proportion, two at least, by largest remainders; `wanted` or more in all."""
        total = sum(self.points)
        wanted = min(wanted, total)
        least = [min(2, points) for points in self.points]
        exact = [wanted * points / total for points in self.points]
        given = [max(low, int(share)) for low, share in zip(least, exact, strict=True)]
        order = sorted(range(len(given)), key=lambda i: (given[i] - exact[i], i))
        missing = wanted - sum(given)
        for i in order:
            if missing > 0 and given[i] < self.points[i]:
                given[i] += 1
                missing -= 1
        return given


def draw(points: PointSet, wanted: int, purpose: bytes, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Member and position of the points with the smallest keys of each stratum, ascending."""
    strata = Strata.of(points)
    of_member = {number: stratum for stratum, members in enumerate(strata.members) for number in members}
    shares = strata.shares(wanted)
    held: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.uint64), *np.empty((2, 0), np.int64)) for _ in shares]
    for piece in points.pieces():
        stratum = of_member[piece.member]
        if not (share := shares[stratum]):
            continue
        keys = points.keys(seed, purpose, piece)
        near = np.argpartition(keys, share - 1)[:share] if share < len(keys) else np.arange(len(keys))
        found = keys[near], np.full(len(near), piece.member), piece.first + near
        joined = tuple(np.concatenate(pair) for pair in zip(held[stratum], found, strict=True))
        if len(joined[0]) > share:
            least = np.argpartition(joined[0], share - 1)[:share]
            joined = tuple(each[least] for each in joined)
        held[stratum] = joined
    member = np.concatenate([each[1] for each in held]).astype(np.int64)
    position = np.concatenate([each[2] for each in held]).astype(np.int64)
    order = np.lexsort((position, member))
    return member[order], position[order]

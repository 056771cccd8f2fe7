"""What an audit is asked, and the stages that answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Stage
from coreset.corpus.point_set import PointSet
from coreset.errors import RequestError
from coreset.numerics.query_sampling import VALUE
from coreset.stages.asked import PROBES, QUERIES, SAMPLE, Asked, Drawn, Strata
from coreset.stages.audit import LeftOut, Nearby, Scan, parts_of, scale_of
from coreset.stages.random_subset import RandomSubset, limit_for, random_distances
from coreset.stages.space import Space

FIRST, MOST = 2_000, 64_000
"""Queries that `auto` asks at first, and at most."""
PROBED, SAMPLED = 2_000, 4_000
"""Points of the corpus whose nearest other points are looked for; points that its dimension is estimated from."""

Materialize = Callable[[Sequence[Stage]], list[Artifact]]


@dataclass(frozen=True)
class Audit:
    """A checked request. reference: None compares the corpus with itself; near: see `redundancy`."""

    corpus: PointSet
    reference: PointSet | None
    space: Space
    queries: int | None
    """None asks as many as it takes to know AUC_pr to `VALUE`."""
    scaling: str
    near: float
    seed: int

    def __post_init__(self) -> None:
        other = self.reference
        if other is not None and other.columns != self.corpus.columns:
            raise RequestError(
                f"--against: expected points of the same {len(self.corpus.columns)} features as {self.corpus.path} has "
                f"({_some(self.corpus.columns)}), found {len(other.columns)} in {other.path} ({_some(other.columns)}); "
                "choose columns of both that agree."
            )
        if self.corpus.points < 2:
            raise RequestError(f"{self.corpus.path}: expected two points or more, found {self.corpus.points}.")
        self.space.check(self.corpus)

    @property
    def asked_of(self) -> PointSet:
        """What the queries are points of."""
        return self.corpus if self.reference is None else self.reference

    @property
    def left_out(self) -> LeftOut:
        """What of the corpus a query does not count; see `Scan`."""
        if self.reference is not None:
            return "nothing"
        return "trajectory" if len(self.corpus.groups or ()) > 1 else "point"


@dataclass(frozen=True)
class Audited:
    """What the stages found."""

    audit: Audit
    queries: Drawn
    probes: Drawn
    sample: Drawn
    scale: np.ndarray
    nearby: Nearby
    scan: Scan
    compared: Artifact
    random: tuple[int, np.ndarray] | None
    """Points of a random subset of the reference, as many as the corpus has, and each query's distance to it."""

    @property
    def distances(self) -> np.ndarray:
        """Of each query to its nearest point."""
        found: np.ndarray = np.sqrt(self.nearby.by_level.min(axis=0))
        return found

    def scaled(self, drawn: Drawn) -> np.ndarray:
        """Features as they are compared."""
        scaled: np.ndarray = drawn.features / self.scale
        return scaled


def run(audit: Audit, materialize: Materialize) -> Audited:
    """Draws, compares, and asks once more with `auto` if the first queries leave AUC_pr too uncertain."""
    probes, sample = (
        Asked(audit.corpus, audit.space, wanted, purpose, audit.seed)
        for wanted, purpose in ((PROBED, PROBES), (SAMPLED, SAMPLE))
    )
    found = _ask(audit, first_queries(audit), probes, sample, materialize)
    if audit.queries is None and (more := _enough(found)) > len(found.queries):
        found = _ask(audit, more, probes, sample, materialize)
    return found


def first_queries(audit: Audit) -> int:
    """How many queries are asked, at first with `auto`."""
    return audit.queries or max(FIRST, Strata.of(audit.asked_of).smallest)


def _enough(found: Audited) -> int:
    """How many queries, of the first's spread, would tell AUC_pr to `VALUE`: a tenth more than that, in thousands."""
    sample, distances = found.queries.sample(found.audit.asked_of), found.distances
    width = sample.half_width(distances)
    if not np.isfinite(width) or width <= VALUE * distances.mean():
        return 0
    wanted = 1.1 * len(distances) * (width / (VALUE * distances.mean())) ** 2
    return min(1000 * int(np.ceil(wanted / 1000)), max(MOST, Strata.of(found.audit.asked_of).smallest))


def _ask(audit: Audit, queries: int, probes: Asked, sample: Asked, materialize: Materialize) -> Audited:
    asked = Asked(audit.asked_of, audit.space, queries, QUERIES, audit.seed)
    drawn = materialize([asked, probes, sample])
    scan = Scan(audit.corpus, audit.space, drawn[0], drawn[1], audit.left_out, audit.scaling, audit.seed)
    (compared,) = materialize([scan])
    parts = [Nearby.read(folder, len(scan.labellings)) for folder in parts_of(compared)]
    nearby = parts[0]
    for part in parts[1:]:
        nearby = nearby.merge(part)
    told, probed, sampled = (Drawn.read(artifact) for artifact in drawn)
    _expect_neighbours(audit, nearby)
    scale = scale_of(told, audit.scaling)
    random = _random(audit, drawn[0], materialize)
    return Audited(audit, told, probed, sampled, scale, nearby, scan, compared, random)


def _expect_neighbours(audit: Audit, nearby: Nearby) -> None:
    if not np.isfinite(nearby.by_level.min(axis=0)).all():
        raise RequestError(
            f"{audit.corpus.path}: expected points beside those of any one {audit.corpus.group_kind}, found none; give "
            "--against."
        )


def _random(audit: Audit, queries: Artifact, materialize: Materialize) -> tuple[int, np.ndarray] | None:
    reference, wanted = audit.reference, audit.corpus.points
    if reference is None or reference.points <= wanted:
        return None
    limit = limit_for(reference, wanted, audit.seed)
    (made,) = materialize([RandomSubset(reference, audit.space, queries, audit.scaling, audit.seed, limit)])
    distances = random_distances(made)
    return (made.figures["points"], distances) if np.isfinite(distances).all() else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")

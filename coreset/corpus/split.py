"""Training, validation and test sets of a corpus: whole groups, and nothing shared."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from coreset.corpus.snapshot import Snapshot
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import Layout, TableCorpus, TableShard
from coreset.errors import RequestError
from coreset.numerics.descriptors import Descriptor

Member = Snapshot | TableShard
"""What a corpus consists of: densities of atoms, or rows of a table."""

Features = Descriptor | Layout
"""What a network sees of a point: its descriptor, or a table's columns."""


def outputs_of(features: Features) -> int:
    """Outputs of a network that sees them: one, the density, or one per target or class of a table."""
    return features.outputs if isinstance(features, Layout) else 1


@dataclass(frozen=True)
class SnapshotSet:
    """Some snapshots of one corpus, or shards of a table, in order of their names."""

    corpus: str
    snapshots: tuple[Member, ...]
    layout: Layout | None = None
    """What a row holds, of a table."""
    files: tuple[tuple[str, int], ...] = ()
    """Of a table: names of the files it came in, and the number in the table of the first row of each."""

    @property
    def points(self) -> int:
        """Grid points of all snapshots."""
        return sum(snapshot.points for snapshot in self.snapshots)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and content digests, in order; neither the corpus's place nor the files' names enter."""
        listing = [[snapshot.name, snapshot.digest] for snapshot in self.snapshots]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    @property
    def grids(self) -> tuple[Snapshot, ...]:
        """The snapshots, where all are densities of atoms. Raises RequestError of a table, which has no atoms."""
        found = tuple(snapshot for snapshot in self.snapshots if isinstance(snapshot, Snapshot))
        if len(found) < len(self.snapshots):
            raise RequestError(f"{self.corpus}: expected electron densities, found a table, which has no atoms.")
        return found

    @property
    def groups(self) -> dict[str, list[Member]]:
        """Snapshots by group, in order of the groups' names."""
        groups: dict[str, list[Member]] = {}
        for snapshot in sorted(self.snapshots, key=lambda s: (s.group, s.name)):
            groups.setdefault(snapshot.group, []).append(snapshot)
        return groups


@dataclass(frozen=True)
class Split:
    """The sets of one job."""

    train: SnapshotSet
    validation: SnapshotSet
    tests: Mapping[str, SnapshotSet]


def split(
    corpus: Corpus | TableCorpus,
    place: str,
    *,
    train: str,
    tests: Mapping[str, str],
    validation: float,
    group: str | None = None,
    stratify: Literal["temperature", "composition"] = "temperature",
) -> Split:
    """Splits a corpus by globs on names, and sets `validation` of the training groups aside, whole groups at a time.

    The groups are put in order of the stratum (temperature, or composition) and, within one, of a hash of the name;
    every n-th validates, so that the validation groups are spread evenly over the strata. At least one group goes to
    each side. `place` names the job file in errors.

    Raises RequestError for a glob that matches nothing, a group pattern that does not match a name, too few groups, a
    snapshot whose content stands twice, and a trajectory that both trains and tests.
    """
    patterns = {"train": train, **{f"test.{name}": pattern for name, pattern in tests.items()}}
    chosen = {role: _regroup(_select(corpus, pattern, role, place), group, place) for role, pattern in patterns.items()}
    _expect_distinct(chosen, place)
    of_table = (corpus.layout, corpus.files) if isinstance(corpus, TableCorpus) else ()
    everything = SnapshotSet(str(corpus.path), chosen["train"], *of_table)
    held_out = _validation_groups(everything, validation, stratify, place)
    inside = tuple(s for s in everything.snapshots if s.group not in held_out)
    outside = tuple(s for s in everything.snapshots if s.group in held_out)
    for name in tests:
        shared = {s.group for s in chosen[f"test.{name}"]} & set(everything.groups)
        if shared:
            raise RequestError(
                f"{place}: corpus.test.{name}: expected trajectories that are not in training, "
                f"found {sorted(shared)[0]!r} in both; change the globs or corpus.group."
            )
    return Split(
        train=replace(everything, snapshots=inside),
        validation=replace(everything, snapshots=outside),
        tests={name: replace(everything, snapshots=chosen[f"test.{name}"]) for name in tests},
    )


def _select(corpus: Corpus | TableCorpus, pattern: str, role: str, place: str) -> tuple[Member, ...]:
    try:
        return corpus.select(pattern)
    except RequestError as error:
        raise RequestError(f"{place}: corpus.{role}: {error}") from None


def _regroup(snapshots: Iterable[Member], pattern: str | None, place: str) -> tuple[Member, ...]:
    if pattern is None:
        return tuple(snapshots)
    regrouped: list[Member] = []
    for snapshot in snapshots:
        match = re.search(pattern, snapshot.name)
        if match is None or match.group(1) is None:
            raise RequestError(
                f"{place}: corpus.group: expected {pattern!r} to match every snapshot's name, "
                f"found no match in {snapshot.name!r}."
            )
        regrouped.append(replace(snapshot, group=match.group(1)))
    return tuple(regrouped)


def _expect_distinct(chosen: Mapping[str, tuple[Member, ...]], place: str) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for role, snapshots in chosen.items():
        for snapshot in snapshots:
            if snapshot.digest in seen:
                other, name = seen[snapshot.digest]
                raise RequestError(
                    f"{place}: corpus.{role}: expected snapshots that stand in one set, once, found the content of "
                    f"{snapshot.name!r} again as {name!r} in corpus.{other}; remove one of them or change the globs."
                )
            seen[snapshot.digest] = (role, snapshot.name)


def _validation_groups(snapshots: SnapshotSet, share: float, stratify: str, place: str) -> set[str]:
    groups = snapshots.groups
    wanted = max(1, round(share * len(groups)))
    if wanted >= len(groups):
        raise RequestError(
            f"{place}: corpus.validation: expected a share that leaves groups on both sides, found {share} of "
            f"{len(groups)} group{'s' * (len(groups) != 1)}; lower it, add trajectories, or change corpus.group."
        )

    def place_in_order(name: str) -> tuple[float, str, bytes]:
        first = groups[name][0]
        temperature = first.temperature if stratify == "temperature" and first.temperature is not None else 0.0
        composition = first.composition if stratify == "composition" else ""
        return temperature, composition, hashlib.sha256(f"validation\0{name}".encode()).digest()

    order = sorted(groups, key=place_in_order)
    return {order[int((i + 0.5) * len(order) / wanted)] for i in range(wanted)}

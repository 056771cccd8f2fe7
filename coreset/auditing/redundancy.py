"""Figures of redundancy: points and snapshots that stand twice, or nearly, and the dimension that all of them fill.

Two points are near duplicates where they lie within `near` times the median spacing, the distance from a point to its
nearest other point that is not equal to it. A snapshot is a near duplicate where the mean distance from its points to
the nearest point of any other snapshot is at most `near` times that to the nearest other point of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betaincinv

from coreset.auditing.coverage import number
from coreset.auditing.request import Audited
from coreset.numerics.dimension import Dimension, participation_ratio, two_nn
from coreset.numerics.duplicates import runs_of_equals
from coreset.stages.audit import parts_of

_TOGETHER = 2**20
"""Hashes that are compared at a time, about."""
_EXAMPLES, _PAIRS = 10, 50
_COUNTED = 100_000
"""Pairs of members that are counted at a time; of more, those with the fewest points in common are forgotten."""


def duplicates(found: Audited) -> dict[str, Any]:
    """Exact and near duplicates, of points and of members."""
    spacing = np.sqrt(np.minimum(found.nearby.own, found.nearby.other.first))
    apart = spacing[spacing > 0]
    threshold = found.audit.near * float(np.median(apart)) if len(apart) else 0.0
    near = int((spacing <= threshold).sum())
    low, high = _share_interval(near, len(spacing))
    return {
        "exact": _exact(found),
        "near": {
            "threshold": threshold,
            "factor": found.audit.near,
            "spacing": float(np.median(apart)) if len(apart) else 0.0,
            "probes": len(spacing),
            "share": near / len(spacing),
            "low": low,
            "high": high,
        },
        "members": _members(found),
    }


def dimensions(found: Audited) -> dict[str, Any]:
    """Participation ratio and TwoNN of a sample, and of its half and quarter, for both depend on the scale."""
    rows, groups = found.scaled(found.sample), found.sample.groups(found.audit.corpus)
    return {
        "features": rows.shape[1],
        "participation_ratio": _told(participation_ratio(rows, groups)),
        "two_nn": [_told(two_nn(rows[::step])) for step in (1, 2, 4) if len(rows) // step >= 3],
    }


def _told(dimension: Dimension) -> dict[str, Any]:
    sides = {name: number(getattr(dimension, name)) for name in ("value", "low", "high")}
    return {**sides, "points": dimension.points}


def _share_interval(hits: int, of: int) -> tuple[float, float]:
    """The 95% interval of a share by Clopper and Pearson."""
    low = float(betaincinv(hits, of - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 0.975)) if hits < of else 1.0
    return low, high


def _exact(found: Audited) -> dict[str, Any]:
    """Points whose features equal another's bit for bit, with examples and the members that have most in common."""
    corpus = found.audit.corpus
    copies = values = 0
    largest: list[tuple[int, list[int]]] = []
    pairs: Counter[tuple[int, int]] = Counter()
    for hashes, positions in _by_range(found):
        starts, lengths = runs_of_equals(hashes)
        copies += int((lengths - 1).sum())
        values += len(starts)
        for i in np.lexsort((positions[starts], -lengths))[:_EXAMPLES].tolist():
            largest.append((int(lengths[i]), positions[starts[i] : starts[i] + 2].tolist()))
        largest = sorted(largest, key=lambda each: (-each[0], each[1]))[:_EXAMPLES]
        _count_pairs(pairs, corpus.offsets, positions, starts, lengths)
    total = corpus.points
    return {
        "copies": copies,
        "share": copies / total,
        "values": values,
        "examples": [
            {"points": length, "first": [corpus.place(*corpus.at(position)) for position in positions]}
            for length, positions in largest
        ],
        "pairs": [
            {"members": [corpus.members[one].name, corpus.members[other].name], "points": count}
            for (one, other), count in sorted(pairs.items(), key=lambda each: (-each[1], each[0]))[:_PAIRS]
        ],
    }


def _count_pairs(
    pairs: Counter[tuple[int, int]], offsets: np.ndarray, positions: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> None:
    """Counts each point that repeats one of another member, for the pair of its own and the first one's member."""
    if not len(starts):
        return
    inside = np.repeat(np.arange(len(starts)), lengths)
    at = np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)])
    member = np.searchsorted(offsets, positions[at], side="right") - 1
    first = np.full(len(starts), np.iinfo(np.int64).max)
    np.minimum.at(first, inside, member)
    other = member != first[inside]
    found, counts = np.unique(np.stack([first[inside][other], member[other]]), axis=1, return_counts=True)
    for one, two, count in zip(*found.tolist(), counts.tolist(), strict=True):
        pairs[one, two] += count
    if len(pairs) > _COUNTED:
        kept = pairs.most_common(_COUNTED // 2)
        pairs.clear()
        pairs.update(dict(kept))


def _by_range(found: Audited) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sorted hashes of all points, and their positions, which ascend among equals; one range after another."""
    ranges = max(1, found.audit.corpus.points // _TOGETHER)
    edges = np.array([2**64 * i // ranges for i in range(1, ranges)], np.uint64)
    sources, before = list[tuple[Path, list[int], int]](), 0
    for folder in parts_of(found.compared):
        hashes = _opened(folder, "hashes")
        sources.append((folder, [0, *np.searchsorted(hashes, edges).tolist(), len(hashes)], before))
        before += len(hashes)
    for i in range(ranges):
        slices = [(folder, slice(*borders[i : i + 2]), first) for folder, borders, first in sources]
        hashes = np.concatenate([_opened(folder, "hashes")[some] for folder, some, _ in slices])
        positions = np.concatenate(
            [_opened(folder, "positions")[some].astype(np.int64) + first for folder, some, first in slices]
        )
        order = np.argsort(hashes, kind="stable")
        yield hashes[order], positions[order]


def _opened(folder: Path, name: str) -> np.ndarray:
    """A file of a part, of which only what is looked at is read. Opened for each look: what was read is let go."""
    found: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return found


def _members(found: Audited) -> dict[str, Any]:
    """Members that stand twice, or nearly, or in the reference too."""
    corpus, reference = found.audit.corpus, found.audit.reference
    by_digest: dict[str, list[str]] = {}
    for member in corpus.members:
        by_digest.setdefault(member.digest, []).append(member.name)
    theirs = {} if reference is None else {member.digest: member.name for member in reference.members}
    return {
        "exact": [names for names in by_digest.values() if len(names) > 1],
        "in_reference": [[member.name, theirs[member.digest]] for member in corpus.members if member.digest in theirs],
        "near": _near_members(found),
    }


def _near_members(found: Audited) -> list[dict[str, Any]]:
    corpus, nearby = found.audit.corpus, found.nearby
    own, other = np.sqrt(nearby.own), np.sqrt(nearby.other.first)
    told = []
    for number_, member in enumerate(corpus.members):
        mine = np.flatnonzero((found.probes.member == number_) & np.isfinite(own) & np.isfinite(other))
        if not len(mine):
            continue
        like = int(np.bincount(nearby.other.label[mine]).argmax())
        to_other, to_own = float(other[mine].mean()), float(own[mine].mean())
        if to_other <= found.audit.near * to_own:
            names = {"name": member.name, "like": corpus.members[like].name}
            told.append({**names, "distance": to_other, "spacing": to_own, "probes": len(mine)})
    return told

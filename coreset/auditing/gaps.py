"""Figures of what is not covered: regions by snapshot, atom and place, and what further calculations would add."""

from __future__ import annotations

from typing import Any

import numpy as np

from coreset.auditing.request import Audited
from coreset.numerics.keys import keys, stream
from coreset.numerics.uncovered import Region, empty_balls, most_helpful, to_labels

REGIONS, VIEWS, HELPFUL = 12, 4, 10
COMPARED = 4_096
"""Queries among which the gain from further members is measured."""
COMPARED_MEMBERS = 1_000
"""Members whose gain is measured: of more, those that carry the largest shares of AUC_pr."""
SHOWN = 1_500
"""Points of each kind on the map."""


def uncovered(found: Audited) -> dict[str, Any]:
    """Regions, members and species in order of how badly they are covered."""
    distances, rows = found.distances, found.scaled(found.queries)
    regions = empty_balls(rows, distances, REGIONS)
    return {
        "regions": [_region(found, rows, region) for region in regions],
        "members": _by_member(found, distances),
        "species": _by_species(found, distances),
        "helpful": _helpful(found, rows, distances),
        "views": _views(found, distances, regions),
        "map": _map(found, rows, distances),
    }


def _region(found: Audited, rows: np.ndarray, region: Region) -> dict[str, Any]:
    asked_of, queries = found.audit.asked_of, found.queries
    member = int(queries.member[region.centre])
    within = [asked_of.members[i].name for i in np.unique(queries.member[region.members]).tolist()]
    told = {
        **asked_of.place(member, int(queries.position[region.centre])),
        "distance": region.radius,
        "queries": len(region.members),
        "share": len(region.members) / len(queries),
        "members": len(within),
    }
    return told if asked_of.snapshot(member) is not None else {**told, "unusual": _unusual(found, rows[region.centre])}


def _unusual(found: Audited, row: np.ndarray) -> list[dict[str, Any]]:
    """The features in which a row lies farthest from the corpus's mean, in standard deviations of it."""
    sample = found.scaled(found.sample).astype(np.float64)
    spread = sample.std(axis=0)
    away = (row - sample.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    order = np.argsort(-np.abs(away), kind="stable")[:3].tolist()
    names = found.audit.corpus.columns if found.audit.space.network is None else [f"h{i}" for i in range(len(row))]
    return [{"feature": names[i], "deviations": float(away[i])} for i in order]


def _by_member(found: Audited, distances: np.ndarray) -> list[dict[str, Any]]:
    """Mean and largest distance of each member's queries, and the share of AUC_pr that they carry."""
    member, members = found.queries.member, found.audit.asked_of.members
    counts, sums = (np.bincount(member, weights, minlength=len(members)) for weights in (None, distances))
    largest = np.zeros(len(members))
    np.maximum.at(largest, member, distances)
    total = float(sums.sum()) or 1.0
    asked = np.flatnonzero(counts)
    order = asked[np.lexsort((asked, -sums[asked] / counts[asked]))][:COMPARED_MEMBERS]
    return [
        {
            "name": members[i].name,
            "group": members[i].group,
            **members[i].labels,
            "queries": int(counts[i]),
            "mean": float(sums[i] / counts[i]),
            "largest": float(largest[i]),
            "share": float(sums[i]) / total,
        }
        for i in order.tolist()
    ]


def _by_species(found: Audited, distances: np.ndarray) -> list[dict[str, Any]]:
    """Mean and largest distance of the queries nearest to atoms of each element; nothing without atoms."""
    asked_of, queries = found.audit.asked_of, found.queries
    if asked_of.snapshot(0) is None:
        return []
    names = list[str]()
    for member in np.unique(queries.member).tolist():
        near = asked_of.surroundings(member, queries.position[queries.member == member])
        assert near is not None
        names += near.species
    species = np.array(names)
    told = []
    for symbol in np.unique(species).tolist():
        mine = distances[species == symbol]
        told.append({"species": symbol, "queries": len(mine), "mean": float(mine.mean()), "largest": float(mine.max())})
    return sorted(told, key=lambda each: -each["mean"])


def _helpful(found: Audited, rows: np.ndarray, distances: np.ndarray) -> list[dict[str, Any]]:
    """Which members of the reference would lower AUC_pr most if their points were added, the best first.

    Their queries stand for all their points, so the fall is at least the one told; `others` is that over the queries of
    all other members. Nothing without a reference: its own members the corpus has already.
    """
    reference = found.audit.reference
    if reference is None or len(reference.members) < 2:
        return []
    order = np.argsort(keys(stream(found.audit.seed, b"helpful"), 0, len(rows)), kind="stable")[:COMPARED]
    order = np.sort(order)
    member = found.queries.member[order]
    sums = np.bincount(member, distances[order], minlength=len(reference.members))
    candidates = np.sort(np.argsort(-sums, kind="stable")[:COMPARED_MEMBERS])
    number = np.full(len(reference.members), len(candidates))
    number[candidates] = np.arange(len(candidates))
    to_each = to_labels(rows[order], number[member], len(candidates) + 1)[: len(candidates)]
    told, now = [], distances[order]
    for label, fall, after in most_helpful(now, to_each, HELPFUL):
        then, others = np.minimum(now, to_each[label]), member != candidates[label]
        gained = {"fall": fall, "auc": after, "others": float((now - then)[others].mean()) if others.any() else 0.0}
        told.append({"name": reference.members[candidates[label]].name, **gained, "queries": len(order)})
        now = then
    return told


def _views(found: Audited, distances: np.ndarray, regions: list[Region]) -> list[dict[str, Any]]:
    """The snapshots of the worst regions with their atoms, and the place and distance of every query in them."""
    asked_of, queries = found.audit.asked_of, found.queries
    numbers = list(dict.fromkeys(int(queries.member[region.centre]) for region in regions))[:VIEWS]
    told = []
    for member in numbers:
        snapshot = asked_of.snapshot(member)
        if snapshot is None:
            continue
        mine = np.flatnonzero(queries.member == member)
        near = asked_of.surroundings(member, queries.position[mine])
        assert near is not None
        told.append(
            {
                "snapshot": snapshot.name,
                "cell": snapshot.cell.tolist(),
                "positions": snapshot.positions.tolist(),
                "numbers": snapshot.numbers.tolist(),
                "points": near.places.round(4).tolist(),
                "distances": distances[mine].tolist(),
            }
        )
    return told


def _map(found: Audited, rows: np.ndarray, distances: np.ndarray) -> dict[str, Any]:
    """Corpus and queries along the three directions in which a sample of the corpus spreads most."""
    sample = found.scaled(found.sample).astype(np.float64)
    centre = sample.mean(axis=0)
    _, lengths, axes = np.linalg.svd(sample - centre, full_matrices=False)
    axes = axes[:3]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    axes = axes * signs[:, None]
    drawn = np.sort(np.argsort(keys(stream(found.audit.seed, b"map"), 0, len(sample)), kind="stable")[:SHOWN])
    # The farthest are what the map is for.
    asked = np.sort(np.argsort(-distances, kind="stable")[: SHOWN // 3])
    others = np.setdiff1d(np.arange(len(rows)), asked)
    asked = np.sort(np.concatenate([asked, others[:: max(1, len(others) // (SHOWN - len(asked)) or 1)]]))[: 2 * SHOWN]
    total = float(np.square(lengths).sum())
    return {
        "explained": float(np.square(lengths[:3]).sum() / total) if total else 1.0,
        "corpus": ((sample[drawn] - centre) @ axes.T).round(6).tolist(),
        "queries": ((rows[asked] - centre) @ axes.T).round(6).tolist(),
        "distances": distances[asked].tolist(),
    }

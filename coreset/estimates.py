"""Figures over seeds and snapshots as JSON: a mean, its 95% interval, and what it is the mean of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.corpus.split import Member, SnapshotSet
from coreset.numerics.intervals import Estimate, crossed_interval, verdict
from coreset.stages.evaluation import FIGURES, ROW_FIGURES


def estimate(values: np.ndarray, points: SnapshotSet) -> Estimate:
    """Mean and interval of values of shape [seeds, snapshots]; the snapshots of a trajectory count as one group."""
    column = {snapshot.name: i for i, snapshot in enumerate(points.snapshots)}
    groups = [[column[snapshot.name] for snapshot in members] for members in points.groups.values()]
    by_group = np.stack([values[:, members].mean(1) for members in groups], axis=1)
    return crossed_interval(by_group, np.array([len(members) for members in groups], dtype=np.float64))


def bounds(low: float, high: float) -> dict[str, float | None]:
    """JSON has no NaN: an interval that a single seed or group cannot have is null."""
    return {"low": low if math.isfinite(low) else None, "high": high if math.isfinite(high) else None}


def figure(values: np.ndarray, points: SnapshotSet) -> dict[str, Any]:
    """`value`, `low`, `high`, `seeds`, `groups`, `by_seed` and `by_snapshot` of values of shape [seeds, snapshots]."""
    found = estimate(values, points)
    return {
        "value": found.value,
        **bounds(found.low, found.high),
        **_numbers(values, points),
        "by_seed": values.mean(1).tolist(),
        "by_snapshot": values.mean(0).tolist(),
    }


def difference(values: np.ndarray, points: SnapshotSet) -> dict[str, Any]:
    """`value`, `low`, `high`, `seeds`, `groups` and `verdict` of paired differences of shape [seeds, snapshots]."""
    found = estimate(values, points)
    return {
        "value": found.value,
        **bounds(found.low, found.high),
        **_numbers(values, points),
        "verdict": verdict(found),
    }


KINDS: dict[str, Callable[[Member], str]] = {
    "by_temperature": lambda snapshot: f"{snapshot.temperature:g}" if snapshot.temperature is not None else "",
    "by_composition": lambda snapshot: snapshot.composition,
}
"""What divides a test set, and how a snapshot's part is called."""


def parts(points: SnapshotSet, kind: str) -> list[str]:
    """The temperatures or compositions of a set, in natural order; none where all snapshots share one."""
    names = sorted({KINDS[kind](snapshot) for snapshot in points.snapshots}, key=lambda text: (len(text), text))
    return names if len(names) > 1 else []


def members(points: SnapshotSet, kind: str, name: str) -> list[int]:
    """Positions of the snapshots of one part."""
    return [i for i, snapshot in enumerate(points.snapshots) if KINDS[kind](snapshot) == name]


def by_kind(
    values: Mapping[str, np.ndarray], sets: Mapping[str, SnapshotSet], whole: SnapshotSet
) -> dict[str, dict[str, dict[str, Any]]]:
    """Every figure over the snapshots that share a temperature, and over those that share a composition.

    sets: the snapshots of each figure, all of `whole` or some.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in KINDS:
        found[kind] = {name: {} for name in parts(whole, kind)}
        for name, figures in found[kind].items():
            for what, measured_values in values.items():
                chosen = members(sets[what], kind, name)
                if chosen:
                    some = replace(sets[what], snapshots=tuple(sets[what].snapshots[i] for i in chosen))
                    figures[what] = figure(measured_values[:, chosen], some)
    return found


def _numbers(values: np.ndarray, points: SnapshotSet) -> dict[str, int]:
    """How many seeds and trajectories an interval rests on."""
    return {"seeds": len(values), "groups": len(points.groups)}


def measured(evaluation: Artifact) -> dict[str, np.ndarray]:
    """Every figure of an evaluation, shape [seeds, snapshots] each."""
    shards = [shard["figures"] for shard in evaluation.shards]
    known = [name for name in dict.fromkeys((*FIGURES, *ROW_FIGURES)) if name in shards[0]]
    return {name: np.array([figures[name] for figures in shards]).T for name in known}

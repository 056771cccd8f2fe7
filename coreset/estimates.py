"""Figures over seeds and snapshots as JSON: a mean, its 95% interval, and what it is the mean of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.corpus.split import SnapshotSet
from coreset.numerics.intervals import Estimate, crossed_interval, verdict
from coreset.stages.evaluation import FIGURES


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


def _numbers(values: np.ndarray, points: SnapshotSet) -> dict[str, int]:
    """How many seeds and trajectories an interval rests on."""
    return {"seeds": len(values), "groups": len(points.groups)}


def measured(evaluation: Artifact) -> dict[str, np.ndarray]:
    """Every figure of an evaluation, shape [seeds, snapshots] each."""
    return {name: np.array([shard["figures"][name] for shard in evaluation.shards]).T for name in FIGURES}

"""`summary.json`: every figure that a run has to show, from the artifacts alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.corpus.split import SnapshotSet
from coreset.numerics.intervals import Estimate, crossed_interval, verdict
from coreset.stages.coverage import minima, query_groups
from coreset.workflow import Pipeline, Products, Proxies, proxy_errors


def summarise(pipeline: Pipeline, products: Products) -> dict[str, Any]:
    """The figures of a finished run. NRMSE as fractions of the density's range, distances in Bohr.

    `evaluation.<set>.<method>` holds mean NRMSE over test snapshots and seeds with its 95% interval, and `difference`:
    the same networks' error minus that of the job's own method, paired by seed and trajectory, with a verdict.
    """
    job, split = pipeline.job, pipeline.split
    names = {"train": split.train, "validation": split.validation, **{f"test.{k}": v for k, v in split.tests.items()}}
    return {
        "name": job.name,
        "method": job.select.method,
        "prune": job.select.prune,
        "corpus": {
            name: {"snapshots": len(points.snapshots), "groups": len(points.groups), "points": points.points}
            for name, points in names.items()
        },
        "scores": _scores(products),
        "cutoff": _cutoff(pipeline, products),
        "methods": {
            name: {**_kept(pipeline, runs), **_trained(products.models[name])}
            for name, runs in products.selections.items()
        },
        "coverage": _coverage(pipeline, products.coverages),
        "steps": pipeline.steps,
        "evaluation": {
            name: _evaluation(pipeline, points, products.evaluations[name]) for name, points in split.tests.items()
        },
        "rows": products.coreset.figures["rows"],
    }


def _scores(products: Products) -> dict[str, Any]:
    figures = products.scores.figures
    return {
        "runs": len(products.score_models),
        "points": figures["points"],
        "zero_gradient": [zero / figures["points"] for zero in figures["zero"]],
        "zero_everywhere": figures["zero_everywhere"],
        "descriptor_fallback": figures["fallback"],
        "rank_correlation": figures["rank_correlation"],
        **_trained(products.score_models),
    }


def _trained(models: list[Artifact]) -> dict[str, Any]:
    """Of each training: last loss (scaled units), share of points whose output was 0, initialisations thrown away."""
    runs = [model.shards[0]["figures"] for model in models]
    return {name: [run[figure] for run in runs] for name, figure in _TRAINED.items()}


_TRAINED = {"loss": "loss", "dead_share": "dead", "redrawn": "redrawn"}


def _cutoff(pipeline: Pipeline, products: Products) -> dict[str, Any]:
    if products.proxies is None:
        return {"value": products.cutoff, "chosen": "stated in the job file"}
    proxies = products.proxies
    curve = [
        {"cutoff": beta, **_interval(_estimate(errors, pipeline.split.validation))}
        for beta, errors in zip(proxies.cutoffs, proxy_errors(proxies), strict=True)
    ]
    return {
        "value": products.cutoff,
        "chosen": "smallest mean NRMSE on the validation groups",
        "curve": curve,
        **_cost(proxies),
    }


def _cost(proxies: Proxies) -> dict[str, Any]:
    steps = sum(model.shards[0]["figures"]["steps"] for model in proxies.models)
    return {"cost": {"trainings": len(proxies.models), "steps": steps}}


def _kept(pipeline: Pipeline, runs: list[Artifact | None]) -> dict[str, Any]:
    points = pipeline.split.train.points
    kept = [points if run is None else run.figures["kept"] for run in runs]
    return {"kept": kept, "rate": 1 - kept[0] / points}


def _coverage(pipeline: Pipeline, coverages: dict[str, Artifact]) -> dict[str, Any]:
    from coreset.numerics.coverage import paired_difference

    against, queries = pipeline.split.validation, pipeline.job.coverage.queries
    groups = query_groups(against, queries)
    own = coverages.get(pipeline.job.select.method)
    found: dict[str, Any] = {}
    for name, artifact in coverages.items():
        figures = artifact.figures
        found[name] = {"auc": figures["auc"], "interval": figures["interval"], "p": figures["p"], "r": figures["r"]}
        if own is not None and artifact is not own:
            difference = paired_difference(minima(artifact), minima(own), groups)
            low, high = difference.interval
            side = "higher" if low > 0 else "lower" if high < 0 else "tie"
            found[name]["difference"] = {"value": difference.value, **_bounds(low, high), "verdict": side}
    return found


def _evaluation(pipeline: Pipeline, points: SnapshotSet, evaluation: Artifact) -> dict[str, Any]:
    errors = np.array([shard["figures"]["nrmse"] for shard in evaluation.shards]).T
    by_method = dict(zip(pipeline.methods, errors.reshape(len(pipeline.methods), -1, errors.shape[1]), strict=True))
    own = by_method[pipeline.job.select.method]
    found: dict[str, Any] = {}
    for name, values in by_method.items():
        found[name] = {**_interval(_estimate(values, points)), "by_seed": values.mean(1).tolist()}
        if name != pipeline.job.select.method:
            difference = _estimate(values - own, points)
            found[name]["difference"] = {**_interval(difference), "verdict": verdict(difference)}
    return found


def _estimate(values: np.ndarray, points: SnapshotSet) -> Estimate:
    """Mean and interval of values of shape [seeds, snapshots]; the snapshots of a trajectory count as one group."""
    column = {snapshot.name: i for i, snapshot in enumerate(points.snapshots)}
    groups = [[column[snapshot.name] for snapshot in members] for members in points.groups.values()]
    by_group = np.stack([values[:, members].mean(1) for members in groups], axis=1)
    return crossed_interval(by_group, np.array([len(members) for members in groups], dtype=np.float64))


def _interval(estimate: Estimate) -> dict[str, Any]:
    return {"nrmse": estimate.value, **_bounds(estimate.low, estimate.high)}


def _bounds(low: float, high: float) -> dict[str, float | None]:
    """JSON has no NaN: an interval that a single seed or group cannot have is null."""
    return {"low": low if math.isfinite(low) else None, "high": high if math.isfinite(high) else None}

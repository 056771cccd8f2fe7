"""`summary.json`: every figure that a run has to show, from the artifacts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.corpus.split import SnapshotSet
from coreset.estimates import bounds, difference, estimate, figure, measured
from coreset.numerics.intervals import Estimate, verdict
from coreset.stages.coverage import minima, query_groups
from coreset.workflow import Pipeline, Products, Proxies, proxy_errors


def summarise(pipeline: Pipeline, products: Products) -> dict[str, Any]:
    """The figures of a finished run. NRMSE as fractions of the density's range, distances in Bohr.

    `evaluation.<set>.<method>` holds mean NRMSE over test snapshots and seeds with its 95% interval, and `difference`:
    the same networks' error minus that of the job's own method, paired by seed and trajectory, with a verdict.
    `figures` has the same for every figure of the error field, and for the energy where the job asks for it.
    """
    job, split = pipeline.job, pipeline.split
    return {
        "name": job.name,
        "method": job.select.method,
        "prune": job.select.prune,
        "corpus": corpus_figures(pipeline),
        "scores": {**score_figures(products.scores), **_trained(products.score_models)},
        "cutoff": cutoff_figures(pipeline, products.cutoff, products.proxies),
        "methods": {
            name: {**_kept(pipeline, runs), **_trained(products.models[name])}
            for name, runs in products.selections.items()
        },
        "coverage": coverage_figures(pipeline, products.coverages),
        "steps": pipeline.steps,
        "evaluation": {name: _evaluation(pipeline, points, products, name) for name, points in split.tests.items()},
        "rows": products.coreset.figures["rows"],
    }


def corpus_figures(pipeline: Pipeline) -> dict[str, dict[str, int]]:
    """Snapshots, trajectories and points of every set."""
    split = pipeline.split
    names = {"train": split.train, "validation": split.validation, **{f"test.{k}": v for k, v in split.tests.items()}}
    return {
        name: {"snapshots": len(points.snapshots), "groups": len(points.groups), "points": points.points}
        for name, points in names.items()
    }


def score_figures(scores: Artifact) -> dict[str, Any]:
    """What is to be told of the scores themselves."""
    figures = scores.figures
    return {
        "runs": len(figures["zero"]),
        "points": figures["points"],
        "zero_gradient": [zero / figures["points"] for zero in figures["zero"]],
        "zero_everywhere": figures["zero_everywhere"],
        "descriptor_fallback": figures["fallback"],
        "rank_correlation": figures["rank_correlation"],
    }


def _trained(models: list[Artifact]) -> dict[str, Any]:
    """Of each training: last loss (scaled units), share of points whose output was 0, initialisations thrown away."""
    runs = [model.shards[0]["figures"] for model in models]
    return {name: [run[figure] for run in runs] for name, figure in _TRAINED.items()}


_TRAINED = {"loss": "loss", "dead_share": "dead", "redrawn": "redrawn"}


def cutoff_figures(pipeline: Pipeline, cutoff: float, proxies: Proxies | None) -> dict[str, Any]:
    """β, and the validation errors that it was chosen by."""
    if proxies is None:
        return {"value": cutoff, "chosen": "stated in the job file"}
    curve = [
        {"cutoff": beta, **_interval(estimate(errors, pipeline.split.validation))}
        for beta, errors in zip(proxies.cutoffs, proxy_errors(proxies), strict=True)
    ]
    return {
        "value": cutoff,
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


def coverage_figures(pipeline: Pipeline, coverages: Mapping[str, Artifact]) -> dict[str, Any]:
    """AUC_pr of each method's coreset, and its paired difference from that of the job's own method."""
    from coreset.numerics.coverage import paired_difference

    against, queries = pipeline.split.validation, pipeline.job.coverage.queries
    groups = query_groups(against, queries)
    own = coverages.get(pipeline.job.select.method)
    found: dict[str, Any] = {}
    for name, artifact in coverages.items():
        figures = artifact.figures
        found[name] = {"auc": figures["auc"], "interval": figures["interval"], "p": figures["p"], "r": figures["r"]}
        if own is not None and artifact is not own:
            paired = paired_difference(minima(artifact), minima(own), groups)
            low, high = paired.interval
            side = "higher" if low > 0 else "lower" if high < 0 else "tie"
            found[name]["difference"] = {"value": paired.value, **bounds(low, high), "verdict": side}
    return found


def _evaluation(pipeline: Pipeline, points: SnapshotSet, products: Products, test: str) -> dict[str, Any]:
    by_method = {name: measured(products.evaluations[test][name]) for name in pipeline.methods}
    energies = products.energies.get(test)
    for name, values in by_method.items():
        if energies is not None and name in energies.models:
            values["energy"] = energies.errors(name)
    sets = {"energy": energies.points} if energies is not None else {}
    own = by_method[pipeline.job.select.method]
    found: dict[str, Any] = {}
    for name, values in by_method.items():
        errors = values["nrmse"]
        found[name] = {
            **_interval(estimate(errors, points)),
            "by_seed": errors.mean(1).tolist(),
            "figures": {what: figure(each, sets.get(what, points)) for what, each in values.items()},
        }
        if name != pipeline.job.select.method:
            found[name]["difference"] = _difference(errors - own["nrmse"], points)
            found[name]["differences"] = {
                what: difference(values[what] - own[what], sets.get(what, points)) for what in values if what in own
            }
    return found


def _difference(values: np.ndarray, points: SnapshotSet) -> dict[str, Any]:
    found = estimate(values, points)
    return {**_interval(found), "verdict": verdict(found)}


def _interval(found: Estimate) -> dict[str, Any]:
    return {"nrmse": found.value, **bounds(found.low, found.high)}

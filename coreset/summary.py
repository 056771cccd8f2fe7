"""`summary.json`: every figure that a run has to show, from the artifacts alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.corpus.split import SnapshotSet
from coreset.estimates import bounds, by_kind, difference, estimate, figure, measured
from coreset.numerics.coverage import mean_over_queries
from coreset.numerics.intervals import Estimate, paired, verdict
from coreset.numerics.query_sampling import Known
from coreset.stages.coverage import (
    bias_of,
    bias_of_difference,
    distances_of,
    numbers_to_ask,
    query_groups,
    query_sample,
)
from coreset.workflow import Pipeline, Products, Proxies, proxy_errors


def summarise(pipeline: Pipeline, products: Products) -> dict[str, Any]:
    """The figures of a finished run. NRMSE as fractions of the density's range, distances in Bohr.

    `evaluation.<set>.<method>` holds mean NRMSE over test snapshots and seeds with its 95% interval, and `difference`:
    the same networks' error minus that of the job's own method, paired by seed and trajectory, with a verdict.
    `figures` has the same for every figure of the error field, and for the energy where the job asks for it. Of a table
    `table` tells what its rows hold, snapshots are its shards, and distances have the unit of the features.
    """
    job, split = pipeline.job, pipeline.split
    return {
        "name": job.name,
        **table_figures(pipeline),
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


def table_figures(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Under `table`: task and targets, numbers of features and classes, scaling of distances; nothing of densities."""
    layout = pipeline.split.train.layout
    if layout is None:
        return {}
    told = {"task": layout.task, "targets": list(layout.targets), "features": layout.length}
    return {"table": {**told, "classes": len(layout.classes), "scaling": pipeline.job.coverage.scaling}}


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
        # SHA-256 of the file that they are from, where the job names one.
        **({"given": figures["given"]} if "given" in figures else {}),
    }


def _trained(models: list[Artifact]) -> dict[str, Any]:
    """Of each training: last loss (scaled units), share of points whose output was 0, initialisations thrown away.

    `slowed_to`, where any diverged: the learning rate of those that were begun again, null for the others.
    """
    runs = [model.shards[0]["figures"] for model in models]
    return {name: [run[figure] for run in runs] for name, figure in _TRAINED.items()} | slowed(runs)


def slowed(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The learning rates of trainings that were begun again, by run, under `slowed_to`; nothing where none was."""
    rates = [run.get("slowed_to") for run in runs]
    return {} if rates == [None] * len(rates) else {"slowed_to": rates}


_TRAINED = {"loss": "loss", "dead_share": "dead", "redrawn": "redrawn"}


def cutoff_figures(pipeline: Pipeline, cutoff: float, proxies: Proxies | None) -> dict[str, Any]:
    """β, and the validation errors that it was chosen by."""
    if proxies is None:
        return {"value": cutoff, "chosen": "stated in the job file"}
    validation, errors = pipeline.split.validation, proxy_errors(proxies)
    curve = [
        {"cutoff": beta, **_interval(estimate(each, validation))}
        for beta, each in zip(proxies.cutoffs, errors, strict=True)
    ]
    chosen = errors[proxies.cutoffs.index(cutoff)]
    apart = [verdict(estimate(each - chosen, validation)) for each in errors]
    return {
        "value": cutoff,
        "chosen": "smallest mean NRMSE on the validation groups",
        "curve": curve,
        # The β that these proxies cannot tell from the chosen one.
        "ties": [beta for beta, found in zip(proxies.cutoffs, apart, strict=True) if found == "tie"],
        **_cost(proxies),
    }


def _cost(proxies: Proxies) -> dict[str, Any]:
    steps = sum(model.shards[0]["figures"]["steps"] for model in proxies.models)
    return {"cost": {"trainings": len(proxies.models), "steps": steps}}


def _kept(pipeline: Pipeline, runs: list[Artifact | None]) -> dict[str, Any]:
    points = pipeline.split.train.points
    kept = [points if run is None else run.figures["kept"] for run in runs]
    return {"kept": kept, "rate": 1 - kept[0] / points}


def coverage_figures(pipeline: Pipeline, coverages: Mapping[str, Sequence[Artifact]]) -> dict[str, Any]:
    """AUC_pr of each method's coresets, and its paired difference from that of the job's own method.

    Mean over coresets and queries; the interval is over coresets and validation trajectories. The p–r curve is the mean
    over coresets of r at equal p. `queries` says how many were asked, what sampling them leaves unknown, the half-width
    of a 95% interval given the validation snapshots, and whether that is little enough. `bias`, of what is estimated:
    by how much it is too high.
    """
    if not coverages:
        return {}
    distances = {name: distances_of(drawn) for name, drawn in coverages.items()}
    bias = {name: bias_of(drawn) for name, drawn in coverages.items()}
    own = distances.get(pipeline.job.select.method)
    asked = next(iter(coverages.values()))[0].figures["queries"]
    validation = pipeline.split.validation
    groups, sample = query_groups(validation, asked), query_sample(validation, asked)
    looks = len(numbers_to_ask(validation, pipeline.job.coverage.queries))
    found: dict[str, Any] = {}
    for name, drawn in coverages.items():
        area = mean_over_queries(distances[name], groups)
        interval = [area.low, area.high] if math.isfinite(area.low) else None
        curve = {"p": drawn[0].figures["p"], "r": np.mean([each.figures["r"] for each in drawn], axis=0).tolist()}
        found[name] = {"auc": area.value, "interval": interval, "seeds": area.seeds, "groups": area.groups, **curve}
        found[name]["queries"] = {"asked": asked, **_known(sample.value(distances[name], bias[name]["high"]))}
        if bias[name]["high"]:
            found[name]["bias"] = bias[name]
        if own is not None and name != pipeline.job.select.method:
            differences = paired(distances[name], own)
            wrong_by = bias_of_difference(bias[name], bias[pipeline.job.select.method])
            apart = mean_over_queries(differences, groups)
            found[name]["difference"] = {
                "value": apart.value,
                **bounds(apart.low, apart.high),
                "verdict": verdict(apart),
                "seeds": apart.seeds,
                "groups": apart.groups,
                "queries": _known(sample.difference(differences, float(own.mean()), looks, wrong_by)),
            }
    return found


def _known(found: Known) -> dict[str, Any]:
    return {"half_width": found.half_width if math.isfinite(found.half_width) else None, "enough": found.enough}


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
            **by_kind(values, {what: sets.get(what, points) for what in values}, points),
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

"""`sweep.json`: every figure that a sweep has to show, from the artifacts alone."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact, software
from coreset.atomic import replacing
from coreset.calibration import multiplications
from coreset.corpus.split import SnapshotSet
from coreset.estimates import KINDS, bounds, by_kind, difference, figure, measured, members, parts
from coreset.job_file import job_record
from coreset.summary import corpus_figures, coverage_figures, cutoff_figures, score_figures, slowed, table_figures
from coreset.sweep import METHODS_STUDY, NOISE_STUDY, Cell, Sweep, SweepProducts, cell_id

TARGET = 1.05
"""The validation error to be reached, as a multiple of what the whole corpus reaches in the end."""

PEERS = ("full", "random", "grand", "ccs", "cut-random")
"""What every cell is compared with, beside the job's own method."""


def summarise_sweep(sweep: Sweep, products: SweepProducts, folder: Path, command: str) -> dict[str, Any]:
    """The figures of a finished sweep; fields to be looked at are copied to `folder/fields`."""
    job, pipeline = sweep.job, sweep.pipeline
    ids = {cell: cell_id(cell, wanted) for cell, wanted in products.cells.items()}
    protocols: dict[str, Any] = {
        "steps": {"steps": pipeline.steps},
        "epochs": {"epochs": job.sweep.epochs.epochs},
    }
    trained = {cell: _training(sweep, products.models[cell]) for cell in products.cells}
    return {
        "name": job.name,
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine(),
        "software": software(),
        "job": job_record(job),
        **table_figures(pipeline),
        "method": job.select.method,
        "prune": job.select.prune,
        "corpus": corpus_figures(pipeline),
        "protocols": {name: protocols[name] for name in job.sweep.protocols},
        # JSON objects have no order; these are the first-named ones first.
        "protocol_order": list(job.sweep.protocols),
        "test_order": list(pipeline.split.tests),
        "seed_names": [
            str(pipeline.seed(run)) for run in range(max(wanted.seeds for wanted in products.cells.values()))
        ],
        "cutoffs": {
            f"{rate:g}": cutoff_figures(pipeline, cutoff, proxies)
            for rate, (cutoff, proxies) in products.cutoffs.items()
        },
        "cells": [
            {
                "id": ids[cell],
                "studies": wanted.studies,
                **{name: getattr(cell, name) for name in _SETTINGS},
                "seeds": wanted.seeds,
                "kept": _kept(sweep, products.selections[cell]),
                "training": trained[cell],
                "tests": {
                    name: _test(sweep, products, name, points, cell) for name, points in pipeline.split.tests.items()
                },
            }
            for cell, wanted in products.cells.items()
        ],
        "coverage": {f"{rate:g}": _coverage(sweep, products, rate) for rate in products.coverages},
        "scores": {**score_figures(products.scores), "histogram": products.histogram.figures},
        "costs": _costs(sweep, products),
        "costs_rate": sweep.shown_rates[0],
        "time_to_target": _time_to_target(sweep, products, trained, ids),
        "noise": {"variants": _noise(products)},
        "fields": [*_fields(products, folder), *_scored(sweep, products, folder)],
    }


_SETTINGS = ("protocol", "method", "rate", "cutoff", "strata", "score_epoch", "score_runs", "recipe")


def machine() -> dict[str, Any]:
    """Processor, cores and memory of this machine."""
    processor = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        names = [line.split(":", 1)[1].strip() for line in listing.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {"processor": processor, "cores": os.cpu_count(), "memory_gib": round(memory, 1)}


def _kept(sweep: Sweep, selections: Sequence[Artifact | None]) -> list[int]:
    points = sweep.pipeline.split.train.points
    return [points if each is None else int(each.figures["kept"]) for each in selections]


def _coverage(sweep: Sweep, products: SweepProducts, rate: float) -> dict[str, Any]:
    """AUC_pr of every method at a rate, and how many points its first coreset has."""
    found = coverage_figures(sweep.pipeline, products.coverages[rate])
    for name, figures in found.items():
        cell = next(cell for cell in products.cells if cell.method == name and cell.rate in (rate, 0.0))
        figures["kept"] = _kept(sweep, products.selections[cell])[0]
    return found


def _flops_per_step(sweep: Sweep) -> float:
    """Forward, and backward by activations and by weights: 2 + 2 + 2 operations per weight and point."""
    return 6.0 * multiplications(sweep.job, sweep.pipeline.descriptor) * sweep.job.training.batch


def _training(sweep: Sweep, models: Sequence[Artifact]) -> dict[str, Any]:
    figures = [model.shards[0]["figures"] for model in models]
    per_step = _flops_per_step(sweep)
    whole = [_spent([model]) for model in models]
    describing = [_spent([model], "describe_") for model in models]
    # The first training of a process describes the points for those that follow: only the steps are comparable.
    steps = [
        {name: None if all_of[name] is None or part[name] is None else all_of[name] - part[name] for name in all_of}
        for all_of, part in zip(whole, describing, strict=True)
    ]
    return {
        "steps": [each["steps"] for each in figures],
        "kept_step": [each["kept_step"] for each in figures],
        "flops": [each["steps"] * per_step for each in figures],
        "seconds": [each["seconds"] for each in steps],
        "cpu_seconds": [each["cpu_seconds"] for each in steps],
        "describe_seconds": [each["seconds"] for each in describing],
        "validation": [each["validation"] for each in figures],
        "redrawn": [each["redrawn"] for each in figures],
        **slowed(figures),
    }


def _spent(artifacts: Sequence[Artifact], phase: str = "") -> dict[str, Any]:
    """Seconds of all shards, or of one phase of them, as if one process had made them one after another.

    None where they are not known of every shard.
    """
    found: dict[str, float | None] = {}
    for name in ("seconds", "cpu_seconds"):
        each = [
            artifact.timings.get(shard["name"], {}).get(phase + name)
            for artifact in artifacts
            for shard in artifact.shards
        ]
        known = [seconds for seconds in each if seconds is not None]
        found[name] = sum(known) if len(known) == len(each) else None
    return found


def _values(products: SweepProducts, test: str, cell: Cell) -> dict[str, np.ndarray]:
    """Every figure of a cell on a test set, shape [seeds, snapshots]; the energy on those that have one."""
    found = measured(products.evaluations[test][cell])
    energies = products.energies.get(test)
    if energies is not None and cell in energies.models:
        found["energy"] = energies.errors(cell)
    return found


def _test(sweep: Sweep, products: SweepProducts, test: str, points: SnapshotSet, cell: Cell) -> dict[str, Any]:
    values = _values(products, test, cell)
    energies = products.energies.get(test)
    sets = {name: energies.points if name == "energy" and energies else points for name in values}
    found: dict[str, Any] = {
        "snapshots": [snapshot.name for snapshot in points.snapshots],
        "figures": {name: figure(values[name], sets[name]) for name in values},
        **by_kind(values, sets, points),
        "differences": {},
    }
    if points.layout is None:
        found["spectrum"] = _spectrum(products.evaluations[test][cell].shards)
    if points.layout is None and sweep.is_compared(cell, products.cells[cell]):
        found["spectrum"] |= _spectra_by_kind(products.evaluations[test][cell], points)
    if "energy" in values:
        found["energy_snapshots"] = [snapshot.name for snapshot in sets["energy"].snapshots]
        found["energy_signed"] = products.energies[test].signed(cell).mean(0).tolist()
    for peer in dict.fromkeys((*PEERS, sweep.job.select.method)):
        other = _peer(products, cell, peer)
        if other is None or other == cell:
            continue
        theirs = _values(products, test, other)
        shared = [name for name in values if name in theirs]
        found["differences"][peer] = {
            name: difference(values[name][:seeds] - theirs[name][:seeds], sets[name])
            for name in shared
            for seeds in [min(len(values[name]), len(theirs[name]))]
        }
    return found


def _peer(products: SweepProducts, cell: Cell, method: str) -> Cell | None:
    """The cell that compares methods, of the same protocol and rate."""
    rate = 0.0 if method == "full" else cell.rate
    for other, wanted in products.cells.items():
        same = (other.protocol, other.method, other.rate) == (cell.protocol, method, rate)
        if same and METHODS_STUDY in wanted.studies:
            return other
    return None


def _spectra_by_kind(evaluation: Artifact, points: SnapshotSet) -> dict[str, dict[str, list[float]]]:
    """The power alone, by temperature and by composition, in the shells of the whole set."""
    shells = len(_spectrum(evaluation.shards)["power"])
    return {
        kind: {
            name: _spectrum([evaluation.shards[i] for i in members(points, kind, name)], shells)["power"]
            for name in parts(points, kind)
        }
        for kind in KINDS
    }


def _spectrum(shards: Sequence[dict[str, Any]], least: int = 0) -> dict[str, Any]:
    """Power by shell of |G|, mean over snapshots and seeds; a snapshot on a coarser grid has none in the far shells.

    least: so many shells at least.
    """
    spectra = [shard["figures"]["spectrum"] for shard in shards]
    edges = max((each["edges"] for each in spectra), key=len)
    shells = max(len(edges) - 1, least)

    def mean(rows: list[list[float]]) -> list[float]:
        padded = [[*row, *[0.0] * (shells - len(row))] for row in rows]
        return [float(value) for value in np.mean(padded, axis=0)]

    return {
        "edges": edges,
        "power": mean([row for each in spectra for row in each["power"]]),
        "reference": mean([each["reference"] for each in spectra]),
    }


def _costs(sweep: Sweep, products: SweepProducts) -> list[dict[str, Any]]:
    """What the selection itself costs: the scoring runs, the scores, the proxies for β, one draw."""
    pipeline, per_step = sweep.pipeline, _flops_per_step(sweep)
    per_point = per_step / 6 / sweep.job.training.batch
    runs, scores = pipeline.score()
    cutoff, proxies = products.cutoffs[sweep.shown_rates[0]]

    def steps(models: Sequence[Artifact]) -> float:
        return float(sum(model.shards[0]["figures"]["steps"] for model in models))

    # Forward, and backward by activations alone: 4 operations per weight and point, under each network.
    scoring = 4 * per_point * pipeline.split.train.points * len(runs)
    rows = [
        {"stage": "scoring runs", **_spent(runs), "flops": per_step * steps(runs)},
        {"stage": "scoring", **_spent([scores]), "flops": scoring},
    ]
    if proxies is not None:
        forward = 2 * per_point * pipeline.split.validation.points * len(proxies.models)
        rows += [
            {"stage": "proxies' coresets", **_spent(proxies.selections), "flops": 0.0},
            {"stage": "proxies for β", **_spent(proxies.models), "flops": per_step * steps(proxies.models)},
            {"stage": "proxies' errors", **_spent([proxies.evaluation]), "flops": forward},
        ]
    draw = sweep.own_draw(scores, cutoff)
    return [*rows, {"stage": "selection", **_spent([draw]), "flops": 0.0}]


def _time_to_target(
    sweep: Sweep, products: SweepProducts, trained: Mapping[Cell, dict[str, Any]], ids: Mapping[Cell, str]
) -> dict[str, Any] | None:
    """When each training first reached 1.05 × the final validation error of the whole corpus, by checks."""
    protocol = sweep.job.sweep.protocols[0]
    full = next(cell for cell in products.cells if cell.method == "full" and cell.protocol == protocol)
    curves = trained[full]["validation"]
    if not all(curves):
        return None
    target = TARGET * float(np.mean([curve[-1][1] for curve in curves]))
    per_step = _flops_per_step(sweep)
    found: dict[str, Any] = {}
    for cell, figures in trained.items():
        steps = [next((step for step, error in curve if error <= target), None) for curve in figures["validation"]]
        share = [None if at is None else at / whole for at, whole in zip(steps, figures["steps"], strict=True)]
        found[ids[cell]] = {
            "steps": steps,
            "flops": [None if at is None else at * per_step for at in steps],
            "seconds": [
                None if at is None or spent is None else at * spent
                for at, spent in zip(share, figures["seconds"], strict=True)
            ],
        }
    return {"factor": TARGET, "target": target, "cells": found}


def _noise(products: SweepProducts) -> list[dict[str, Any]]:
    """Spread of the error from seed to seed under each recipe, on the first test set and in validation."""
    variants = []
    for cell, wanted in products.cells.items():
        if NOISE_STUDY not in wanted.studies:
            continue
        by_seed = {
            test: measured(evaluations[cell])["nrmse"].mean(1) for test, evaluations in products.evaluations.items()
        }
        curves = [model.shards[0]["figures"]["validation"] for model in products.models[cell]]
        steps = [model.shards[0]["figures"]["kept_step"] for model in products.models[cell]]
        if all(curves):
            by_seed["validation"] = np.array([dict(curve)[kept] for curve, kept in zip(curves, steps, strict=True)])
        # Of an error rate that is 0 at every seed nothing is a share.
        figures = {name: _spread(values) for name, values in by_seed.items() if values.any()}
        variants.append({"name": cell.recipe, "id": cell_id(cell, wanted), "figures": figures})
    return variants


def _spread(values: np.ndarray) -> dict[str, Any]:
    """Mean over seeds and standard deviation between them, with the latter's 95% interval (χ²)."""
    from scipy.stats import chi2

    seeds, deviation = len(values), float(values.std(ddof=1))
    low, high = (deviation * np.sqrt((seeds - 1) / chi2.ppf(p, seeds - 1)) for p in (0.975, 0.025))
    return {
        "mean": float(values.mean()),
        "sd": deviation,
        "relative_sd": deviation / float(values.mean()),
        **bounds(float(low), float(high)),
        "seeds": seeds,
        "by_seed": values.tolist(),
    }


def _fields(products: SweepProducts, folder: Path) -> list[dict[str, Any]]:
    found = []
    for test, shown in products.fields.items():
        for shard, snapshot in zip(shown.artifact.shards, shown.points.snapshots, strict=True):
            name = f"fields/test-{test}.npz"  # apart from that of the training snapshot, whatever the set is called
            _copy(shown.artifact.path(shard["name"]), folder / name)
            arrays = {"reference": "reference", **shown.arrays}
            found.append({"role": "test", "set": test, "file": name, "arrays": arrays, **_atoms(snapshot)})
    return found


def _scored(sweep: Sweep, products: SweepProducts, folder: Path) -> list[dict[str, Any]]:
    """The scores of one training snapshot, to see where in the cell the hard points are; nothing of a table."""
    if sweep.pipeline.split.train.layout is not None:
        return []
    from coreset.corpus.described import open_corpus
    from coreset.stages.scoring import read_field

    train = sweep.pipeline.split.train
    snapshot = train.grids[len(train.snapshots) // 2]
    density = open_corpus(train.corpus).density(snapshot, 0, snapshot.points)
    score = read_field(products.scores, snapshot.name, "grand")
    name = "fields/training.npz"
    (folder / "fields").mkdir(parents=True, exist_ok=True)
    with replacing(folder / name) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, reference=density.reshape(snapshot.grid), score=score.reshape(snapshot.grid))
    arrays = {"reference": "reference", "score": "score"}
    return [{"role": "training", "set": "train", "file": name, "arrays": arrays, **_atoms(snapshot)}]


def _atoms(snapshot: Any) -> dict[str, Any]:
    return {
        "snapshot": snapshot.name,
        "cell": snapshot.cell.tolist(),
        "numbers": snapshot.numbers.tolist(),
        "positions": snapshot.positions.tolist(),
        "grid": list(snapshot.grid),
    }


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with replacing(destination) as temporary:
        shutil.copyfile(source, temporary)

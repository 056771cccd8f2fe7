"""What a job asks and its corpus, its run or its sweep cannot give: refused before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from coreset.config import Job
from coreset.corpus.elements import SYMBOLS
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet, Split
from coreset.corpus.table_corpus import Layout
from coreset.errors import DataError, RequestError
from coreset.methods import METHODS
from coreset.methods.budget import keep
from coreset.stages.coverage import equal_share
from coreset.stages.selection import parts_of
from coreset.sweep import Sweep
from coreset.workflow import legal_cutoffs


def check_atoms(divided: Split, place: str) -> None:
    """Raises DataError for a snapshot of which no descriptor can be computed, before any is trained on or tested."""
    for points in (divided.train, divided.validation, *divided.tests.values()):
        for snapshot in () if points.layout else points.grids:
            flaw = _flaw(snapshot)
            if flaw:
                raise DataError(
                    f"{place}: corpus.source: {snapshot.name}: expected {flaw}; ingest it again, or leave it out."
                )


def _flaw(snapshot: Snapshot) -> str:
    """What is expected of a snapshot's cell and atoms, and found otherwise; empty where all is well."""
    cell, numbers, positions = snapshot.cell, snapshot.numbers, snapshot.positions
    if not np.isfinite(cell).all() or not snapshot.volume > 1e-12 * np.prod(np.linalg.norm(cell, axis=1)):
        return f"lattice vectors that span a volume, found {cell.tolist()}"
    if not len(numbers) or len(numbers) != len(positions):
        return f"one atom or more, each with a position, found {len(numbers)} with {len(positions)}"
    if not np.isfinite(positions).all():
        return "finite positions of atoms, found others"
    if numbers.min() < 1 or numbers.max() > len(SYMBOLS):
        return f"atomic numbers from 1 to {len(SYMBOLS)}, found {numbers.min()} to {numbers.max()}"
    if not (np.isfinite(snapshot.electrons) and snapshot.electrons > 0):
        return f"a positive number of electrons, found {snapshot.electrons}"
    return ""


def check(job: Job, points: SnapshotSet, against: SnapshotSet, place: str) -> None:
    """Raises RequestError for a budget that the corpus cannot meet, before anything is computed."""
    if points.layout is not None:
        _check_table(job, points.layout, place)
    if job.network.code is not None and job.energy.pseudopotentials is not None:
        raise RequestError(
            f"{place}: energy: expected a multilayer perceptron, found network.code; leave one of them out."
        )
    parts = parts_of(points, job.select.within)
    if len(parts) > 1:
        for part, members in parts.items():
            whole = job.select.model_copy(update={"within": None})
            some = replace(points, snapshots=tuple(members))
            check(job.model_copy(update={"select": whole}), some, against, f"{place}: {job.select.within} {part!r}")
        return
    budget = keep(points.points, job.select.prune)
    names = {job.select.method, *job.evaluation.methods}
    takes_cutoff = any("cutoff" in METHODS[name].parameters for name in names)
    proxied = takes_cutoff and job.select.cutoff == "auto"
    if ("ccs" in names or proxied) and budget < job.select.strata:
        raise RequestError(
            f"{place}: select.prune: expected to keep at least one point per stratum ({job.select.strata}), found "
            f"{budget} of {points.points} points at {job.select.prune}; prune less or lower select.strata."
        )
    cutoffs = job.select.proxy.cutoffs if job.select.cutoff == "auto" else (job.select.cutoff,)
    if takes_cutoff and not legal_cutoffs(cutoffs, points.points, budget):
        raise RequestError(
            f"{place}: select.cutoff: expected a cut that leaves the {budget} points that are kept, "
            f"found {min(cutoffs)} of {points.points}; cut less or prune more."
        )
    if "random-snapshots" in names and len(points.snapshots) < 2:
        raise RequestError(
            f"{place}: evaluation.methods: random-snapshots needs two snapshots or more, found one; leave it out."
        )
    queries, most = job.coverage.queries, equal_share(against)
    if queries != "auto" and queries > most:
        raise RequestError(
            f"{place}: coverage.queries: expected at most {most}, an equal share of each of the "
            f"{len(against.snapshots)} validation snapshots, found {queries}; ask for fewer."
        )


def _check_table(job: Job, layout: Layout, place: str) -> None:
    """What a job may ask of densities alone."""
    if job.select.within not in (None, "group"):
        raise RequestError(
            f"{place}: select.within: expected group, for the rows of a table have no {job.select.within}; ingest the "
            "table with --group, and say group."
        )
    if job.energy.pseudopotentials is not None:
        raise RequestError(
            f"{place}: energy: expected electron densities, found a table, which has no energy; leave it out."
        )
    if "output" in job.network.model_fields_set and job.network.output == "relu" and layout.task == "classification":
        raise RequestError(
            f"{place}: network.output: expected linear, for classes are told apart by logits, found relu; leave it out."
        )


def check_energies_of_run(job: Job, place: str) -> None:
    """Raises RequestError where the energies that a job states are of networks that its run does not train."""
    stated, compared = job.energy.model_fields_set, job.evaluation
    lost = [name for name in job.energy.methods if name not in (*compared.methods, job.select.method)]
    if lost and "methods" in stated:
        raise RequestError(
            f"{place}: energy.methods: expected methods of evaluation.methods, {', '.join(compared.methods)}, found "
            f"{', '.join(lost)}; leave them out, or add them there."
        )
    if job.energy.seeds > compared.seeds and "seeds" in stated:
        raise RequestError(
            f"{place}: energy.seeds: expected at most evaluation.seeds, {compared.seeds}, found {job.energy.seeds}; "
            "lower it, or raise evaluation.seeds."
        )


def check_sweep(sweep: Sweep, place: str) -> None:
    """Raises RequestError for a rate or a setting that the corpus or the sweep cannot meet, before any computing."""
    split, job = sweep.pipeline.split, sweep.job
    if job.network.code is not None:
        raise RequestError(
            f"{place}: network.code: `coreset sweep` expects a multilayer perceptron, found a network of your own; use "
            "`coreset run`."
        )
    if job.score.method == "file":
        raise RequestError(
            f"{place}: score.method: `coreset sweep` redraws scores, and expects networks that score, found file; use "
            "`coreset run`."
        )
    if job.select.within is not None:
        raise RequestError(
            f"{place}: select.within: `coreset sweep` compares selections of the whole training set, found "
            f"{job.select.within}; leave it out, or use `coreset run`."
        )
    for rate in sweep.rates:
        check(sweep.at(rate).job, split.train, split.validation, f"{place}: at the sweep's rate {rate:g}")
    studies = job.sweep.studies
    for rate in studies.rates:
        budget = keep(split.train.points, rate)
        for cutoff in studies.cutoffs:
            if not legal_cutoffs((cutoff,), split.train.points, budget):
                raise RequestError(
                    f"{place}: sweep.studies.cutoffs: expected cuts that leave the {budget:,} points that are kept at "
                    f"{rate:g}, found {cutoff:g} of {split.train.points:,}; leave it out, or study higher rates."
                )
        for strata in studies.strata:
            if strata > budget:
                raise RequestError(
                    f"{place}: sweep.studies.strata: expected at most the {budget:,} points that are kept at {rate:g}, "
                    f"found {strata}; leave it out."
                )
    _check_energy(sweep, place)


def _check_energy(sweep: Sweep, place: str) -> None:
    """What the job states has to be of some cell; of defaults, where energies are computed, one has to be."""
    job = sweep.job
    wanted: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
        "rates": (job.energy.rates, job.sweep.rates),
        "methods": (job.energy.methods, ("full", *job.sweep.methods)),
    }
    for name, (asked, given) in wanted.items():
        lost = [each for each in asked if each not in given]
        stated = name in job.energy.model_fields_set
        if lost and (stated or (sweep.pipeline.engine is not None and lost == list(asked))):
            raise RequestError(
                f"{place}: energy.{name}: expected {name} of the sweep, {', '.join(map(str, given))}, found "
                f"{', '.join(map(str, lost))}; leave them out, or add them to sweep.{name}."
            )
    if job.energy.seeds > job.sweep.seeds and "seeds" in job.energy.model_fields_set:
        raise RequestError(
            f"{place}: energy.seeds: expected at most sweep.seeds, {job.sweep.seeds}, found {job.energy.seeds}; lower "
            "it, or raise sweep.seeds."
        )

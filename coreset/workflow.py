"""The pipeline on one page: train, score, choose β, select, measure coverage, train again, compare, extract."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Stage
from coreset.config import Job
from coreset.corpus.split import SnapshotSet, Split
from coreset.errors import RequestError
from coreset.methods import METHODS
from coreset.methods.budget import keep
from coreset.numerics.descriptors import Descriptor
from coreset.stages.coverage import Coverage
from coreset.stages.evaluation import Evaluation
from coreset.stages.extraction import Extraction
from coreset.stages.scoring import Scoring
from coreset.stages.selection import Selection
from coreset.stages.training import Length, Training

Materialize = Callable[[Sequence[Stage]], list[Artifact]]
"""Makes the artifacts of stages that run in the same place; a plan's version only looks whether they stand."""


@dataclass(frozen=True)
class Proxies:
    """The short trainings from which β is chosen: `models[cutoff][seed]`, evaluated on the validation groups."""

    cutoffs: tuple[float, ...]
    seeds: int
    models: list[Artifact]
    evaluation: Artifact


def proxy_errors(proxies: Proxies) -> np.ndarray:
    """NRMSE of the proxies, shape [cutoffs, seeds, validation snapshots]."""
    errors = np.array([shard["figures"]["nrmse"] for shard in proxies.evaluation.shards]).T
    return errors.reshape(len(proxies.cutoffs), proxies.seeds, -1)


def best_cutoff(proxies: Proxies) -> float:
    """The β of the smallest mean error; of equals the first."""
    return proxies.cutoffs[int(proxy_errors(proxies).mean(axis=(1, 2)).argmin())]


@dataclass(frozen=True)
class Products:
    """All that a run has made."""

    scores: Artifact
    score_models: list[Artifact]
    proxies: Proxies | None
    cutoff: float
    selections: dict[str, list[Artifact | None]]
    """By method and evaluation seed; None where a method keeps everything."""
    coverages: dict[str, Artifact]
    models: dict[str, list[Artifact]]
    evaluations: dict[str, Artifact]
    """By test set; the models stand method after method, seed after seed."""
    coreset: Artifact


@dataclass(frozen=True)
class Pipeline:
    """One job on one corpus."""

    job: Job
    split: Split
    materialize: Materialize
    decide: Callable[[Proxies], float] = field(default=lambda proxies: best_cutoff(proxies))
    """Picks β from the proxies' errors."""

    def run(self) -> Products:
        """Everything, in order; what stands already is not computed again."""
        score_models, scores = self.score()
        cutoff, proxies = self.cutoff(scores)
        selections = self.select(scores, cutoff)
        coreset = self.extract(scores, selections)
        coverages = self.cover(selections)
        models = self.train(selections)
        evaluations = self.evaluate(models)
        return Products(scores, score_models, proxies, cutoff, selections, coverages, models, evaluations, coreset)

    def score(self) -> tuple[list[Artifact], Artifact]:
        """K networks to the scoring epoch, then the gradient norm of every point under each."""
        length = Length(epochs=self.job.score.epoch)
        models = self.materialize(
            [self._training(f"score {run}", length, None, "scoring runs") for run in range(self.job.score.seeds)]
        )
        scores = self._one(Scoring(self.split.train, self.descriptor, tuple(models)))
        return models, scores

    def cutoff(self, scores: Artifact) -> tuple[float, Proxies | None]:
        """β as the job states it, or as short trainings on CCS coresets find it on the validation groups."""
        stated = self.job.select.cutoff
        if stated != "auto":
            return stated, None
        if not any("cutoff" in METHODS[name].parameters for name in self.methods):
            return 0.0, None
        proxy = self.job.select.proxy
        budget = keep(self.split.train.points, self.job.select.prune)
        cutoffs = legal_cutoffs(proxy.cutoffs, self.split.train.points, budget)
        runs = [(beta, run) for beta in cutoffs for run in range(proxy.seeds)]
        selections = self.materialize([self._selection("ccs", self.seed(run), scores, beta) for beta, run in runs])
        models = self.materialize(
            [
                self._training(f"proxy {run}", Length(steps=proxy.steps), selection, "proxies for β")
                for (_, run), selection in zip(runs, selections, strict=True)
            ]
        )
        evaluation = self._one(Evaluation(self.split.validation, self.descriptor, tuple(models)))
        proxies = Proxies(cutoffs, proxy.seeds, models, evaluation)
        return self.decide(proxies), proxies

    def select(self, scores: Artifact, cutoff: float) -> dict[str, list[Artifact | None]]:
        """Every method at every evaluation seed; the first seed is the job's own."""
        seeds = range(self.job.evaluation.seeds)
        wanted = [(name, run) for name in self.methods if name != "full" for run in seeds]
        made = self.materialize([self._selection(name, self.seed(run), scores, cutoff) for name, run in wanted])
        by_run = dict(zip(wanted, made, strict=True))
        return {name: [by_run.get((name, run)) for run in seeds] for name in self.methods}

    def extract(self, scores: Artifact, selections: dict[str, list[Artifact | None]]) -> Artifact:
        """The pruned dataset of the job's own method and seed."""
        method = METHODS[self.job.select.method]
        selection = selections[method.name][0]
        if selection is None:
            selection = self._one(self._selection("full", self.seed(0), scores, 0.0))
        return self._one(
            Extraction(
                self.split.train,
                selection,
                scores if method.field else None,
                method.field,
                self.descriptor,
                self.job.output.descriptor,
            )
        )

    def cover(self, selections: dict[str, list[Artifact | None]]) -> dict[str, Artifact]:
        """AUC_pr of each method's first coreset, on the same queries."""
        chosen = {name: runs[0] for name, runs in selections.items() if runs[0] is not None}
        settings = self.job.coverage
        stages = [
            Coverage(self.split.train, each, self.split.validation, settings.queries, settings.scaling, self.descriptor)
            for each in chosen.values()
        ]
        return dict(zip(chosen, self.materialize(stages), strict=True))

    def train(self, selections: dict[str, list[Artifact | None]]) -> dict[str, list[Artifact]]:
        """One network per method and seed, all for the same number of steps."""
        runs = [(name, run) for name in self.methods for run in range(self.job.evaluation.seeds)]
        length = Length(steps=self.steps)
        made = self.materialize(
            [
                self._training(f"evaluation {run}", length, selections[name][run], "evaluation runs")
                for name, run in runs
            ]
        )
        by_run = dict(zip(runs, made, strict=True))
        return {name: [by_run[name, run] for run in range(self.job.evaluation.seeds)] for name in self.methods}

    def evaluate(self, models: dict[str, list[Artifact]]) -> dict[str, Artifact]:
        """The error of every network on every test snapshot."""
        flat = tuple(model for runs in models.values() for model in runs)
        sets = self.split.tests
        made = self.materialize([Evaluation(points, self.descriptor, flat) for points in sets.values()])
        return dict(zip(sets, made, strict=True))

    @cached_property
    def descriptor(self) -> Descriptor:
        """What the networks see of a point."""
        return self.job.descriptor.resolve()

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods that are compared; the job's own is always one of them."""
        named = self.job.evaluation.methods
        return tuple(dict.fromkeys(named if self.job.select.method in named else (*named, self.job.select.method)))

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of each evaluation run."""
        training = self.job.training
        whole = training.epochs * math.ceil(self.split.train.points / training.batch)
        return self.job.evaluation.steps or whole

    def seed(self, run: int) -> int:
        """Selection seed of an evaluation run: the job's own, then numbers hashed from it."""
        seed = self.job.select.seed
        if run == 0:
            return seed
        return int.from_bytes(hashlib.sha256(f"{seed}/{run}".encode()).digest()[:7], "little")

    def _one(self, stage: Stage) -> Artifact:
        return self.materialize([stage])[0]

    def _selection(self, method: str, seed: int, scores: Artifact, cutoff: float) -> Selection:
        select = self.job.select
        given = {
            "prune": select.prune,
            "seed": seed,
            "cutoff": cutoff,
            "strata": select.strata,
            "redistribute": select.redistribute,
        }
        chosen = METHODS[method]
        settings = {name: given[name] for name in chosen.parameters}
        return Selection(self.split.train, method, settings, scores if chosen.field else None)

    def _training(self, seed: str, length: Length, selection: Artifact | None, what: str) -> Training:
        training = self.job.training
        settings = training.model_dump(include={"learning_rate", "weight_decay", "schedule", "batch", "window"})
        if length.epochs is not None:
            # The score is taken in the middle of a training, so its rate must not depend on where that stops.
            settings["schedule"] = "constant"
        network = self.job.network.model_dump()
        return Training(
            self.split.train, self.descriptor, network, settings, length, seed, selection, training.cache, what
        )


def check(job: Job, points: SnapshotSet, against: SnapshotSet, place: str) -> None:
    """Raises RequestError for a budget that the corpus cannot meet, before anything is computed."""
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
    # Every validation snapshot gives an equal number of queries.
    queries = len(against.snapshots) * min(snapshot.points for snapshot in against.snapshots)
    if job.coverage.queries > queries:
        raise RequestError(
            f"{place}: coverage.queries: expected at most {queries}, an equal share of each of the "
            f"{len(against.snapshots)} validation snapshots, found {job.coverage.queries}; ask for fewer."
        )


def legal_cutoffs(cutoffs: Sequence[float], points: int, budget: int) -> tuple[float, ...]:
    """Those β of which ⌊β·N⌋ cut points leave at least the budget."""
    return tuple(beta for beta in cutoffs if points - math.floor(beta * points) >= budget)


def job_record(job: Job) -> dict[str, Any]:
    """The job without what is particular to a machine: its paths and its cluster."""
    return job.model_dump(mode="json", exclude={"cluster": True, "corpus": {"source"}, "training": {"cache"}})

"""The pipeline on one page: train, score, choose β, select, measure coverage, train again, compare, extract."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Stage
from coreset.config import Job
from coreset.corpus.score_file import ScoreFile
from coreset.corpus.split import Features, SnapshotSet, Split
from coreset.energies.engine import Engine
from coreset.methods import METHODS
from coreset.methods.budget import keep
from coreset.numerics.intervals import paired
from coreset.stages.coverage import (
    Coverage,
    bias_of,
    bias_of_difference,
    distances_of,
    numbers_to_ask,
    query_sample,
)
from coreset.stages.energy import HarrisFoulkes, energy_differences, spread_evenly
from coreset.stages.evaluation import Evaluation
from coreset.stages.extraction import Extraction
from coreset.stages.given_scores import GivenScores
from coreset.stages.scoring import Scoring
from coreset.stages.selection import Selection
from coreset.stages.training import Length, Training

if TYPE_CHECKING:
    from coreset.learning.code import Code

Key = TypeVar("Key", bound=Hashable)

Materialize = Callable[[Sequence[Stage]], list[Artifact]]
"""Makes the artifacts of stages that run in the same place; a plan's version only looks whether they stand."""


PLAIN: dict[str, Any] = {"average": 0.0, "checks": 0, "keep": "last"}
"""What scoring runs and proxies do not do. The score is of a state in the middle of a training, so it is of the weights
as they are, under a rate that does not depend on where the training stops."""


@dataclass(frozen=True)
class Proxies:
    """The short trainings from which β is chosen: `models[cutoff][seed]`, evaluated on the validation groups."""

    cutoffs: tuple[float, ...]
    seeds: int
    selections: list[Artifact]
    """What the models are trained on, one each."""
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
class Energies:
    """F_HF of some snapshots of a test set."""

    points: SnapshotSet
    reference: list[Artifact]
    """One of each snapshot, so that more snapshots cost only the new ones."""
    models: dict[Hashable, list[list[Artifact]]]
    """By what the networks were asked for, seed after seed; then one of each snapshot."""

    def signed(self, key: Hashable) -> np.ndarray:
        """F_HF[ρ_ML] − F_HF[ρ_DFT] per atom, Ha, shape [seeds, snapshots]."""
        return np.array([energy_differences(each, self.reference) for each in self.models[key]])

    def errors(self, key: Hashable) -> np.ndarray:
        """ΔE, the same without its sign."""
        errors: np.ndarray = np.abs(self.signed(key))
        return errors


@dataclass(frozen=True)
class Products:
    """All that a run has made."""

    scores: Artifact
    score_models: list[Artifact]
    proxies: Proxies | None
    cutoff: float
    selections: dict[str, list[Artifact | None]]
    """By method and evaluation seed; None where a method keeps everything."""
    coverages: dict[str, list[Artifact]]
    """By method, of its first coreset alone."""
    models: dict[str, list[Artifact]]
    evaluations: dict[str, dict[str, Artifact]]
    """By test set and method; the models stand seed after seed."""
    energies: dict[str, Energies]
    """By test set; empty where the job names no pseudopotentials."""
    coreset: Artifact


@dataclass(frozen=True)
class Pipeline:
    """One job on one corpus."""

    job: Job
    split: Split
    materialize: Materialize
    engine: Engine | None = None
    """What computes energies; None where the job asks for none."""
    decide: Callable[[Proxies], float] = field(default=lambda proxies: best_cutoff(proxies))
    """Picks β from the proxies' errors."""
    code: Code | None = None
    """The user's own network, where the job names one and it may be run."""
    given: ScoreFile | None = None
    """The user's own scores, where the job names them: then no network is trained to score."""

    def run(self) -> Products:
        """Everything, in order; what stands already is not computed again."""
        score_models, scores = self.score()
        cutoff, proxies = self.cutoff(scores)
        selections = self.select(scores, cutoff)
        coreset = self.extract(scores, selections)
        drawn = {name: [runs[0]] for name, runs in selections.items() if runs[0] is not None}
        coverages = self.cover(drawn, [{name: name for name in drawn}])
        models = self.train(selections)
        evaluations = self.evaluate(models)
        taken = self.job.energy
        energies = self.energies({name: models[name][: taken.seeds] for name in self.methods if name in taken.methods})
        return Products(
            scores, score_models, proxies, cutoff, selections, coverages, models, evaluations, energies, coreset
        )

    def score(self) -> tuple[list[Artifact], Artifact]:
        """K networks to the scoring epoch, then the gradient norm of every point under each; or what a file says."""
        if self.given is not None:
            return [], self._one(GivenScores(self.split.train, self.given))
        models = self.materialize(self.scoring_runs())
        return models, self._one(self.scoring(models))

    def scoring_runs(self, redraw: int = 0) -> list[Training]:
        """The trainings whose gradients are the scores; each `redraw` has initialisations of its own."""
        length, changed = Length(epochs=self.job.score.epoch), PLAIN | {"schedule": "constant"}
        names = [f"score {run}" + (f" for seed {redraw}" if redraw else "") for run in range(self.job.score.seeds)]
        return [self.training(name, length, None, "scoring runs", changed) for name in names]

    def scoring(self, models: Sequence[Artifact]) -> Scoring:
        """The scores under the networks of `scoring_runs`."""
        return Scoring(self.split.train, self.descriptor, tuple(models), self.job.score.precision, self.code)

    def cutoff(self, scores: Artifact) -> tuple[float, Proxies | None]:
        """β as the job states it, or as short trainings on CCS coresets find it on the validation groups."""
        return choose_cutoffs([self], scores)[0]

    def select(self, scores: Artifact, cutoff: float) -> dict[str, list[Artifact | None]]:
        """Every method at every evaluation seed; the first seed is the job's own."""
        seeds = range(self.job.evaluation.seeds)
        wanted = [(name, run) for name in self.methods if name != "full" for run in seeds]
        made = self.materialize([self.selection(name, self.seed(run), scores, cutoff) for name, run in wanted])
        by_run = dict(zip(wanted, made, strict=True))
        return {name: [by_run.get((name, run)) for run in seeds] for name in self.methods}

    def extract(self, scores: Artifact, selections: dict[str, list[Artifact | None]]) -> Artifact:
        """The pruned dataset of the job's own method and seed."""
        method = METHODS[self.job.select.method]
        selection = selections[method.name][0]
        if selection is None:
            selection = self._one(self.selection("full", self.seed(0), scores, 0.0))
        return self._one(Extraction(self.split.train, selection, self.descriptor, self.job.output.descriptor))

    def cover(
        self, selections: Mapping[Key, Sequence[Artifact]], compared: Sequence[Mapping[str, Key]]
    ) -> dict[Key, list[Artifact]]:
        """AUC_pr of each coreset, all on the same queries: as many as the job states, or with `auto` as are enough.

        compared: by method, what is compared with the job's own method. In a plan, which has nothing to look at, all
        that may be asked is asked.
        """
        numbers = numbers_to_ask(self.split.validation, self.job.coverage.queries)
        for queries in numbers:
            made = self._cover(selections, queries)
            if queries == numbers[-1] or self._enough(made, compared, queries, len(numbers)):
                break
        return made

    def _cover(self, selections: Mapping[Key, Sequence[Artifact]], queries: int) -> dict[Key, list[Artifact]]:
        settings, against = self.job.coverage, self.split.validation
        stages = [
            Coverage(
                self.split.train,
                each,
                against,
                queries,
                settings.scaling,
                self.descriptor,
                each.figures["kept"] > settings.exact_up_to,
            )
            for drawn in selections.values()
            for each in drawn
        ]
        made = iter(self.materialize(stages))
        return {key: [next(made) for _ in drawn] for key, drawn in selections.items()}

    def _enough(
        self, made: Mapping[Key, list[Artifact]], compared: Sequence[Mapping[str, Key]], queries: int, looks: int
    ) -> bool:
        """Whether every AUC_pr, and every difference from the job's own method, is known as `query_sampling` asks."""
        if not all(each.stands for covered in made.values() for each in covered):
            return False
        sample = query_sample(self.split.validation, queries)
        distances = {key: distances_of(covered) for key, covered in made.items()}
        bias = {key: bias_of(covered) for key, covered in made.items()}
        own = self.job.select.method
        pairs = [(key, keys[own]) for keys in compared if own in keys for method, key in keys.items() if method != own]
        return all(sample.value(distances[key], bias[key]["high"]).enough for key in made) and all(
            sample.difference(
                paired(distances[ours], distances[theirs]),
                float(distances[theirs].mean()),
                looks,
                bias_of_difference(bias[ours], bias[theirs]),
            ).enough
            for ours, theirs in pairs
        )

    def train(self, selections: dict[str, list[Artifact | None]]) -> dict[str, list[Artifact]]:
        """One network per method and seed, all for the same number of steps."""
        runs = [(name, run) for name in self.methods for run in range(self.job.evaluation.seeds)]
        length = Length(steps=self.steps)
        made = self.materialize(
            [self.training(f"evaluation {run}", length, selections[name][run], "evaluation runs") for name, run in runs]
        )
        by_run = dict(zip(runs, made, strict=True))
        return {name: [by_run[name, run] for run in range(self.job.evaluation.seeds)] for name in self.methods}

    def evaluate(self, models: Mapping[Key, list[Artifact]]) -> dict[str, dict[Key, Artifact]]:
        """The error of every network on every test snapshot, by test set and key."""
        wanted = [(name, key) for name in self.split.tests for key in models]
        stages = [
            Evaluation(self.split.tests[name], self.descriptor, tuple(models[key]), self.code) for name, key in wanted
        ]
        made = dict(zip(wanted, self.materialize(stages), strict=True))
        return {name: {key: made[name, key] for key in models} for name in self.split.tests}

    def energies(self, models: Mapping[Key, list[Artifact]]) -> dict[str, Energies]:
        """F_HF of every network's density, and of the reference, on some snapshots of each test set."""
        if self.engine is None:
            return {}
        engine, sets = self.engine, energy_points(self.job, self.split)
        runs = [None, *(model for made in models.values() for model in made)]
        stages = [
            HarrisFoulkes(replace(points, snapshots=(snapshot,)), engine, self.job.descriptor.resolve(), model)
            for points in sets.values()
            for model in runs
            for snapshot in points.snapshots
        ]
        made = iter(self.materialize(stages))
        found = {}
        for name, points in sets.items():
            reference, *others = ([next(made) for _ in points.snapshots] for _ in runs)
            following = iter(others)
            by_key: dict[Hashable, list[list[Artifact]]] = {
                key: [next(following) for _ in taken] for key, taken in models.items()
            }
            found[name] = Energies(points, reference, by_key)
        return found

    @cached_property
    def descriptor(self) -> Features:
        """What the networks see of a point."""
        return self.split.train.layout or self.job.descriptor.resolve()

    @property
    def proxied(self) -> bool:
        """Whether β is to be found by proxies."""
        takes_cutoff = any("cutoff" in METHODS[name].parameters for name in self.methods)
        return takes_cutoff and self.job.select.cutoff == "auto"

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

    def selection(self, method: str, seed: int, scores: Artifact | None, cutoff: float) -> Selection:
        """The stage that applies one method, at the job's rate."""
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
        return Selection(self.split.train, method, settings, scores if chosen.field else None, select.within)

    def training(
        self,
        seed: str,
        length: Length,
        selection: Artifact | None,
        what: str,
        changed: Mapping[str, Any] | None = None,
    ) -> Training:
        """The stage that trains one network, on a selection or on everything; `changed` overrides the settings."""
        training = self.job.training
        settings = training.model_dump(exclude={"optimizer", "epochs", "cache"}) | dict(changed or {})
        network = self.job.network.model_dump()
        if self.split.train.layout is not None and "output" not in self.job.network.model_fields_set:
            network["output"] = "linear"  # unlike a density, a target may be negative
        points, validation = self.split.train, self.split.validation
        return Training(
            points,
            self.descriptor,
            network,
            settings,
            length,
            seed,
            validation,
            selection,
            training.cache,
            what,
            self.code,
        )


def choose_cutoffs(pipelines: Sequence[Pipeline], scores: Artifact) -> list[tuple[float, Proxies | None]]:
    """β of each pipeline; they differ in the pruning rate alone, and their proxies train together."""
    proxied = [pipeline for pipeline in pipelines if pipeline.proxied]
    if not proxied:
        return [(_stated(pipeline), None) for pipeline in pipelines]
    shared = proxied[0]
    proxy, train = shared.job.select.proxy, shared.split.train
    by_pipeline = [
        legal_cutoffs(proxy.cutoffs, train.points, keep(train.points, each.job.select.prune)) for each in proxied
    ]
    runs = [
        (pipeline, beta, run)
        for pipeline, cutoffs in zip(proxied, by_pipeline, strict=True)
        for beta in cutoffs
        for run in range(proxy.seeds)
    ]
    selections = shared.materialize(
        [pipeline.selection("ccs", pipeline.seed(run), scores, beta) for pipeline, beta, run in runs]
    )
    length = Length(steps=proxy.steps)
    models = shared.materialize(
        [
            pipeline.training(f"proxy {run}", length, selection, "proxies for β", PLAIN)
            for (pipeline, _, run), selection in zip(runs, selections, strict=True)
        ]
    )
    made = iter(models)
    drawn = iter(selections)
    counts = [len(cutoffs) * proxy.seeds for cutoffs in by_pipeline]
    grouped = [[next(made) for _ in range(count)] for count in counts]
    grouped_selections = [[next(drawn) for _ in range(count)] for count in counts]
    evaluations = shared.materialize(
        [Evaluation(shared.split.validation, shared.descriptor, tuple(group), shared.code) for group in grouped]
    )
    found = {
        id(pipeline): Proxies(cutoffs, proxy.seeds, drawn_on, group, evaluation)
        for pipeline, cutoffs, drawn_on, group, evaluation in zip(
            proxied, by_pipeline, grouped_selections, grouped, evaluations, strict=True
        )
    }
    return [
        (pipeline.decide(found[id(pipeline)]), found[id(pipeline)]) if pipeline.proxied else (_stated(pipeline), None)
        for pipeline in pipelines
    ]


def _stated(pipeline: Pipeline) -> float:
    """β of the job file; 0 where it says `auto` and no method takes one."""
    cutoff = pipeline.job.select.cutoff
    return 0.0 if cutoff == "auto" else cutoff


def energy_points(job: Job, split: Split) -> dict[str, SnapshotSet]:
    """The snapshots of each test set whose energies the job asks for."""
    section = job.energy
    names = split.tests if section.tests is None else section.tests
    return {name: spread_evenly(split.tests[name], section.snapshots) for name in names}


def legal_cutoffs(cutoffs: Sequence[float], points: int, budget: int) -> tuple[float, ...]:
    """Those β of which ⌊β·N⌋ cut points leave at least the budget."""
    return tuple(beta for beta in cutoffs if points - math.floor(beta * points) >= budget)

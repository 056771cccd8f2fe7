"""The sweep on one page: methods × pruning rates × seeds, and studies of single settings, sharing what can be shared.

A cell is one point of a figure: a method at a rate under one protocol, with its settings. Its seeds redraw scores,
selection and initialisation together, and are the same numbers in every cell, so that cells are compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from coreset.artifacts.manifest import Artifact
from coreset.config import Job
from coreset.corpus.split import SnapshotSet
from coreset.methods import METHODS
from coreset.stages.fields import Fields
from coreset.stages.histogram import ScoreHistogram
from coreset.stages.selection import Selection
from coreset.stages.training import Length, Training
from coreset.workflow import Energies, Pipeline, Proxies, choose_cutoffs

METHODS_STUDY = "methods"
"""The study that compares the methods at all rates."""
STUDIES = ("cutoff", "strata", "score_epoch", "score_runs")
"""The studies of one setting of CCS each, by the setting's name in a cell."""
SHOWN_METHODS = ("grand", "ccs")
"""Whose fields are shown beside those of the whole corpus, as in the paper's Figs. 5, 7 and 9."""
NOISE_STUDY = "noise"
"""The study of how much one training differs from the next."""


@dataclass(frozen=True)
class Cell:
    """What one network is trained on and how; None where a setting does not matter."""

    protocol: str
    method: str
    rate: float
    cutoff: float | None
    strata: int | None
    score_epoch: int | None
    score_runs: int | None
    recipe: str = ""
    """Name of another way to train; empty: the job's own."""

    @property
    def scores(self) -> tuple[int, int] | None:
        """Which scores the cell ranks by: (epoch, runs)."""
        if self.score_epoch is None or self.score_runs is None:
            return None
        return self.score_epoch, self.score_runs


def short_id(cell: Cell) -> str:
    """Protocol, method and rate: enough among the cells that compare methods."""
    return f"{cell.protocol} {cell.method} {cell.rate:g}"


def cell_id(cell: Cell, wanted: Wanted) -> str:
    """A name that no two cells of one sweep share."""
    if METHODS_STUDY in wanted.studies:
        return short_id(cell)
    settings = ("cutoff", "strata", "score_epoch", "score_runs", "recipe")
    stated = ((name, getattr(cell, name)) for name in settings)
    return " ".join([short_id(cell), *(f"{name}={value}" for name, value in stated if value not in (None, ""))])


@dataclass
class Wanted:
    """How often a cell is trained, and for which figures."""

    seeds: int = 0
    studies: list[str] = field(default_factory=list)

    def also(self, study: str, seeds: int) -> None:
        """One more study wants this cell."""
        self.seeds = max(self.seeds, seeds)
        if study not in self.studies:
            self.studies.append(study)


@dataclass(frozen=True)
class Shown:
    """Fields to be looked at: some snapshots of one test set, and the label of each network's array."""

    points: SnapshotSet
    artifact: Artifact
    arrays: dict[str, str]


@dataclass(frozen=True)
class SweepProducts:
    """All that a sweep has made."""

    cells: dict[Cell, Wanted]
    scores: Artifact
    """The job's own: those of the first seed."""
    cutoffs: dict[float, tuple[float, Proxies | None]]
    selections: dict[Cell, list[Artifact | None]]
    coverages: dict[float, dict[str, list[Artifact]]]
    """By rate and method, of every coreset; the whole training set stands under `full`, once."""
    models: dict[Cell, list[Artifact]]
    evaluations: dict[str, dict[Cell, Artifact]]
    energies: dict[str, Energies]
    histogram: Artifact
    fields: dict[str, Shown]


@dataclass(frozen=True)
class Sweep:
    """One job's sweep; the pipeline is that of the job."""

    pipeline: Pipeline

    @property
    def job(self) -> Job:
        """The job."""
        return self.pipeline.job

    def run(self) -> SweepProducts:
        """Everything, in order; what stands already is not computed again."""
        _, own = self.pipeline.score()
        cutoffs = self.cutoffs(own)
        cells = self.cells({rate: cutoff for rate, (cutoff, _) in cutoffs.items()})
        selections = self.select(cells, self.score(cells))
        compared = [cell for cell, want in cells.items() if self.is_compared(cell, want)]
        coverages = self.cover({cell: selections[cell] for cell in compared})
        models = self.train(cells, selections)
        evaluations = self.pipeline.evaluate(models)
        energies = self.pipeline.energies(
            {cell: models[cell][: self.job.energy.seeds] for cell in compared if self.takes_energy(cell)}
        )
        histogram = self.histogram(own, {cell: selections[cell][0] for cell in compared})
        fields = self.fields({cell: models[cell][0] for cell in compared})
        return SweepProducts(
            cells,
            own,
            cutoffs,
            selections,
            coverages,
            models,
            evaluations,
            energies,
            histogram,
            fields,
        )

    def score(self, cells: Mapping[Cell, Wanted]) -> dict[tuple[int, int], list[Artifact]]:
        """The scores of every (epoch, runs) that a cell ranks by, seed after seed; runs are shared between them.

        The first are the job's own. Where scores are not redrawn, all seeds share these.
        """
        seeds: dict[tuple[int, int], int] = {self.own_scores: 1}
        for cell, want in cells.items():
            if cell.scores is not None:
                seeds[cell.scores] = max(1 + self._draw_of(want.seeds - 1), seeds.get(cell.scores, 1))
        pipelines = {each: self._variant(score={"epoch": each[0], "seeds": each[1]}) for each in seeds}
        runs = [
            ((each, seed), stage)
            for each, pipeline in pipelines.items()
            for seed in range(seeds[each])
            for stage in pipeline.scoring_runs(seed)
        ]
        models: dict[tuple[tuple[int, int], int], list[Artifact]] = {each: [] for each, _ in runs}
        for (each, _), model in zip(runs, self.pipeline.materialize([stage for _, stage in runs]), strict=True):
            models[each].append(model)
        made = iter(self.pipeline.materialize([pipelines[each].scoring(found) for (each, _), found in models.items()]))
        return {each: [next(made) for _ in range(count)] for each, count in seeds.items()}

    def cutoffs(self, scores: Artifact) -> dict[float, tuple[float, Proxies | None]]:
        """β at every rate, from validation groups and the job's own scores alone."""
        pipelines = [self.at(rate) for rate in self.rates]
        return dict(zip(self.rates, choose_cutoffs(pipelines, scores), strict=True))

    def cells(self, cutoffs: Mapping[float, float]) -> dict[Cell, Wanted]:
        """Every cell with the number of its seeds; what two studies ask for stands once."""
        sweep, cells = self.job.sweep, dict[Cell, Wanted]()

        def want(study: str, seeds: int, protocol: str, method: str, rate: float, **changed: Any) -> None:
            cells.setdefault(self._cell(protocol, method, rate, cutoffs, **changed), Wanted()).also(study, seeds)

        for protocol in sweep.protocols:
            section = sweep if protocol == "steps" else sweep.epochs
            want(METHODS_STUDY, sweep.seeds, protocol, "full", 0.0)
            for rate in section.rates:
                for method in section.methods:
                    want(METHODS_STUDY, sweep.seeds, protocol, method, rate)
        studies = sweep.studies
        values: dict[str, Sequence[float]] = {
            "cutoff": studies.cutoffs,
            "strata": studies.strata,
            "score_epoch": studies.score_epochs,
            "score_runs": studies.score_runs,
        }
        for study in STUDIES:
            for rate in studies.rates if values[study] else ():
                # The job's own setting is a point of every study, with the seeds it has anyway.
                want(study, studies.seeds, "steps", "ccs", rate)
                for value in values[study]:
                    want(study, studies.seeds, "steps", "ccs", rate, **{study: value})
        for name in sweep.noise.recipes:
            want(NOISE_STUDY, sweep.noise.seeds, "steps", sweep.noise.method, sweep.noise.rate, recipe=name)
        return cells

    def select(
        self, cells: Mapping[Cell, Wanted], scores: Mapping[tuple[int, int], Sequence[Artifact]]
    ) -> dict[Cell, list[Artifact | None]]:
        """The coreset of every cell at every seed; None where everything is kept."""
        wanted = [(cell, run) for cell, want in cells.items() if cell.method != "full" for run in range(want.seeds)]
        stages = [
            self._selection(cell, run, scores[cell.scores][self._draw_of(run)] if cell.scores else None)
            for cell, run in wanted
        ]
        made = dict(zip(wanted, self.pipeline.materialize(stages), strict=True))
        return {cell: [made.get((cell, run)) for run in range(want.seeds)] for cell, want in cells.items()}

    def own_draw(self, scores: Artifact, cutoff: float) -> Artifact:
        """The first coreset of the job's own method at the rate that is shown, whether or not a cell has it."""
        method, rate = self.job.select.method, self.shown_rates[0]
        stage = self._selection(self._cell("steps", method, rate, {rate: cutoff}), 0, scores)
        return self.pipeline.materialize([stage])[0]

    def cover(self, selections: Mapping[Cell, Sequence[Artifact | None]]) -> dict[float, dict[str, list[Artifact]]]:
        """AUC_pr of every coreset of each method at every rate, and of the whole training set: the floor."""
        whole = self.pipeline.materialize([self.pipeline.selection("full", 0, None, 0.0)])
        drawn = {
            (cell.rate, cell.method): [each for each in coresets if each is not None] or whole
            for cell, coresets in selections.items()
        }
        rates = dict.fromkeys(rate for rate, _ in drawn if rate)
        compared: dict[float, dict[str, tuple[float, str]]] = {
            rate: {"full": (0.0, "full"), **{method: (at, method) for at, method in drawn if at == rate}}
            for rate in rates
        }
        made = self.pipeline.cover(drawn, list(compared.values()))
        return {rate: {method: made[key] for method, key in keys.items()} for rate, keys in compared.items()}

    def train(
        self, cells: Mapping[Cell, Wanted], selections: Mapping[Cell, Sequence[Artifact | None]]
    ) -> dict[Cell, list[Artifact]]:
        """One network per cell and seed."""
        wanted = [(cell, run) for cell, want in cells.items() for run in range(want.seeds)]
        stages = {(cell, run): self._training(cell, run, selections[cell][run]) for cell, run in wanted}
        # The longest first, so that none is left over at the end; equal ones stay together, and share their points.
        order = sorted(wanted, key=lambda each: -sum(part.work for part in stages[each].parts()))
        made = dict(zip(order, self.pipeline.materialize([stages[each] for each in order]), strict=True))
        return {cell: [made[cell, run] for run in range(want.seeds)] for cell, want in cells.items()}

    def histogram(self, scores: Artifact, selections: Mapping[Cell, Artifact | None]) -> Artifact:
        """How the scores are distributed, in all and in each method's first coreset at the job's rate."""
        rate = self.shown_rates[0]
        chosen = {
            cell.method: selection
            for cell, selection in selections.items()
            if cell.rate == rate and selection is not None
        }
        stage = ScoreHistogram(scores, self.pipeline.split.train, "grand", tuple(chosen.items()))
        return self.pipeline.materialize([stage])[0]

    def fields(self, models: Mapping[Cell, Artifact]) -> dict[str, Shown]:
        """What the first networks of a few cells predict for one snapshot of each test set; of a table nothing."""
        if self.pipeline.split.train.layout is not None:
            return {}
        shown = tuple(
            (short_id(cell), model)
            for cell, model in models.items()
            if cell.method == "full" or (cell.method in SHOWN_METHODS and cell.rate in self.shown_rates)
        )
        middle = {
            name: replace(points, snapshots=points.snapshots[len(points.snapshots) // 2 :][:1])
            for name, points in self.pipeline.split.tests.items()
        }
        stages = [Fields(points, self.job.descriptor.resolve(), shown) for points in middle.values()]
        made = self.pipeline.materialize(stages)
        return {
            name: Shown(stage.points, artifact, stage.arrays)
            for name, stage, artifact in zip(middle, stages, made, strict=True)
        }

    def is_compared(self, cell: Cell, wanted: Wanted) -> bool:
        """Whether this is a method's own cell under the first protocol."""
        return METHODS_STUDY in wanted.studies and cell.protocol == self.job.sweep.protocols[0]

    def takes_energy(self, cell: Cell) -> bool:
        """Whether energies are computed for a cell that is compared."""
        section = self.job.energy
        return cell.method in section.methods and (cell.method == "full" or cell.rate in section.rates)

    def _draw_of(self, run: int) -> int:
        """Which set of scores a seed ranks by: its own, or where they are not redrawn the first."""
        return run if self.job.sweep.redraw_scores else 0

    @property
    def own_scores(self) -> tuple[int, int]:
        """(epoch, runs) of the job's own scores."""
        return self.job.score.epoch, self.job.score.seeds

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Every rate that any cell has."""
        sweep = self.job.sweep
        rates = set(sweep.rates)
        if "epochs" in sweep.protocols:
            rates |= set(sweep.epochs.rates)
        studies = sweep.studies
        if studies.cutoffs or studies.strata or studies.score_epochs or studies.score_runs:
            rates |= set(studies.rates)
        if sweep.noise.recipes:
            rates.add(sweep.noise.rate)
        return tuple(sorted(rates))

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Every method that any cell has. They decide whether β is to be chosen, not those that a run compares."""
        sweep = self.job.sweep
        methods = ["full", *sweep.methods]
        if "epochs" in sweep.protocols:
            methods += sweep.epochs.methods
        if any((sweep.studies.cutoffs, sweep.studies.strata, sweep.studies.score_epochs, sweep.studies.score_runs)):
            methods.append("ccs")
        if sweep.noise.recipes:
            methods.append(sweep.noise.method)
        return tuple(dict.fromkeys(methods))

    @cached_property
    def shown_rates(self) -> tuple[float, ...]:
        """The rates whose fields are shown: the job's own, or the nearest to it, and the highest."""
        rates = self.job.sweep.rates
        near = min(rates, key=lambda rate: abs(rate - self.job.select.prune))
        return tuple(dict.fromkeys((near, max(rates))))

    def _cell(
        self, protocol: str, method: str, rate: float, cutoffs: Mapping[float, float], recipe: str = "", **changed: Any
    ) -> Cell:
        chosen = METHODS[method]
        takes = chosen.parameters
        epoch, runs = self.own_scores
        return Cell(
            protocol,
            method,
            rate,
            changed.get("cutoff", cutoffs.get(rate)) if "cutoff" in takes else None,
            changed.get("strata", self.job.select.strata) if "strata" in takes else None,
            changed.get("score_epoch", epoch) if chosen.field else None,
            changed.get("score_runs", runs) if chosen.field else None,
            recipe,
        )

    def _selection(self, cell: Cell, run: int, scores: Artifact | None) -> Selection:
        strata = self.job.select.strata if cell.strata is None else cell.strata
        pipeline = self.at(cell.rate, strata=strata)
        # Where nothing is cut, cut-random is random points to the last bit: one coreset, one training.
        method = "random" if cell.method == "cut-random" and not cell.cutoff else cell.method
        return pipeline.selection(method, pipeline.seed(run), scores, cell.cutoff or 0.0)

    def _training(self, cell: Cell, run: int, selection: Artifact | None) -> Training:
        epochs = self.job.sweep.epochs.epochs
        length = Length(steps=self.pipeline.steps) if cell.protocol == "steps" else Length(epochs=epochs)
        changed = {}
        if cell.recipe:
            changed = self.job.sweep.noise.recipes[cell.recipe].model_dump(exclude_none=True)
        return self.pipeline.training(f"evaluation {run}", length, selection, "sweep runs", changed)

    def at(self, rate: float, **select: Any) -> Pipeline:
        """The pipeline of the job pruned at this rate, with other settings of `select` if any are given."""
        return self._variant(select={"prune": rate, **select}, evaluation={"methods": self.methods})

    def _variant(self, **sections: dict[str, Any]) -> Pipeline:
        """The pipeline of the same job with some settings changed."""
        changed = {name: getattr(self.job, name).model_copy(update=values) for name, values in sections.items()}
        return replace(self.pipeline, job=self.job.model_copy(update=changed))

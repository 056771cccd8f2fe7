"""`coreset plan`: what a job will compute and what stands already, what it takes and holds; it starts nothing."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from coreset.artifacts.executor import which_next
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import is_done
from coreset.artifacts.remote import Location
from coreset.artifacts.stage import Stage
from coreset.calibration import Rates, multiplications, slabs_in
from coreset.corpus.pieces import PIECE
from coreset.corpus.split import Features, outputs_of
from coreset.learning.slabs import SLAB
from coreset.methods.budget import keep
from coreset.numerics.descriptors import Descriptor
from coreset.stages.coverage import COMPARED_AT_ONCE, Coverage
from coreset.stages.energy import HarrisFoulkes
from coreset.stages.evaluation import Evaluation
from coreset.stages.extraction import Extraction
from coreset.stages.fields import Fields
from coreset.stages.histogram import NEIGHBOURS, ScoreHistogram
from coreset.stages.scoring import Scoring
from coreset.stages.selection import Selection
from coreset.stages.training import CHECKED, SHORT, Training
from coreset.summary import table_figures
from coreset.sweep import Sweep
from coreset.workflow import Pipeline, Proxies, best_cutoff


@dataclass(frozen=True)
class Planned(Artifact):
    """An artifact that does not stand yet; its digest is known, for it is that of the recipe."""

    expected: dict[str, Any] = field(default_factory=dict)
    recipe_digest: str = ""

    @property
    def digest(self) -> str:
        """The recipe's digest."""
        return self.recipe_digest

    @property
    def figures(self) -> dict[str, Any]:
        """What is known beforehand."""
        return self.expected


@dataclass
class Ledger:
    """Stands in for `materialize`: notes each stage, and whether its artifact is whole."""

    root: Location
    points: int
    calls: list[list[tuple[Stage, bool]]] = field(default_factory=list)
    """What each call asked for: the stages of a call run together."""

    @property
    def entries(self) -> list[tuple[Stage, bool]]:
        """Each stage, in order, and whether its artifact stands."""
        return [entry for call in self.calls for entry in call]

    def materialize(self, stages: Sequence[Stage]) -> list[Artifact]:
        """The artifacts that stand, and promises of those that do not."""
        self.calls.append([(stage, is_done(stage, self.root)) for stage in stages])
        return [self._promise(stage, done) for stage, done in self.calls[-1]]

    def _promise(self, stage: Stage, done: bool) -> Artifact:
        if done:
            return Artifact(self.root / stage.folder)
        kept = keep(self.points, stage.settings.get("prune", 0)) if isinstance(stage, Selection) else self.points
        return Planned(self.root / stage.folder, {"kept": kept}, stage.digest)


def plan(pipeline: Pipeline, ledger: Ledger, rates: Rates, workers: int, sweep: bool = False) -> dict[str, Any]:
    """Figures of every stage of a run, or of a sweep and the run it ends with, in order: parts, work, time, memory.

    Of a stage: `flops`; `work`, the seconds of all its parts if one worker made them one after another; `seconds`, how
    long it lasts on all workers, with their start; `memory`, the bytes that a worker holds at most.

    `pipeline` must have been made with `ledger.materialize`. A β that is still to be chosen is taken as the largest
    candidate; the stages behind it count as to do.
    """
    if sweep:
        Sweep(pipeline).run()
    pipeline.run()
    hidden = pipeline.job.network.hidden if pipeline.code is None else ()
    size = multiplications(pipeline.job, pipeline.descriptor) if pipeline.code is None else _weights(pipeline)
    model = _Model(rates, size, hidden, pipeline.descriptor)
    rows: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    places: set[str] = set()
    for call in ledger.calls:
        new = {stage.digest: (stage, done) for stage, done in call if stage.digest not in seen}
        seen |= set(new)
        for stage, done in new.values():
            empty = {"artifacts": 0, "done": 0, "flops": 0.0, "points": 0, "work": 0.0, "seconds": 0.0, "memory": 0.0}
            row = rows.setdefault(stage.title, empty)
            row["artifacts"] += 1
            row["done"] += done
        missing = [stage for stage, done in new.values() if not done]
        if missing:
            row = rows[missing[0].title]
            for stage in missing:
                flops, described = model.work(stage)
                row["flops"] += flops
                row["points"] += described
                row["memory"] = max(row["memory"], model.memory(stage))
            # Workers stay from stage to stage.
            seconds, work = model.time(missing, workers, started=missing[0].place in places)
            row["seconds"] += seconds
            row["work"] += work
            places.add(missing[0].place)
    start = rates.ray if places else 0.0
    train = pipeline.split.train
    entries = {stage.digest: (stage, done) for stage, done in ledger.entries}.values()
    return {
        "name": pipeline.job.name,
        "points": {
            "train": train.points,
            "validation": pipeline.split.validation.points,
            **{f"test.{name}": points.points for name, points in pipeline.split.tests.items()},
        },
        "kept": keep(train.points, pipeline.job.select.prune),
        "parameters": size + (sum(hidden) + outputs_of(pipeline.descriptor) if pipeline.code is None else 0),
        **table_figures(pipeline),
        "bytes": _bytes(pipeline),
        "stages": rows,
        "start": start,
        "seconds": start + sum(row["seconds"] for row in rows.values()),
        # How many are to be computed, each of which takes what `seconds` does not know; null where there is no engine.
        "energies": None
        if pipeline.engine is None and train.layout is None
        else sum(isinstance(stage, HarrisFoulkes) and not done for stage, done in entries),
        "workers": workers,
        "calibrated": rates.measured,
        # Whether the rates are of a network of this size; those of another are not quite this one's.
        "same_network": rates.multiplications == size,
    }


def _bytes(pipeline: Pipeline) -> dict[str, int]:
    """Of the training points: what is read, their score fields, and what is made of them if it were held at once."""
    points, layout = pipeline.split.train.points, pipeline.split.train.layout
    scores = 16 * points
    if layout is not None:
        return {"values": 4 * (layout.length + len(layout.targets)) * points, "scores": scores}
    described = 4 * (pipeline.descriptor.length + 1) * points
    return {"density": 4 * points, "scores": scores, "descriptors_if_held": described}


@dataclass(frozen=True)
class _Model:
    """What the parts of each stage take and hold, from the sizes of their inputs and the rates of a worker."""

    rates: Rates
    multiplications: int
    hidden: Sequence[int]
    descriptor: Features

    def work(self, stage: Stage) -> tuple[float, int]:
        """Floating-point operations of matrix products, and points to be described."""
        size = self.multiplications
        if isinstance(stage, Training):
            work = _work(stage)
            # Forward, and backward by activations and by weights: 2 + 2 + 2 operations per weight.
            return 6.0 * size * work, int(min(work, _points(stage)))
        if isinstance(stage, Scoring):
            # Forward, and backward by activations alone.
            return 4.0 * size * stage.train.points * len(stage.models), stage.train.points
        if isinstance(stage, Evaluation | Fields):
            return 2.0 * size * stage.points.points * len(stage.models), stage.points.points
        if isinstance(stage, Coverage):
            kept = stage.selection.figures["kept"]
            return 2.0 * stage.descriptor.length * kept * stage.comparisons, kept + stage.queries
        if isinstance(stage, Extraction) and stage.with_descriptor:
            return 0.0, int(stage.selection.figures["kept"])
        return 0.0, 0

    def time(self, stages: Sequence[Stage], workers: int, started: bool) -> tuple[float, float]:
        """Seconds from the call to its end on so many workers, and the sum of those of its parts."""
        place = stages[0].place
        start, first = (0.0, 0.0) if started else (self.rates.start[place], self.rates.first[place])
        taken = (self._in_groups if place == "train" else self._in_turn)(stages, workers)
        busy = [first + seconds for seconds in taken if seconds]
        return start + max(busy, default=0.0), sum(busy)

    def _in_groups(self, stages: Sequence[Stage], workers: int) -> list[float]:
        """Seconds of each worker: whoever is free takes the next training, one of what it has read if it can."""
        busy, read = [0.0] * workers, [""] * workers
        waiting = sorted(stages, key=lambda each: -_work(each))
        wanted = [stage.parts()[0].reads for stage in waiting]
        while waiting:
            rank = busy.index(min(busy))
            chosen = which_next(wanted, read[rank], set(read[:rank] + read[rank + 1 :]))
            stage, points = waiting.pop(chosen), wanted.pop(chosen)
            if not points or points != read[rank]:
                busy[rank] += self._read(stage)
            busy[rank] += sum(self._parts(stage))
            read[rank] = points
        return busy

    def _in_turn(self, stages: Sequence[Stage], workers: int) -> list[float]:
        """Seconds of each worker: whoever is free takes the next part."""
        busy = [0.0] * workers
        parts = [
            (part.work, seconds)
            for stage in stages
            for part, seconds in zip(stage.parts(), self._parts(stage), strict=True)
        ]
        for _, seconds in sorted(parts, key=lambda each: -each[0]):
            heapq.heapreplace(busy, busy[0] + seconds)
        return busy

    def _parts(self, stage: Stage) -> list[float]:
        """Seconds of each part that is not its worker's first; of a training without the reading of its points."""
        rates, (flops, described) = self.rates, self.work(stage)
        seconds = rates.describe(described, _neighbours(self.descriptor))
        if isinstance(stage, Training):
            checked = 2.0 * self.multiplications * min(CHECKED, stage.validation.points) * stage.settings["checks"]
            seconds = (flops + checked) / rates.training
        elif isinstance(stage, Scoring):
            seconds += flops / rates.scoring
        elif isinstance(stage, Evaluation | Fields):
            seconds += flops / rates.evaluation
        elif isinstance(stage, Coverage):
            seconds += flops / rates.coverage
        elif isinstance(stage, Selection):
            seconds = stage.train.points / rates.selection
        elif isinstance(stage, ScoreHistogram):
            seconds = rates.describe(stage.train.points, NEIGHBOURS if stage.train.layout is None else 0)
            seconds += (1 + len(stage.selections)) * stage.train.points / rates.selection
        elif isinstance(stage, Extraction):
            seconds += stage.selection.figures["kept"] / rates.extraction
        parts = stage.parts()
        whole = sum(part.work for part in parts)
        return [seconds * part.work / whole + rates.part for part in parts]

    def _read(self, stage: Stage) -> float:
        """Seconds in which a training reads and describes its points: once where they are held, else in each epoch."""
        if not isinstance(stage, Training):
            return 0.0
        rates, points, held = self.rates, _points(stage), self._held(stage)
        itself = stage.selection is not None and points <= SHORT and held
        slabs = slabs_in(stage.train) if stage.selection is None else points / SLAB  # those of a coreset come together
        once = (0.0 if itself else rates.feed) + rates.slab * slabs
        once += rates.describe(points, _neighbours(self.descriptor))
        if held:
            return once
        return once * (1 + _work(stage) / points)

    def memory(self, stage: Stage) -> float:
        """Bytes that a worker holds: what any does, and the points of this stage."""
        row, snapshots = 4 * (self.descriptor.length + 1), _snapshots(stage)
        most = max((snapshot.points for snapshot in snapshots), default=0)
        total = sum(snapshot.points for snapshot in snapshots)
        held = 0.0
        if isinstance(stage, Training):
            points = _points(stage)
            held = row * (points if self._held(stage) else 2 * (min(stage.settings["window"], points) + SLAB))
            # Weights, their gradients, two moments and an average of a network beyond the one that was measured.
            held += 20 * max(0, self.multiplications - self.rates.multiplications)
        elif isinstance(stage, Scoring):
            held = 2 * row * min(most, SLAB) + 24 * min(most, PIECE) * len(stage.models)
        elif isinstance(stage, Evaluation | Fields):
            held = 2 * row * min(most, 2 * SLAB) + 4 * most * len(stage.models) + 64 * most
        elif isinstance(stage, Coverage):
            held = 2 * row * (stage.queries + min(COMPARED_AT_ONCE, stage.selection.figures["kept"] * most / total))
            if stage.estimated:
                from coreset.numerics.coverage_ivf import DEALT  # compiles, which few plans have to wait for

                held += 4 * row * DEALT
        elif isinstance(stage, Extraction):
            held = (row if stage.with_descriptor else 0) + 128
            held *= stage.selection.figures["kept"] * min(most, PIECE) / total
        elif isinstance(stage, Selection | ScoreHistogram):
            held = 48 * min(most, PIECE)
        return self.rates.memory[stage.place] + held

    def _held(self, stage: Training) -> bool:
        """Whether the training holds its points in memory."""
        return 4 * (self.descriptor.length + 1) * _points(stage) <= stage.cache * 1024**3


def _weights(pipeline: Pipeline) -> int:
    """Parameters of a user's own network, each of which is taken to be multiplied by once per row."""
    assert pipeline.code is not None
    features = pipeline.descriptor
    return sum(each.numel() for each in pipeline.code.make(features.length, outputs_of(features), 0).parameters())


def _neighbours(features: Features) -> int:
    """M; a table's features are read, and cost about as much as a descriptor of none."""
    return features.neighbours if isinstance(features, Descriptor) else 0


def _work(stage: Stage) -> float:
    return sum(part.work for part in stage.parts())


def _points(stage: Training) -> int:
    return stage.train.points if stage.selection is None else int(stage.selection.figures["kept"])


def _snapshots(stage: Stage) -> Sequence[Any]:
    if isinstance(stage, Evaluation | Fields | HarrisFoulkes):
        return stage.points.snapshots
    found: Sequence[Any] = stage.train.snapshots  # type: ignore[attr-defined]
    return found


def known_cutoff(proxies: Proxies) -> float:
    """β if its proxies stand already, else the largest candidate."""
    return max(proxies.cutoffs) if isinstance(proxies.evaluation, Planned) else best_cutoff(proxies)

"""What one worker of this machine does per second: measured on a job in miniature, stored, and read by `coreset plan`.

The miniature is the job itself, its descriptor, network, batch and workers, on a few small snapshots: what a stage is
measured to take is what it takes, with all that it does beside its kernel.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from coreset.artifacts.executor import Executor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize_all
from coreset.artifacts.stage import Stage
from coreset.atomic import parse_json, write_json
from coreset.config import Job
from coreset.corpus.snapshot import content_digest
from coreset.corpus.split import Features, SnapshotSet, Split, outputs_of
from coreset.corpus.store import Corpus, finish, write_snapshot
from coreset.learning.slabs import SLAB
from coreset.stages.coverage import MOST, Coverage
from coreset.stages.evaluation import Evaluation
from coreset.stages.extraction import Extraction
from coreset.stages.scoring import Scoring
from coreset.stages.training import Length
from coreset.workflow import PLAIN, Pipeline


def _each(task: float, actor: float, train: float) -> Any:
    return field(default_factory=lambda: {"task": task, "actor": actor, "train": train})


@dataclass(frozen=True)
class Rates:
    """Per second and worker, while all workers of a machine are busy; the defaults are for one core of a server.

    FLOP are those of the network's matrix products, `multiplications` being those of one forward pass: what a stage
    does beside them is in its rate, which therefore holds for networks of a similar size.
    """

    training: float = 4.0e10
    """FLOP in steps: 6 per multiplication and point."""
    scoring: float = 4.0e10
    """FLOP in gradient norms: 4 per multiplication and point."""
    evaluation: float = 5.0e10
    """FLOP in predictions and the figures of their errors: 2 per multiplication and point."""
    coverage: float = 6.0e10
    """FLOP in distances: 2 per feature, kept point and query."""
    descriptors: float = 5.0e5
    """Descriptors of 40 neighbours."""
    selection: float = 1.6e7
    """Points that a method looks at."""
    extraction: float = 5.0e5
    """Rows that are written, without their descriptors."""
    feed: float = 1.0
    """Seconds until a training's first points arrive."""
    slab: float = 0.02
    """Seconds that each of its slabs takes beside the descriptors."""
    part: float = 0.01
    """Seconds that a part takes beside all that is counted."""
    ray: float = 10.0
    """Seconds until Ray runs."""
    start: Mapping[str, float] = _each(task=1.0, actor=4.0, train=12.0)
    """Seconds until the workers of a place compute."""
    first: Mapping[str, float] = _each(task=1.0, actor=2.5, train=3.0)
    """Seconds by which a worker's first part takes longer: what it imports."""
    memory: Mapping[str, float] = _each(task=6.0e8, actor=6.0e8, train=8.5e8)
    """Bytes resident in a worker beside the points it holds."""
    multiplications: int = 0
    """Of the network that was measured; 0: none was, the rates are assumed."""

    @property
    def measured(self) -> bool:
        """Whether these are of a machine, and not assumed."""
        return self.multiplications > 0

    def describe(self, points: float, neighbours: int) -> float:
        """Seconds to describe points; the time of one is a constant and a term per neighbour."""
        return points / self.descriptors * _relative(neighbours)


def _relative(neighbours: int) -> float:
    """Time of a descriptor, relative to one of 40 neighbours; fits those of 20, 40 and 60 to 5%."""
    return (16.0 + neighbours) / 56.0


def calibration_file() -> Path:
    """Where the rates of this machine are stored."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "coreset" / "machine.json"


def stored_rates() -> Rates:
    """The rates that `plan --calibrate` measured on this machine; the defaults where it did not, or measured less."""
    try:
        saved = parse_json(calibration_file().read_bytes())
        found: dict[str, Any] = {}
        for name, assumed in asdict(Rates()).items():
            by_place = isinstance(assumed, dict)
            found[name] = {each: _rate(saved[name][each]) for each in assumed} if by_place else _rate(saved[name])
        return Rates(**found)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return Rates()


def _rate(saved: Any) -> float:
    if not isinstance(saved, int | float) or saved < 0:
        raise ValueError("expected a number of at least 0")
    return float(saved)


def calibrate(job: Job, split: Split, executor: Executor, workers: int) -> Rates:
    """Measures this machine on a miniature of the job, stores the rates and returns them.

    Raises RequestError for the job of a table.
    """
    _ = split.train.grids  # the miniature is made of atoms
    begin = time.perf_counter()
    executor.scan(_nothing, range(workers), max)
    ray = time.perf_counter() - begin
    with tempfile.TemporaryDirectory(prefix="coreset-calibration-") as folder:
        rates = replace(_Miniature(job, split, executor, workers, Path(folder)).measure(), ray=ray)
    write_json(calibration_file(), asdict(rates))
    return rates


def _nothing(number: int) -> int:
    return number


_PART = 3.0e10
"""FLOP that a part of the miniature is to take: about a second."""
_FEW = 3072
"""Points of a miniature snapshot, at least: a block of the scoring."""
_QUEUE = 3
"""Parts per worker, of which the first is slower."""


@dataclass(frozen=True)
class _Run:
    """What the parts of some stages took that ran together."""

    artifacts: list[Artifact]
    seconds: float
    """From the call until all stood."""
    workers: int

    @cached_property
    def parts(self) -> list[dict[str, float]]:
        """What each part spent, in their order."""
        return [made.timings[shard["name"]] for made in self.artifacts for shard in made.shards]

    @cached_property
    def taken(self) -> list[float]:
        """Seconds of each part: the processor's, which other programs do not prolong; a GPU's work is on the wall."""
        gpu = any(shard["figures"].get("device") == "cuda" for made in self.artifacts for shard in made.shards)
        return [part["seconds" if gpu else "cpu_seconds"] for part in self.parts]

    def mean(self, what: str) -> float:
        """What a part spent on average."""
        return float(np.mean([part[what] for part in self.parts]))

    @property
    def usual(self) -> float:
        """Seconds of a part that is not its worker's first."""
        return float(np.median(self.taken))

    @property
    def first(self) -> float:
        """Seconds by which a worker's first part takes longer."""
        return sum(max(0.0, seconds - self.usual) for seconds in self.taken) / self.workers

    @property
    def start(self) -> float:
        """Seconds in which no part was at work."""
        return max(0.0, self.seconds - sum(part["seconds"] for part in self.parts) / self.workers)

    @property
    def peak(self) -> float:
        """Bytes that a worker held at most."""
        return max(part["peak_bytes"] for part in self.parts)


@dataclass(frozen=True)
class _Miniature:
    """The job on `parts` snapshots of few points."""

    job: Job
    split: Split
    executor: Executor
    workers: int
    folder: Path

    def measure(self) -> Rates:
        """Runs one stage after another, each on the products of those before."""
        describe = self._describe(self.train)
        models, trained = self._training(describe)
        scores, scored = self._scoring(models, describe)
        selections, selected = self._selection(scores)
        extracted = self._extraction(selections)
        covered = self._coverage(selections, describe)
        evaluated = self._evaluation(models, describe)
        places = {"actor": scored, "task": selected, "train": trained}
        whole = self._describe(self.split.train) / _relative(self.job.descriptor.neighbours)
        return Rates(
            training=trained["rate"],
            scoring=scored["rate"],
            evaluation=evaluated["rate"],
            coverage=covered["rate"],
            descriptors=1 / whole,
            selection=selected["rate"],
            extraction=extracted["rate"],
            feed=trained["feed"],
            slab=trained["slab"],
            part=selected["part"],
            start={place: found["start"] for place, found in places.items()},
            first={
                "actor": max(scored["first"], evaluated["first"]),
                "task": max(selected["first"], extracted["first"], covered["first"]),
                "train": trained["first"],
            },
            memory={
                "actor": max(scored["peak"], evaluated["peak"]),
                "task": max(selected["peak"], covered["peak"]),
                "train": trained["peak"],
            },
            multiplications=self.multiplications,
        )

    def _training(self, describe: float) -> tuple[list[Artifact], dict[str, float]]:
        """On each worker, in turn: one snapshot for a few steps, all of them for a few and for many, one again."""
        batch, few = self.job.training.batch, 2
        many = few + max(3, round(2 * _PART / (6 * self.multiplications * batch)))
        averaged = PLAIN | {"average": self.job.training.average}
        wanted = [(self._on(1), few), (self.pipeline, few), (self.pipeline, many), (self._on(1), few)]
        # One after another, for the longest of those that run together come first.
        turns = [
            self._run(
                [
                    pipeline.training(f"{turn} {worker}", Length(steps=steps), None, "calibration", averaged)
                    for worker in range(self.workers)
                ]
            )
            for turn, (pipeline, steps) in enumerate(wanted)
        ]
        whole = [run.mean("seconds") for run in turns]
        waited = [run.mean("describe_seconds") for run in turns]
        own = [float(np.mean(run.taken)) - run.mean("describe_cpu_seconds") for run in turns]
        slabs = [slabs_in(self._on(1).split.train), slabs_in(self.train)]
        points = [self.train.snapshots[0].points, self.train.points]
        # Of one snapshot and of all: what its slabs take beside the descriptors.
        beside = [waited[3] - describe * points[0], waited[1] - describe * points[1]]
        slab = max(0.0, (beside[1] - beside[0]) / max(1, slabs[1] - slabs[0]))
        step = _beside(own[2], own[1]) / (many - few)
        return turns[2].artifacts + turns[3].artifacts, {
            "rate": 6 * self.multiplications * batch / step,
            "feed": max(0.0, beside[0] - slab * slabs[0]),
            "slab": slab,
            "first": max(0.0, whole[0] - whole[3]),
            "start": turns[0].start,
            "peak": turns[0].peak,
        }

    def _scoring(self, models: Sequence[Artifact], describe: float) -> tuple[Artifact, dict[str, float]]:
        networks = tuple(models[: min(self.job.score.seeds, 2)])
        run = self._run([Scoring(self.train, self.pipeline.descriptor, networks)])
        points = self.train.snapshots[0].points
        seconds = _beside(run.usual, describe * points)
        rate = 4 * self.multiplications * len(networks) * points / seconds
        return run.artifacts[0], {"rate": rate, "first": run.first, "start": run.start, "peak": run.peak}

    def _selection(self, scores: Artifact) -> tuple[list[Artifact], dict[str, float]]:
        """Of all snapshots by their scores; what a part takes beside them is that of a selection of one snapshot."""
        seeds = range(_QUEUE * self.workers)
        small = self._run([self._on(1).selection("random", seed, None, 0.0) for seed in seeds])
        run = self._run([self.pipeline.selection("grand", seed, scores, 0.0) for seed in seeds])
        rate = self.train.points / _beside(run.usual, small.usual)
        found = {"rate": rate, "part": small.usual, "first": small.first, "start": small.start, "peak": run.peak}
        return run.artifacts, found

    def _extraction(self, selections: Sequence[Artifact]) -> dict[str, float]:
        descriptor = self.pipeline.descriptor
        run = self._run([Extraction(self.train, made, descriptor, False) for made in selections])
        return {"rate": selections[0].figures["kept"] / run.usual, "first": run.first}

    def _coverage(self, selections: Sequence[Artifact], describe: float) -> dict[str, float]:
        settings, descriptor = self.job.coverage, self.pipeline.descriptor
        against = self.pipeline.split.validation
        asked = MOST if settings.queries == "auto" else settings.queries
        queries, kept = min(asked, against.points), selections[0].figures["kept"]
        run = self._run(
            [Coverage(self.train, made, against, queries, settings.scaling, descriptor) for made in selections]
        )
        seconds = _beside(run.usual, describe * (kept + queries))
        rate = 2 * descriptor.length * kept * queries / seconds
        return {"rate": rate, "first": run.first, "peak": run.peak}

    def _evaluation(self, models: Sequence[Artifact], describe: float) -> dict[str, float]:
        networks = tuple(islice(cycle(models), 8))  # as a comparison has, and next to which describing is short
        run = self._run([Evaluation(self.train, self.pipeline.descriptor, networks)])
        points = self.train.snapshots[0].points
        seconds = _beside(run.usual, describe * points)
        rate = 2 * self.multiplications * len(networks) * points / seconds
        return {"rate": rate, "first": run.first, "peak": run.peak}

    def _run(self, stages: Sequence[Stage]) -> _Run:
        begin = time.perf_counter()
        made = materialize_all(stages, root=self.folder / "artifacts", executor=self.executor)
        return _Run(made, time.perf_counter() - begin, self.workers)

    def _describe(self, points: SnapshotSet) -> float:
        """Seconds of one descriptor on a grid as fine as that of these snapshots."""
        from coreset.corpus.described import describe_points

        snapshot, descriptor = points.snapshots[0], self.pipeline.descriptor
        index = np.arange(min(20_000, snapshot.points))
        describe_points(snapshot, index[:100], descriptor)
        begin = time.process_time()
        describe_points(snapshot, index, descriptor)
        return (time.process_time() - begin) / len(index)

    @cached_property
    def multiplications(self) -> int:
        """Of one forward pass."""
        return multiplications(self.job)

    @property
    def train(self) -> SnapshotSet:
        return self.pipeline.split.train

    def _on(self, snapshots: int) -> Pipeline:
        """The pipeline on the first of its training snapshots alone."""
        split = self.pipeline.split
        few = SnapshotSet(split.train.corpus, split.train.snapshots[:snapshots])
        return replace(self.pipeline, split=replace(split, train=few))

    @cached_property
    def pipeline(self) -> Pipeline:
        """The job on a corpus of its own: training snapshots on a coarser grid where theirs has too many points."""
        most = max(_FEW, round(_PART / (4 * self.multiplications * min(self.job.score.seeds, 2))))
        corpus = Corpus.open(self.split.train.corpus)
        root, names = self.folder / "corpus.zarr", []
        snapshots = self.split.train.grids
        for number in range(_QUEUE * self.workers):
            snapshot = snapshots[number % len(snapshots)]
            step = math.ceil((snapshot.points / most) ** (1 / 3))
            density = corpus.density(snapshot, 0, snapshot.points).reshape(snapshot.grid)[::step, ::step, ::step]
            # So that two copies of one snapshot differ.
            density = np.ascontiguousarray(density * np.float32(1 + number / 1024))
            digest = content_digest(snapshot.cell, snapshot.numbers, snapshot.positions, density)
            names.append(f"part-{number:04d}")
            made = replace(snapshot, name=names[-1], grid=density.shape, digest=digest)
            write_snapshot(root, made, density)
        finish(root, names)
        made_of = Corpus.open(root).snapshots
        train, held_out = SnapshotSet(str(root), made_of), SnapshotSet(str(root), made_of[:1])
        return Pipeline(self.job, Split(train, held_out, {}), lambda stages: [])


def multiplications(job: Job, features: Features | None = None) -> int:
    """Multiply-adds of one forward pass of the job's network, Σ n_in n_out; on a table's features where given."""
    seen = features or job.descriptor.resolve()
    widths = (seen.length, *job.network.hidden, outputs_of(seen))
    return sum(a * b for a, b in pairwise(widths))


def slabs_in(points: SnapshotSet) -> int:
    """Slabs that a training reads of these snapshots."""
    return sum(math.ceil(snapshot.points / SLAB) for snapshot in points.snapshots)


def _beside(seconds: float, known: float) -> float:
    """What is left of some seconds beside a share that is known; a tenth at least, for both are measured."""
    return max(seconds - known, 0.1 * seconds)

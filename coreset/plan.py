"""`coreset plan`: what a job will compute and what stands already; it starts nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import is_done
from coreset.artifacts.stage import Stage
from coreset.atomic import write_json
from coreset.methods.budget import keep
from coreset.stages.coverage import Coverage
from coreset.stages.energy import HarrisFoulkes
from coreset.stages.evaluation import Evaluation
from coreset.stages.extraction import Extraction
from coreset.stages.scoring import Scoring
from coreset.stages.selection import Selection
from coreset.stages.training import Training
from coreset.sweep import Sweep
from coreset.workflow import Pipeline, Proxies, best_cutoff


@dataclass(frozen=True)
class Rates:
    """What one worker of this machine does per second; the defaults are for one core of a common server."""

    flops: float = 2.0e10
    """Floating-point operations in float32 matrix products of this job's size."""
    descriptors: float = 3.0e5
    """Descriptors of 40 neighbours."""
    measured: bool = False


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

    root: Path
    points: int
    entries: list[tuple[Stage, bool]] = field(default_factory=list)

    def materialize(self, stages: Sequence[Stage]) -> list[Artifact]:
        """The artifacts that stand, and promises of those that do not."""
        return [self._note(stage) for stage in stages]

    def _note(self, stage: Stage) -> Artifact:
        done = is_done(stage, self.root)
        self.entries.append((stage, done))
        if done:
            return Artifact(self.root / stage.folder)
        kept = keep(self.points, stage.settings.get("prune", 0)) if isinstance(stage, Selection) else self.points
        return Planned(self.root / stage.folder, {"kept": kept}, stage.digest)


def plan(pipeline: Pipeline, ledger: Ledger, rates: Rates, workers: int, sweep: bool = False) -> dict[str, Any]:
    """Figures of every stage of a run, or of a sweep and the run it ends with, in order: parts, work, estimated time.

    `pipeline` must have been made with `ledger.materialize`. A β that is still to be chosen is taken as the largest
    candidate; the stages behind it count as to do.
    """
    if sweep:
        Sweep(pipeline).run()
    pipeline.run()
    network = pipeline.job.network
    widths = (pipeline.descriptor.length, *network.hidden, 1)
    multiplications = sum(a * b for a, b in zip(widths[:-1], widths[1:], strict=True))
    rows: dict[str, dict[str, Any]] = {}
    entries = {stage.digest: (stage, done) for stage, done in ledger.entries}.values()
    for stage, done in entries:
        flops, described = _work(stage, multiplications)
        row = rows.setdefault(stage.title, {"artifacts": 0, "done": 0, "flops": 0.0, "points": 0, "seconds": 0.0})
        row["artifacts"] += 1
        row["done"] += done
        if not done:
            row["flops"] += flops
            row["points"] += described
            pace = rates.descriptors * 40 / pipeline.descriptor.neighbours
            row["seconds"] += (flops / rates.flops + described / pace) / workers
    train = pipeline.split.train
    return {
        "name": pipeline.job.name,
        "points": {
            "train": train.points,
            "validation": pipeline.split.validation.points,
            **{f"test.{name}": points.points for name, points in pipeline.split.tests.items()},
        },
        "kept": keep(train.points, pipeline.job.select.prune),
        "parameters": multiplications + sum(widths[1:]),
        "bytes": {
            "density": 4 * train.points,
            "scores": 16 * train.points,
            "descriptors_if_held": 4 * (pipeline.descriptor.length + 1) * train.points,
        },
        "stages": rows,
        "seconds": sum(row["seconds"] for row in rows.values()),
        # How many are to be computed, each of which takes what `seconds` does not know; null where there is no engine.
        "energies": None
        if pipeline.engine is None
        else sum(isinstance(stage, HarrisFoulkes) and not done for stage, done in entries),
        "workers": workers,
        "calibrated": rates.measured,
    }


def _work(stage: Stage, multiplications: int) -> tuple[float, int]:
    """Floating-point operations of the network, and points to be described."""
    if isinstance(stage, Training):
        work = sum(part.work for part in stage.parts())
        # Forward, and backward by activations and by weights: 2 + 2 + 2 operations per weight.
        return 6.0 * multiplications * work, int(min(work, _points(stage)))
    if isinstance(stage, Scoring):
        # Forward, and backward by activations alone.
        return 4.0 * multiplications * stage.train.points * len(stage.models), stage.train.points
    if isinstance(stage, Evaluation):
        return 2.0 * multiplications * stage.points.points * len(stage.models), stage.points.points
    if isinstance(stage, Coverage):
        kept = stage.selection.figures["kept"]
        return 2.0 * stage.descriptor.length * kept * stage.queries, kept
    if isinstance(stage, Extraction) and stage.with_descriptor:
        return 0.0, int(stage.selection.figures["kept"])
    return 0.0, 0


def _points(stage: Training) -> int:
    return stage.train.points if stage.selection is None else int(stage.selection.figures["kept"])


def known_cutoff(proxies: Proxies) -> float:
    """β if its proxies stand already, else the largest candidate."""
    return max(proxies.cutoffs) if isinstance(proxies.evaluation, Planned) else best_cutoff(proxies)


def calibration_file() -> Path:
    """Where the rates of this machine are stored."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "coreset" / "machine.json"


def stored_rates() -> Rates:
    """The rates that `plan --calibrate` measured on this machine, else the defaults."""
    try:
        saved = json.loads(calibration_file().read_bytes())
        return Rates(float(saved["flops"]), float(saved["descriptors"]), measured=True)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return Rates()


def calibrate(pipeline: Pipeline) -> Rates:
    """Measures one core on this job's network and descriptor, stores the rates and returns them."""
    import numpy as np
    import torch

    from coreset.corpus.described import describe_points
    from coreset.learning.network import Architecture, Normalisation, build

    torch.set_num_threads(1)
    snapshot = pipeline.split.train.snapshots[0]
    index = np.arange(min(20_000, snapshot.points))
    describe_points(snapshot, index[:100], pipeline.descriptor)
    begin = time.perf_counter()
    described = describe_points(snapshot, index, pipeline.descriptor)
    descriptors = len(index) / (time.perf_counter() - begin) * pipeline.descriptor.neighbours / 40
    architecture = Architecture(pipeline.descriptor.length, **pipeline.job.network.model_dump())
    ones = torch.ones(pipeline.descriptor.length)
    network = build(architecture, Normalisation(ones, ones, 0.0, 1.0), "calibration").network
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    batch = pipeline.job.training.batch
    x = torch.from_numpy(described.features[:1]).repeat(batch, 1)
    steps, begin = 0, time.perf_counter()
    while steps < 3 or time.perf_counter() - begin < 1.0:
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()
        steps += 1
    flops = 6.0 * architecture.multiplications * batch * steps / (time.perf_counter() - begin)
    write_json(calibration_file(), {"flops": flops, "descriptors": descriptors})
    return Rates(flops, descriptors, measured=True)

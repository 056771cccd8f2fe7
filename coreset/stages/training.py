"""One network from one seed, on the whole training set or on what a selection keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, Part, Place, Stage, timed
from coreset.corpus.kept import read_kept
from coreset.corpus.split import Features, SnapshotSet
from coreset.corpus.table_corpus import Layout
from coreset.errors import RequestError
from coreset.stages.coverage import query_indices
from coreset.stages.selection import kept_files

if TYPE_CHECKING:
    from coreset.learning.code import Code


@dataclass(frozen=True)
class Length:
    """How long a training lasts: exactly one is given."""

    epochs: int | None = None
    steps: int | None = None


@dataclass(frozen=True)
class Training(Stage):
    """AdamW on the scaled density. The shard is a safetensors checkpoint that holds its normalisation."""

    name: ClassVar[str] = "training"
    version: ClassVar[int] = 2
    place: ClassVar[Place] = "train"
    suffix: ClassVar[str] = ".safetensors"

    train: SnapshotSet
    descriptor: Features
    network: Mapping[str, Any]
    """hidden, activation, output."""
    settings: Mapping[str, Any]
    """Of the job's `training` section: learning_rate, weight_decay, schedule, batch, window, average, checks, keep, and
    workers where there are several."""
    length: Length
    seed: str
    validation: SnapshotSet
    """Where the checks look, if the settings ask for any."""
    selection: Artifact | None = None
    cache: float = 0.0
    """GiB; how much is held in memory does not change the result."""
    what: str = "training"
    code: Code | None = None
    """A user's own network, in the place of `network`."""

    @property
    def title(self) -> str:
        return self.what

    def parameters(self) -> dict[str, Any]:
        checked = {"checked": CHECKED} if self.settings["checks"] else {}
        return {
            **checked,
            "descriptor": asdict(self.descriptor),
            "network": self._stated_network,
            "training": dict(self.settings),
            "length": asdict(self.length),
            "seed": self.seed,
        }

    @property
    def _stated_network(self) -> dict[str, Any]:
        if self.code is not None:
            return {"code": self.code.stated}
        return {**self.network, "hidden": list(self.network["hidden"])}

    def inputs(self) -> dict[str, str]:
        inputs = {"train": self.train.digest}
        if self.settings["checks"]:
            inputs["validation"] = self.validation.digest
        return inputs if self.selection is None else {**inputs, "selection": self.selection.digest}

    def parts(self) -> list[Part]:
        points = self.train.points if self.selection is None else self.selection.figures["kept"]
        steps = self.length.steps
        work = steps * self.settings["batch"] if steps is not None else (self.length.epochs or 0) * points
        reads = repr((self.inputs(), self.settings["window"]))
        return [Part("model", work=float(work), workers=self._workers, reads=reads)]

    @property
    def _workers(self) -> int:
        return int(self.settings.get("workers", 1))

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        import torch

        from coreset.learning.network import Architecture
        from coreset.learning.training import Recipe, train

        if context.team.size != self._workers:
            raise RequestError(
                f"training.workers: expected {context.team.size}, for everything runs in one process here, found "
                f"{self._workers}; train through Ray, as `coreset run` does."
            )
        # The bits of a matrix product depend on the number of threads.
        torch.set_num_threads(1)
        # Apart, for the first training on some points describes them for those that follow in the same process.
        with timed(context.spent, "describe_"):
            feed = _feed(self, context)
            _ = feed.normalisation  # reads and describes every point, and holds them where they fit
            held_out = _held_out(self.validation, self.descriptor) if self.settings["checks"] else None
        own = {"hidden": (), "activation": "gelu", "output": "linear"}
        network = self.network if self.code is None else own
        architecture = Architecture(feed.length, **network, **_learnt(self.descriptor), code=self.code)
        settings = {name: value for name, value in self.settings.items() if name != "workers"}
        recipe = Recipe(**settings, epochs=self.length.epochs, steps=self.length.steps)
        trained = train(feed, architecture, recipe, self.seed, context.device, context.advance, held_out)
        figures = {
            "points": feed.points,
            "steps": trained.steps,
            "loss": trained.loss,
            "dead": trained.dead,
            "redrawn": trained.redrawn,
            "validation": trained.validation,
            "kept_step": trained.kept_step,
            "device": context.device,
        }
        if trained.slowed_to is not None:  # not said of others, whose checkpoints keep their bytes
            figures["slowed_to"] = trained.slowed_to
        trained.model.save(path, {"seed": self.seed, "descriptor": asdict(self.descriptor), **figures})
        return figures


def _learnt(features: Features) -> dict[str, Any]:
    """What a network has in its last layer, and its loss; a density's go without saying."""
    if isinstance(features, Layout):
        loss = "cross-entropy" if features.task == "classification" else "squared"
        return {"outputs": features.outputs, "loss": loss}
    return {}


SHORT = 2**19
"""Points of a coreset that a training reads itself, at most: it describes them sooner than others would bring them."""

CHECKED = 16_384
"""Validation points that the checks of a training look at, at most."""


@lru_cache(maxsize=1)
def _held_out(validation: SnapshotSet, descriptor: Features) -> Any:
    """An equal number of points of every validation snapshot, the same for every training."""
    import torch

    from coreset.corpus.described import describe_points, targets_of
    from coreset.learning.training import HeldOut

    most = len(validation.snapshots) * min(snapshot.points for snapshot in validation.snapshots)
    chosen = query_indices(validation, min(CHECKED, most))
    features, density = [], []
    for snapshot, index in zip(validation.snapshots, chosen, strict=True):
        features.append(describe_points(snapshot, index, descriptor).features)
        density.append(targets_of(validation, snapshot, 0, snapshot.points)[index])
    return HeldOut(torch.from_numpy(np.concatenate(features)), torch.from_numpy(np.concatenate(density)))


def _feed(stage: Training, context: Context) -> Any:
    """The points of a training; several seeds in turn that train on the same points read and describe them once."""
    from coreset.corpus.described import SlabReader
    from coreset.learning.feed import Feed
    from coreset.learning.slabs import in_groups, slabs_of

    kept = None if stage.selection is None else kept_files(stage.selection, stage.train)
    team = context.team
    reader = SlabReader(stage.train, stage.descriptor, kept, (team.rank, team.size))

    def read(slabs: Any) -> Any:
        requests = in_groups(slabs)
        at_once = kept is not None and context.carried[key].points <= SHORT and context.carried[key].fits
        return map(reader.together, requests) if at_once else context.read(reader.together, requests)

    key = repr((stage.inputs(), stage.descriptor, stage.settings["window"], stage.cache, team.rank, team.size))
    if key not in context.carried:
        slabs = []
        for snapshot in stage.train.snapshots:
            selected = None if kept is None else read_kept(kept[snapshot.digest]).get(snapshot.digest)
            if kept is None or selected is not None:
                index = None if selected is None else selected.index
                slabs += slabs_of(snapshot.name, snapshot.digest, snapshot.points, index)
        context.carried.clear()
        length, window = stage.descriptor.length, stage.settings["window"]
        layout = stage.train.layout
        targets, classes = (1, 0) if layout is None else (len(layout.targets), len(layout.classes))
        cache = stage.cache * 1024**3
        context.carried[key] = Feed(slabs, read, length, window, cache, team, targets, classes)
    feed = context.carried[key]
    feed.read = read
    return feed

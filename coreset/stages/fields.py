"""Predicted densities on the whole grid of a few snapshots, for figures that show where the errors are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, Part, Place, Stage
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.metrics import nrmse
from coreset.stages.evaluation import predict


@dataclass(frozen=True)
class Fields(Stage):
    """One npz per snapshot: arrays `reference` and `p0`, `p1`, … of shape [nx, ny, nz], e/Bohr³, float32, unscaled.

    `models` holds (label, network); `arrays` tells which label is which array. Labels are in no file: they may change
    without a new prediction. Figures of a shard: the NRMSE (Eq. 3, a fraction) of each array, by its name.
    """

    name: ClassVar[str] = "fields"
    place: ClassVar[Place] = "actor"
    suffix: ClassVar[str] = ".npz"

    points: SnapshotSet
    descriptor: Descriptor
    models: tuple[tuple[str, Artifact], ...]

    @property
    def title(self) -> str:
        return "fields"

    @property
    def arrays(self) -> dict[str, str]:
        """Name of the array that each label's network predicts."""
        return {label: f"p{number}" for number, (label, _) in enumerate(self.models)}

    def parameters(self) -> dict[str, Any]:
        return {"descriptor": asdict(self.descriptor)}

    def inputs(self) -> dict[str, str]:
        models = {f"model-{run:04d}": model.digest for run, (_, model) in enumerate(self.models)}
        return {"points": self.points.digest, **models}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, snapshot, float(snapshot.points)) for snapshot in self.points.snapshots]

    @cached_property
    def _networks(self) -> list[Any]:
        from coreset.learning.network import load

        return [load(model.path("model"))[0] for _, model in self.models]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        from coreset.corpus.described import open_corpus

        snapshot: Snapshot = part.payload
        density = open_corpus(self.points.corpus).density(snapshot, 0, snapshot.points)
        predicted = predict(self._networks, snapshot, self.descriptor, context.device)
        fields = {"reference": density, **{f"p{number}": field for number, field in enumerate(predicted)}}
        # By handle, for a name would be given another ending; NumPy dates the members 1980, so the bytes repeat.
        with path.open("wb") as file:
            np.savez_compressed(
                file, **{name: field.astype(np.float32).reshape(snapshot.grid) for name, field in fields.items()}
            )
        return {"nrmse": {name: nrmse(field, density) for name, field in fields.items() if name != "reference"}}

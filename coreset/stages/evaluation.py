"""The error of many networks on held-out snapshots; every snapshot is read and described once for all of them."""

from __future__ import annotations

import json
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

_CHUNK = 65_536


@dataclass(frozen=True)
class Evaluation(Stage):
    """NRMSE per snapshot (Eq. 3) of each network, on the unscaled prediction."""

    name: ClassVar[str] = "evaluation"
    place: ClassVar[Place] = "actor"
    suffix: ClassVar[str] = ".json"

    points: SnapshotSet
    descriptor: Descriptor
    models: tuple[Artifact, ...]

    @property
    def title(self) -> str:
        return "evaluation"

    def parameters(self) -> dict[str, Any]:
        return {"descriptor": asdict(self.descriptor)}

    def inputs(self) -> dict[str, str]:
        models = {f"model-{run:04d}": model.digest for run, model in enumerate(self.models)}
        return {"points": self.points.digest, **models}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, snapshot, float(snapshot.points)) for snapshot in self.points.snapshots]

    @cached_property
    def _networks(self) -> list[Any]:
        from coreset.learning.network import load

        return [load(model.path("model"))[0] for model in self.models]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        from coreset.corpus.described import open_corpus
        from coreset.numerics.metrics import nrmse

        snapshot: Snapshot = part.payload
        density = open_corpus(self.points.corpus).density(snapshot, 0, snapshot.points)
        predicted = predict(self._networks, snapshot, self.descriptor, context.device)
        errors = [nrmse(prediction, density) for prediction in predicted]
        path.write_text(json.dumps({"snapshot": snapshot.name, "nrmse": errors}))
        return {"nrmse": errors}


def predict(models: list[Any], snapshot: Snapshot, descriptor: Descriptor, device: str = "cpu") -> np.ndarray:
    """Densities (e/Bohr³) that each model predicts at every grid point, shape [models, points], float32."""
    import torch

    from coreset.corpus.described import describe_points

    torch.set_num_threads(1)
    predicted = np.empty((len(models), snapshot.points), np.float32)
    for start in range(0, snapshot.points, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, snapshot.points))
        x = torch.from_numpy(describe_points(snapshot, rows, descriptor, device).features).to(device)
        for run, model in enumerate(models):
            model.network.to(device)
            predicted[run, rows] = model.predict(x).cpu().numpy()
    return predicted

"""The error of many networks on held-out snapshots; every snapshot is read and described once for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, Part, Place, Stage
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import Features, Member, SnapshotSet, outputs_of
from coreset.corpus.table_corpus import Layout
from coreset.errors import WorkError
from coreset.numerics.fourier import power_spectrum, sobolev
from coreset.numerics.metrics import class_errors, electrons_lost, nmae, nrmse, row_errors

if TYPE_CHECKING:
    from coreset.learning.code import Code

FIGURES = ("nrmse", "nmae", "h1_seminorm", "h1_norm", "electrons_lost")
"""What is measured of every predicted density."""

ROW_FIGURES = ("nrmse", "nmae", "error_rate", "log_loss")
"""What is measured of the predictions of a table's rows; the last two of classes."""

_CHUNK = 65_536


@dataclass(frozen=True)
class Evaluation(Stage):
    """Figures of each network's error field on each snapshot, all of them of the unscaled prediction.

    `nrmse` (Eq. 3) and `nmae` as fractions, `h1_seminorm` and `h1_norm` in e/Bohr^(5/2), `electrons_lost` before any
    rescaling, and the error's power by |G| beside that of the density itself.
    """

    name: ClassVar[str] = "evaluation"
    version: ClassVar[int] = 2
    place: ClassVar[Place] = "actor"
    suffix: ClassVar[str] = ".json"

    points: SnapshotSet
    descriptor: Features
    models: tuple[Artifact, ...]
    code: Code | None = None
    """What may be run, where the models are a user's own network."""

    @property
    def title(self) -> str:
        return "evaluation"

    def parameters(self) -> dict[str, Any]:
        # The digest of a snapshot does not know its electrons, which decide how many are lost.
        if self.points.layout is not None:
            return {"layout": asdict(self.points.layout)}
        electrons = [snapshot.electrons for snapshot in self.points.grids]
        return {"descriptor": asdict(self.descriptor), "electrons": electrons}

    def inputs(self) -> dict[str, str]:
        models = {f"model-{run:04d}": model.digest for run, model in enumerate(self.models)}
        return {"points": self.points.digest, **models}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, snapshot, float(snapshot.points)) for snapshot in self.points.snapshots]

    @cached_property
    def _networks(self) -> list[Any]:
        from coreset.learning.network import load

        return [load(model.path("model"), self.code)[0] for model in self.models]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        from coreset.corpus.described import targets_of

        snapshot: Member = part.payload
        density = targets_of(self.points, snapshot, 0, snapshot.points)
        predicted = predict(self._networks, snapshot, self.descriptor, context.device)
        names = [network_of(model) for model in self.models]
        if isinstance(snapshot, Snapshot):
            figures = field_figures(predicted, density, snapshot, names)
        else:
            assert self.points.layout is not None
            places = [f"{snapshot.name}: {name}" for name in names]
            figures = row_figures(predicted, density, self.points.layout, places)
        path.write_text(json.dumps({"snapshot": snapshot.name, **figures}))
        return figures


def network_of(model: Artifact) -> str:
    """What a message calls a network: the artifact that holds it."""
    return f"network {model.folder.name}"


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Puts the place before the error of a formula, which knows neither snapshot nor network."""
    try:
        yield
    except WorkError as error:
        raise type(error)(f"{place}: {error}") from error


def field_figures(
    predicted: np.ndarray, density: np.ndarray, snapshot: Snapshot, names: Sequence[str]
) -> dict[str, Any]:
    """The figures of `Evaluation`, each a list over models; densities of shape [models, points] and [points].

    Raises:
        DataError: those of `nrmse`, `nmae`; begins with the names of the snapshot and of the model.
    """
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    power = []
    reference = power_spectrum(density.reshape(snapshot.grid).astype(np.float64), snapshot.cell)
    for name, prediction in zip(names, predicted, strict=True):
        with naming(f"{snapshot.name}: {name}"):
            found["nrmse"].append(nrmse(prediction, density))
            found["nmae"].append(nmae(prediction, density))
        error = (prediction.astype(np.float64) - density).reshape(snapshot.grid)
        norms = sobolev(error, snapshot.cell)
        found["h1_seminorm"].append(norms.seminorm)
        found["h1_norm"].append(norms.norm)
        found["electrons_lost"].append(electrons_lost(prediction, snapshot.electrons, snapshot.volume))
        power.append(power_spectrum(error, snapshot.cell).power.tolist())
    spectrum = {"edges": reference.edges.tolist(), "power": power, "reference": reference.power.tolist()}
    return {**found, "spectrum": spectrum}


def row_figures(
    predicted: np.ndarray, targets: np.ndarray, layout: Layout, places: Sequence[str]
) -> dict[str, list[float]]:
    """The figures of a table's rows, each a list over models; predictions of shape [models, n] or [models, n, o]."""
    found: dict[str, list[float]] = {}
    for place, prediction in zip(places, predicted, strict=True):
        with naming(place):
            if layout.task == "classification":
                errors = class_errors(prediction, targets)
            else:
                rows = len(targets)
                errors = row_errors(prediction.reshape(rows, -1), targets.reshape(rows, -1), np.array(layout.ranges))
        for name, value in errors.items():
            found.setdefault(name, []).append(value)
    return found


def predict(models: list[Any], snapshot: Member, descriptor: Features, device: str = "cpu") -> np.ndarray:
    """Densities (e/Bohr³) that each model predicts at every grid point, shape [models, points], float32.

    Of a table's rows the targets, or the probabilities of classes: shape [models, points, outputs] of several.
    """
    import torch

    from coreset.corpus.described import describe_points

    torch.set_num_threads(1)
    outputs = outputs_of(descriptor)
    shape = (len(models), snapshot.points) if outputs == 1 else (len(models), snapshot.points, outputs)
    predicted = np.empty(shape, np.float32)
    for start in range(0, snapshot.points, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, snapshot.points))
        x = torch.from_numpy(describe_points(snapshot, rows, descriptor, device).features).to(device)
        for run, model in enumerate(models):
            model.network.to(device)
            predicted[run, rows] = model.predict(x).cpu().numpy()
    return predicted

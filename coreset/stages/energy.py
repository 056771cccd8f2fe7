"""Energies of densities: one diagonalisation at a fixed density, and the Harris–Foulkes functional of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, Part, Stage
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.energies.engine import Engine
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.metrics import rescale


@dataclass(frozen=True)
class HarrisFoulkes(Stage):
    """F_HF of the density that one network predicts, or of the reference, at each snapshot, in Ha per cell.

    Both are rescaled to N electrons (Eq. 4) and go through the same calculation, so that ΔE = F_HF[ρ_ML] − F_HF[ρ_DFT]
    tells of the density alone (paper, V.6).
    """

    name: ClassVar[str] = "energy"
    suffix: ClassVar[str] = ".json"

    points: SnapshotSet
    engine: Engine
    descriptor: Descriptor
    model: Artifact | None = None
    """None: the reference density."""

    @property
    def title(self) -> str:
        return "energies"

    def parameters(self) -> dict[str, Any]:
        numbers = sorted({int(z) for snapshot in self.points.snapshots for z in snapshot.numbers})
        own = {} if self.model is None else {"descriptor": asdict(self.descriptor)}
        # The digest of a snapshot does not know its electrons, to which the density is rescaled.
        electrons = [snapshot.electrons for snapshot in self.points.snapshots]
        return {"engine": self.engine.identity(numbers), "electrons": electrons, **own}

    def inputs(self) -> dict[str, str]:
        inputs = {"points": self.points.digest}
        return inputs if self.model is None else {**inputs, "model": self.model.digest}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, snapshot) for snapshot in self.points.snapshots]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        snapshot: Snapshot = part.payload
        density = rescale(self._density(snapshot), snapshot.electrons, snapshot.volume).reshape(snapshot.grid)
        with tempfile.TemporaryDirectory(prefix="coreset-energy-") as scratch:
            energy = self.engine.harris_foulkes(snapshot, density, Path(scratch))
        figures = {"free_energy": energy.free_energy, "atoms": len(snapshot.numbers)}
        path.write_text(json.dumps({"snapshot": snapshot.name, **figures}))
        return figures

    def _density(self, snapshot: Snapshot) -> np.ndarray:
        from coreset.corpus.described import open_corpus
        from coreset.learning.network import load
        from coreset.stages.evaluation import predict

        if self.model is None:
            return open_corpus(self.points.corpus).density(snapshot, 0, snapshot.points)
        model, _ = load(self.model.path("model"))
        predicted: np.ndarray = predict([model], snapshot, self.descriptor)[0]
        return predicted


def energy_errors(predicted: Sequence[Artifact], reference: Sequence[Artifact]) -> np.ndarray:
    """ΔE = |F_HF[ρ_ML] − F_HF[ρ_DFT]| per atom, Ha, shape [snapshots], whether in one artifact or in many."""
    ours, theirs = ([shard["figures"] for each in made for shard in each.shards] for made in (predicted, reference))
    pairs = zip(ours, theirs, strict=True)
    return np.array([abs(a["free_energy"] - b["free_energy"]) / a["atoms"] for a, b in pairs])


def spread_evenly(points: SnapshotSet, wanted: int) -> SnapshotSet:
    """So many of the snapshots, at even distances in the order of their names; all where there are no more."""
    count = len(points.snapshots)
    if wanted >= count:
        return points
    chosen = np.linspace(0, count - 1, wanted).round().astype(int)
    return SnapshotSet(points.corpus, tuple(points.snapshots[i] for i in chosen))

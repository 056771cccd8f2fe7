"""Energies of densities: one diagonalisation at a fixed density, and the Harris–Foulkes functional of it."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, Part, Stage
from coreset.atomic import TEMPORARY
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.energies.engine import Engine
from coreset.errors import RequestError, WorkError
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.metrics import rescale
from coreset.stages.evaluation import naming, network_of, predict


@dataclass(frozen=True)
class HarrisFoulkes(Stage):
    """F_HF of the density that one network predicts, or of the reference, at each snapshot, in Ha per cell.

    Both are rescaled to N electrons (Eq. 4) and go through the same calculation, so that F_HF[ρ_ML] − F_HF[ρ_DFT] is
    what the densities differ by (paper, V.6). It is of second order in that but for a small term of first order, for
    ρ_DFT is not the self-consistent density of this engine; docs/energies.md has its size.
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
        own = {} if self.model is None else {"descriptor": asdict(self.descriptor)}
        # The digest of a snapshot does not know its electrons, to which the density is rescaled.
        electrons = [snapshot.electrons for snapshot in self.points.grids]
        return {"engine": self._stated, "electrons": electrons, **own}

    def inputs(self) -> dict[str, str]:
        inputs = {"points": self.points.digest}
        return inputs if self.model is None else {**inputs, "model": self.model.digest}

    def parts(self) -> list[Part]:
        # With it goes the engine that the digest states, for the one of the machine that computes may be another.
        return [Part(snapshot.name, (snapshot, self._stated)) for snapshot in self.points.snapshots]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        snapshot, stated = part.payload
        self._require(stated, snapshot.name)
        origin = "reference density" if self.model is None else network_of(self.model)
        with naming(f"{snapshot.name}: {origin}"):
            density = rescale(self._density(snapshot), snapshot.electrons, snapshot.volume).reshape(snapshot.grid)
        with _scratch(path) as scratch:
            energy = self.engine.harris_foulkes(snapshot, density, scratch)
        figures = {"free_energy": energy.free_energy, "atoms": len(snapshot.numbers)}
        path.write_text(json.dumps({"snapshot": snapshot.name, **figures}))
        return figures

    @cached_property
    def _stated(self) -> dict[str, Any]:
        """The engine in the recipe; looked at once."""
        return self._identity()

    def _identity(self) -> dict[str, Any]:
        """The engine of this machine."""
        return self.engine.identity(sorted({int(z) for snapshot in self.points.grids for z in snapshot.numbers}))

    def _require(self, stated: dict[str, Any], name: str) -> None:
        """Raise WorkError unless the engine of this machine is the stated one."""
        here = f"{name}: on the machine {platform.node()}"
        try:
            found = self._identity()
        except RequestError as error:
            raise WorkError(f"{here}: {error}") from None
        if found != stated:
            raise WorkError(
                f"{here}: expected the engine of the machine that started the run, found "
                f"{_differences(stated, found)}; give every machine the same program, and the same pseudopotentials in "
                "the same folder"
            )

    def _density(self, snapshot: Snapshot) -> np.ndarray:
        from coreset.corpus.described import open_corpus
        from coreset.learning.network import load

        if self.model is None:
            return open_corpus(self.points.corpus).density(snapshot, 0, snapshot.points)
        model, _ = load(self.model.path("model"))
        predicted: np.ndarray = predict([model], snapshot, self.descriptor)[0]
        return predicted


@contextmanager
def _scratch(shard: Path) -> Iterator[Path]:
    """A folder beside a shard that is being written, which whoever finishes the artifact sweeps if we are killed.

    Raises:
        FileNotFoundError: it was swept while the engine ran, which failed of it: another run finished the artifact.
    """
    prefix = f"{TEMPORARY}scratch-"
    with tempfile.TemporaryDirectory(dir=shard.parent, prefix=prefix, ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        except WorkError as error:
            if not Path(folder).exists():
                raise FileNotFoundError(f"{folder}: expected to have it to itself, found it removed") from error
            raise


def _differences(stated: dict[str, Any], found: dict[str, Any], prefix: str = "") -> str:
    """Each entry that differs, as `pseudopotentials.Al 1a2b instead of 3c4d`."""
    told = []
    for key in sorted({*stated, *found}):
        here, there = found.get(key), stated.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            told.append(_differences(there, here, f"{prefix}{key}."))
        elif here != there:
            told.append(f"{prefix}{key} {here} instead of {there}")
    return ", ".join(filter(None, told))


def energy_differences(predicted: Sequence[Artifact], reference: Sequence[Artifact]) -> np.ndarray:
    """F_HF[ρ_ML] − F_HF[ρ_DFT] per atom, Ha, shape [snapshots], whether in one artifact or in many."""
    ours, theirs = ([shard["figures"] for each in made for shard in each.shards] for made in (predicted, reference))
    pairs = zip(ours, theirs, strict=True)
    return np.array([(a["free_energy"] - b["free_energy"]) / a["atoms"] for a, b in pairs])


def spread_evenly(points: SnapshotSet, wanted: int) -> SnapshotSet:
    """So many of the snapshots, at even distances in the order of their names; all where there are no more."""
    count = len(points.snapshots)
    if wanted >= count:
        return points
    chosen = np.linspace(0, count - 1, wanted).round().astype(int)
    return SnapshotSet(points.corpus, tuple(points.snapshots[i] for i in chosen))

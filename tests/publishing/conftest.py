"""A small coreset from the real stages, on scores that are made up."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Stage
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.numerics.descriptors import Descriptor
from coreset.publication import publish
from coreset.publishing.card import dataset_card
from coreset.publishing.package import write_package
from coreset.stages.extraction import Extraction
from coreset.stages.selection import Selection

DESCRIPTOR = Descriptor(neighbours=5, distances=True, handedness="free")


@dataclass(frozen=True)
class Scores(Stage):
    """What scoring leaves, without the networks: lognormal numbers."""

    name: ClassVar[str] = "scores"
    suffix: ClassVar[str] = ".zarr"

    train: SnapshotSet

    def parameters(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, number) for number, snapshot in enumerate(self.train.snapshots)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        group = zarr.open_group(path, mode="w", zarr_format=3)
        group.create_array("grand", data=scores_of(part.payload).reshape(self.train.snapshots[part.payload].grid))
        return {}


def scores_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).lognormal(0.0, 1.0, 120).astype(np.float32)


@dataclass(frozen=True)
class Built:
    """A package and all that it was made from."""

    path: Path
    train: SnapshotSet
    selection: Artifact
    extraction: Artifact
    descriptor: Descriptor
    scores: np.ndarray
    recipe: dict[str, Any]


@pytest.fixture(scope="session")
def build(small_corpus: Corpus) -> Callable[..., Built]:
    train = SnapshotSet(small_corpus.path, small_corpus.select("train/*"))

    def make(root: Path, method: str = "ccs", stored: bool = False, **settings: Any) -> Built:
        store = root / "artifacts"
        given: dict[str, Any] = {"prune": 0.8, "seed": 0, **settings}
        if method == "ccs":
            given = {"cutoff": 0.1, "strata": 12, "redistribute": True, **given}
        scores = materialize(Scores(train), root=store, executor=SerialExecutor()) if method == "ccs" else None
        stage = Selection(train, method, given, scores)
        selection = materialize(stage, root=store, executor=SerialExecutor())
        extraction = materialize(
            Extraction(train, selection, DESCRIPTOR, stored), root=store, executor=SerialExecutor()
        )
        recipe = {
            "name": "small",
            "job": {"output": {"descriptor": stored}},
            "descriptor": asdict(DESCRIPTOR),
            "select": {"method": method, **given},
            "cutoff": 0.1,
            "points": train.points,
        }
        card = dataset_card("small", extraction.figures["rows"], train.points, len(train.snapshots), recipe)
        write_package(root / "coreset", extraction, train.snapshots, recipe, card)
        scored = np.stack([scores_of(number) for number in range(len(train.snapshots))])
        return Built(root / "coreset", train, selection, extraction, DESCRIPTOR, scored, recipe)

    return make


@pytest.fixture(scope="session")
def built(build: Callable[..., Built], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """To be read; tests that change it copy it first."""
    return build(tmp_path_factory.mktemp("published"))


METADATA = """\
title: A small coreset
authors:
  - {family: Lovelace, given: Ada, orcid: 0000-0002-1825-0097, affiliation: Analytical Engines}
  - {name: The Density Group}
license: CC-BY-4.0
citation: "A. Lovelace, Journal of Densities 1, 1 (2026)"
homepage: https://example.org/small
doi: 10.5281/zenodo.1234
keywords: [oxygen]
limits: Made of random numbers.
date: 2026-11-26
"""


@pytest.fixture(scope="session")
def published(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The coreset of a whole run as it is published, with arrays; to be read, and copied by tests that change it."""
    place = tmp_path_factory.mktemp("public")
    (place / "metadata.yaml").write_text(METADATA)
    publish(whole_run / "run", str(place / "small"), place / "metadata.yaml", zarr=True)
    return place / "small"


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `datasets` keeps goes away with the test."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")

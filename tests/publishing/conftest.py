"""A small coreset from the real stages, on scores that are made up."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zarr

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Stage
from coreset.atomic import write_json
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import TableCorpus
from coreset.corpus.tables import open_table
from coreset.numerics.descriptors import Descriptor
from coreset.publication import publish
from coreset.publishing.card import dataset_card
from coreset.publishing.package import write_package
from coreset.publishing.tables import table_card
from coreset.session import open_session, package
from coreset.stages.extraction import Extraction
from coreset.stages.selection import Selection
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request
from coreset.summary import summarise

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
        grid = self.train.snapshots[part.payload].grid
        group.create_array("grand", data=scores_of(part.payload, math.prod(grid)).reshape(grid))
        return {}


def scores_of(number: int, points: int = 120) -> np.ndarray:
    return np.random.default_rng(number).lognormal(0.0, 1.0, points).astype(np.float32)


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


ROWS = 800


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of a table whose columns have the names of ours, and names that no URI and no Markdown likes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3)).astype(np.float32)
    columns = {"pixel 0": x[:, 0], "a/b|`c`": x[:, 1], "a b": x[:, 2], "batch": rng.integers(0, 12, ROWS)}
    columns |= {"score": x[:, 0] * x[:, 1], "γ": x[:, 2] ** 2, "kind": np.where(x[:, 0] > 0, "bcc", "fcc")}
    folder = tmp_path_factory.mktemp("table") / "t"
    folder.mkdir()
    rows = pa.table(columns)
    pq.write_table(rows.slice(0, 500), folder / "0.parquet", row_group_size=300)
    pq.write_table(rows.slice(500), folder / "1.parquet")
    return folder


@pytest.fixture(scope="session")
def build_table(table: Path) -> Callable[..., Path]:
    """A coreset of the table without a run, on scores that are made up; returns its folder."""

    def make(root: Path, target: tuple[str, ...], method: str = "ccs") -> Path:
        features = ("pixel 0", "a/b*", "a b")
        request = Request(target, features, group="batch")
        ingest_table(open_table(str(table)), request, root / "corpus.zarr", SerialExecutor())
        corpus = TableCorpus.open(str(root / "corpus.zarr"))
        train, layout = SnapshotSet(corpus.path, corpus.select("train/*"), corpus.layout, corpus.files), corpus.layout
        settings: dict[str, Any] = {"prune": 0.8, "seed": 0}
        settings |= {"cutoff": 0.1, "strata": 12, "redistribute": True} if method == "ccs" else {}
        place = {"root": root / "artifacts", "executor": SerialExecutor()}
        scores = materialize(Scores(train), **place) if method == "ccs" else None
        selection = materialize(Selection(train, method, settings, scores), **place)
        extraction = materialize(Extraction(train, selection, layout, False), **place)
        recipe = {"name": "rows", "job": {"corpus": {}}, "select": {"method": method, **settings}, "cutoff": 0.1}
        recipe |= {"points": train.points, "layout": asdict(layout)}
        card = table_card("rows", extraction.figures["rows"], train.points, len(train.groups), layout, recipe)
        write_package(root / "coreset", extraction, (), recipe, card)
        return root / "coreset"

    return make


TABLE_JOB: dict[str, Any] = {
    "name": "kinds",
    "corpus": {"source": "corpus.zarr", "test": {"held-out": "test/*"}, "validation": 0.2},
    "network": {"hidden": [8]},
    "training": {"batch": 64, "epochs": 2},
    "score": {"seeds": 1, "epoch": 1},
    "select": {"prune": 0.8, "cutoff": 0.1, "strata": 10},
    "coverage": {"queries": 40, "scaling": "standard"},
    "evaluation": {"methods": ["random", "ccs"], "seeds": 2, "steps": 20},
}


@pytest.fixture(scope="session")
def table_run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on classes of the table, in this process."""
    place = tmp_path_factory.mktemp("kinds")
    request = Request(("kind",), ("pixel 0", "a/b*", "score"), group="batch", test=0.3)
    ingest_table(open_table(str(table)), request, place / "corpus.zarr", SerialExecutor())
    (place / "job.yaml").write_text(yaml.safe_dump(TABLE_JOB))
    session = open_session(place / "job.yaml", place / "run", None, ())
    with session.recorded(SerialExecutor()) as pipeline:
        products = pipeline.run()
        package(session, products)
        write_json(session.folder.summary, summarise(pipeline, products))
    return place / "run"


@pytest.fixture(scope="session")
def published_table(table_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The coreset of that run as it is published, with arrays; to be read."""
    place = tmp_path_factory.mktemp("public")
    (place / "metadata.yaml").write_text(METADATA)
    publish(table_run, str(place / "kinds"), place / "metadata.yaml", zarr=True)
    return place / "kinds"


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

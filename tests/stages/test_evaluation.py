"""Every figure of an evaluation from the network at each grid point and the textbook formula."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact, shard_record, write_manifest
from coreset.artifacts.materialize import materialize
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.errors import DataError
from coreset.learning.network import Architecture, Normalisation, build, load
from coreset.numerics.descriptors import Descriptor, describe
from coreset.numerics.fourier import power_spectrum, sobolev
from coreset.stages import evaluation
from coreset.stages.evaluation import FIGURES, Evaluation, field_figures

DESCRIPTOR = Descriptor(neighbours=4, distances=True)


def network(folder: Path, seed: str) -> Artifact:
    """An untrained network as an artifact."""
    d = DESCRIPTOR.length
    unit = Normalisation(torch.full((d,), 0.5), torch.full((d,), 2.0), target_mean=0.5, target_scale=0.3)
    folder.mkdir()
    build(Architecture(d, (8, 8), "gelu", "linear"), unit, seed).save(folder / "model.safetensors", {})
    shard = shard_record("model", folder / "model.safetensors", {})
    write_manifest(folder / "manifest.json", {"digest": seed * 64, "shards": [shard], "figures": {}})
    return Artifact(folder)


@pytest.fixture(scope="module")
def stage(small_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    root = tmp_path_factory.mktemp("networks")
    points = SnapshotSet(str(small_corpus.path), small_corpus.select("test/*"))
    return Evaluation(points, DESCRIPTOR, (network(root / "a", "a"), network(root / "b", "b")))


@pytest.fixture(scope="module")
def made(stage: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return materialize(stage, root=tmp_path_factory.mktemp("store"), executor=SerialExecutor())


def test_every_figure_is_its_formula_of_the_unscaled_prediction(
    stage: Evaluation, made: Artifact, small_made: list[Any]
) -> None:
    densities = {snapshot.name: density.astype(np.float64) for snapshot, density in small_made}
    assert [shard["name"] for shard in made.shards] == [snapshot.name for snapshot in stage.points.snapshots]
    for snapshot, shard in zip(stage.points.snapshots, made.shards, strict=True):
        reference, figures = densities[snapshot.name], shard["figures"]
        assert json.loads(made.path(snapshot.name).read_text()) == {"snapshot": snapshot.name, **figures}
        fractions = np.indices(snapshot.grid).reshape(3, -1).T / snapshot.grid
        x = describe(fractions @ snapshot.cell, snapshot.cell, snapshot.positions, snapshot.numbers, DESCRIPTOR)
        volume = abs(np.linalg.det(snapshot.cell))
        for number, model in enumerate(stage.models):
            predicted = load(model.path("model"))[0].predict(torch.from_numpy(x.features)).double().numpy()
            field = predicted.reshape(snapshot.grid)
            error = field - reference
            norms = sobolev(error, snapshot.cell)
            expected = {
                "nrmse": np.sqrt(np.mean(error**2)) / (reference.max() - reference.min()),
                "nmae": np.abs(error).sum() / np.abs(reference).sum(),
                "electrons_lost": snapshot.electrons - field.mean() * volume,
                "h1_seminorm": norms.seminorm,
                "h1_norm": norms.norm,
            }
            assert set(expected) == set(FIGURES)
            for name, value in expected.items():
                assert figures[name][number] == pytest.approx(value, rel=1e-4), name
            # Parseval: the norms differ by ∫e², which the spectrum adds up to.
            squared = np.mean(error**2) * volume
            assert figures["h1_norm"][number] ** 2 - figures["h1_seminorm"][number] ** 2 == pytest.approx(squared)
            assert sum(figures["spectrum"]["power"][number]) == pytest.approx(squared, rel=1e-4)
            assert figures["spectrum"]["power"][number] == pytest.approx(
                power_spectrum(error, snapshot.cell).power.tolist(), rel=1e-3, abs=1e-9
            )
        assert sum(figures["spectrum"]["reference"]) == pytest.approx(np.mean(reference**2) * volume)
        assert len(figures["spectrum"]["edges"]) == len(figures["spectrum"]["reference"]) + 1
        assert figures["nrmse"][0] != figures["nrmse"][1]


def test_the_digest_knows_the_electrons(stage: Evaluation) -> None:
    """They decide how many are lost, and the content digest of a snapshot does not know them."""
    first, *others = stage.points.snapshots
    changed = replace(stage.points, snapshots=(replace(first, electrons=first.electrons + 1), *others))
    assert changed.digest == stage.points.digest
    assert replace(stage, points=changed).digest != stage.digest


def test_a_perfect_prediction_has_no_error(stage: Evaluation, small_made: list[Any]) -> None:
    snapshot, density = small_made[0]
    figures = field_figures(density.reshape(1, -1), density.ravel(), snapshot, ["network a"])
    assert [figures[name] for name in ("nrmse", "nmae", "h1_seminorm", "h1_norm")] == [[0.0]] * 4
    volume = abs(np.linalg.det(snapshot.cell))
    lost = snapshot.electrons - density.mean(dtype=np.float64) * volume
    assert figures["electrons_lost"] == [pytest.approx(lost)]


def test_a_prediction_that_is_no_density_is_told_by_snapshot_and_network(
    stage: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(models: list[Any], snapshot: Snapshot, *_: Any) -> np.ndarray:
        return np.stack([np.ones(snapshot.points), np.full(snapshot.points, np.nan)])

    monkeypatch.setattr(evaluation, "predict", diverged)
    expected = rf"^{stage.points.snapshots[0].name}: network {stage.models[1].folder.name}: expected finite values"
    with pytest.raises(DataError, match=expected):
        materialize(stage, root=tmp_path, executor=SerialExecutor())


def test_figures_do_not_depend_on_how_the_grid_is_cut(
    stage: Evaluation, made: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_CHUNK", 37)
    again = materialize(stage, root=tmp_path, executor=SerialExecutor())
    for one, other in zip(again.shards, made.shards, strict=True):
        for name in FIGURES:
            assert one["figures"][name] == pytest.approx(other["figures"][name], rel=1e-5)

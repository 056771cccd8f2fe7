"""The score field against per-example autograd, and selection from it against sorting."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize, materialize_all
from coreset.corpus.described import describe_points
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.learning.network import load
from coreset.numerics.descriptors import Descriptor
from coreset.stages import scoring
from coreset.stages.scoring import Scoring, read_field
from coreset.stages.training import Length, Training

CORPUS = Path(__file__).parents[2] / "jobs" / "data" / "al.zarr"
DESCRIPTOR = Descriptor(neighbours=5, distances=True)
SETTINGS = {"learning_rate": 2e-3, "weight_decay": 0.01, "schedule": "constant", "batch": 512, "window": 65_536}
SETTINGS |= {"average": 0.0, "checks": 0, "keep": "last"}


@pytest.fixture(scope="module")
def points() -> SnapshotSet:
    corpus = Corpus.open(CORPUS)
    return SnapshotSet(str(CORPUS), corpus.select("train/al32_T0100_s0_0"))


@pytest.fixture(scope="module")
def made(points: SnapshotSet, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("store")
    network = {"hidden": [16, 16], "activation": "gelu", "output": "relu"}
    runs = [Training(points, DESCRIPTOR, network, SETTINGS, Length(steps=150), f"run {k}", points) for k in range(3)]
    models = materialize_all(runs, root=root, executor=SerialExecutor())
    scores = materialize(Scoring(points, DESCRIPTOR, tuple(models)), root=root, executor=SerialExecutor())
    return models, scores


def test_the_score_is_the_mean_norm_of_the_gradient(points: SnapshotSet, made: Any) -> None:
    models, scores = made
    (snapshot,) = points.snapshots
    index = np.sort(np.random.default_rng(3).choice(snapshot.points, 60, replace=False))
    features = torch.from_numpy(describe_points(snapshot, index, DESCRIPTOR).features).double()
    density = torch.from_numpy(Corpus.open(CORPUS).density(snapshot)[index]).double()
    norms, residuals = [], []
    for artifact in models:
        model = load(artifact.path("model"))[0]
        network = model.network.double()
        for x, y in zip(features, model.target(density), strict=True):
            network.zero_grad()
            residual = (network(x[None]) - y).squeeze()
            (residual**2).backward()
            norms.append(float(torch.cat([p.grad.ravel() for p in network.parameters()]).norm()))
            residuals.append(abs(float(residual.detach())))
    by_run = np.array(norms).reshape(3, -1)
    found = {field: read_field(scores, snapshot.name, field)[index] for field in scoring.FIELDS}
    assert np.allclose(found["grand"], by_run.mean(0), rtol=2e-3, atol=1e-5)
    assert np.allclose(found["grand_std"], by_run.std(0), rtol=2e-2, atol=1e-4)
    assert np.allclose(found["loss"], np.array(residuals).reshape(3, -1).mean(0), rtol=2e-3, atol=1e-5)


def test_scores_do_not_depend_on_how_the_grid_is_cut(
    points: SnapshotSet, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, scores = made
    monkeypatch.setattr(scoring, "_CHUNK", 2 * scoring._BLOCK)
    again = materialize(Scoring(points, DESCRIPTOR, tuple(models)), root=tmp_path, executor=SerialExecutor())
    assert again.shards == scores.shards


def test_the_rank_correlation_is_spearmans(points: SnapshotSet, made: Any) -> None:
    from scipy.stats import spearmanr

    _, scores = made
    sample = np.asarray(scoring._array(scores.path(points.snapshots[0].name), "sample"))
    pairs = [spearmanr(sample[a], sample[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    assert np.isclose(scores.figures["rank_correlation"], np.mean(pairs))
    assert len(sample[0]) == points.points  # below the limit every point is in the sample

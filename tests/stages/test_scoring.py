"""The score field against per-example autograd, and selection from it against sorting."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize, materialize_all
from coreset.corpus import pieces
from coreset.corpus.described import describe_points
from coreset.corpus.pieces import pieces_of
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.errors import DataError, WorkError
from coreset.learning.network import load
from coreset.numerics.descriptors import Descriptor
from coreset.stages import scoring
from coreset.stages.rows import select_file
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


def test_a_field_that_is_zero_everywhere_is_stored_and_taken_by_select(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 20)
    group = zarr.open_group(tmp_path / "scores.zarr", mode="w", zarr_format=3)
    field = scoring.new_field(group, "score", (6, 5, 4))
    for plane in range(6):
        field[plane : plane + 1] = np.zeros((1, 5, 4), np.float32)
    assert len(list((tmp_path / "scores.zarr" / "score" / "c").iterdir())) == 6
    figures = select_file(tmp_path / "scores.zarr", tmp_path / "rows.parquet", method="grand", prune="0.5", seed=0)
    assert (figures["total"], figures["kept"]) == (120, 60)


def test_describing_ahead_changes_no_score(points: SnapshotSet, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    models, _ = made
    (snapshot,) = points.snapshots
    stage = Scoring(points, DESCRIPTOR, tuple(models))
    monkeypatch.setattr(scoring, "_CHUNK", scoring._BLOCK)
    (piece,) = pieces_of(snapshot)
    chunks, threads = stage._chunks(snapshot, piece, "cpu"), set()

    def watched() -> Iterator[Any]:
        for chunk in chunks:
            threads.add(threading.current_thread())
            yield chunk

    ahead = list(scoring._one_ahead(watched()))
    assert len(ahead) == -(-snapshot.points // scoring._BLOCK) > 2
    assert threads and threading.current_thread() not in threads
    for (rows, described), (rows_ahead, described_ahead) in zip(
        stage._chunks(snapshot, piece, "cpu"), ahead, strict=True
    ):
        assert np.array_equal(rows, rows_ahead)
        assert np.array_equal(described.features, described_ahead.features)
    plain = stage._score(snapshot, piece, "cpu")
    monkeypatch.setattr(Scoring, "_chunks", lambda *_: scoring._one_ahead(iter(ahead)))
    found = stage._score(snapshot, piece, "cpu")
    assert np.array_equal(plain[0], found[0]) and np.array_equal(plain[1], found[1]) and plain[2] == found[2]


def test_an_error_while_describing_ahead_is_raised() -> None:
    def broken() -> Iterator[int]:
        yield 0
        raise DataError("damaged")

    items = scoring._one_ahead(broken())
    assert next(items) == 0
    with pytest.raises(DataError, match="damaged"):
        next(items)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_diverged_is_named_with_the_snapshot(
    value: float, points: SnapshotSet, made: Any, tmp_path: Path
) -> None:
    stage = Scoring(points, DESCRIPTOR, tuple(made[0]))
    with torch.no_grad():
        stage._networks[1].network[1].weight[0, 0] = value
    with pytest.raises(WorkError, match="the network has diverged") as caught:
        materialize(stage, root=tmp_path, executor=SerialExecutor())
    (snapshot,) = points.snapshots
    assert str(caught.value).startswith(f"{snapshot.name}, from point 0 on: network {made[0][1].folder.name}: ")
    assert not isinstance(caught.value, DataError)


def test_a_precision_is_another_artifact_with_scores_nearby(points: SnapshotSet, made: Any, tmp_path: Path) -> None:
    models, scores = made
    stage = Scoring(points, DESCRIPTOR, tuple(models))
    assert "precision" not in stage.parameters() and stage.digest == scores.digest
    rounded = materialize(replace(stage, precision="bfloat16"), root=tmp_path, executor=SerialExecutor())
    assert rounded.digest != scores.digest
    exact, found = (read_field(each, points.snapshots[0].name, "grand") for each in (scores, rounded))
    assert not np.array_equal(exact, found)
    assert np.linalg.norm(found - exact) < 0.05 * np.linalg.norm(exact)


def test_the_rank_correlation_is_spearmans(points: SnapshotSet, made: Any) -> None:
    from scipy.stats import spearmanr

    _, scores = made
    sample = np.asarray(scoring._array(scores.path(points.snapshots[0].name), "sample"))
    pairs = [spearmanr(sample[a], sample[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    assert np.isclose(scores.figures["rank_correlation"], np.mean(pairs))
    assert len(sample[0]) == points.points  # below the limit every point is in the sample

"""The stored fields against each network applied to one grid point at a time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact, shard_record, write_manifest
from coreset.artifacts.materialize import materialize
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.learning.network import Architecture, Normalisation, build, load
from coreset.numerics.descriptors import Descriptor, describe
from coreset.stages.fields import Fields

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


@pytest.fixture
def stage(small_corpus: Corpus, tmp_path: Path) -> Fields:
    points = SnapshotSet(str(small_corpus.path), small_corpus.select("test/*"))
    models = (("full at 0%", network(tmp_path / "a", "a")), ("ccs at 90%", network(tmp_path / "b", "b")))
    return Fields(points, DESCRIPTOR, models)


def test_every_value_is_the_network_at_that_grid_point(stage: Fields, small_made: list[Any], tmp_path: Path) -> None:
    made = materialize(stage, root=tmp_path / "store", executor=SerialExecutor())
    densities = {snapshot.name: density for snapshot, density in small_made}
    assert stage.arrays == {"full at 0%": "p0", "ccs at 90%": "p1"}
    assert [shard["name"] for shard in made.shards] == ["test/b_T0300_0", "test/b_T0300_1"]
    for snapshot, shard in zip(stage.points.snapshots, made.shards, strict=True):
        with np.load(made.path(snapshot.name), allow_pickle=False) as file:
            arrays = dict(file)
        reference = densities[snapshot.name]
        assert set(arrays) == {"reference", "p0", "p1"}
        assert {(array.dtype, array.shape) for array in arrays.values()} == {(np.dtype(np.float32), (6, 5, 4))}
        assert np.array_equal(arrays["reference"], reference)
        for number, (_, model) in enumerate(stage.models):
            f = load(model.path("model"))[0]
            for i, j, k in [(0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (3, 2, 1)]:
                point = np.array([i / 6, j / 5, k / 4]) @ snapshot.cell
                x = describe(point[None], snapshot.cell, snapshot.positions, snapshot.numbers, DESCRIPTOR).features
                expected = float(f.predict(torch.from_numpy(x)))
                assert arrays[f"p{number}"][i, j, k] == pytest.approx(expected, rel=1e-4, abs=1e-6)
            squares = (arrays[f"p{number}"].astype(np.float64) - reference) ** 2
            expected = np.sqrt(squares.mean()) / (float(reference.max()) - float(reference.min()))
            assert shard["figures"]["nrmse"][f"p{number}"] == pytest.approx(expected, rel=1e-6)
    assert not np.array_equal(arrays["p0"], arrays["p1"])


def test_the_bytes_repeat(stage: Fields, tmp_path: Path) -> None:
    one, two = (materialize(stage, root=tmp_path / name, executor=SerialExecutor()) for name in ("one", "two"))
    assert one.manifest == two.manifest


def test_the_digest_knows_the_order_of_the_models_but_not_their_labels(stage: Fields) -> None:
    (first, a), (second, b) = stage.models
    assert replace(stage, models=((second, a), (first, b))).digest == stage.digest
    others = [
        replace(stage, models=((first, b), (second, a))),
        replace(stage, models=((first, a),)),
        replace(stage, descriptor=Descriptor(neighbours=5, distances=True)),
        replace(stage, points=replace(stage.points, snapshots=stage.points.snapshots[:1])),
    ]
    assert len({stage.digest, *(other.digest for other in others)}) == 5

"""Which points are the queries, and what the recipe of a coverage says of them."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.artifacts.executor import SerialContext, SerialExecutor
from coreset.artifacts.manifest import Artifact, write_manifest
from coreset.artifacts.materialize import materialize
from coreset.corpus import described
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.numerics import descriptors_torch, nearest
from coreset.numerics.descriptors import Described, Descriptor
from coreset.stages import coverage as module
from coreset.stages.coverage import (
    Coverage,
    equal_share,
    numbers_to_ask,
    query_groups,
    query_indices,
    query_sample,
)
from coreset.stages.selection import Selection


@pytest.fixture(scope="module")
def against(make_snapshot: Callable[..., Any]) -> SnapshotSet:
    """Three snapshots of 120 points."""
    return SnapshotSet("here", tuple(make_snapshot(f"train/a_T{i}00_0", i)[0] for i in range(1, 4)))


@given(fewer=st.integers(0, 360), more=st.integers(0, 360))
def test_more_queries_hold_those_of_fewer(against: SnapshotSet, fewer: int, more: int) -> None:
    fewer, more = sorted((fewer, more))
    few, many = query_indices(against, fewer), query_indices(against, more)
    assert [sum(map(len, each)) for each in (few, many)] == [fewer, more]
    for a, b in zip(few, many, strict=True):
        assert set(a) <= set(b)
        assert (np.diff(b) > 0).all()


def test_the_sample_counts_the_queries_of_each_snapshot(against: SnapshotSet) -> None:
    sample = query_sample(against, 200)
    assert sample.drawn.tolist() == [len(each) for each in query_indices(against, 200)] == [67, 67, 66]
    assert sample.points.tolist() == [120, 120, 120]
    assert len(query_groups(against, 200)) == sample.drawn.sum()


def test_a_stated_number_is_asked_once_and_auto_doubles_up_to_the_most(
    against: SnapshotSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert equal_share(against) == 360
    assert numbers_to_ask(against, 200) == [200]
    assert numbers_to_ask(against, "auto") == [360]
    monkeypatch.setattr(module, "FIRST", 20)
    assert numbers_to_ask(against, "auto") == [22, 45, 90, 180, 360]
    monkeypatch.setattr(module, "MOST", 100)
    assert numbers_to_ask(against, "auto") == [25, 50, 100]
    # Two of each snapshot at least, for their variance.
    monkeypatch.setattr(module, "FIRST", 1)
    monkeypatch.setattr(module, "MOST", 1)
    assert numbers_to_ask(against, "auto") == [6]


def test_what_is_measured_with_a_stated_number_keeps_its_digest(against: SnapshotSet, tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", {"digest": "x", "figures": {"kept": 7}, "shards": []})
    stage = Coverage(against, Artifact(tmp_path), against, 100, "none", Descriptor(4))
    assert stage.recipe() == {
        "stage": "coverage",
        "version": 1,
        "parameters": {
            "queries": 100,
            "scaling": "none",
            "descriptor": asdict(Descriptor(4)),
            "groups": ["train/a_T100", "train/a_T200", "train/a_T300"],
        },
        "inputs": {"train": against.digest, "selection": "x", "against": against.digest},
    }


class OnGpu(SerialContext):
    device = "cuda"


def test_a_gpu_that_faiss_can_use_describes_and_searches(
    against: SnapshotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On the processor runs what is meant for a GPU: torch's descriptors, and FAISS's index of the same interface.
    import faiss

    asked = []

    def on_processor(snapshot: Snapshot, index: np.ndarray, descriptor: Descriptor, device: str = "cpu") -> Described:
        asked.append(device)
        points = described.grid_points(snapshot.cell, snapshot.grid, index)
        atoms = snapshot.cell, snapshot.positions, snapshot.numbers
        return descriptors_torch.describe(points, *atoms, descriptor, "cpu")

    kept = Selection(against, "random", {"prune": 0.5, "seed": 0}, None)
    selection = materialize(kept, root=tmp_path, executor=SerialExecutor())
    stage = Coverage(against, selection, against, 100, "standard", Descriptor(4))
    assert stage.place == "task"
    stage.compute(stage.parts()[0], None, tmp_path / "processor.npy", SerialContext(lambda _: None))

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(nearest, "_gpu_index", faiss.IndexFlatL2)
    monkeypatch.setattr(described, "describe_points", on_processor)
    assert stage.place == "actor"
    assert replace(stage, estimated=True).place == "task"
    stage.compute(stage.parts()[0], None, tmp_path / "gpu.npy", OnGpu(lambda _: None))
    assert "cuda" in asked
    on_gpu, on_cpu = (np.load(tmp_path / name) for name in ("gpu.npy", "processor.npy"))
    assert on_cpu.max() > 0.1
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-5)

"""Which points are the queries, and what the recipe of a coverage says of them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.artifacts.manifest import Artifact, write_manifest
from coreset.corpus.split import SnapshotSet
from coreset.numerics.descriptors import Descriptor
from coreset.stages import coverage as module
from coreset.stages.coverage import (
    Coverage,
    equal_share,
    numbers_to_ask,
    query_groups,
    query_indices,
    query_sample,
)


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

"""Draws: in proportion to the points, by the smallest keys, whatever the pieces that points come in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.corpus import point_set
from coreset.corpus.described_set import DescribedSet
from coreset.corpus.split import SnapshotSet
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.keys import keys, stream
from coreset.stages.asked import QUERIES, Strata, draw


@given(points=st.lists(st.integers(1, 500), min_size=1, max_size=12), wanted=st.integers(1, 4000))
def test_shares_are_in_proportion_and_two_at_least(points: list[int], wanted: int) -> None:
    shares = Strata(tuple((i,) for i in range(len(points))), tuple(points)).shares(wanted)
    for share, size in zip(shares, points, strict=True):
        exact = min(wanted, sum(points)) * size / sum(points)
        assert min(2, size) <= share <= size
        assert share <= max(2, exact + 1)
        assert share >= np.floor(exact)
    least = sum(min(2, size) for size in points)
    assert sum(shares) >= min(wanted, sum(points))
    assert sum(shares) <= max(wanted, least) + least


@pytest.mark.parametrize("at_once", [2**18, 17])
def test_the_points_with_the_smallest_keys_are_drawn(
    make_snapshot: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(point_set, "AT_ONCE", at_once)
    snapshots = (make_snapshot("a", 0)[0], make_snapshot("b", 1, grid=(6, 5, 8))[0])
    points = DescribedSet.of(SnapshotSet("", snapshots), Descriptor(4))
    member, position = draw(points, 60, QUERIES, 3)
    assert np.bincount(member).tolist() == [20, 40]
    for number, snapshot in enumerate(snapshots):
        order = np.argsort(keys(stream(3, snapshot.identity, QUERIES), 0, snapshot.points))
        assert position[member == number].tolist() == sorted(order[: [20, 40][number]].tolist())

"""Shards and the serial scan."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.errors import RequestError
from coreset.numerics.scans import ScoreShard, joined, points, serial_scan


def first(shard: ScoreShard) -> list[int]:
    return [shard.first]


def merge(a: list[int], b: list[int]) -> list[int]:
    return a + b


def test_scan_merges_each_shard_once_and_in_order() -> None:
    for count in (1, 2, 3, 7, 64, 100):
        shards = [ScoreShard(b"rows", i, np.array([float(i)])) for i in range(count)]
        scan = serial_scan(partial(list, shards))
        assert scan(first, merge) == list(range(count))
        assert points(scan) == count


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 9), st.booleans()), max_size=12))
def test_joined_shards_hold_the_same_points(cuts: list[tuple[bytes, int, bool]]) -> None:
    shards, begin = [], 0
    for identity, size, gap in cuts:
        begin += gap
        shards.append(ScoreShard(identity, begin, np.arange(begin, begin + size, dtype=np.float32)))
        begin += size
    found = list(joined(lambda: shards, 10)())
    assert all(shard.scores.size <= 10 for shard in found)
    assert [(s.identity, s.first + i, v) for s in found for i, v in enumerate(s.scores.tolist())] == [
        (s.identity, s.first + i, v) for s in shards for i, v in enumerate(s.scores.tolist())
    ]


def test_small_shards_that_follow_are_joined_and_no_others() -> None:
    shards = [ScoreShard(b"rows", i, np.array([float(i)])) for i in (0, 1, 2, 4, 5)]
    shards.append(ScoreShard(b"rows", 6, np.array([6.0], dtype=np.float32)))
    assert [shard.scores.tolist() for shard in joined(lambda: shards, 2)()] == [[0, 1], [2], [4, 5], [6]]


def test_scan_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="at least one shard"):
        points(serial_scan(list))


@pytest.mark.parametrize("scores", [np.zeros((2, 2)), np.zeros(3, dtype=int), np.zeros(3, dtype=np.float16)])
def test_scores_of_another_kind_are_refused(scores: np.ndarray) -> None:
    with pytest.raises((RequestError, TypeError), match=r"scores|type"):
        ScoreShard(b"rows", 0, scores)


def test_shard_begins_at_0_or_later_and_is_read_only() -> None:
    with pytest.raises(RequestError, match="first"):
        ScoreShard(b"rows", -1, np.zeros(1))
    scores = np.arange(10.0)
    shard = ScoreShard(b"rows", 0, scores[::2])
    assert shard.scores.flags.c_contiguous and not shard.scores.flags.writeable and scores.flags.writeable
    assert shard.scores.tolist() == [0, 2, 4, 6, 8]

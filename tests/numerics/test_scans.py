"""Shards and the serial scan."""

from functools import partial

import numpy as np
import pytest

from coreset.errors import RequestError
from coreset.numerics.scans import ScoreShard, points, serial_scan


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

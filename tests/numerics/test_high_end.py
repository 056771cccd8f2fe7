"""The high end against sorting by (score, key, identity)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coreset.numerics.high_end import high_end
from coreset.numerics.keys import TIES, keys, stream
from coreset.numerics.order_statistics import summarise
from coreset.numerics.scans import ScoreShard, serial_scan

scores = hnp.arrays("f4", st.integers(0, 30), elements=st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1.5, 3.0]))


def one_stream(seed: int, identity: bytes, purpose: bytes = b"") -> np.uint64:
    """Give all identities the same keys, so that each is shared by all of them."""
    return stream(seed, b"", purpose)


@settings(deadline=None, max_examples=60)
@given(a=scores, b=scores, fraction=st.floats(0, 1), seed=st.integers(0, 1000), same_streams=st.booleans())
def test_high_end_is_the_head_of_the_sorted_scores(
    a: np.ndarray, b: np.ndarray, fraction: float, seed: int, same_streams: bool
) -> None:
    shards = [ScoreShard(b"later", 3, a), ScoreShard(b"first", 0, b), ScoreShard(b"more", 0, np.ones(1, dtype="f4"))]
    scan = serial_scan(lambda: shards)

    def tie_keys(shard: ScoreShard) -> np.ndarray:
        start = (one_stream if same_streams else stream)(seed, shard.identity, TIES)
        return keys(start, shard.first, shard.scores.size)

    total = sum(shard.scores.size for shard in shards)
    count = int(fraction * total)
    with pytest.MonkeyPatch.context() as patch:
        if same_streams:
            patch.setattr("coreset.numerics.draw.stream", one_stream)
            patch.setattr("coreset.numerics.high_end.stream", one_stream)
        high = high_end(scan, summarise(scan), count, seed)
        inside = {(s.identity, s.first + int(i)) for s in shards for i in np.flatnonzero(high.contains(s))}
        ranked = sorted(
            (-float(score), int(key), s.identity, s.first + i)
            for s in shards
            for i, (score, key) in enumerate(zip(s.scores, tie_keys(s), strict=True))
        )
    assert high.count == count
    assert inside == {each[2:] for each in ranked[:count]}
    assert high.rest_hi == (-ranked[count][0] if count < total else None)


@settings(deadline=None, max_examples=60)
@given(values=scores.filter(len), fraction=st.floats(0, 1), seed=st.integers(0, 1000))
def test_numbered_points_are_of_the_high_end_as_if_they_followed_on_each_other(
    values: np.ndarray, fraction: float, seed: int
) -> None:
    whole = ScoreShard(b"rows", 0, values)
    order = np.random.default_rng(seed).permutation(values.size)
    shards = [ScoreShard(b"rows", 2, values[some], some) for some in np.array_split(order, 3)]
    count = int(fraction * values.size)
    found = [
        high_end(scan, summarise(scan), count, seed) for scan in map(serial_scan, (lambda: [whole], lambda: shards))
    ]
    assert found[0] == found[1]
    inside = [int(order_) for s in shards for order_ in s.numbers[found[1].contains(s)]]  # type: ignore[index]
    assert sorted(inside) == np.flatnonzero(found[0].contains(whole)).tolist()


def test_ties_are_removed_independently_of_the_later_draw() -> None:
    """Of the points left of a tie, half have a key of purpose DRAW below 1/2; had the cut used it, none would."""
    shard = ScoreShard(b"rows", 0, np.zeros(20_000))
    scan = serial_scan(lambda: [shard])
    rest = ~high_end(scan, summarise(scan), 10_000, 0).contains(shard)
    below = (keys(stream(0, b"rows"), 0, 20_000)[rest] < np.uint64(2**63)).sum()
    assert rest.sum() == 10_000
    assert abs(int(below) - 5000) < 5 * 50


def test_long_runs_between_equal_scores_lose_none() -> None:
    values = np.arange(5000, dtype=np.float64)
    values[[0, 1023, 1024, 2048, 4999]] = 6000
    shard = ScoreShard(b"rows", 0, values)
    scan = serial_scan(lambda: [shard])
    assert np.flatnonzero(high_end(scan, summarise(scan), 5, 0).contains(shard)).tolist() == [0, 1023, 1024, 2048, 4999]
    assert high_end(scan, summarise(scan), 3, 0).contains(shard).sum() == 3

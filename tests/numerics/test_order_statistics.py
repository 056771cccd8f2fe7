"""Order statistics against sorting."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coreset.errors import DataError, RequestError, WorkError
from coreset.numerics.order_statistics import nth_highest, summarise
from coreset.numerics.scans import Scan, ScoreShard, serial_scan


def scan_of(*scores: np.ndarray) -> Scan:
    first = np.cumsum([0, *[each.size for each in scores]])
    return serial_scan(lambda: [ScoreShard(b"rows", int(f), s) for f, s in zip(first, scores, strict=False)])


@pytest.mark.parametrize("bits", [32, 64])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_rank_equals_sorting(bits: Literal[32, 64], data: st.DataObject) -> None:
    finite = st.floats(width=bits, allow_nan=False, allow_infinity=False)
    few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5])
    scores = data.draw(hnp.arrays(f"f{bits // 8}", st.integers(1, 15), elements=st.one_of(finite, few)))
    cut = data.draw(st.integers(0, scores.size))
    scan = scan_of(scores[:cut], scores[cut:])
    summary = summarise(scan)
    assert (summary.count, summary.lo, summary.hi) == (scores.size, scores.min(), scores.max())
    for rank, value in enumerate(np.sort(scores)[::-1]):
        found = nth_highest(scan, summary, rank)
        assert (found.value, found.above, found.equal) == (value, (scores > value).sum(), (scores == value).sum())
    for rank in (-1, scores.size):
        with pytest.raises(ValueError, match="rank"):
            nth_highest(scan, summary, rank)


def test_first_unusable_score_is_named_whatever_the_order_of_the_shards() -> None:
    shards = [
        ScoreShard(b"\x02", 0, np.array([np.nan])),
        ScoreShard(b"\x01", 10, np.array([1.0, np.inf])),
        ScoreShard(b"\x01", 0, np.array([1.0, 2.0, np.nan, -np.inf])),
    ]
    for order in (shards, shards[::-1]):
        with pytest.raises(DataError, match=r"point 2 of 01: expected a finite number, found nan"):
            summarise(serial_scan(partial(list, order)))
    with pytest.raises(DataError, match="row 7: expected a finite number, found -inf"):
        summarise(scan_of(np.zeros(7), np.array([-np.inf])))


def test_empty_and_mixed_scores_are_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        summarise(scan_of(np.array([])))
    with pytest.raises(RequestError, match="one type"):
        summarise(scan_of(np.zeros(3), np.zeros(3, dtype=np.float32)))


def test_scores_that_change_between_scans_are_noticed() -> None:
    scores = np.random.default_rng(0).normal(size=100)
    inner = scan_of(scores)
    summary = summarise(inner)

    def changed(function: Callable[[ScoreShard], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return function(ScoreShard(b"rows", 0, scores[:1] * 3))

    with pytest.raises(WorkError, match="changed"):
        nth_highest(changed, summary, 50)

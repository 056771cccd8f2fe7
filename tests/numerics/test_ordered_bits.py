"""Ordered bits against the order of the floats themselves."""

from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.ordered_bits import digit_histogram, extremes, from_ordered, width

TYPES = [np.dtype(np.float32), np.dtype(np.float64)]


def ordered(score: float, dtype: np.dtype) -> int:
    return extremes(np.array([score], dtype=dtype))[0]


@pytest.mark.parametrize("dtype", TYPES)
def test_order_is_preserved_from_end_to_end(dtype: np.dtype) -> None:
    limits = np.finfo(dtype)
    tiny = limits.smallest_subnormal
    scores = [limits.min, -1.5, -limits.tiny, -tiny * 2, -tiny, 0.0, tiny, tiny * 2, limits.tiny, 1.0, limits.max]
    assert all(ordered(a, dtype) < ordered(b, dtype) for a, b in pairwise(scores))
    assert ordered(-0.0, dtype) == ordered(0.0, dtype)
    assert np.copysign(1.0, from_ordered(ordered(-0.0, dtype), dtype)) == 1.0


@pytest.mark.parametrize("bits", [32, 64])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_bits_compare_as_floats_and_come_back(bits: Literal[32, 64], data: st.DataObject) -> None:
    dtype = np.dtype(f"f{bits // 8}")
    assert width(dtype) == bits
    finite = st.floats(width=bits, allow_nan=False, allow_infinity=False)
    a, b = data.draw(finite), data.draw(finite)
    assert (ordered(a, dtype) < ordered(b, dtype)) == (a < b)
    assert from_ordered(ordered(a, dtype), dtype) == a


@pytest.mark.parametrize("dtype", TYPES)
def test_histograms_hold_each_score_once(dtype: np.dtype) -> None:
    scores = np.random.default_rng(0).normal(size=5000).astype(dtype)
    least, greatest, finite, digits = extremes(scores)
    assert finite and digits.sum() == scores.size
    assert from_ordered(least, dtype) == scores.min() and from_ordered(greatest, dtype) == scores.max()
    shift = width(dtype) - 16
    fullest = int(digits.argmax())
    assert digit_histogram(scores, fullest, shift - 16).sum() == digits[fullest]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("score", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_noticed(dtype: np.dtype, score: float) -> None:
    assert not extremes(np.array([1, score, 2], dtype=dtype))[2]
    assert extremes(np.array([np.finfo(dtype).max, np.finfo(dtype).min], dtype=dtype))[2]
    assert extremes(np.array([], dtype=dtype))[2]

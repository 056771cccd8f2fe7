"""NRMSE against the formula written out, and against itself block by block."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coreset.errors import DataError, RequestError
from coreset.numerics.metrics import ErrorSums, nrmse

FIELDS = arrays(np.float64, st.tuples(st.integers(2, 40), st.just(2)), elements=st.floats(-1e6, 1e6))


def test_by_hand() -> None:
    # errors 0, 1, −1, 2: mean square 6/4; range 4
    assert nrmse(np.array([1.0, 3, 2, 7]), np.array([1.0, 2, 3, 5])) == pytest.approx(math.sqrt(1.5) / 4, rel=1e-15)


@given(FIELDS)
def test_is_the_formula(fields: np.ndarray) -> None:
    predicted, reference = fields.T
    if np.ptp(reference) == 0:
        return
    squares = math.fsum((p - r) ** 2 for p, r in zip(predicted.tolist(), reference.tolist(), strict=True))
    expected = math.sqrt(squares / len(fields)) / (reference.max() - reference.min())
    assert nrmse(predicted, reference) == pytest.approx(expected, rel=1e-12)


@given(FIELDS, st.integers(1, 39))
def test_blocks_merge_to_the_whole(fields: np.ndarray, cut: int) -> None:
    cut = min(cut, len(fields) - 1)
    first, second = (ErrorSums.of(*part.T) for part in (fields[:cut], fields[cut:]))
    whole = ErrorSums.of(*fields.T)
    merged = second.merge(first)
    assert (merged.count, merged.low, merged.high) == (whole.count, whole.low, whole.high)
    assert merged.squared_error == pytest.approx(whole.squared_error, rel=1e-12)


def test_sums_float32_fields_in_float64() -> None:
    reference = np.full(2**22, 1, np.float32)
    reference[0] = 0
    predicted = reference + np.float32(2**-20)
    assert nrmse(predicted, reference) == pytest.approx(2**-20, rel=1e-12)
    assert nrmse(predicted.reshape(2**10, -1), reference.reshape(2**10, -1)) == nrmse(predicted, reference)


def test_refuses_what_has_no_nrmse() -> None:
    with pytest.raises(RequestError, match="shape"):
        nrmse(np.ones(3), np.ones(4))
    with pytest.raises(RequestError, match="at least one point"):
        nrmse(np.ones(0), np.ones(0))
    with pytest.raises(DataError, match=r"found nan predicted for 1.0 at point 2\."):
        nrmse(np.array([0, 0, np.nan]), np.ones(3))
    with pytest.raises(DataError, match=r"at point 1\."):
        nrmse(np.ones(3), np.array([0, np.inf, 1]))
    with pytest.raises(DataError, match="values that differ"):
        nrmse(np.zeros(3), np.ones(3))

"""NRMSE and NMAE against their formulas written out, NRMSE against itself block by block, electrons counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coreset.errors import DataError, RequestError
from coreset.numerics.metrics import ErrorSums, electrons_lost, nmae, nrmse, rescale

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


def test_nmae_by_hand() -> None:
    # errors 0, 1, −1, 2; the reference sums to 11, or in absolute value to 15
    assert nmae(np.array([1.0, 3, 2, 7]), np.array([1.0, 2, 3, 5])) == pytest.approx(4 / 11, rel=1e-15)
    assert nmae(np.array([1.0, 3, -2, 3, 6]), np.array([1.0, 2, -2, 5, 5])) == pytest.approx(4 / 15, rel=1e-15)


@given(FIELDS)
def test_nmae_is_the_formula(fields: np.ndarray) -> None:
    predicted, reference = fields.T
    total = math.fsum(map(abs, reference.tolist()))
    if total == 0:
        return
    error = math.fsum(abs(p - r) for p, r in zip(predicted.tolist(), reference.tolist(), strict=True))
    assert nmae(predicted, reference) == pytest.approx(error / total, rel=1e-12)
    assert nmae(predicted[None], reference[None]) == nmae(predicted, reference)


def test_nmae_sums_float32_fields_in_float64() -> None:
    reference = np.full(2**22, 1, np.float32)
    assert nmae(reference + np.float32(2**-20), reference) == pytest.approx(2**-20, rel=1e-12)


def test_nmae_refuses_what_has_none() -> None:
    with pytest.raises(RequestError, match="shape"):
        nmae(np.ones(3), np.ones(4))
    with pytest.raises(DataError, match=r"found nan predicted for 1.0 at point 2\."):
        nmae(np.array([0, 0, np.nan]), np.ones(3))
    with pytest.raises(DataError, match="found 0 at all 3 points"):
        nmae(np.ones(3), np.zeros(3))


def test_electrons_are_counted_by_hand() -> None:
    density = np.array([0.5, 1.5, 1.0, 3.0]).reshape(2, 2, 1)  # mean 1.5: in 4 Bohr³ 6 electrons
    assert electrons_lost(density, 8.0, 4.0) == 2.0
    assert electrons_lost(density, 5.0, 4.0) == -1.0
    np.testing.assert_allclose(rescale(density, 8.0, 4.0), density * 8 / 6, rtol=1e-15)


def test_a_rescaled_float32_density_holds_its_electrons_to_float64() -> None:
    density = np.random.default_rng(0).uniform(0.001, 0.1, (30, 31, 32)).astype(np.float32)
    before = density.copy()
    scaled = rescale(density, 96.0, 3000.0)
    assert scaled.dtype == np.float64
    assert scaled.shape == density.shape
    assert math.fsum(scaled.ravel().tolist()) * 3000.0 / density.size == pytest.approx(96.0, rel=1e-14)
    assert electrons_lost(scaled, 96.0, 3000.0) == pytest.approx(0, abs=1e-11)
    np.testing.assert_allclose(scaled / density, scaled[0, 0, 0] / density[0, 0, 0], rtol=1e-14)
    np.testing.assert_array_equal(density, before)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_what_holds_no_electrons_is_not_rescaled(value: float) -> None:
    with pytest.raises(DataError, match="integrates to something positive"):
        rescale(np.full((2, 2, 2), value), 8.0, 10.0)

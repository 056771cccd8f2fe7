import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.frames import (
    covariance,
    first_axes,
    principal_axes,
    second_axes,
    sign_by_skew,
    third_axes,
)

seeds = st.integers(0, 2**32 - 1)
PLANE = np.array([[1.0, 0, 0], [-0.5, np.sqrt(0.75), 0], [-0.5, -np.sqrt(0.75), 0], [0, 0, 3.0]])
NONE, PAIR12, PAIR23, ALL = ([False, False], [True, False], [False, True], [True, True])


def packed(matrix):
    return np.array([matrix[0, 0], matrix[1, 1], matrix[2, 2], matrix[0, 1], matrix[0, 2], matrix[1, 2]])


@given(seeds, st.sampled_from([None, (1, 1, 0.3), (1, 0.3, 0.3), (2, 2, 2), (1, 1 - 1e-6, 0), (1, 0, 0), (0, 0, 0)]))
@settings(max_examples=200, deadline=None)
def test_axes_diagonalise_and_values_equal_lapack(seed, spectrum):
    rng = np.random.default_rng(seed)
    if spectrum is None:
        matrix = np.cov(rng.normal(size=(3, 5)) * np.exp(rng.normal(size=(3, 1)) * 3))
    else:
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        matrix = q @ np.diag(spectrum) @ q.T
    values, axes = np.empty(3), np.empty((3, 3))
    principal_axes(packed(matrix), values, axes)
    scale = np.trace(matrix) + 1e-300
    np.testing.assert_allclose(values / scale, np.linalg.eigvalsh(matrix)[::-1] / scale, atol=1e-14)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-13)
    np.testing.assert_allclose(axes @ matrix @ axes.T / scale, np.diag(values) / scale, atol=3e-14)


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_moments_equal_numpy(seed):
    rng = np.random.default_rng(seed)
    vectors, weights = rng.normal(size=(9, 3)) + 5, rng.random(9) + 0.1
    x, y, z = np.ascontiguousarray(vectors.T)
    mean, moments = np.empty(3), np.empty(6)
    covariance(x, y, z, weights, mean, moments)
    np.testing.assert_allclose(mean, np.average(vectors, axis=0, weights=weights))
    expected = np.cov(vectors.T, aweights=weights, ddof=0)
    np.testing.assert_allclose(moments, packed(expected), rtol=1e-12, atol=1e-14)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    third = np.average(((vectors - mean) @ axis) ** 3, weights=weights)
    assert sign_by_skew(x, y, z, weights, mean, axis, np.trace(expected)) == np.sign(third)
    assert sign_by_skew(x, y, z, weights, mean, -axis, np.trace(expected)) == -np.sign(third)


def test_a_symmetric_cloud_has_no_sign():
    vectors = np.array([[1.0, 2, 3], [-1, -2, -3], [2, 0, 1], [-2, 0, -1]])
    x, y, z = np.ascontiguousarray(vectors.T)
    assert sign_by_skew(x, y, z, np.ones(4), np.zeros(3), np.array([1.0, 0, 0]), 1.0) == 0


def frames(vectors, shells, signs, equal, free):
    arguments = np.eye(3), np.array(signs), np.array(equal), np.asarray(vectors, dtype=float), np.array(shells)
    for first in first_axes(*arguments, 1e-5):
        for second in second_axes(first, *arguments, 1e-5):
            for third in third_axes(first, second, *arguments[:3], free):
                yield np.array([first, second, third])


@pytest.mark.parametrize(
    ("signs", "equal", "right", "free"),
    [
        ((1, 1, 1), NONE, 1, 1),
        ((0, 1, 1), NONE, 2, 2),
        ((0, 0, 0), NONE, 4, 8),
        ((0, 0, 1), PAIR12, 6, 6),  # three atoms in the plane of e₁ and e₂, and both signs of e₂
        ((0, 0, 0), PAIR12, 6, 12),
        ((1, 0, 0), PAIR23, 2, 4),  # two atoms are equally far from e₁
        ((0, 0, 0), PAIR23, 4, 8),
        ((0, 0, 0), ALL, 6, 12),  # each of three atoms, with each of the other two
    ],
)
def test_candidate_frames(signs, equal, right, free):
    for handedness, expected in ((False, right), (True, free)):
        found = list(frames(PLANE, [0, 3, 4], signs, equal, handedness))
        assert len(found) == expected
        assert len(np.unique(np.round(found, 9), axis=0)) == expected
        for frame in found:
            np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-14)
            assert handedness or np.linalg.det(frame) == pytest.approx(1)
            assert equal[0] or signs[0] == 0 or frame[0, 0] == 1


@pytest.mark.parametrize("equal", [PAIR12, PAIR23, ALL])
@pytest.mark.parametrize("vectors", [[[0.0, 0, 0]], [[0.0, 0, 0], [2, 0, 0]], [[0.0, 0, 2]]])
def test_frames_of_too_few_atoms_are_still_orthonormal(equal, vectors):
    found = list(frames(vectors, [0, len(vectors)], (0, 0, 0), equal, False))
    assert found
    for frame in found:
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-14)
        assert np.linalg.det(frame) == pytest.approx(1)

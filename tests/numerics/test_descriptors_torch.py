import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.errors import RequestError
from coreset.numerics import descriptors, descriptors_torch
from coreset.numerics.descriptors import Descriptor


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 8, 12, 13, 40]),
    st.sampled_from(["right", "free"]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_values_equal_the_compiled_routine(seed, neighbours, hands, distances):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) * 1.5 + np.diag(rng.uniform(3, 9, size=3))
    cell[2] += 3 * cell[0]
    positions, numbers = rng.normal(size=(4, 3)) * 8, rng.choice([1, 8, 26], size=4)
    points = np.vstack([rng.normal(size=(50, 3)) * 9, positions[:2], positions[:1] + cell[1] / 2])
    descriptor = Descriptor(neighbours, distances=distances, handedness=hands)
    expected = descriptors.describe(points, cell, positions, numbers, descriptor)
    found = descriptors_torch.describe(points, cell, positions, numbers, descriptor, "cpu")
    assert found.features.dtype == np.float32
    np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.fallback, expected.fallback)


def test_perfect_crystal(monkeypatch):
    monkeypatch.setattr(descriptors_torch, "_PAIRS", 5000)  # several batches
    cell = np.eye(3) * 7.6
    positions = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) @ cell
    points = np.vstack([np.random.default_rng(0).random((50, 3)), np.mgrid[0:4, 0:4, 0:4].reshape(3, -1).T / 4]) @ cell
    descriptor = Descriptor(13)
    expected = descriptors.describe(points, cell, positions, np.full(4, 13), descriptor)
    found = descriptors_torch.describe(points, cell, positions, np.full(4, 13), descriptor, "cpu")
    np.testing.assert_array_equal(found.fallback, expected.fallback)
    assert expected.fallback[50:].all() and not expected.fallback[:50].all()
    np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-5)


def test_no_points_and_wrong_arguments():
    cell, positions, numbers = np.eye(3), np.zeros((1, 3)), np.array([1])
    described = descriptors_torch.describe(np.empty((0, 3)), cell, positions, numbers, Descriptor(4), "cpu")
    assert described.features.shape == (0, 16) and described.fallback.shape == (0,)
    with pytest.raises(RequestError, match="points"):
        descriptors_torch.describe(np.array([[np.nan, 0, 0]]), cell, positions, numbers, Descriptor(4), "cpu")

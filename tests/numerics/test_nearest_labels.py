"""Nearest labels against brute force over all labels, however points are divided."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coreset.numerics.nearest_labels import NearestLabels

SQUARED = arrays(np.int64, (12, 5), elements=st.integers(0, 6)).map(lambda a: a.astype(float))
LABELS = arrays(np.int64, 12, elements=st.integers(0, 3))


def folded(squared: np.ndarray, labels: np.ndarray) -> NearestLabels:
    found = NearestLabels.none(squared.shape[1])
    for row, label in zip(squared, labels.tolist(), strict=True):
        found.lower(row, label)
    return found


def same(one: NearestLabels, other: NearestLabels) -> None:
    for part in ("first", "label", "second"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


@given(squared=SQUARED, labels=LABELS)
def test_the_rise_without_a_label_is_that_of_leaving_its_points_out(squared: np.ndarray, labels: np.ndarray) -> None:
    found = folded(squared, labels)
    whole = np.sqrt(squared.min(axis=0)).mean()
    for label in np.unique(labels).tolist():
        rest = squared[labels != label]
        expected = np.sqrt(rest.min(axis=0)).mean() - whole if len(rest) else np.inf
        assert found.rises(4)[label] == pytest.approx(expected, abs=1e-12)
        for radius in (0.0, 1.5, 2.0):
            others = (rest <= radius**2).any(axis=0) if len(rest) else np.zeros(5, bool)
            alone = (squared[labels == label] <= radius**2).any(axis=0) & ~others
            assert found.alone(4, radius)[label] == alone.mean()
    best = np.array([min(zip(column, labels, strict=True))[1] for column in squared.T])
    np.testing.assert_array_equal(found.shares(4), np.bincount(best, minlength=4) / 5)


@given(squared=SQUARED, labels=LABELS, order=st.permutations(range(12)), cut=st.integers(0, 12))
def test_neither_order_nor_division_matters(
    squared: np.ndarray, labels: np.ndarray, order: list[int], cut: int
) -> None:
    whole = folded(squared, labels)
    one, other = (folded(squared[part], labels[part]) for part in (order[:cut], order[cut:]))
    same(one.merge(other), whole)
    same(other.merge(one), whole)


@given(squared=SQUARED, labels=LABELS, more=SQUARED, label=st.integers(0, 3))
def test_what_lies_beyond_the_bound_changes_nothing(
    squared: np.ndarray, labels: np.ndarray, more: np.ndarray, label: int
) -> None:
    found, again = folded(squared, labels), folded(squared, labels)
    bound = found.bound(label)
    for row in more:
        found.lower(row, label)
        again.lower(np.where(row <= bound, row, np.inf), label)
    same(found, again)

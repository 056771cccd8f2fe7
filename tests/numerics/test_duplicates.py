"""Equal rows found by their hashes, against numpy's unique rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coreset.numerics.duplicates import hash_rows, runs_of_equals


@given(rows=arrays(np.int64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.integers(-1, 1)))
def test_runs_are_those_of_equal_rows(rows: np.ndarray) -> None:
    values = rows.astype(np.float32)
    _, counts = np.unique(values, axis=0, return_counts=True)
    starts, lengths = runs_of_equals(np.sort(hash_rows(values)))
    assert sorted(lengths.tolist()) == sorted(counts[counts > 1].tolist())
    assert len(starts) == (counts > 1).sum()


def test_a_negative_zero_is_a_zero_and_the_last_bit_counts() -> None:
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    one, same, other = hash_rows(rows).tolist()
    assert one == same
    assert one != other


def test_many_rows_collide_as_seldom_as_64_bits_let_them() -> None:
    rows = np.random.default_rng(0).normal(size=(200_000, 2)).astype(np.float32)
    assert len(np.unique(hash_rows(rows))) == len(np.unique(rows, axis=0))
    spread = np.bincount((hash_rows(rows) >> np.uint64(60)).astype(int), minlength=16)
    assert abs(spread - 12_500).max() < 600


def test_runs_at_both_ends_of_the_range() -> None:
    hashes = np.array([0, 0, 5, 2**64 - 1, 2**64 - 1], np.uint64)
    starts, lengths = runs_of_equals(hashes)
    assert starts.tolist() == [0, 3]
    assert lengths.tolist() == [2, 2]
    assert runs_of_equals(np.empty(0, np.uint64))[0].tolist() == []

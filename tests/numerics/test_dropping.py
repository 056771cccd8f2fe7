"""The order in which parts are left out, against trying every one at each step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coreset.numerics.dropping import dropping_order


def brute_force(distances: np.ndarray) -> list[tuple[int, float]]:
    kept, order = list(range(len(distances))), []
    while len(kept) > 1:
        means = [(distances[[m for m in kept if m != part]].min(0).mean(), part) for part in kept]
        mean, part = min(means)
        if not np.isfinite(mean):
            break
        kept.remove(part)
        order.append((part, mean))
    return order


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 20), st.floats(0, 0.5))
def test_each_step_leaves_out_the_part_that_costs_least(seed: int, parts: int, queries: int, hidden: float) -> None:
    """Whole numbers are exact in a mean of their sums, so that ties are ties."""
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 6, (parts, queries)).astype(float)
    distances[rng.random(distances.shape) < hidden] = np.inf
    distances[rng.integers(parts, size=queries), np.arange(queries)] = 1.0  # each query counts some part
    found = dropping_order(distances)
    assert [part for part, _ in found] == [part for part, _ in brute_force(distances)]
    np.testing.assert_allclose([mean for _, mean in found], [mean for _, mean in brute_force(distances)])


def test_of_two_that_repeat_each_other_one_goes_for_nothing_and_the_other_stays() -> None:
    distances = np.array([[0.0, 0.0, 4.0], [0.0, 0.0, 4.0], [3.0, 3.0, 0.0], [2.9, 2.9, 0.1]])
    (first, second, third) = dropping_order(distances)
    assert (first.part, first.mean) == (0, 0.0)
    assert (second.part, second.mean) == (3, 0.0)
    assert (third.part, third.mean) == (2, 4 / 3)

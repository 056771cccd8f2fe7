"""Slabs in groups: none is lost or moved, and no group holds much more or less than it may."""

from hypothesis import given
from hypothesis import strategies as st

from coreset.learning.slabs import Slab, in_groups


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 40))
def test_groups_hold_every_slab_once_in_order_and_are_full(counts: list[int], rows: int) -> None:
    slabs = [Slab("a", "d", 100 * i, 100 * (i + 1), count) for i, count in enumerate(counts)]
    groups = in_groups(slabs, rows)
    assert [slab for group in groups for slab in group] == slabs
    sizes = [sum(slab.rows for slab in group) for group in groups]
    assert all(size <= rows or len(group) == 1 for size, group in zip(sizes, groups, strict=True))
    assert all(size + group[0].rows > rows for size, group in zip(sizes, groups[1:], strict=False))

"""The order of training is a function of (seed, epoch) alone, and no point is lost or taken twice."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coreset.errors import DataError
from coreset.learning.feed import Feed, slab_order, table_arrays
from coreset.learning.slabs import SLAB, Slab, slabs_of

HELD = math.inf
ROWS = st.lists(st.integers(1, 40), min_size=1, max_size=9)


def epoch_of(feed: Feed, size: int, seed: str, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x.numpy(), y.numpy()) for x, y in feed.batches(size, seed, epoch)]


def same(one: Sequence[tuple[np.ndarray, np.ndarray]], other: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, c) and np.array_equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


@given(
    rows=ROWS,
    window=st.integers(1, 120),
    size=st.integers(1, 50),
    epoch=st.integers(0, 3),
    cache=st.sampled_from([0.0, HELD]),
    cut=st.none() | st.integers(0, 999),
)
def test_an_epoch_yields_every_point_once_with_its_own_density(
    slabs_with: Any,
    points_of: Any,
    reader: Any,
    rows: list[int],
    window: int,
    size: int,
    epoch: int,
    cache: float,
    cut: Any,
) -> None:
    slabs = slabs_with(rows)
    feed = Feed(slabs, reader(cut), 3, window, cache)
    batches = epoch_of(feed, size, "seed", epoch)
    assert all(0 < len(y) <= size for _, y in batches)
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    expected_x, expected_y = (np.concatenate(part) for part in zip(*map(points_of, slabs), strict=True))
    order, expected_order = np.argsort(x[:, 0]), np.argsort(expected_x[:, 0])
    assert np.array_equal(x[order], expected_x[expected_order])
    assert np.array_equal(y[order], expected_y[expected_order])
    assert feed.points == sum(rows)


@given(
    rows=ROWS,
    window=st.integers(1, 120),
    size=st.integers(1, 50),
    cut=st.integers(0, 10**6),
    shuffle=st.randoms(use_true_random=False),
)
def test_batches_are_the_same_from_memory_or_from_tables_of_any_cut_and_slabs_in_any_order(
    slabs_with: Any, reader: Any, rows: list[int], window: int, size: int, cut: int, shuffle: Any
) -> None:
    slabs = slabs_with(rows)
    expected = epoch_of(Feed(slabs, reader(), 3, window, HELD), size, "seed", 1)
    assert same(epoch_of(Feed(slabs, reader(), 3, window, 0.0), size, "seed", 1), expected)
    assert same(epoch_of(Feed(slabs, reader(cut), 3, window, 0.0), size, "seed", 1), expected)
    assert same(epoch_of(Feed(slabs, reader(cut), 3, window, HELD), size, "seed", 1), expected)
    shuffle.shuffle(slabs)
    assert same(epoch_of(Feed(slabs, reader(), 3, window, HELD), size, "seed", 1), expected)
    assert same(epoch_of(Feed(slabs, reader(cut), 3, window, 0.0), size, "seed", 1), expected)


@given(rows=ROWS, window=st.integers(1, 120), size=st.integers(1, 50))
def test_a_window_is_the_next_whole_slabs_of_the_order_until_it_is_full(
    slabs_with: Any, points_of: Any, reader: Any, rows: list[int], window: int, size: int
) -> None:
    slabs = slabs_with(rows)
    stream = np.concatenate([x[:, 0] for x, _ in epoch_of(Feed(slabs, reader(), 3, window, 0.0), size, "s", 0)])
    order = [slabs[position] for position in slab_order(slabs, "s", 0)]
    while order:
        inside: list[Slab] = []
        while order and sum(slab.rows for slab in inside) < window:
            inside.append(order.pop(0))
        points = np.concatenate([points_of(slab)[0][:, 0] for slab in inside])
        assert np.array_equal(np.sort(stream[: len(points)]), np.sort(points))
        stream = stream[len(points) :]
    assert stream.size == 0


def test_streaming_holds_no_more_than_a_window_and_a_table(slabs_with: Any, points_of: Any, table_with: Any) -> None:
    slabs = slabs_with([10] * 100)
    read: list[int] = []

    def counted(requests: Sequence[Slab]) -> Iterator[pa.Table]:
        for slab in requests:
            read.append(slab.rows)
            yield table_with(*points_of(slab))

    given_out = 0
    for _, y in Feed(slabs, counted, 3, 50, 0.0).batches(5, "s", 0):
        given_out += len(y)
        assert sum(read) <= given_out + 50
    assert given_out == 1000


def test_seeds_and_epochs_shuffle_differently_and_repeat_exactly(slabs_with: Any, reader: Any) -> None:
    def order(seed: str, epoch: int) -> tuple[float, ...]:
        feed = Feed(slabs_with([30, 30, 30, 30]), reader(), 3, 60, HELD)
        return tuple(np.concatenate([x[:, 0] for x, _ in epoch_of(feed, 7, seed, epoch)]).tolist())

    keys = [(seed, epoch) for seed in ("0", "1", "10", "") for epoch in (0, 1, 10)]
    found = {key: order(*key) for key in keys}
    assert len(set(found.values())) == len(keys)
    assert {key: order(*key) for key in keys} == found
    # A shuffle moves points between slabs and inside them.
    assert all(np.mean(np.diff(run) == 1) < 0.2 for run in found.values())


def test_the_order_of_slabs_alone_differs_by_seed_and_by_epoch(slabs_with: Any) -> None:
    slabs = slabs_with([1] * 12)
    orders = {tuple(slab_order(slabs, seed, epoch)) for seed in ("0", "1", "10", "") for epoch in (0, 1, 10)}
    assert len(orders) == 12


def test_the_order_of_slabs_is_uniform_over_seeds(slabs_with: Any) -> None:
    slabs = slabs_with([1, 1, 1])
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(1200):
        order = tuple(slab_order(slabs, str(seed), 0))
        counts[order] = counts.get(order, 0) + 1
    # 6 permutations, 200 each on average; the draw is fixed, and 5 standard deviations wide.
    assert len(counts) == 6
    assert all(abs(count - 200) < 5 * math.sqrt(1200 / 6 * 5 / 6) for count in counts.values())


@given(points=st.integers(1, 3 * SLAB + 5), seed=st.integers(0, 99), share=st.sampled_from([0.0, 1e-4, 0.3, 1.0]))
def test_slabs_tile_the_grid_and_count_what_is_kept(points: int, seed: int, share: float) -> None:
    whole = slabs_of("s", "d", points)
    assert [slab.start for slab in whole] == list(range(0, points, SLAB))
    assert [slab.stop for slab in whole] == [*range(SLAB, points, SLAB), points]
    assert all(slab.rows == slab.stop - slab.start <= SLAB for slab in whole)
    kept = np.flatnonzero(np.random.default_rng(seed).uniform(size=points) < share)
    counts = {slab.start: int(((kept >= slab.start) & (kept < slab.stop)).sum()) for slab in whole}
    found = slabs_of("s", "d", points, kept)
    assert {slab.start: slab.rows for slab in found} == {start: count for start, count in counts.items() if count}
    assert all(slab.stop == min(slab.start + SLAB, points) for slab in found)


@given(rows=ROWS, cache=st.sampled_from([0.0, HELD]), cut=st.none() | st.integers(0, 999))
def test_normalisation_is_the_mean_and_standard_deviation_in_float64(
    slabs_with: Any, points_of: Any, reader: Any, rows: list[int], cache: float, cut: Any
) -> None:
    slabs = slabs_with([*rows, 2])
    found = Feed(slabs, reader(cut), 3, 50, cache).normalisation
    x, y = (np.concatenate(part).astype(np.float64) for part in zip(*map(points_of, slabs), strict=True))
    np.testing.assert_allclose(found.mean.numpy(), x.mean(0), rtol=3e-7, atol=1e-7)
    np.testing.assert_allclose(found.scale.numpy()[[0, 2]], x.std(0)[[0, 2]], rtol=3e-7)
    assert found.scale[1] == 1.0
    assert found.scale.dtype == found.mean.dtype == torch.float32
    assert found.target_mean == pytest.approx(y.mean(), rel=1e-13)
    assert found.target_scale == pytest.approx(y.std(), rel=1e-12)
    again = Feed(slabs, reader(), 3, 50, HELD if cache == 0.0 else 0.0).normalisation
    assert torch.equal(found.mean, again.mean)
    assert torch.equal(found.scale, again.scale)
    assert (found.target_mean, found.target_scale) == (again.target_mean, again.target_scale)


def test_normalisation_survives_a_mean_much_larger_than_the_spread(table_with: Any) -> None:
    rng = np.random.default_rng(0)
    x = (1e5 + rng.normal(0.0, 1.0, (5000, 1))).astype(np.float32)
    y = rng.uniform(size=5000).astype(np.float32)
    slabs = [Slab("s", "d", first, first + 1000, 1000) for first in range(0, 5000, 1000)]

    def read(requests: Sequence[Slab]) -> Iterator[pa.Table]:
        return (table_with(x[slab.start : slab.stop], y[slab.start : slab.stop]) for slab in requests)

    found = Feed(slabs, read, 1, 100, 0.0).normalisation
    assert found.scale.item() == pytest.approx(x.astype(np.float64).std(), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1e-3])
@pytest.mark.parametrize("cache", [0.0, HELD])
def test_a_density_that_does_not_vary_is_an_error(value: float, cache: float, table_with: Any) -> None:
    slabs = [Slab("s", "d", 999 * number, 999 * number + 999, rows) for number, rows in enumerate((999, 7, 501))]

    def read(requests: Sequence[Slab]) -> Iterator[pa.Table]:
        for slab in requests:
            x = np.random.default_rng(slab.start).normal(size=(slab.rows, 2)).astype(np.float32)
            yield table_with(x, np.full(slab.rows, value, np.float32))

    with pytest.raises(DataError, match="the same at all 1507 training points"):
        _ = Feed(slabs, read, 2, 100, cache).normalisation


@given(rows=ROWS, cache=st.sampled_from([0.0, HELD]), data=st.data())
def test_lost_points_are_an_error_in_every_epoch_and_in_the_normalisation(
    slabs_with: Any, reader: Any, rows: list[int], cache: float, data: Any
) -> None:
    lose = data.draw(st.integers(1, sum(rows)))
    cut = data.draw(st.none() | st.integers(0, 99))
    for look in (lambda feed: epoch_of(feed, 5, "s", 0), lambda feed: feed.normalisation):
        with pytest.raises(DataError, match=r"expected \d+ points, found \d+; the corpus changed"):
            look(Feed(slabs_with(rows), reader(cut, lose), 3, 50, cache))


@pytest.mark.parametrize("surplus", [1, 5])
@pytest.mark.parametrize("cache", [0.0, HELD])
def test_surplus_points_are_an_error(
    cache: float, surplus: int, slabs_with: Any, reader: Any, table_with: Callable[..., pa.Table]
) -> None:
    read = reader()

    def more(requests: Sequence[Slab]) -> Iterator[pa.Table]:
        yield from read(requests)
        yield table_with(np.zeros((surplus, 3), np.float32), np.zeros(surplus, np.float32))

    with pytest.raises(DataError, match="the corpus changed"):
        epoch_of(Feed(slabs_with([5, 6]), more, 3, 50, cache), 5, "s", 0)


def test_tables_of_many_chunks_and_slices_give_their_rows(table_with: Any) -> None:
    x, y = np.arange(24, dtype=np.float32).reshape(8, 3), np.arange(8, dtype=np.float32)
    whole = table_with(x, y)
    for table, expected in (
        (whole.slice(2, 5), slice(2, 7)),
        (pa.concat_tables([whole.slice(1, 3), whole.slice(4, 2)]), slice(1, 6)),
        (whole.slice(3, 0), slice(3, 3)),
    ):
        found_x, found_y = table_arrays(table)
        assert np.array_equal(found_x, x[expected])
        assert np.array_equal(found_y, y[expected])

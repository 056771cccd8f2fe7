"""Every row once per epoch, whatever the workers; an order of (seed, epoch) alone; the pairs of `to_torch`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import coreset
from coreset.errors import RequestError


@pytest.fixture(scope="module")
def points(build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Several files, and several row groups in each."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("coreset.corpus.kept.BATCH", 3)
        return coreset.open(build(tmp_path_factory.mktemp("stream")).path)


def rows(pairs: Any) -> np.ndarray:
    """Descriptor and density of each pair, as they come."""
    return np.array([[*x.tolist(), float(density)] for x, density in pairs], np.float32)


def in_order(found: np.ndarray) -> np.ndarray:
    return found[np.lexsort(found.T)]


@pytest.fixture(scope="module")
def expected(points: Any) -> np.ndarray:
    x, density = points.to_torch().tensors
    return np.column_stack([x.numpy(), density.numpy()])


def test_without_a_shuffle_it_is_the_map_style_dataset(points: Any, expected: np.ndarray) -> None:
    assert np.array_equal(rows(points.to_torch_stream(shuffle=False)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_row_comes_once_from_real_workers(workers: int, points: Any, expected: np.ndarray) -> None:
    loader = DataLoader(points.to_torch_stream(window=50), batch_size=None, num_workers=workers)
    assert np.array_equal(in_order(rows(loader)), in_order(expected))


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_each_row_comes_once_whatever_the_number_of_workers(
    workers: int, points: Any, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in range(workers):
        told = SimpleNamespace(num_workers=workers, id=number)
        monkeypatch.setattr("coreset.publishing.stream.get_worker_info", lambda told=told: told)
        found += list(points.to_torch_stream(window=50))
    assert np.array_equal(in_order(rows(found)), in_order(expected))


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_row_comes_once_to_one_of_the_ranks(ranks: int, points: Any, expected: np.ndarray) -> None:
    shares = [rows(points.to_torch_stream(window=50, rank=rank, ranks=ranks)) for rank in range(ranks)]
    assert all(len(share) for share in shares)
    assert np.array_equal(in_order(np.concatenate(shares)), in_order(expected))


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else(points: Any, expected: np.ndarray) -> None:
    def at(seed: int, epoch: int) -> np.ndarray:
        stream = points.to_torch_stream(seed=seed, window=100)
        stream.set_epoch(epoch)
        return rows(stream)

    first = at(0, 0)
    torch.manual_seed(1)
    assert np.array_equal(first, at(0, 0))
    orders = [expected, first, at(0, 1), at(1, 0), at(1, 1)]
    for i, one in enumerate(orders):
        assert np.array_equal(in_order(one), in_order(expected))
        assert not any(np.array_equal(one, other) for other in orders[:i])


def test_rows_of_a_window_are_shuffled_together(points: Any, expected: np.ndarray) -> None:
    place = {row.tobytes(): number for number, row in enumerate(expected)}
    found = np.array([place[row.tobytes()] for row in rows(points.to_torch_stream(window=240))])
    # Of a random order a third of the neighbours is a third of all rows apart, and more.
    assert np.abs(np.diff(found)).mean() > 40


def test_batches_are_full_but_the_last_of_a_window(points: Any, expected: np.ndarray) -> None:
    stream = points.to_torch_stream(window=100, batch=32)
    batches = list(DataLoader(stream, batch_size=None))
    assert [len(density) for _, density in batches] == [32, 32, 32, 4, 32, 32, 32, 4, 32, 8]
    assert batches[0][0].shape == (32, expected.shape[1] - 1)
    assert np.array_equal(
        np.concatenate([rows(zip(*batch, strict=True)) for batch in batches]), rows(points.to_torch_stream(window=100))
    )


def test_workers_that_persist_hear_of_a_new_epoch(points: Any) -> None:
    stream = points.to_torch_stream(window=240)
    loader = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
    first = rows(loader)
    stream.set_epoch(1)
    assert not np.array_equal(rows(loader), first)
    stream.set_epoch(0)
    assert np.array_equal(rows(loader), first)


def test_it_reads_no_more_than_a_window_and_a_row_group_ahead(points: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = 0
    read = 0
    real = type(points).rows

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal read
        table = real(self, *arguments)
        read += len(table)
        assert read - given <= 60 + len(table)
        return table

    monkeypatch.setattr(type(points), "rows", counted)
    for _, density in points.to_torch_stream(window=60, batch=20):
        given += len(density)
    assert given == read == 240


def test_stored_descriptors_are_read_not_computed(
    build: Any, tmp_path: Path, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = coreset.open(build(tmp_path, stored=True).path)
    monkeypatch.setattr(type(stored), "describe", lambda *_: pytest.fail("described"))
    assert np.array_equal(rows(stored.to_torch_stream(shuffle=False)), expected)


@pytest.mark.parametrize("wrong", [{"window": 0}, {"batch": 0}, {"rank": 1}, {"rank": -1, "ranks": 2}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, int], points: Any) -> None:
    with pytest.raises(RequestError, match="to_torch_stream: expected"):
        points.to_torch_stream(**wrong)

"""Ray Data reads ahead of who takes its tables, and stops before the object store is full."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from coreset.distributed.data import read
from coreset.distributed.executor import RayExecutor

MEBIBYTES = 8


@pytest.mark.ray
@pytest.mark.parametrize("streams", [4, 16])
def test_a_slow_taker_is_read_ahead_of_but_does_not_fill_its_part_of_the_store(
    streams: int, ray_executor: RayExecutor, tmp_path: Path
) -> None:
    ray_executor.scan(abs, [1], max)  # starts Ray

    def reader(number: int) -> pa.Table:
        (tmp_path / str(number)).touch()
        return pa.table({"value": np.full(MEBIBYTES * 2**20 // 8, number)})

    part = ray.cluster_resources()["object_store_memory"] / 2 / streams / 2**20
    requests = list(range(2 * int(part) // MEBIBYTES))
    tables = read(reader, requests, streams=streams)
    taken = [next(tables).column("value")[0].as_py()]
    seen = -1
    while seen != (seen := len(list(tmp_path.iterdir()))):
        time.sleep(5)  # until nothing more is read
    assert seen > 3
    # What lies ready, what two tasks are making, what is handed over and the next two.
    assert seen * MEBIBYTES <= part + (2 + 3) * MEBIBYTES
    taken += [table.column("value")[0].as_py() for table in tables]
    assert taken == requests


@pytest.mark.ray
def test_nothing_wanted_is_nothing_read(ray_executor: RayExecutor) -> None:
    ray_executor.scan(abs, [1], max)
    assert list(read(lambda request: pa.table({}), [])) == []


class Noted:
    """A reader that notes in a file that it was unpacked."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __reduce__(self) -> tuple[Any, ...]:
        return _noted, (self.log,)

    def __call__(self, number: int) -> pa.Table:
        return pa.table({"value": [number]})


def _noted(log: Path) -> Noted:
    with log.open("a") as file:
        file.write(".")
    return Noted(log)


@pytest.mark.ray
def test_a_reader_is_unpacked_once_per_process(ray_executor: RayExecutor, tmp_path: Path) -> None:
    """It may hold a corpus of 10,000 snapshots, and be asked as often."""
    ray_executor.scan(abs, [1], max)
    log, requests = tmp_path / "log", list(range(40))
    assert [table.column("value")[0].as_py() for table in read(Noted(log), requests)] == requests
    assert 1 <= len(log.read_text()) <= 10

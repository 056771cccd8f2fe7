"""Ray Data reads: one block per request, in the order of the requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from coreset.distributed.connect import start

RayDataset: TypeAlias = ray.data.Dataset


class Requests(Datasource):  # type: ignore[misc]
    """One read task per request, in the order given: `reader(request)` is a block."""

    def __init__(self, reader: Callable[[Any], pa.Table], requests: Sequence[Any]) -> None:
        super().__init__()
        self._reader = reader
        self._requests = requests

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        reader = self._reader
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(lambda request=request: [reader(request)], unknown) for request in self._requests]


_KEPT = 4
"""Readers that a process holds unpacked: as many trainings may read at a time."""
_readers: dict[str, Callable[[Any], pa.Table]] = {}


class _Shared:
    """A reader that lies in the object store. It may hold a whole corpus, so it is not sent with every request."""

    def __init__(self, reader: Callable[[Any], pa.Table]) -> None:
        self._reference = ray.put(reader)

    def __call__(self, request: Any) -> pa.Table:
        key = self._reference.hex()
        if key not in _readers:
            while len(_readers) >= _KEPT:
                del _readers[next(iter(_readers))]
            _readers[key] = ray.get(self._reference)
        return _readers[key](request)


def read(
    reader: Callable[[Any], pa.Table], requests: Sequence[Any], cpus: float = 1.0, streams: int = 1
) -> Iterator[pa.Table]:
    """Streams `reader(request)` for all requests, in their order, ahead of whoever takes them.

    `streams` is how many processes read so at a time. All that they have read ahead fills half of the object store at
    most: each stops reading where it has filled its part of that.
    """
    if not requests:
        return
    made = dataset(_Shared(reader), requests, cpus)
    store = ray.cluster_resources().get("object_store_memory", 0.0)
    made.context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=store / 2 / streams
    )
    tables = made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)
    yield from (table for table in tables if table.num_rows)


def dataset(reader: Callable[[Any], pa.Table], requests: Sequence[Any], cpus: float = 1.0) -> RayDataset:
    """A Ray dataset whose blocks are `reader(request)`, in the order of the requests."""
    quiet()
    made = ray.data.read_datasource(Requests(reader, requests), override_num_blocks=len(requests), num_cpus=cpus)
    made.context.execution_options.preserve_order = True
    return made


def dataset_on_any_ray(reader: Callable[[Any], pa.Table], requests: Sequence[Any]) -> RayDataset:
    """As `dataset`, on the Ray that this process uses already, else on a local one of its own."""
    if not ray.is_initialized():
        start()
    return dataset(reader, requests)


def quiet() -> None:
    """Silences the bars and notices of Ray Data: progress is told by the executor."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False

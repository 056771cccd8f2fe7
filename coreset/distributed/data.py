"""Ray Data: reads and describes slabs for training, and maps the parts of an ingestion."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.data import DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from coreset import errors
from coreset.artifacts.executor import Work
from coreset.artifacts.stage import Part
from coreset.distributed.executor import RemoteContext
from coreset.errors import CoresetError


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


def read(reader: Callable[[Any], pa.Table], requests: Sequence[Any], cpus: float = 1.0) -> Iterator[pa.Table]:
    """Streams `reader(request)` for all requests, in their order, with Ray Data's back-pressure."""
    tables = dataset(reader, requests, cpus).iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)
    yield from (table for table in tables if table.num_rows)


def dataset(reader: Callable[[Any], pa.Table], requests: Sequence[Any], cpus: float = 1.0) -> ray.data.Dataset:
    """A Ray dataset whose blocks are `reader(request)`, in the order of the requests."""
    _quiet()
    made = ray.data.read_datasource(Requests(reader, requests), override_num_blocks=len(requests), num_cpus=cpus)
    made.context.execution_options.preserve_order = True
    return made


def map_parts(work: Work, parts: Sequence[tuple[str, Part]]) -> Iterator[Part]:
    """Produces every part in a Ray Data map; yields each as it is done."""
    _quiet()
    by_number = list(parts)
    shared = ray.put(work)

    def produce(row: dict[str, Any]) -> dict[str, Any]:
        digest, part = by_number[row["number"]]
        try:
            ray.get(shared)(digest, part, RemoteContext())
        except CoresetError as error:
            # As a value: Ray Data would keep no more of an exception than its text, amid its own.
            return {**row, "error": type(error).__name__, "message": str(error)}
        return {**row, "error": "", "message": ""}

    numbers = ray.data.from_items(
        [{"number": number} for number in range(len(by_number))], override_num_blocks=len(by_number)
    )
    for row in numbers.map(produce).iter_rows():
        if row["error"]:
            raise getattr(errors, row["error"])(row["message"])
        yield by_number[row["number"]][1]


def _quiet() -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False

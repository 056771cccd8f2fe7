"""What a part may ask of Ray: rows through Ray Data, and that a board hears of its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from coreset.learning.team import Team

if TYPE_CHECKING:
    import pyarrow as pa


class Ended(Exception):
    """Another part has failed, so that this one need not be finished."""


class RemoteContext:
    """Reads through Ray Data; tells a queue, if there is one, what is done."""

    def __init__(
        self,
        queue: Any = None,
        reader_cpus: float = 1.0,
        readers: int = 1,
        team: Team | None = None,
        carried: dict[str, Any] | None = None,
    ) -> None:
        self._queue = queue
        self._reader_cpus = reader_cpus
        self._readers = readers
        self._pending = 0.0
        self._told = time.monotonic()
        self.spent: dict[str, float] = {}
        self.team = team or Team()
        self.carried = {} if carried is None else carried

    @property
    def device(self) -> str:
        import ray

        return "cuda" if ray.get_gpu_ids() else "cpu"

    def read(self, reader: Callable[[Any], pa.Table], requests: Sequence[Any]) -> Iterator[pa.Table]:
        from coreset.distributed.data import read

        return read(reader, requests, self._reader_cpus, self._readers)

    def advance(self, units: float) -> None:
        self._pending += units
        if self._queue is not None and time.monotonic() - self._told > 0.5:
            self.flush()

    def flush(self) -> None:
        """Sends what was not yet told. Raises Ended where another part has failed."""
        import ray

        if self._queue is not None and not ray.get(self._queue.report.remote(self._pending)):
            raise Ended
        self._pending, self._told = 0.0, time.monotonic()

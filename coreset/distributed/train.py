"""Ray Train: independently seeded runs in one worker group. Rank r trains runs r, r + W, r + 2W, …"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from coreset.artifacts.executor import Work
from coreset.artifacts.stage import Part
from coreset.distributed.context import RemoteContext
from coreset.errors import CoresetError


class Board:
    """Counts the work that remote processes report."""

    def __init__(self) -> None:
        self._total = 0.0
        self._failure: CoresetError | None = None

    def add(self, units: float) -> None:
        """So much more is done."""
        self._total += units

    def fail(self, error: CoresetError) -> None:
        """A run failed in a way that trying again would not change."""
        self._failure = error

    def read(self) -> tuple[float, CoresetError | None]:
        """All that is done, and the first failure."""
        return self._total, self._failure


def fit(work: Work, parts: Sequence[tuple[str, Part]], workers: int, device: str, board: Any) -> BaseException | None:
    """Runs all parts in one Ray Train worker group; returns what went wrong, if anything did."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    cpus = ray.cluster_resources().get("CPU", 1.0)
    if device == "cuda":
        resources, reader_cpus = {"GPU": 1.0, "CPU": 1.0}, 1.0
    else:
        # One CPU stays free for the readers: actors on every CPU would starve them, and wait for ever.
        free = min(1.0, cpus / 2)
        resources, reader_cpus = {"CPU": min(1.0, (cpus - free) / workers)}, free
    with tempfile.TemporaryDirectory(prefix="coreset-train-") as storage:
        trainer = DataParallelTrainer(
            _train_rank,
            train_loop_config={"work": work, "parts": list(parts), "board": board, "reader_cpus": reader_cpus},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=device == "cuda", resources_per_worker=resources),
            run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=2)),
        )
        try:
            trainer.fit()
        except Exception as error:
            return error
    return None


def _train_rank(config: dict[str, Any]) -> None:
    import ray
    import ray.train

    context = ray.train.get_context()
    for digest, part in config["parts"][context.get_world_rank() :: context.get_world_size()]:
        told = RemoteContext(config["board"], config["reader_cpus"])
        try:
            config["work"](digest, part, told)
        except CoresetError as error:
            # Not raised here, for Ray Train would start the whole group again.
            ray.get(config["board"].fail.remote(error))
            return
        told.flush()

"""Ray Train: independently seeded runs in one worker group. Team t of T trains runs t, t + T, t + 2T, …

A team is one rank, or as many as a job's `training.workers` asks for, which train each network together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from coreset.artifacts.executor import Work
from coreset.artifacts.stage import Part
from coreset.distributed.context import RemoteContext
from coreset.errors import CoresetError, RequestError
from coreset.learning.team import Team


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
    """Runs all parts in one Ray Train group of at most `workers`; returns what went wrong, if anything did."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    size = max(part.workers for _, part in parts)
    if size > workers:
        return RequestError(
            f"training.workers: expected at most {workers}, for so many processes compute at a time here, "
            f"found {size}; lower it, or give the run more CPUs or GPUs."
        )
    ranks = size * min(workers // size, len(parts))
    cpus = ray.cluster_resources().get("CPU", 1.0)
    if device == "cuda":
        resources, reader_cpus = {"GPU": 1.0, "CPU": 1.0}, 1.0
    else:
        # One CPU stays free for the readers: actors on every CPU would starve them, and wait for ever.
        free = min(1.0, cpus / 2)
        resources, reader_cpus = {"CPU": min(1.0, (cpus - free) / ranks)}, free
    config = {"work": work, "parts": list(parts), "board": board, "reader_cpus": reader_cpus, "size": size}
    with tempfile.TemporaryDirectory(prefix="coreset-train-") as storage:
        trainer = DataParallelTrainer(
            _train_rank,
            train_loop_config=config,
            backend_config=_backend(device) if size > 1 else None,
            scaling_config=ScalingConfig(num_workers=ranks, use_gpu=device == "cuda", resources_per_worker=resources),
            run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=2)),
        )
        try:
            trainer.fit()
        except Exception as error:
            return error
    return None


def _backend(device: str) -> Any:
    from ray.train.torch import TorchConfig

    return TorchConfig("nccl" if device == "cuda" else "gloo")


def _train_rank(config: dict[str, Any]) -> None:
    import ray
    import ray.train

    context, size, board = ray.train.get_context(), config["size"], config["board"]
    if ray.get(board.read.remote())[1] is not None:
        return  # started again after an error that stays
    ranks = context.get_world_size()
    number, rank = divmod(context.get_world_rank(), size)
    team = Team(rank, size, _groups(ranks, size)[number]) if size > 1 else Team()
    for digest, part in config["parts"][number :: ranks // size]:
        # One rank tells the progress of its team.
        told = RemoteContext(board if rank == 0 else None, config["reader_cpus"], ranks, team)
        try:
            config["work"](digest, part, told)
        except CoresetError as error:
            # Not raised here, for Ray Train would start the whole group again.
            ray.get(board.fail.remote(error))
            if size > 1:
                # But then the ranks that wait for this one would wait for ever.
                raise RuntimeError("a rank has left its team") from None
            return
        told.flush()


def _groups(ranks: int, size: int) -> list[Any]:
    """The process groups of all teams; every rank makes all of them, in the same order."""
    import torch.distributed

    return [torch.distributed.new_group(list(range(first, first + size))) for first in range(0, ranks, size)]

"""Ray Train: one worker group trains whatever comes, part by part, for starting one takes longer than many a training.

A team of its ranks takes a part at a time from a queue. A team is one rank, or as many as a job's `training.workers`
asks for, which train each network together.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from coreset.artifacts.executor import Work, which_next
from coreset.artifacts.stage import Part
from coreset.distributed.connect import reserved
from coreset.distributed.context import Ended, RemoteContext
from coreset.errors import CoresetError, WorkError
from coreset.learning.team import Team

_ATTEMPTS = 3
"""How often a part is begun whose workers die."""
_FAILURES = 100
"""How often a group is started again; what ends it again and again is found by the attempts at its part."""
_READERS = 4
"""Processes that read for those that train, at most, without GPUs."""
_LOOK = 0.5
"""Seconds between two looks at what is done."""
_PATIENCE = 2.0
"""Seconds after which a rank that waits for its next part lets go of what it holds for it."""


@dataclass
class Taken:
    """A part that a team works on; `number` tells it from those before, `life` the team from what it was restarted as.

    `work` holds one reference, in a list so that Ray does not fetch it.
    """

    number: int
    digest: str
    part: Part
    work: list[Any]
    life: str = ""
    attempts: int = 0
    trouble: str = ""


class Queue:
    """Hands parts to teams and is told what is done; an asynchronous actor, whose calls may wait for one another.

    A team keeps what it has taken until its first rank says that it is done, also where it dies and is started again.
    """

    def __init__(self) -> None:
        self._waiting: list[Taken] = []
        self._taken: dict[int, Taken] = {}
        self._read: dict[int, str] = {}
        self._numbers = 0
        self._total = 0.0
        self._failure: CoresetError | None = None
        self._closed = False
        self._changed = asyncio.Condition()

    async def offer(self, work: list[Any], parts: Sequence[tuple[str, Part]]) -> None:
        """These parts are to be made, in this order."""
        async with self._changed:
            for digest, part in parts:
                self._numbers += 1
                self._waiting.append(Taken(self._numbers, digest, part, work))
            self._total = 0.0
            self._changed.notify_all()

    async def take(self, team: int, rank: int, life: str, finished: int | None) -> Taken | None:
        """The next part of one rank of a team; None where there will be none. `finished` is what it made last."""
        async with self._changed:
            if rank == 0:
                self._settle(team, life, finished)
            await self._changed.wait_for(lambda: self._ended or self._next(team, rank, life, finished) is not None)
            return None if self._ended else self._next(team, rank, life, finished)

    async def report(self, units: float) -> bool:
        """So much more is done. Returns whether to go on."""
        self._total += units
        return not self._ended

    async def trouble(self, team: int, text: str) -> None:
        """What a rank of this team dies of."""
        self._taken[team].trouble = self._taken[team].trouble or text

    async def fail(self, error: CoresetError) -> None:
        """A part failed in a way that trying again would not change: nothing more is to be made."""
        async with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    async def close(self) -> None:
        """Nothing more will come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def read(self, wait: float) -> tuple[float, bool, CoresetError | None]:
        """The work done of what was last offered, whether that is all, and the first failure: at its end, or before."""
        async with self._changed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(lambda: self._idle or self._ended), wait)
            return self._total, self._idle, self._failure

    @property
    def _idle(self) -> bool:
        return not self._waiting and not self._taken

    @property
    def _ended(self) -> bool:
        return self._closed or self._failure is not None

    def _settle(self, team: int, life: str, finished: int | None) -> None:
        """What the team had taken is done, or begun once more."""
        taken = self._taken.get(team)
        if taken is not None and taken.number == finished:
            del self._taken[team]
        elif taken is not None:
            taken.life = life
            taken.attempts += 1
            if taken.attempts == _ATTEMPTS:
                why = taken.trouble or "a worker died"
                self._failure = WorkError(f"{taken.part.name}: begun {_ATTEMPTS} times, and ended by this: {why}")
        self._changed.notify_all()

    def _next(self, team: int, rank: int, life: str, finished: int | None) -> Taken | None:
        if rank == 0 and team not in self._taken and self._waiting:
            others = {reads for other, reads in self._read.items() if other != team}
            wanted = [taken.part.reads for taken in self._waiting]
            self._taken[team] = self._waiting.pop(which_next(wanted, self._read.get(team, ""), others))
            self._taken[team].life = life
            self._read[team] = self._taken[team].part.reads
            self._changed.notify_all()
        taken = self._taken.get(team)
        return taken if taken is not None and taken.life == life and taken.number != finished else None


class TrainGroup:
    """A Ray Train worker group that waits for parts until it is closed. It starts on creation, in the background."""

    def __init__(self, ranks: int, size: int, device: str) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ranks = ranks
        self.size = size
        self._device = device
        # One CPU stays free for the readers: trainings on every CPU would starve them, and wait for ever.
        cpus = ray.cluster_resources().get("CPU", 1.0)
        free = min(1.0, cpus / 2)
        # Several read on it at a time, for those that wait for their points do not compute.
        self._reader = 1.0 if device == "cuda" else free / min(ranks, _READERS)
        # The ranks themselves reserve no CPU, so that other stages run while they wait.
        share = min(1.0, (cpus - free) / ranks)
        self._bundles = [] if device == "cuda" else [{"CPU": share}] * ranks
        # A zero-CPU actor, for it only counts; the readers need the processor. On this host, for on another it could be
        # lost with that, while the run goes on.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = ray.remote(num_cpus=0, scheduling_strategy=here)(Queue).remote()
        self._outcome: list[BaseException] = []
        # In a thread of its own, so that Ray Train does not take over Ctrl-C, and the bar can move.
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def serves(self, ranks: int, size: int) -> bool:
        """Whether it has teams of this size, at least as many, and lives."""
        return self.size == size and self.ranks >= ranks and self._thread.is_alive()

    def run(self, work: Work, parts: Sequence[tuple[str, Part]], advance: Callable[[float], None]) -> None:
        """Makes the parts, and tells how much work is done; raises the first error."""
        import ray

        seen = 0.0
        with reserved(self._bundles) as held:
            ray.get(self._queue.offer.remote([ray.put(work)], list(parts)))
            while self._thread.is_alive():
                total, done, failure = ray.get(self._queue.read.remote(_LOOK))
                advance(total - seen)
                seen = total
                if failure is not None:
                    self.close()
                    raise failure
                if done:
                    return
                if held is not None:
                    held.renew_if_lost()
        raise self._outcome[0] if self._outcome else WorkError("the workers ended before their work.")

    def close(self) -> None:
        """Ends the workers, each after what it is at; those that ended by an error are gone already."""
        import ray

        if self._thread.is_alive():
            ray.get(self._queue.close.remote())
            self._thread.join()
        ray.kill(self._queue)

    def _fit(self) -> None:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        if self._device == "cuda":
            resources = {"GPU": 1.0, "CPU": 1.0}
        else:
            # Memory alone, by which SPREAD shares the ranks out among the hosts. Half of it, so that all of them find
            # room on the hosts that are left where some are lost.
            resources = {"CPU": 0.0, "memory": ray.cluster_resources().get("memory", 1.0) // (2 * self.ranks)}
        config = {"queue": self._queue, "size": self.size, "reader_cpus": self._reader}
        with tempfile.TemporaryDirectory(prefix="coreset-train-") as storage:
            trainer = DataParallelTrainer(
                _train_rank,
                train_loop_config=config,
                backend_config=_backend(self._device) if self.size > 1 else None,
                scaling_config=ScalingConfig(
                    num_workers=self.ranks,
                    use_gpu=self._device == "cuda",
                    resources_per_worker=resources,
                    placement_strategy="SPREAD" if self._device == "cpu" else "PACK",
                ),
                run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=_FAILURES)),
            )
            try:
                trainer.fit()
            except Exception as error:
                self._outcome.append(error)


def _backend(device: str) -> Any:
    from ray.train.torch import TorchConfig

    return TorchConfig("nccl" if device == "cuda" else "gloo")


@dataclass
class _Holding:
    """What a rank keeps from part to part of the same map."""

    reference: Any = None
    work: Work | None = None
    carried: dict[str, Any] = field(default_factory=dict)

    def take_up(self, reference: Any) -> None:
        """Holds the work of this reference."""
        import ray

        if self.reference != reference:
            self.let_go()
            self.reference, self.work = reference, ray.get(reference)

    def let_go(self) -> None:
        """Holds nothing."""
        self.reference = self.work = None
        self.carried.clear()  # not left to its owner's end: what lies in it may refer to its owner


def _train_rank(config: dict[str, Any]) -> None:
    import ray
    import ray.train

    context, size, queue = ray.train.get_context(), config["size"], config["queue"]
    ranks = context.get_world_size()
    number, rank = divmod(context.get_world_rank(), size)
    team = Team(rank, size, _groups(ranks, size)[number]) if size > 1 else Team()
    life = team.agreed(uuid4().hex)
    finished: int | None = None
    holding = _Holding()
    while True:
        asked = queue.take.remote(number, rank, life, finished)
        if not ray.wait([asked], timeout=_PATIENCE)[0]:
            holding.let_go()
        taken = ray.get(asked)
        if taken is None:
            return
        holding.take_up(taken.work[0])
        # One rank tells the progress of its team.
        told = RemoteContext(queue if rank == 0 else None, config["reader_cpus"], ranks, team, holding.carried)
        assert holding.work is not None
        try:
            holding.work(taken.digest, taken.part, told)
            told.flush()
        except (CoresetError, Ended) as error:
            # Not raised here, for Ray Train would start the whole group again.
            if isinstance(error, CoresetError):
                ray.get(queue.fail.remote(error))
            if size > 1:
                # But then the ranks that wait for this one would wait for ever.
                raise RuntimeError("a rank has left its team") from None
            return
        except Exception as error:
            ray.get(queue.trouble.remote(number, f"{type(error).__name__}: {error}"))
            raise
        finished = taken.number


def _groups(ranks: int, size: int) -> list[Any]:
    """The process groups of all teams; every rank makes all of them, in the same order."""
    import torch.distributed

    return [torch.distributed.new_group(list(range(first, first + size))) for first in range(0, ranks, size)]

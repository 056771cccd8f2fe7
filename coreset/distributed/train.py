"""Ray Train: one worker group trains whatever comes, part by part, for starting one takes longer than many a training.

A team of its ranks takes a part at a time from a queue. A team is one rank, or as many as a job's `training.workers`
asks for, which train each network together.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from coreset.artifacts.executor import Work
from coreset.artifacts.stage import Part
from coreset.distributed.connect import reserved
from coreset.distributed.context import Ended, RemoteContext
from coreset.distributed.queue import Queue
from coreset.errors import CoresetError, WorkError
from coreset.learning.team import Team

_FAILURES = 100
"""How often a group is started again; what ends it again and again is found by the attempts at its part."""
_READERS = 4
"""Processes that read for those that train, at most, without GPUs."""
_LOOK = 0.5
"""Seconds between two looks at what is done."""
_PATIENCE = 2.0
"""Seconds after which a rank that waits for its next part lets go of what it holds for it."""
_ABORT = 5.0
"""Seconds that Ray Train gets to give up; while it waits for a node it may not hear."""


class NodeLost(Exception):
    """A node is gone on which ranks of a group stood, or were to stand."""


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
        self._nodes = _alive()
        # A zero-CPU actor, for it only counts; the readers need the processor. It stands and falls with the driver.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = ray.remote(num_cpus=0, scheduling_strategy=here)(Queue).remote()
        self._outcome: list[BaseException] = []
        self.handed_out: list[str] = []
        # In a thread of its own, so that Ray Train does not take over Ctrl-C, and the bar can move.
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def serves(self, ranks: int, size: int) -> bool:
        """Whether it has teams of this size, at least as many, and lives."""
        return self.size == size and self.ranks >= ranks and self._thread.is_alive()

    def run(self, work: Work, parts: Sequence[tuple[str, Part]], advance: Callable[[float], None]) -> None:
        """Makes the parts, and tells how much work is done; raises the first error, and NodeLost."""
        import ray

        self._expect_its_nodes()
        seen = 0.0
        with reserved(self._bundles):
            ray.get(self._queue.offer.remote([ray.put(work)], list(parts)))
            while self._thread.is_alive():
                total, done, failure, self.handed_out = ray.get(self._queue.read.remote(_LOOK))
                advance(total - seen)
                seen = total
                if failure is not None:
                    self.close()
                    raise failure
                if done:
                    return
                self._expect_its_nodes()
        raise self._outcome[0] if self._outcome else WorkError("the workers ended before their work.")

    def close(self) -> None:
        """Ends the workers, each after what it is at; those that ended by an error are gone already.

        A thread that outlives the connection to Ray would end the process in its middle, with status 1.
        """
        import ray

        if self._thread.is_alive():
            ray.get(self._queue.close.remote())
        deaf = 0.0
        while self._thread.is_alive():
            if self._lost_a_node():
                self._abort(by_force=deaf > _ABORT)
                deaf += _LOOK
            self._thread.join(_LOOK)
        ray.kill(self._queue)

    def _abort(self, by_force: bool = False) -> None:
        """Ends Ray Train, which would wait for ever for a node that has room for a rank."""
        import ray

        for controller in ray.get(self._queue.controllers.remote()):
            if by_force:
                ray.kill(controller)
            else:
                controller.abort.remote()

    def _lost_a_node(self) -> bool:
        """Whether a node is gone that its ranks stand on, or were to stand on."""
        import ray

        ranks = ray.get(self._queue.nodes.remote())
        return not (set(ranks.values()) if len(ranks) == self.ranks else set(self._nodes)) <= set(_alive())

    def _expect_its_nodes(self) -> None:
        """Raises NodeLost where one is gone, and nothing more is taken."""
        import ray

        if self._lost_a_node():
            ray.get(self._queue.close.remote())
            self._abort()
            raise NodeLost

    def _fit(self) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        if self._device == "cuda":
            resources = {"GPU": 1.0, "CPU": 1.0}
        else:
            # Memory alone, which spreads the ranks over the nodes as evenly as CPUs would.
            resources = {"CPU": 0.0, "memory": float(_share(list(self._nodes.values()), self.ranks))}
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
                run_config=RunConfig(
                    storage_path=storage,
                    failure_config=FailureConfig(max_failures=_FAILURES),
                    callbacks=[_enrolling(self._queue)],
                ),
            )
            try:
                trainer.fit()
            except Exception as error:
                self._outcome.append(error)


def _enrolling(queue: Any) -> Any:
    """What makes Ray Train's controller known to the queue; nothing else hands out a way to end it."""
    import ray
    from ray.train.v2._internal.execution.callback import ControllerCallback

    class Enrolling(ControllerCallback):  # type: ignore[misc]
        def after_controller_start(self, train_run_context: Any) -> None:
            queue.control.remote(ray.get_runtime_context().current_actor)

    return Enrolling()


def _alive() -> dict[str, int]:
    """The nodes of the cluster, and the bytes of memory that each has to give."""
    import ray

    return {each["NodeID"]: int(each["Resources"].get("memory", 0)) for each in ray.nodes() if each["Alive"]}


def _share(memories: Sequence[int], ranks: int) -> int:
    """Bytes that each rank reserves, so that nodes of such memories take about as many ranks as they have of it."""
    share = sum(memories) // (ranks + 1)
    while share > 1 and sum(memory // share for memory in memories) < ranks:
        share //= 2
    return share


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
    ray.get(queue.enrol.remote(context.get_world_rank(), ray.get_runtime_context().get_node_id()))
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

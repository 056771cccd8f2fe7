"""Ray as an executor: plain tasks, an actor pool, one Ray Train worker group, Ray Data. It starts on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

from coreset.artifacts.executor import Executor, Progress, SerialExecutor, Work
from coreset.artifacts.materialize import OUT_OF_MEMORY, is_of_memory
from coreset.artifacts.stage import Part, Place, Stage
from coreset.distributed.connect import reserved, start
from coreset.errors import CoresetError, RequestError, WorkError, brief

if TYPE_CHECKING:
    import ray

    from coreset.distributed.train import TrainGroup

T = TypeVar("T")
Item = TypeVar("Item")


_FETCH = 2
"""Parts in flight per worker: the one it computes and the next, so that none waits behind a slow one at the end."""
_DEATHS = {"ActorDiedError", "ActorUnavailableError", "LocalRayletDiedError", "NodeDiedError", "WorkerCrashedError"}
"""What Ray says in many lines."""
_SHOWN = 4
"""Parts that are named to whoever asks what goes on."""
_ON_GPU = {"num_gpus": 1.0, "num_cpus": 1.0}
"""What an actor reserves where there are GPUs."""


class RayExecutor(Executor):
    """Maps parts on Ray. Nothing is started before the first map or scan, and only what was started is shut down."""

    def __init__(
        self, address: str = "auto", device: str = "auto", workers: int | None = None, progress: Progress | None = None
    ) -> None:
        super().__init__(progress)
        self._address = address
        self._wanted_device = device
        self._workers = workers
        self._started = False
        self._group: TrainGroup | None = None
        self._left: list[TrainGroup] = []
        self._pool: list[Any] = []
        self._handed_out: list[str] = []

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # On Ctrl-C the process ends at once, and what it started ends with it. A shutdown here would wait for workers,
        # and threads that still talk to Ray would end the process in its middle, without a word.
        if self._started and kind is not KeyboardInterrupt:
            import ray

            # Where somebody has ended Ray already there is nothing left to end, and asking would start it again.
            if ray.is_initialized() and (kind is None or issubclass(kind, Exception)):
                self._end_group()
                for group in self._left:
                    group.close()
            ray.shutdown()
            self._started = False
            self._pool = []

    @property
    def _device(self) -> str:
        if self._wanted_device != "auto":
            return self._wanted_device
        self._start()
        return "cuda" if self._gpus() else "cpu"

    def map(self, work: Work, parts: Sequence[tuple[str, Part]], place: Place, title: str) -> None:
        self._start()
        # The longest first, so that no worker is left alone with one at the end.
        ordered = sorted(parts, key=lambda each: -each[1].work)
        if self._device == "cuda" and place != "train":
            self._end_group()
        mapped = {"task": self._tasks, "actor": self._actors, "train": self._train, "data": self._data}[place]
        with self.progress.over(title, sum(part.work for _, part in parts)):
            try:
                mapped(work, ordered)
            except Exception as error:
                raise _cause(error, title) from error

    def at_work(self) -> str:
        import ray

        whole, free = ray.cluster_resources().get("CPU", 0.0), ray.available_resources().get("CPU", 0.0)
        nodes = sum(node["Alive"] for node in ray.nodes())
        given = self._handed_out + (self._group.handed_out if self._group is not None else [])
        more = f" and {len(given) - _SHOWN} more" if len(given) > _SHOWN else ""
        parts = f"; handed out: {', '.join(given[:_SHOWN])}{more}" if given else ""
        return f"Ray has {nodes} nodes, and {free:g} of {whole:g} CPUs free{parts}."

    def prepare(self, stages: Sequence[Stage]) -> list[Any]:
        scanning = [stage for stage in stages if type(stage).prepare is not Stage.prepare]
        if not scanning:
            return super().prepare(stages)
        self._start()
        if len(scanning) < 2 * self.workers:
            return super().prepare(stages)
        # Many short scans: a task for each stage, which scans alone, instead of many tasks for each scan.
        import ray

        task = ray.remote(num_cpus=1, max_retries=3, retry_exceptions=[OSError])(_prepare)
        flying = {id(stage): task.remote(stage) for stage in scanning}
        try:
            found = dict(zip(flying, ray.get(list(flying.values())), strict=True))
        except ray.exceptions.RayError as error:
            for reference in flying.values():
                ray.cancel(reference, force=True)
            raise _cause(error, stages[0].title) from error
        return [found[id(stage)] if id(stage) in found else stage.prepare(self) for stage in stages]

    def scan(self, function: Callable[[Item], T], items: Sequence[Item], merge: Callable[[T, T], T]) -> T:
        self._start()
        import ray

        batches = [list(items[i :: 2 * self.workers]) for i in range(2 * self.workers)]
        task = ray.remote(num_cpus=1, max_retries=3, retry_exceptions=[OSError])(_scan)
        references = [task.remote(function, batch, merge) for batch in batches if batch]
        try:
            merged: T = reduce(merge, (ray.get(reference) for reference in references))
            return merged
        except ray.exceptions.RayError as error:
            raise _cause(error, "a scan") from error

    @property
    def workers(self) -> int:
        """Processes that compute at a time."""
        import ray

        limit = self._gpus() or max(1, int(ray.cluster_resources().get("CPU", 1)))
        return min(self._workers or limit, limit)

    def _gpus(self) -> int:
        import ray

        return int(ray.cluster_resources().get("GPU", 0)) if self._wanted_device != "cpu" else 0

    def _start(self) -> None:
        if self._started:
            return
        self.progress.tell("Ray begins", logs=start(self._address, self._workers))
        self._started = True
        if self._wanted_device == "cuda" and not self._gpus():
            raise RequestError("cluster.device: expected a cluster with GPUs, found none; use device: auto or cpu.")

    def _tasks(self, work: Work, parts: Sequence[tuple[str, Part]]) -> None:
        import ray

        from coreset.distributed.parts import produce_sharing

        task = ray.remote(num_cpus=1, max_retries=3, retry_exceptions=[OSError])(produce_sharing)
        shared = [ray.put(work)]
        self._drain(parts, lambda digest, part, _: task.remote(shared, digest, part), [None] * self.workers)

    def _actors(self, work: Work, parts: Sequence[tuple[str, Part]]) -> None:
        import ray

        from coreset.distributed.parts import PartActor

        # Without GPUs they stay, as a process is slow to start, and reserve a CPU only while they work.
        stay = self._device == "cpu"
        options = {"num_cpus": 0, "scheduling_strategy": "SPREAD"} if stay else _ON_GPU
        # Restarts are counted, not tries: many a try fails within the seconds until a node is known to be dead.
        actor = ray.remote(max_restarts=3, max_task_retries=-1, **options)(PartActor)
        size = min(self.workers, len(parts))
        self._pool += [actor.remote() for _ in range(size - len(self._pool))]
        shared = [ray.put(work)]
        done = False
        try:
            with reserved([{"CPU": 1.0}] * size if stay else []):
                self._drain(
                    parts, lambda digest, part, member: member.produce.remote(shared, digest, part), self._pool[:size]
                )
            done = True
        finally:
            if not (done and stay):
                for member in self._pool:
                    ray.kill(member)
                self._pool = []

    def _drain(
        self, parts: Sequence[tuple[str, Part]], submit: Callable[[str, Part, Any], ray.ObjectRef], pool: Sequence[Any]
    ) -> None:
        """Keeps every member of the pool busy with a bounded number of parts, and fails on the first error."""
        import ray

        waiting = iter(parts)
        flying: dict[Any, tuple[Part, Any]] = {}

        def launch(member: Any) -> None:
            following = next(waiting, None)
            if following is not None:
                flying[submit(*following, member)] = (following[1], member)

        for _ in range(_FETCH):
            for member in pool:
                launch(member)
        while flying:
            self._handed_out = [part.name for part, _ in flying.values()]
            ready, _ = ray.wait(list(flying), num_returns=1)
            part, member = flying.pop(ready[0])
            try:
                ray.get(ready[0])
            except ray.exceptions.RayError:
                for reference, (_, whose) in flying.items():
                    if whose is None:
                        # Forced, for an interrupt amid an import would leave a worker behind that cannot import.
                        ray.cancel(reference, force=True)
                raise
            self.progress.advance(part.work)
            launch(member)
        self._handed_out = []

    def _data(self, work: Work, parts: Sequence[tuple[str, Part]]) -> None:
        from coreset.distributed.parts import map_parts

        for part in map_parts(work, parts):
            self.progress.advance(part.work)

    def _train(self, work: Work, parts: Sequence[tuple[str, Part]]) -> None:
        from coreset.distributed.train import NodeLost, TrainGroup

        size = max(part.workers for _, part in parts)
        if size > self.workers:
            raise RequestError(
                f"training.workers: expected at most {self.workers}, for so many processes compute at a time here, "
                f"found {size}; lower it, or give the run more CPUs or GPUs."
            )
        ranks = size * min(self.workers // size, len(parts))
        if self._group is None or not self._group.serves(ranks, size):
            self._end_group()
            self._group = TrainGroup(ranks, size, self._device)
        try:
            self._group.run(work, parts, self.progress.advance)
        except NodeLost:
            # With as many ranks as the nodes that are left have room for; what is done already is not done again.
            self._left.append(self._group)
            self._group = None
            self._train(work, parts)

    def _end_group(self) -> None:
        """Ends the workers that train, if there are any; called before anything else needs their GPUs."""
        if self._group is not None:
            self._group.close()
            self._group = None


def _prepare(stage: Stage) -> Any:
    return stage.prepare(SerialExecutor())


def _scan(function: Callable[[Item], T], items: Sequence[Item], merge: Callable[[T, T], T]) -> T:
    return reduce(merge, map(function, items))


def _cause(error: BaseException, title: str) -> CoresetError:
    """The coreset error behind what Ray wrapped around it, or a WorkError that names the stage."""
    pending = [error]
    while pending:
        found = pending.pop()
        if isinstance(found, CoresetError):
            # Ray's own subclass of it says the remote traceback too; users are told the sentence alone.
            kind: type[CoresetError] = next(k for k in type(found).__mro__ if k.__module__ == CoresetError.__module__)
            cause = getattr(found, "cause", found)
            return _noted(kind(str(cause)), cause)
        failures = getattr(found, "worker_failures", {})
        pending += [*failures.values(), *filter(None, (getattr(found, "cause", None), found.__cause__))]
    cause, name = getattr(error, "cause", None) or error, type(error).__name__
    if is_of_memory(error) or is_of_memory(cause):
        return WorkError(OUT_OF_MEMORY.format(what=title))
    if name in _DEATHS:
        return WorkError(
            f"{title}: a worker died again and again ({name}), killed from outside or by its node; log.jsonl names the "
            "folder of Ray's logs, which tell more. Run again: what was finished is kept."
        )
    way_out = "mend that and run again" if isinstance(cause, OSError) else "log.jsonl tells where"
    told = f"{title}: {type(cause).__name__}: {brief(cause)}; {way_out}: what was finished is kept."
    return _noted(WorkError(told), cause)


def _noted(error: CoresetError, cause: BaseException) -> CoresetError:
    """The error, with the notes of its cause, which name the part."""
    for note in getattr(cause, "__notes__", ()):
        error.add_note(note)
    return error

"""A whole `coreset run` on two workers against the same stages in one process; and what a shard costs."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pyarrow as pa

from benchmarks.harness import Row, alternately, apart, pinned, row
from benchmarks.watch import watch
from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Place, Stage

JOB = "jobs/al.yaml"
SOME = ("score.epoch=1", "evaluation.steps=1500", "cluster.workers=2")
"""Some minutes of work in one process."""
NONE = (
    "corpus.train=train/al32_T0[1-3]00_s?_0",
    'corpus.test={bulk: "test/al32_T0150_t0"}',
    "score.epoch=1",
    "select.proxy.steps=1",
    "evaluation.steps=1",
    "coverage.queries=100",
    "cluster.workers=2",
)
"""The same stages and networks with next to nothing to compute: what is left is start-up."""


def rows(quick: bool) -> list[Row]:
    """The run, its start-up, the run again, and the shards of a stage of many trivial parts."""
    work = NONE if quick else SOME
    rounds = 1 if quick else 2
    serial, whole, start, again, first = [], [], [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="coreset-run-") as folder:
            serial.append(apart("benchmarks.run:serially", folder=f"{folder}/serial", overrides=work)["seconds"])
            once = watch(_run(f"{folder}/run", work), pinned(), memory=False)
            whole.append(once.seconds)
            again.append(watch(_run(f"{folder}/run", work), pinned(), memory=False).seconds)
            trivial = watch(_run(f"{folder}/none", NONE), pinned(), memory=False)
            start.append(trivial.seconds)
            first.append(once.first)
    efficiency = [one / 2 / (two - idle) for one, two, idle in zip(serial, whole, start, strict=True)]
    stage = "`coreset run jobs/al.yaml`, 2 workers"
    note = (
        f"`--set {' --set '.join(work)}`. The peer is the same pipeline with the serial executor, one process with one "
        "thread. Start-up is the time of the same run with one-step trainings on five snapshots: Python, Ray, and the "
        "processes of each stage."
    )
    return [
        row(stage, "parallel efficiency beyond start-up", efficiency, unit="", at_least=0.85, note=note),
        row(stage, "start-up, of all stages", start, unit="s", at_most=35),
        row(stage, "until the first stage begins, of that", first, unit="s"),
        row(stage, "the run on the wall", whole, unit="s"),
        row(stage, "the stages one after another", serial, unit="s"),
        row(stage, "run again with nothing to do", again, unit="s", at_most=3),
        row(stage, "Ray's processes while they wait, of a core", [_waiting(quick)], unit="%", note=WAITING),
        *_shards(quick),
    ]


WAITING = (
    "What waits: the worker group, the scoring actors, the processes of tasks and reads, and Ray's own, all of which "
    "stay for the next stage. A worker of Ray looks for signals a hundred times a second."
)


def _waiting(quick: bool) -> float:
    """Per cent of a core that everything takes which a run has started, when there is nothing to do."""
    from coreset.distributed.executor import RayExecutor

    with tempfile.TemporaryDirectory(prefix="coreset-waiting-") as folder, RayExecutor("local", "cpu", 2) as executor:
        for kind in (Trivial, Acting, Learning):
            materialize(kind(8, 0), root=Path(folder), executor=executor)
        time.sleep(3.0)
        before, begin = _processor(), time.monotonic()
        time.sleep(3.0 if quick else 30.0)
        after, seconds = _processor(), time.monotonic() - begin
    return 100 * sum(taken - before.get(pid, 0.0) for pid, taken in after.items()) / seconds


def _processor() -> dict[int, float]:
    """Seconds of processor that each process below this one has taken."""
    times = {each.pid: each.cpu_times() for each in psutil.Process().children(recursive=True)}
    return {pid: taken.user + taken.system for pid, taken in times.items()}


def _run(folder: str, overrides: tuple[str, ...]) -> list[str]:
    return ["run", JOB, "--out", folder, *(word for each in overrides for word in ("--set", each))]


def serially(folder: str, overrides: list[str]) -> None:
    from coreset.session import open_session, package

    session = open_session(Path(JOB), Path(folder), None, overrides)
    with session.recorded(SerialExecutor()) as pipeline:
        package(session, pipeline.run())


@dataclass(frozen=True)
class Trivial(Stage):
    """Many shards of a few bytes."""

    name: ClassVar[str] = "trivial"
    suffix: ClassVar[str] = ".txt"

    count: int
    turn: int

    def parameters(self) -> dict[str, Any]:
        return {"count": self.count, "turn": self.turn}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part(f"part-{number:06d}") for number in range(self.count)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        path.write_text(part.name)
        return {}


@dataclass(frozen=True)
class Acting(Trivial):
    """The same by actors."""

    name: ClassVar[str] = "acting"
    place: ClassVar[Place] = "actor"


@dataclass(frozen=True)
class Learning(Trivial):
    """The same by workers that train, which read through Ray Data."""

    name: ClassVar[str] = "learning"
    place: ClassVar[Place] = "train"

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        read = context.read(lambda number: pa.table({"number": [number]}), range(4))
        path.write_text(part.name)
        return {"rows": sum(len(table) for table in read)}


def _shards(quick: bool) -> list[Row]:
    """Time per shard beyond that of its files: as many of them, as large, written and synced with nothing around."""
    from coreset.distributed.executor import RayExecutor

    count = 50 if quick else 1000
    turns = iter(range(10_000))
    with tempfile.TemporaryDirectory(prefix="coreset-shards-") as made, RayExecutor("local", "cpu", 2) as executor:
        folder = Path(made)

        def bare() -> None:
            _files(folder / f"bare-{next(turns)}", count)

        def serial() -> None:
            materialize(Trivial(count, next(turns)), root=folder, executor=SerialExecutor())

        def on_ray() -> None:
            materialize(Trivial(count, next(turns)), root=folder, executor=executor)

        bare_s, serial_s, ray_s = alternately(bare, serial, on_ray, rounds=2 if quick else 5)
    stage = f"a stage of {count} shards of a few bytes"
    note = (
        "Beyond the peer: two files a shard (it and its record), each written under another name, synced, renamed, and "
        "its folder synced. On Ray two workers share the syncs."
    )
    return [
        row(stage, "in one process, per shard", 1e3 * (serial_s - bare_s) / count, unit="ms", at_most=5, note=note),
        row(stage, "two workers of Ray, per shard", 1e3 * (ray_s - bare_s / 2) / count, unit="ms", at_most=5),
        row(stage, "the storage's own sync, per shard", 1e3 * bare_s / count, unit="ms"),
    ]


def _files(folder: Path, count: int) -> None:
    """What atomic writes ask of the storage, and no more."""
    (folder / "records").mkdir(parents=True)
    folders = {each: os.open(each, os.O_RDONLY) for each in (folder, folder / "records")}
    for number in range(count):
        for each, descriptor in folders.items():
            temporary = each / f".tmp-{number}"
            with temporary.open("wb") as file:
                file.write(b"0" * 200)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(each / f"part-{number}")
            os.fsync(descriptor)
    for descriptor in folders.values():
        os.close(descriptor)

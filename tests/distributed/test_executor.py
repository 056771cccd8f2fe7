"""Ray runs the same parts as the serial executor, in the places that the design names."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import ray

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize_all
from coreset.artifacts.stage import Context, Part, Place, Scanner, Stage
from coreset.distributed import executor
from coreset.distributed.executor import RayExecutor
from coreset.errors import DataError, WorkError


def table_of(number: int) -> pa.Table:
    if number < 0:
        raise DataError(f"request {number}: expected a number of at least 0")
    features = np.full((50, 3), number, np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), 3)
    return pa.table({"features": column, "density": np.arange(50, dtype=np.float32)})


@dataclass(frozen=True)
class Probe(Stage):
    """Writes what it saw: where it ran, and what it read in which order."""

    name: ClassVar[str] = "probe"
    suffix: ClassVar[str] = ".json"

    number: int
    requests: tuple[int, ...] = ()
    fail: str = ""

    def parameters(self) -> dict[str, Any]:
        return {"number": self.number, "requests": list(self.requests), "place": self.place, "fail": self.fail}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part(f"part-{i}", i) for i in range(3)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        if self.fail == "data" and part.payload == 1:
            raise DataError("part 1: expected a good density, found a bad one; replace it.")
        if self.fail == "bug" and part.payload == 1:
            raise ZeroDivisionError("a bug")
        if self.fail == "always" and part.payload == 1:
            os.kill(os.getpid(), 9)
        if self.fail == "kill" and not Path(os.environ["PROBE_FLAG"]).exists():
            Path(os.environ["PROBE_FLAG"]).touch()
            os.kill(os.getpid(), 9)
        seen: list[float] = []
        for rows in context.read(table_of, list(self.requests)):
            seen += rows.column("features").combine_chunks().flatten().to_numpy()[::150].tolist()
        context.advance(1.0)
        path.write_text(json.dumps({"value": part.payload * self.number, "seen": seen}))
        return {"threads": os.environ.get("OMP_NUM_THREADS", "")}


@dataclass(frozen=True)
class ActorProbe(Probe):
    place: ClassVar[Place] = "actor"


@dataclass(frozen=True)
class TrainProbe(Probe):
    place: ClassVar[Place] = "train"


@dataclass(frozen=True)
class DataProbe(Probe):
    place: ClassVar[Place] = "data"


@dataclass(frozen=True)
class Scanning(Probe):
    def prepare(self, scanner: Scanner) -> int:
        raise AssertionError("no task of its own")


PLACES = [Probe, ActorProbe, TrainProbe, DataProbe]


def contents(folder: Path) -> dict[str, Any]:
    return {file.name: json.loads(file.read_bytes()) for file in folder.glob("part-*.json")}


@pytest.mark.ray
@pytest.mark.parametrize("probe", PLACES)
def test_every_place_computes_what_the_serial_executor_does(
    probe: type[Probe], ray_executor: RayExecutor, tmp_path: Path
) -> None:
    requests = (5, 2, 9, 2, 7) if probe is TrainProbe else ()
    stages = [probe(number, requests) for number in (2, 3)]
    remote = materialize_all(stages, root=tmp_path / "ray", executor=ray_executor)
    serial = materialize_all(stages, root=tmp_path / "serial", executor=SerialExecutor())
    for one, other in zip(remote, serial, strict=True):
        assert contents(one.folder) == contents(other.folder)
        assert [shard["figures"]["threads"] for shard in one.shards] == ["1"] * 3


@pytest.mark.ray
def test_a_train_worker_reads_through_ray_data_in_the_order_of_the_requests(
    ray_executor: RayExecutor, tmp_path: Path
) -> None:
    requests = tuple(np.random.default_rng(0).permutation(12).tolist())
    (artifact,) = materialize_all([TrainProbe(1, requests)], root=tmp_path, executor=ray_executor)
    assert all(found["seen"] == list(requests) for found in contents(artifact.folder).values())


@pytest.mark.ray
@pytest.mark.parametrize("probe", PLACES)
def test_a_coreset_error_arrives_as_itself(probe: type[Probe], ray_executor: RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^part 1: expected a good density, found a bad one; replace it\.\npart 'part-1' of "
    ):
        materialize_all([probe(1, fail="data")], root=tmp_path, executor=ray_executor)


@pytest.mark.ray
@pytest.mark.parametrize("probe", [Probe, ActorProbe])
def test_any_other_error_names_the_stage(probe: type[Probe], ray_executor: RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"probe: .*ZeroDivisionError"):
        materialize_all([probe(1, fail="bug")], root=tmp_path, executor=ray_executor)


@pytest.mark.ray
def test_actors_have_gpus_for_themselves_and_end_with_their_stage(
    ray_executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on GPUs, with CPUs in their place."""
    ended: list[bool] = []
    monkeypatch.setattr(executor, "_ON_GPU", {"num_cpus": 1.0})
    monkeypatch.setattr(ray_executor, "_pool", [])
    monkeypatch.setattr(RayExecutor, "_device", "cuda")
    monkeypatch.setattr(RayExecutor, "_end_group", lambda self: ended.append(True))
    for fail in ("", "data"):
        with pytest.raises(DataError, match="part 1") if fail else nullcontext():
            (made,) = materialize_all([ActorProbe(4, fail=fail)], root=tmp_path, executor=ray_executor)
        assert ended.pop()
    (alone,) = materialize_all([ActorProbe(4)], root=tmp_path / "serial", executor=SerialExecutor())
    assert contents(made.folder) == contents(alone.folder)
    for _ in range(600):
        if ray.available_resources().get("CPU") == 2:
            return
        time.sleep(0.1)
    pytest.fail("actors keep their CPUs")


@pytest.mark.ray
def test_a_scan_merges_every_item_once(ray_executor: RayExecutor) -> None:
    items = list(range(37))
    assert ray_executor.scan(lambda item: {item: 1}, items, lambda a, b: {**a, **b}) == dict.fromkeys(items, 1)
    assert ray_executor.scan(lambda item: item, items, lambda a, b: a + b) == sum(items)


def test_many_scans_are_tasks_of_the_stages_that_scan_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for Ray, of which the third task fails: the processes of the others are ended."""
    cancelled: list[int] = []
    submitted: list[int] = []
    fail: set[int] = set()

    class RayError(Exception):
        pass

    def get(references: list[int]) -> list[int]:
        if fail & set(references):
            raise RayError("no worker")
        return [10 * reference for reference in references]

    class Task:
        def remote(self, stage: Scanning) -> int:
            submitted.append(stage.number)
            return stage.number

    stand_in = SimpleNamespace(
        remote=lambda **options: lambda function: Task(),
        get=get,
        cancel=lambda reference, force: cancelled.append(reference) if force else None,
        exceptions=SimpleNamespace(RayError=RayError),
    )
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    monkeypatch.setattr(RayExecutor, "_start", lambda self: None)
    monkeypatch.setattr(RayExecutor, "workers", 2)
    stages = [Scanning(number) if number % 2 else Probe(number) for number in range(9)]
    assert RayExecutor().prepare(stages) == [None, 10, None, 30, None, 50, None, 70, None]
    assert submitted == [1, 3, 5, 7]
    fail.add(5)
    with pytest.raises(WorkError, match="probe: RayError: no worker"):
        RayExecutor().prepare(stages)
    assert cancelled == [1, 3, 5, 7]


ENDED_BEFORE = """
import ray
from coreset.distributed.executor import RayExecutor
from coreset.distributed.train import TrainGroup

with RayExecutor(address="local", workers=1) as executor:
    assert executor.scan(int, range(5), lambda a, b: a + b) == 10
    executor._group = object.__new__(TrainGroup)  # as one that was started, and is gone
    ray.shutdown()
assert not ray.is_initialized()
"""


@pytest.mark.ray
def test_where_somebody_has_ended_ray_nothing_is_asked_of_it() -> None:
    subprocess.run([sys.executable, "-c", ENDED_BEFORE], check=True, timeout=300)


@pytest.mark.ray
def test_a_part_that_kills_its_actor_every_time_ends_the_run(ray_executor: RayExecutor, tmp_path: Path) -> None:
    """Tries are not counted, for many fail while a node is lost; restarts are."""
    with pytest.raises(WorkError, match=r"a worker died again and again \(ActorDiedError\)"):
        materialize_all([ActorProbe(1, fail="always")], root=tmp_path, executor=ray_executor)

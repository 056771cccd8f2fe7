"""Teams of Ray Train workers: several processes train one network; they fail together, and end together."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize_all
from coreset.artifacts.stage import Context, Part, Place, Stage
from coreset.corpus.split import split
from coreset.corpus.store import Corpus
from coreset.distributed import train
from coreset.distributed.executor import RayExecutor
from coreset.distributed.queue import Queue
from coreset.distributed.train import NodeLost, TrainGroup
from coreset.errors import DataError, RequestError, WorkError
from coreset.learning.network import load
from coreset.numerics.descriptors import Descriptor
from coreset.stages.training import Length, Training

SETTINGS = {
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "batch": 32,
    "window": 200,
    "average": 0.8,
    "checks": 4,
    "keep": "best",
}


@pytest.fixture
def training_of(small_corpus: Corpus) -> Callable[..., Training]:
    def make(seed: str, **settings: Any) -> Training:
        parts = split(small_corpus, "job.yaml", train="train/*", tests={"bulk": "test/*"}, validation=0.4)
        network = {"hidden": [8], "activation": "gelu", "output": "relu"}
        descriptor = Descriptor(neighbours=5, distances=True)
        given = SETTINGS | settings
        return Training(parts.train, descriptor, network, given, Length(epochs=3), seed, parts.validation, cache=1.0)

    return make


def weights(path: Path) -> torch.Tensor:
    return torch.cat([parameter.detach().ravel() for parameter in load(path)[0].network.parameters()])


@pytest.mark.ray
def test_two_workers_train_what_one_does_and_the_same_bytes_again(
    training_of: Callable[..., Training], ray_executor: RayExecutor, tmp_path: Path
) -> None:
    seeds = [training_of(seed, workers=2) for seed in "01"]
    first, again = (materialize_all(seeds, root=tmp_path / root, executor=ray_executor) for root in ("a", "b"))
    alone = materialize_all([training_of(seed) for seed in "01"], root=tmp_path / "c", executor=SerialExecutor())
    for made, repeated, one in zip(first, again, alone, strict=True):
        assert made.digest != one.digest
        assert made.path("model").read_bytes() == repeated.path("model").read_bytes()
        torch.testing.assert_close(weights(made.path("model")), weights(one.path("model")), rtol=1e-3, atol=1e-4)
        found, expected = made.shards[0]["figures"], one.shards[0]["figures"]
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
        assert [found[name] for name in ("points", "steps", "redrawn", "kept_step")] == [
            expected[name] for name in ("points", "steps", "redrawn", "kept_step")
        ]


def test_a_team_is_not_played_by_one_process(training_of: Callable[..., Training], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"training\.workers: expected 1, .* found 2"):
        materialize_all([training_of("0", workers=2)], root=tmp_path, executor=SerialExecutor())


@dataclass(frozen=True)
class Pair(Stage):
    """Two processes agree on something again and again; told to, the second one fails or dies in the middle."""

    name: ClassVar[str] = "pair"
    place: ClassVar[Place] = "train"
    suffix: ClassVar[str] = ".txt"

    fail: str = ""
    workers: int = 2

    def parameters(self) -> dict[str, Any]:
        return {"fail": self.fail, "workers": self.workers}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part(f"part-{i}", i, workers=self.workers) for i in range(3)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        said = context.team.gathered((part.payload, context.team.rank, os.getpid(), threads()))
        if part.payload == 1 and context.team.rank == 1 and self.fail:
            if self.fail == "data":
                raise DataError("part 1: expected a good density, found a bad one; replace it.")
            if not Path(self.fail).exists():
                Path(self.fail).touch()
                os.kill(os.getpid(), 9)
        assert context.team.agreed(context.team.rank) == 0
        path.write_text(str([(number, rank) for number, rank, _, _ in said]))
        context.advance(1.0)
        return {"processes": len({pid for _, _, pid, _ in said}), "threads": [each for *_, each in said]}


def threads() -> list[int]:
    """Of torch, numba, FAISS, and of every pool of BLAS and OpenMP that is loaded."""
    import faiss
    import numba
    from threadpoolctl import threadpool_info

    pools = [pool["num_threads"] for pool in threadpool_info()]
    return [torch.get_num_threads(), numba.get_num_threads(), faiss.omp_get_max_threads(), *pools]


@pytest.mark.ray
def test_ranks_work_on_a_part_together_with_one_thread_each_and_one_writes_it(
    ray_executor: RayExecutor, tmp_path: Path
) -> None:
    (made,) = materialize_all([Pair()], root=tmp_path, executor=ray_executor)
    assert [(made.folder / f"part-{i}.txt").read_text() for i in range(3)] == [str([(i, 0), (i, 1)]) for i in range(3)]
    assert [shard["figures"]["processes"] for shard in made.shards] == [2] * 3
    assert {each for shard in made.shards for rank in shard["figures"]["threads"] for each in rank} == {1}


@pytest.mark.ray
def test_an_error_of_one_rank_ends_its_team_at_once(ray_executor: RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^part 1: expected a good density, found a bad one; replace it\.\npart 'part-1' of "
    ):
        materialize_all([Pair(fail="data")], root=tmp_path, executor=ray_executor)


@pytest.mark.ray
def test_a_rank_that_is_killed_is_started_again_with_its_team(ray_executor: RayExecutor, tmp_path: Path) -> None:
    stage = Pair(fail=str(tmp_path / "killed"))
    (made,) = materialize_all([stage], root=tmp_path, executor=ray_executor)
    assert Path(stage.fail).exists()
    assert [(made.folder / f"part-{i}.txt").read_text() for i in range(3)] == [str([(i, 0), (i, 1)]) for i in range(3)]


@pytest.mark.ray
def test_a_team_that_is_larger_than_the_cluster_is_refused(ray_executor: RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"training\.workers: expected at most 2, .* found 3"):
        materialize_all([replace(Pair(), workers=3)], root=tmp_path, executor=ray_executor)


@dataclass(frozen=True)
class Alone(Stage):
    """Notes which process made each part, and what it found and left in the memory of its map."""

    name: ClassVar[str] = "alone"
    place: ClassVar[Place] = "train"
    suffix: ClassVar[str] = ".txt"

    turn: int = 0
    fail: str = ""
    count: int = 4

    def parameters(self) -> dict[str, Any]:
        return {"turn": self.turn, "fail": self.fail, "count": self.count}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part(f"part-{i}", i) for i in range(self.count)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        found = list(context.carried)
        context.carried[part.name] = True
        if self.fail == "kill" and part.payload == 1:
            os.kill(os.getpid(), 9)
        if self.fail == "bug" and part.payload == 1:
            raise ZeroDivisionError("a bug")
        if self.fail == "data":
            if part.payload == 1:
                raise DataError("part 1: expected a good density, found a bad one; replace it.")
            while True:
                context.advance(1.0)  # ends by the failure of the other
        path.write_text(str(part.payload))
        return {"pid": os.getpid(), "found": found}


def _figures(artifact: Artifact, name: str) -> list[Any]:
    return [shard["figures"][name] for shard in artifact.shards]


@pytest.mark.ray
def test_the_same_processes_train_stage_after_stage_and_let_other_stages_have_their_cpus(
    ray_executor: RayExecutor, tmp_path: Path
) -> None:
    first, second = (materialize_all([Alone(turn)], root=tmp_path, executor=ray_executor)[0] for turn in range(2))
    assert set(_figures(first, "pid")) >= set(_figures(second, "pid"))
    # What a map leaves behind is there for its own parts alone.
    assert [] in _figures(second, "found")
    # While they wait, as many tasks as there are CPUs run at a time.
    stages = [Meeting(str(tmp_path / "met"))]
    materialize_all(stages, root=tmp_path, executor=ray_executor)


@dataclass(frozen=True)
class Meeting(Stage):
    """Two parts, each of which waits for the other."""

    name: ClassVar[str] = "meeting"
    suffix: ClassVar[str] = ".txt"

    met: str = ""

    def parameters(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part("0"), Part("1")]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        Path(self.met).mkdir(exist_ok=True)
        (Path(self.met) / part.name).touch()
        for _ in range(1200):
            if len(list(Path(self.met).iterdir())) == 2:
                path.write_text("met")
                return {}
            time.sleep(0.1)
        raise DataError("the other part never came")


@pytest.mark.ray
def test_a_failure_ends_the_other_trainings_in_their_middle(ray_executor: RayExecutor, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^part 1: expected a good density, found a bad one; replace it\.\npart 'part-1' of "
    ):
        materialize_all([Alone(fail="data", count=2)], root=tmp_path, executor=ray_executor)
    assert not list(tmp_path.glob("alone-*/part-*"))


@pytest.mark.ray
@pytest.mark.parametrize(
    ("fail", "names", "why"),
    # A worker that is killed tells nothing: the other part is named too where it was under way each time.
    [("kill", "(part-0, )?part-1", "a worker died"), ("bug", "part-1", "ZeroDivisionError: a bug")],
)
def test_a_part_whose_worker_dies_again_and_again_is_named_with_the_reason(
    ray_executor: RayExecutor, tmp_path: Path, fail: str, names: str, why: str
) -> None:
    with pytest.raises(WorkError, match=rf"^{names}: begun 3 times, and ended by this: {why}$"):
        materialize_all([Alone(fail=fail, count=2)], root=tmp_path, executor=ray_executor)


IMPORTED = """
import sys
from coreset.distributed.executor import RayExecutor
with RayExecutor(address="local", workers=1) as executor:
    # By value, so that it imports nothing itself.
    print(executor.scan(lambda _: ",".join({"numpy", "pandas", "pyarrow"} - set(sys.modules)), [0], max) or "all")
"""


@pytest.mark.ray
def test_workers_import_their_libraries_before_they_can_be_interrupted() -> None:
    """In a Ray of its own, of which no worker has done anything yet."""
    told = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=300)
    assert told.stdout.split() == ["all"]


def _taken_in_turn(reads: str, teams: int) -> list[list[str]]:
    """What each team makes of parts that read these, if all take equally long."""

    async def drive() -> list[list[str]]:
        queue = Queue()
        await queue.offer(["work"], [("digest", Part(f"{each}{i}", reads=each)) for i, each in enumerate(reads)])
        made: list[list[str]] = [[] for _ in range(teams)]
        finished: list[int | None] = [None] * teams
        for turn in range(len(reads)):
            team = turn % teams
            taken = await queue.take(team, 0, "life", finished[team])
            assert taken is not None
            made[team].append(taken.part.name)
            finished[team] = taken.number
        for team in range(teams):
            with suppress(TimeoutError):
                await asyncio.wait_for(queue.take(team, 0, "life", finished[team]), 0.01)
        assert (await queue.read(0.0))[1]
        return made

    return asyncio.run(drive())


def test_what_several_trainings_read_is_read_by_one_team_as_far_as_there_is_other_work() -> None:
    assert _taken_in_turn("aaabbb", 2) == [["a0", "a1", "a2"], ["b3", "b4", "b5"]]
    assert _taken_in_turn("abcabc", 2) == [["a0", "a3", "c2"], ["b1", "b4", "c5"]]
    # One alone keeps nobody waiting.
    assert _taken_in_turn("aaaa", 2) == [["a0", "a2"], ["a1", "a3"]]
    assert _taken_in_turn("aaaaab", 2) == [["a0", "a1", "a3"], ["b5", "a2", "a4"]]


@given(st.text("abc", min_size=1, max_size=12), st.integers(1, 4))
def test_every_part_is_taken_once(reads: str, teams: int) -> None:
    made = _taken_in_turn(reads, teams)
    assert sorted(name for names in made for name in names) == sorted(f"{each}{i}" for i, each in enumerate(reads))


def test_a_team_that_was_started_again_takes_up_its_own_part_and_no_other_rank_runs_ahead() -> None:
    async def drive() -> None:
        queue = Queue()
        await queue.offer(["work"], [("digest", Part(name, workers=2)) for name in ("a", "b")])
        first = await queue.take(0, 0, "one", None)
        assert first is not None and first.part.name == "a"
        assert (await queue.read(0.0))[3] == ["a"]
        assert await queue.take(0, 1, "one", None) == first
        # The team dies and starts again: its second rank waits for the first.
        waiting = asyncio.ensure_future(queue.take(0, 1, "two", None))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        again = await queue.take(0, 0, "two", None)
        assert again is not None and again.number == first.number
        assert (await waiting) == again
        assert (await queue.take(0, 0, "two", again.number)).part.name == "b"  # type: ignore[union-attr]
        await queue.take(0, 0, "three", None)
        assert await queue.take(0, 0, "four", None) is not None
        assert await queue.take(0, 0, "five", None) is None
        _, _, failure, _ = await queue.read(0.0)
        assert isinstance(failure, WorkError)
        assert str(failure) == "b: begun 3 times, and ended by this: a worker died"
        assert not await queue.report(1.0)

    asyncio.run(drive())


@given(st.lists(st.integers(2**20, 2**40), min_size=1, max_size=8), st.integers(1, 64))
def test_every_rank_finds_room_in_the_memory_of_some_node(memories: list[int], ranks: int) -> None:
    share = train._share(memories, ranks)
    assert sum(memory // share for memory in memories) >= ranks


@pytest.mark.parametrize(
    ("stand", "left", "lost"),
    [
        ({0: "a", 1: "b"}, "abc", False),
        ({0: "a", 1: "b"}, "ab", False),  # none of its ranks stood on c
        ({0: "a", 1: "b"}, "ac", True),
        ({0: "a"}, "abc", False),
        ({0: "a"}, "ab", True),  # the other was to stand on any
        ({0: "a", 1: "d"}, "abd", False),  # a node that came later
    ],
)
def test_a_group_whose_nodes_are_gone_takes_nothing_more(
    stand: dict[int, str], left: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    group = object.__new__(TrainGroup)
    group.ranks, group._nodes, group._queue = 2, dict.fromkeys("abc", 1), _queue(stand, told)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda reference: reference))
    monkeypatch.setattr(train, "_alive", lambda: dict.fromkeys(left, 1))
    with pytest.raises(NodeLost) if lost else nullcontext():
        group._expect_its_nodes()
    assert told == ["close", "abort"] * lost


def _queue(stand: dict[int, str], told: list[str], abort: Callable[[], None] = lambda: None) -> Any:
    """What a group sees of a queue whose ranks stand on these nodes; notes what it and Ray Train are told."""
    controller = SimpleNamespace(abort=SimpleNamespace(remote=lambda: (told.append("abort"), abort())))
    return SimpleNamespace(
        nodes=SimpleNamespace(remote=lambda: stand),
        close=SimpleNamespace(remote=lambda: told.append("close")),
        controllers=SimpleNamespace(remote=lambda: [controller]),
    )


@pytest.mark.parametrize("deaf", [False, True])
def test_a_group_that_lost_a_node_is_made_to_end_by_force_where_it_does_not_hear(
    deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    killed: list[Any] = []
    group = object.__new__(TrainGroup)
    group.ranks, group._nodes = 2, {"a": 1, "b": 1}
    group._queue = _queue({0: "a", 1: "b"}, [], (lambda: None) if deaf else over.set)
    (controller,) = group._queue.controllers.remote()
    group._thread = threading.Thread(target=over.wait, daemon=True)
    group._thread.start()

    def kill(actor: Any) -> None:
        killed.append(actor)
        over.set()

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda reference: reference, kill=kill))
    monkeypatch.setattr(train, "_alive", lambda: {"a": 1})
    monkeypatch.setattr(train, "_ABORT", 0.1)
    group.close()
    assert not group._thread.is_alive()
    assert killed == [controller] * deaf + [group._queue]


@pytest.mark.ray
def test_ray_train_that_waits_for_a_node_is_made_to_end_and_another_group_finds_room(
    ray_executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize_all([Alone()], root=tmp_path, executor=ray_executor)
    ray_executor._end_group()
    with monkeypatch.context() as patched:
        patched.setattr(train, "_share", lambda memories, ranks: 2 * max(memories))
        group = TrainGroup(1, 1, "cpu")
    group._thread.join(5.0)
    assert group._thread.is_alive()
    with monkeypatch.context() as patched:
        patched.setattr(train, "_alive", lambda: {})
        with pytest.raises(NodeLost):
            group.run(None, [], print)  # type: ignore[arg-type]
        group.close()
    assert not group._thread.is_alive()
    materialize_all([Alone(turn=1)], root=tmp_path, executor=ray_executor)

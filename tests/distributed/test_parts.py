"""What tasks share is unpacked once per stage, and let go with it. With a stand-in for Ray."""

import sys
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coreset.artifacts.stage import Context, Part
from coreset.distributed import parts
from coreset.distributed.executor import RayExecutor
from coreset.errors import WorkError


class Reference:
    def __init__(self, name: str) -> None:
        self._name = name

    def hex(self) -> str:
        return self._name


class Shared:
    """A work that notes what it was asked for."""

    made: list[tuple[str, str]]

    def __init__(self, made: list[tuple[str, str]]) -> None:
        self.made = made

    def __call__(self, digest: str, part: Part, context: Context) -> None:
        self.made.append((digest, part.name))


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Shared]]]:
    """Every work that was taken from the object store, as long as anyone holds it."""
    taken: list[weakref.ref[Shared]] = []
    made: list[tuple[str, str]] = []

    def get(reference: Reference) -> Shared:
        work = Shared(made)
        taken.append(weakref.ref(work))
        return work

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=get))
    monkeypatch.setattr(parts, "_unpacked", {})
    yield taken
    assert made == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("b", "2"), ("a", "3")][: len(made)]


def test_parts_of_one_stage_share_what_was_unpacked_once(unpacked: list[Any]) -> None:
    shared = [Reference("first")]
    for digest, name in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")):
        parts.produce_sharing(shared, digest, Part(name))
    assert len(unpacked) == 2
    parts.produce_sharing([Reference("second")], "b", Part("2"))
    assert len(unpacked) == 3
    # What a stage caches for its parts goes with it.
    assert [reference() is None for reference in unpacked] == [True, True, False]


def test_a_stage_that_comes_again_is_unpacked_again(unpacked: list[Any]) -> None:
    shared = [Reference("first")]
    for digest, name in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("b", "2"), ("a", "3")):
        parts.produce_sharing(shared, digest, Part(name))
    assert len(unpacked) == 3


@pytest.mark.parametrize("place", ["task", "actor", "train", "data"])
def test_the_longest_parts_come_first_and_equal_ones_in_their_order(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(RayExecutor, "_start", lambda self: None)
    for method in ("_tasks", "_actors", "_train", "_data"):
        monkeypatch.setattr(RayExecutor, method, lambda self, work, ordered: given.append([p.name for _, p in ordered]))
    wanted = [
        ("x", Part("a", work=1.0)),
        ("x", Part("b", work=3.0)),
        ("y", Part("c", work=1.0)),
        ("y", Part("d", work=3.0)),
    ]
    RayExecutor(device="cpu").map(lambda *_: None, wanted, place, "probe")
    assert given == [["b", "d", "a", "c"]]


class Told:
    """Notes in a file that it was unpacked."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked_told, (self.log,)


def _unpacked_told(log: str) -> Told:
    with Path(log).open("a") as file:
        file.write(".")
    return Told(log)


def _nothing(*_: Any) -> None:
    pass


@pytest.mark.ray
def test_a_map_of_ray_data_unpacks_its_parts_once_per_process(ray_executor: RayExecutor, tmp_path: Path) -> None:
    """Once per part, 10,000 snapshots would be unpacked 10,000 times."""
    log, count = tmp_path / "log", 40
    ray_executor.map(_nothing, [("", Part(f"{i}", Told(str(log)))) for i in range(count)], "data", "probe")
    processes = len(log.read_text()) / count
    assert 1 <= processes <= 10


def _fail(_: str, part: Part, __: Any) -> None:
    raise MemoryError if part.name == "large" else ZeroDivisionError("oops")


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "told"), [("large", "large: there was not enough memory; lower"), ("odd", "odd: ZeroDivisionError: oops$")]
)
def test_what_a_map_of_ray_data_dies_of_is_told_in_one_sentence(
    name: str, told: str, ray_executor: RayExecutor
) -> None:
    with pytest.raises(WorkError, match=f"^{told}") as caught:
        ray_executor.map(_fail, [("", Part(name))], "data", "ingestion")
    assert "\n" not in str(caught.value)
    assert "_fail" in "".join(traceback.format_exception(caught.value))

"""The noun Executor: maps a function over parts. Serial and Ray receive the same function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from coreset.artifacts.stage import Context, Part, Place, Stage
from coreset.learning.team import Team

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Item = TypeVar("Item")

Work = Callable[[str, Part, Context], None]
"""Produces the shard of one part of the stage that bears a digest."""


def which_next(wanted: Sequence[str], own: str, others: Collection[str]) -> int:
    """Which of some parts that wait, by what they read, a process takes that has read `own`, beside others.

    One that reads the same, else one of what no other process has read, else the first. So what several parts read is
    read once, as far as there is other work for the other processes.
    """
    same = (i for i, reads in enumerate(wanted) if reads and reads == own)
    new = (i for i, reads in enumerate(wanted) if reads not in others)
    return next(same, next(new, 0))


class Progress:
    """Is told what goes on; the base class says nothing."""

    def begin(self, title: str, total: float) -> None:
        """A map of `total` units begins."""

    def advance(self, units: float) -> None:
        """So many more units are done."""

    def end(self, done: bool) -> None:
        """The map has ended; `done` tells whether at its end."""

    def stall(self, seconds: float, why: str) -> None:
        """For so long nothing was done."""

    def tell(self, event: str, **known: Any) -> None:
        """Something happened that a log keeps."""

    @contextmanager
    def over(self, title: str, total: float) -> Iterator[None]:
        """What is told of the map that the block does."""
        done = False
        self.begin(title, total)
        try:
            yield
            done = True
        finally:
            self.end(done)


class Executor(ABC):
    """Runs parts somewhere, and small additive scans."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()

    def at_work(self) -> str:
        """What goes on at this moment, for somebody who sees no progress."""
        return "one process computes, part after part."

    @abstractmethod
    def map(self, work: Work, parts: Sequence[tuple[str, Part]], place: Place, title: str) -> None:
        """Calls `work(digest, part, context)` for every (digest, part); the first error ends the map."""

    def prepare(self, stages: Sequence[Stage]) -> list[Any]:
        """What the parts of each stage share, found by scans."""
        return [stage.prepare(self) for stage in stages]

    @abstractmethod
    def scan(self, function: Callable[[Item], T], items: Sequence[Item], merge: Callable[[T, T], T]) -> T:
        """Merges `function(item)` over all items; partials are small, and come in any order."""


class SerialContext:
    """Reads in this process, one request at a time."""

    device = "cpu"

    def __init__(self, advance: Callable[[float], None], carried: dict[str, Any] | None = None) -> None:
        self._advance = advance
        self.spent: dict[str, float] = {}
        self.team = Team()
        self.carried = {} if carried is None else carried

    def read(self, reader: Callable[[Any], pa.Table], requests: Sequence[Any]) -> Iterator[pa.Table]:
        return map(reader, requests)

    def advance(self, units: float) -> None:
        self._advance(units)


class SerialExecutor(Executor):
    """Everything in this process, one part after another: for tests, small files and debugging."""

    def map(self, work: Work, parts: Sequence[tuple[str, Part]], place: Place, title: str) -> None:
        with self.progress.over(title, sum(part.work for _, part in parts)):
            carried: dict[str, Any] = {}
            for digest, part in parts:
                work(digest, part, SerialContext(self.progress.advance, carried))
            carried.clear()  # not left to its owner's end: what lies in it may refer to its owner

    def scan(self, function: Callable[[Item], T], items: Sequence[Item], merge: Callable[[T, T], T]) -> T:
        partials = map(function, items)
        merged = next(partials)
        for partial in partials:
            merged = merge(merged, partial)
        return merged

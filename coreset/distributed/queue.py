"""What hands parts to the teams of ranks that train, and is told what is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from coreset.artifacts.executor import which_next
from coreset.artifacts.stage import Part
from coreset.errors import CoresetError, WorkError

_ATTEMPTS = 3
"""How often a part is begun whose workers die."""


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
        self._nodes: dict[int, str] = {}
        self._controllers: list[Any] = []
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

    async def enrol(self, rank: int, node: str) -> None:
        """A rank of the group stands on this node."""
        self._nodes[rank] = node

    async def nodes(self) -> dict[int, str]:
        """The node of every rank that has started."""
        return self._nodes

    async def control(self, controller: Any) -> None:
        """Tells which actor starts the ranks of the group, and starts them again."""
        self._controllers.append(controller)

    async def controllers(self) -> list[Any]:
        """Those that have started: none or one."""
        return self._controllers

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

    async def read(self, wait: float) -> tuple[float, bool, CoresetError | None, list[str]]:
        """The work done of what was last offered, whether that is all, the first failure, and the parts at work.

        At the end of all, or after `wait` seconds.
        """
        async with self._changed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(lambda: self._idle or self._ended), wait)
            return self._total, self._idle, self._failure, [taken.part.name for taken in self._taken.values()]

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
                self._failure = self._given_up()
        self._changed.notify_all()

    def _given_up(self) -> WorkError:
        """Names the part that told what it died of; else all that were begun as often, for any may be the one."""
        often = [each for each in self._taken.values() if each.attempts >= _ATTEMPTS - 1]  # some are yet to be counted
        suspects = [each for each in often if each.trouble] or often
        names = ", ".join(sorted(each.part.name for each in suspects))
        why = suspects[0].trouble or "a worker died"
        return WorkError(f"{names}: begun {_ATTEMPTS} times, and ended by this: {why}")

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

"""What a person sees while it works: bars on a terminal, plain lines with a timestamp otherwise."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coreset.artifacts.executor import Progress as Listener

_EVERY = 10.0
"""Seconds between two lines of one stage where there is no terminal."""


def progress_on(console: Console) -> Listener:
    """Bars if the console is a terminal, lines otherwise."""
    return Bars(console) if console.is_terminal else Lines(console)


class Lines(Listener):
    """One line when a stage begins and ends, and one every ten seconds between."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, title: str, total: float) -> None:
        self._title, self._total, self._done = title, total, 0.0
        self._began = self._told = time.monotonic()
        self._say("begins")

    def advance(self, units: float) -> None:
        self._done += units
        if time.monotonic() - self._told > _EVERY:
            self._say(f"{min(1.0, self._done / self._total):.0%}" if self._total else "at work")

    def end(self, done: bool) -> None:
        self._say(f"{'ends' if done else 'stops'} after {time.monotonic() - self._began:.1f} s")

    def stall(self, seconds: float, why: str) -> None:
        self._say(f"nothing was finished for {seconds:.0f} s: {why}")

    def _say(self, what: str) -> None:
        self._told = time.monotonic()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._console.print(f"{stamp}  {self._title}: {what}", highlight=False, soft_wrap=True)


class Bars(Listener):
    """One bar per stage, with the time it took or will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._task = TaskID(0)

    def begin(self, title: str, total: float) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<18}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bars.start()
        self._task = self._bars.add_task(title, total=total)

    def advance(self, units: float) -> None:
        if self._bars is not None:
            self._bars.advance(self._task, units)

    def stall(self, seconds: float, why: str) -> None:
        self._console.print(f"nothing was finished for {seconds:.0f} s: {why}", highlight=False, soft_wrap=True)

    def end(self, done: bool) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

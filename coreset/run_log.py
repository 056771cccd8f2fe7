"""What happened in a run, one line of JSON per event, for whoever looks for what went wrong.

Every line has `time` (UTC, ISO 8601) and `event`; a failure also has what to do next. The log grows from run to run.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coreset.artifacts.executor import Progress

PATIENCE = 120.0
"""Seconds without progress after which a run says so; then after twice as long, and so on."""


class RunLog:
    """Appends events to a file. One that cannot be written ends no run: what fails on the disk fails elsewhere too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        written = path.read_bytes() if path.exists() else b""
        self._lines = written.count(b"\n")
        if written and not written.endswith(b"\n"):
            self._append("")  # ends a line that a killed run has torn

    def tell(self, event: str, **known: Any) -> int:
        """Writes one event; returns the number of its line."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        return self._append(json.dumps({"time": stamp, "event": event, **known}, ensure_ascii=False))

    def _append(self, line: str) -> int:
        with self._lock, suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            self._lines += 1
        return self._lines


def last_event(path: Path) -> dict[str, Any] | None:
    """The last whole line of a log; None where there is none."""
    try:
        *_, last, _ = (b"\n" + path.read_bytes()).rsplit(b"\n", 2)
        found: dict[str, Any] = json.loads(last)
    except (OSError, ValueError):
        return None
    return found


class Logged(Progress):
    """Tells another listener and a log; and both when nothing was done for long, with `why`."""

    def __init__(self, log: RunLog, listener: Progress, why: Callable[[], str], patience: float = PATIENCE) -> None:
        self._log = log
        self._listener = listener
        self._why = why
        self._patience = patience
        self._ended = threading.Event()
        self._watch: threading.Thread | None = None

    def begin(self, title: str, total: float) -> None:
        self._title, self._began = title, time.monotonic()
        self._fed, self._told = self._began, self._patience
        self._log.tell("stage begins", stage=title)
        self._listener.begin(title, total)
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, args=(self._ended,), daemon=True)
        self._watch.start()

    def advance(self, units: float) -> None:
        if units > 0:
            self._fed, self._told = time.monotonic(), self._patience
        self._listener.advance(units)

    def stall(self, seconds: float, why: str) -> None:
        self._log.tell("no progress", stage=self._title, seconds=round(seconds, 3), why=why)
        self._listener.stall(seconds, why)

    def tell(self, event: str, **known: Any) -> None:
        self._log.tell(event, **known)

    def end(self, done: bool) -> None:
        self._ended.set()
        if self._watch is not None:
            self._watch.join()
        seconds = round(time.monotonic() - self._began, 3)
        self._log.tell("stage ends" if done else "stage stops", stage=self._title, seconds=seconds)
        self._listener.end(done)

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(self._patience / 20):
            idle = time.monotonic() - self._fed
            if idle > self._told:
                self._told = 2 * idle
                self.stall(idle, self._why())

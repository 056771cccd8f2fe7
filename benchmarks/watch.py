"""Watches a `coreset` command from outside: how long each of its stages takes, and what memory its processes hold."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_BEGINS = re.compile(r"^\S+ \S+  (?P<title>.+): begins$")
_ENDS = re.compile(r"^\S+ \S+  (?P<title>.+): ends after ")
_EVERY = 0.25
"""Seconds between two looks at the memory."""


@dataclass
class Watched:
    """What was seen of one command: seconds, and the most bytes held by all its processes and by the driver alone.

    Memory is the proportional set size: pages that several processes share count once.
    """

    seconds: float = 0.0
    first: float = 0.0
    """Seconds until the first stage began."""
    peak: int = 0
    driver: int = 0
    stages: dict[str, Watched] = field(default_factory=dict)


def watch(command: Sequence[str], cwd: Path, environment: dict[str, str]) -> Watched:
    """Runs a command to its end; raises CalledProcessError where it fails."""
    seen, current = Watched(), [""]
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    sampler = threading.Thread(target=_sample, args=(process.pid, seen, current), daemon=True)
    sampler.start()
    assert process.stderr is not None
    last: list[str] = []
    begun = 0.0
    for line in process.stderr:
        now = time.perf_counter() - begin
        last = [*last[-20:], line]
        if begins := _BEGINS.match(line.strip()):
            current[0], begun = begins["title"], now
            seen.first = seen.first or now
            seen.stages.setdefault(begins["title"], Watched())
        elif (ends := _ENDS.match(line.strip())) and ends["title"] in seen.stages:
            seen.stages[ends["title"]].seconds += now - begun
            current[0] = ""
    status = process.wait()
    seen.seconds = time.perf_counter() - begin
    sampler.join()
    if status:
        raise subprocess.CalledProcessError(status, command, stderr="".join(last))
    return seen


def _sample(pid: int, seen: Watched, current: list[str]) -> None:
    """Notes the memory of a process and its descendants until it ends."""
    try:
        root = psutil.Process(pid)
        while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
            driver, total = _held(root), 0
            for child in root.children(recursive=True):
                total += _held(child)
            places = [seen, *([seen.stages[current[0]]] if current[0] in seen.stages else [])]
            for place in places:
                place.peak, place.driver = max(place.peak, driver + total), max(place.driver, driver)
            time.sleep(_EVERY)
    except psutil.NoSuchProcess:
        pass


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0  # it ended just now

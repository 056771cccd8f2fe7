"""`coreset` run as a user runs it, watched from outside: how long each stage lasts, and what its processes hold.

As a program, `python -m benchmarks.watch VERB …` is the command line of this tree.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import psutil

from benchmarks.harness import ROOT

_LINE = re.compile(r"^\S+ \S+  (.+): (begins|ends after .*)$")
_EVERY = 0.5
"""Seconds between two looks at the memory."""


@dataclass
class Watched:
    """What was seen of one command, or of one of its stages; memory is the most that was seen, in bytes."""

    seconds: float = 0.0
    together: int = 0
    """Held by the command and all processes that it started; what they share counts once."""
    driver: int = 0
    """Held by the command's own process."""
    worker: int = 0
    """Held by the largest worker that was at work."""


@dataclass
class Run(Watched):
    """One command, and its stages by title."""

    first: float = 0.0
    """Seconds until the first stage began: Python, the job file, Ray."""
    stages: dict[str, Watched] = field(default_factory=dict)


def watch(arguments: list[str], environment: dict[str, str], memory: bool = True) -> Run:
    """Runs `coreset` with these arguments, in this tree, to its end; its lines of progress go on to stderr.

    Looking at the memory of all processes takes from what they have, so whoever asks for seconds alone leaves it out.
    """
    found, begin = Run(), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watch", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    now: list[str] = []
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, now, found, ended), daemon=True)
    if memory:
        sampler.start()
    assert process.stderr is not None
    began = 0.0
    for line in process.stderr:
        sys.stderr.write(line)
        told = _LINE.match(line.rstrip("\n"))
        if told is None:
            continue
        seconds = time.monotonic() - begin
        if told[2] == "begins":
            began = seconds
            found.first = found.first or seconds
            found.stages.setdefault(told[1], Watched())
            now[:] = [told[1]]
        else:
            now.clear()
            found.stages[told[1]].seconds += seconds - began
    status = process.wait()
    found.seconds = time.monotonic() - begin
    if memory:
        ended.set()
        sampler.join()
    if status:
        raise subprocess.CalledProcessError(status, arguments)
    return found


def _sample(pid: int, now: list[str], found: Run, ended: threading.Event) -> None:
    """Notes what is held, of the whole command and of the stage that goes on."""
    parent = psutil.Process(pid)
    used: dict[int, float] = {}
    while not ended.wait(_EVERY):
        try:
            children = parent.children(recursive=True)
            driver = parent.memory_full_info()
        except psutil.Error:
            return
        together, worker = driver.pss, 0
        for child in children:
            try:
                held, name, times = child.memory_full_info(), child.cmdline()[:1], child.cpu_times()
            except psutil.Error:
                continue  # it ended just now
            together += held.pss
            before, used[child.pid] = used.get(child.pid, 0.0), times.user + times.system
            if name and name[0].startswith("ray::") and used[child.pid] - before > _EVERY / 10:
                worker = max(worker, held.rss)
        for each in (found, *(found.stages[title] for title in list(now))):
            each.together = max(each.together, together)
            each.driver, each.worker = max(each.driver, driver.rss), max(each.worker, worker)


if __name__ == "__main__":
    from coreset.cli import main

    main()

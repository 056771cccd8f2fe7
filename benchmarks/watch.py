"""`coreset` run as a user runs it, watched from outside: how long each stage lasts, and what its workers hold.

As a program, `python -m benchmarks.watch VERB …` is the command line of this tree.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import psutil

from benchmarks.harness import ROOT

_LINE = re.compile(r"^\S+ \S+  (.+): (begins|ends after .*)$")
_EVERY = 0.5
"""Seconds between two looks at the memory."""


@dataclass
class Watched:
    """What was seen of one command."""

    seconds: float = 0.0
    first: float = 0.0
    """Seconds until the first stage began: Python, the job file, Ray."""
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    """Title of each stage, when it began and when it ended, in seconds since the start."""
    held: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Bytes that one worker held resident at most, by the title of the stage."""


def watch(arguments: list[str], environment: dict[str, str]) -> Watched:
    """Runs `coreset` with these arguments to its end; its lines of progress go on to stderr."""
    found, begin = Watched(), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watch", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    now: list[str] = []
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, now, found.held, ended), daemon=True)
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
            now[:] = [told[1]]
        else:
            now.clear()
            found.stages.append((told[1], began, seconds))
    status = process.wait()
    found.seconds = time.monotonic() - begin
    ended.set()
    sampler.join()
    if status:
        raise subprocess.CalledProcessError(status, arguments)
    return found


def _sample(pid: int, now: list[str], held: dict[str, float], ended: threading.Event) -> None:
    """Notes the largest worker of the stage that goes on."""
    parent = psutil.Process(pid)
    while not ended.wait(_EVERY):
        titles = list(now)
        if not titles:
            continue
        try:
            children = parent.children(recursive=True)
        except psutil.NoSuchProcess:
            return
        for child in children:
            try:
                name = child.cmdline()[:1]
                if name and name[0].startswith("ray::") and "IDLE" not in name[0]:
                    held[titles[0]] = max(held[titles[0]], child.memory_info().rss)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue


if __name__ == "__main__":
    from coreset.cli import main

    main()

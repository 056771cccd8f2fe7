"""The serial part: children that are forked from a warm process die at drawn points, and the next one goes on."""

from __future__ import annotations

import importlib
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from job import Reference, finished, run
from points import Points, lose

_KILLS = 8
"""Most kills of one folder."""
_TIMED = 5
"""Every so-many-th chain is killed at instants, the others at points."""
_LONGEST = 300.0
"""Seconds after which a child is held to hang."""


@dataclass(frozen=True)
class Kill:
    """When a point is passed for the `number`-th time; or at a moment, a share of an undisturbed run's time."""

    point: str = ""
    number: int = 0
    power: str = ""
    moment: float = 0.0

    def __str__(self) -> str:
        if not self.point:
            return f"after {self.moment:.0%} of the time"
        return f"{self.point} (power: {self.power} lost)" if self.power else self.point


@dataclass
class Tally:
    """What a part of the matrix has come to."""

    kills: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    """Finished shards that stood at a kill, and were there at the end as they were; of one folder, each counts once."""
    failures: list[str] = field(default_factory=list)


@dataclass
class Undisturbed:
    """One run that nobody kills."""

    job: Path
    reference: Reference
    points: list[tuple[str, str]]
    """What it passes in turn: kind and name."""
    seconds: float

    @property
    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.points}


def undisturbed(job: Path, folder: Path) -> Undisturbed:
    """Makes the reference in children, and warms this process with all that they import."""
    report = folder / "report.json"
    _child(job, folder / "first", Points(folder / "first", report))
    for module in json.loads(report.read_bytes())["modules"]:
        with suppress(Exception):
            importlib.import_module(module)
    know_software()
    begin = time.monotonic()
    _child(job, folder / "reference", Points(folder / "reference", report))
    seconds = time.monotonic() - begin
    reference = Reference(folder / "reference")
    if faults := reference.faults(folder / "first"):
        raise SystemExit(f"two undisturbed runs differ: {faults}")
    return Undisturbed(job, reference, json.loads(report.read_bytes())["passed"], seconds)


def know_software() -> None:
    """Looks up the versions of the libraries here, not in every child for every manifest, where it takes most time."""
    from coreset.artifacts import manifest, materialize

    known = manifest.software()
    materialize.software = lambda: known


def drawn(seed: int, number: int, points: list[tuple[str, str]]) -> list[Kill]:
    """The kills of one chain: a function of the seed, its number and what an undisturbed run passes."""
    rng = random.Random(f"{seed}/serial/{number}")
    kills = rng.randint(2, _KILLS)
    if number % _TIMED == _TIMED - 1:
        return [Kill(moment=rng.random()) for _ in range(kills)]
    kinds = sorted({kind for kind, _ in points})
    places = set()
    for _ in range(kills):
        # Rare points, such as the swap of the coreset, as often as those that every shard passes.
        kind = rng.choice(kinds) if rng.random() < 0.5 else None
        places.add(rng.choice([place for place, (found, _) in enumerate(points) if kind in (None, found)]))
    drawn, begin = [], 0
    for place in sorted(places):
        point = points[place][1]
        times = sum(name == point for _, name in points[begin : place + 1])
        drawn.append(Kill(point, times, rng.choice(["", "contents", "names"])))
        begin = place + 1
    return drawn


def chain(base: Undisturbed, seed: int, number: int, folder: Path, tally: Tally) -> None:
    """Kills a run again and again, lets it finish, and compares what it leaves."""
    out, report = folder / f"serial-{number}", folder / f"serial-{number}.json"
    died: list[str] = []
    standing: dict[str, tuple[int, int]] = {}
    faults: list[str] = []
    for kill in [*drawn(seed, number, base.points), None]:
        with suppress(FileNotFoundError):
            report.unlink()
        wait = kill.moment * base.seconds if kill and not kill.point else None
        points = Points(out, report, kill.point, kill.number) if kill else Points(out, report)
        status = _child(base.job, out, points, wait)
        if kill and status == -signal.SIGKILL:
            died.append(str(kill))
            said = json.loads(report.read_bytes()) if kill.point else {"killed": "at a moment"}
            tally.kills[said["killed"]] += 1
            if kill.power:
                faults += [f"{path}: stood, and was lost with the power" for path in lose(out, said, kill.power)]
        elif status != 0:
            faults.append(f"a run ended with {status} after the kills {died}: {out}.log")
            break  # its folder is not whole, which is told below
        now = finished(out / "artifacts")
        # What was lost with the power has been told above.
        faults += [f"{name}: was finished, and made again" for name in standing if now.get(name, 0) != standing[name]]
        standing |= now
    tally.kept += len(standing)
    faults += base.reference.faults(out)
    print(f"serial {number}: {len(died)} kills, {'FAILED' if faults else 'whole'}: {'; '.join(died)}", flush=True)
    if faults:
        tally.failures.append(f"serial:{number}")
        print("\n".join(f"  {fault}" for fault in faults[:20]), flush=True)
    else:
        shutil.rmtree(out)


def chains(base: Undisturbed, seed: int, wanted: int, folder: Path, only: int | None = None) -> Tally:
    """Chains until so many kills have been survived, or one of them alone."""
    tally = Tally()
    number = 0
    while only is None and tally.kills.total() < wanted:
        chain(base, seed, number, folder, tally)
        number += 1
    if only is not None:
        chain(base, seed, only, folder, tally)
    return tally


def forked(log: Path, work: Callable[[], object]) -> int:
    """A fork of this process that does the work and ends; what it prints goes to `log`. Returns its id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(pid: int, wait: float | None = None) -> int:
    """Waits for a child, or kills it after some seconds; its exit status, or minus its signal."""
    handle = os.pidfd_open(pid)
    try:
        done, _, _ = select.select([handle], [], [], _LONGEST if wait is None else wait)
        if not done:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(handle)
    if not done and wait is None:
        raise SystemExit(f"a run did not end within {_LONGEST:.0f} s")
    return os.waitstatus_to_exitcode(status)


def _child(job: Path, out: Path, points: Points, wait: float | None = None) -> int:
    def work() -> None:
        with points.watching():
            run(job, out)
        points.say(modules=sorted(sys.modules), passed=points.passed)

    return ended(forked(out.with_name(f"{out.name}.log"), work), wait)

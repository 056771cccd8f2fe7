"""One reader against many damaged inputs: each is the function of a seed and a number, and every outcome is judged."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
from mutations import Mutation, mutate

from coreset.errors import CoresetError

_FORK = multiprocessing.get_context("fork")

MEMORY = 2 << 30
"""Bytes that a reader may take beside what its process holds already."""
SECONDS = 10.0
"""A reader takes milliseconds; one that takes so long hangs."""
SILENCE = 180.0
"""Seconds after which a process that tells nothing is ended; it begins with seconds of imports."""

RIGHT, EXPLAINED, CHECKSUM, REFUSED = "right", "explained", "checksum", "refused"
OUTCOMES = (RIGHT, EXPLAINED, CHECKSUM, REFUSED)

SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where inputs lie: in memory, for to make and remove a million folders is most of the work on a disk."""


class TimedOut(BaseException):
    """Not an Exception, so that no reader takes it for one of its own."""


@dataclass(frozen=True)
class Target:
    """A reader: its valid input, how that is damaged, and what may come of it.

    Attributes:
        make: writes the valid input below an empty folder.
        files: what is damaged, by its path below that folder, and how.
        read: what is tried; it gives plain data.
        judge: of (folder, data, right data), where the data are not the right ones: `EXPLAINED` where the damaged
            text, read by other means, or a declared tolerance says so; `CHECKSUM` where a check that is made elsewhere
            finds the damage; anything else is told as a failure.
        restate: makes checksums agree with the damage again, as who means harm would.
        places: whether a file may also be missing, a folder, or a link.
    """

    name: str
    make: Callable[[Path], Any]
    files: Mapping[str, tuple[Mutation, ...]]
    read: Callable[[Path], Any]
    judge: Callable[[Path, Any, Any], str] = lambda folder, data, right: "other data"
    restate: Callable[[Path], None] = lambda folder: None
    places: bool = False


@dataclass
class Tally:
    """What came of the inputs so far."""

    outcomes: Counter = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)


def same(one: Any, other: Any) -> bool:
    """Whether two data are equal bit for bit."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            type(one) is type(other)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, dict):
        return isinstance(other, dict) and [*one] == [*other] and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@contextmanager
def valid(target: Target) -> Iterator[tuple[Path, Any]]:
    """The valid input in a folder of its own, and its data."""
    with tempfile.TemporaryDirectory(prefix="coreset-fuzz-", dir=SCRATCH) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(scratch) / "input"
        folder.mkdir()
        target.make(folder)
        right = target.read(folder)
        assert same(target.read(folder), right), f"{target.name}: two readings of the valid input differ"
        yield folder, right


def damage(target: Target, folder: Path, seed: int, number: int) -> None:
    """Damages the valid input in place."""
    rng = random.Random(f"{seed} {target.name} {number}")
    name = rng.choice(list(target.files))
    path = folder / name
    if target.places and rng.random() < 0.02:
        path.unlink()
        what = rng.randrange(4)
        if what == 0:
            path.mkdir()
        elif what == 1:
            path.symlink_to(path.name)
        elif what == 2:
            path.symlink_to("/etc/passwd")
        return
    path.write_bytes(mutate(path.read_bytes(), target.files[name], rng))
    target.restate(folder)


def attempt(target: Target, folder: Path, right: Any) -> tuple[str, str]:
    """The outcome of a reading: one of `OUTCOMES` and an error's message, or "failed" and why."""
    previous = signal.signal(signal.SIGALRM, _time_out)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        data = target.read(folder)
        signal.setitimer(signal.ITIMER_REAL, 0)
        found = RIGHT if same(data, right) else target.judge(folder, data, right)
        return (found, "") if found in OUTCOMES else ("failed", f"silently different: {found}")
    except CoresetError as error:
        told = str(error)
        if str(folder) not in told:
            return "failed", f"the error names no file: {told}"
        if len(told) > 1000 or "\n" in told.strip():
            return "failed", f"the error is no short paragraph: {told[:2000]}"
        return REFUSED, told
    except TimedOut:
        return "failed", f"no end after {SECONDS:g} s"
    except Exception:
        return "failed", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _time_out(*_: Any) -> None:
    raise TimedOut


def one(target: Target, folder: Path, right: Any, seed: int, number: int, keep: Path | None = None) -> tuple[str, str]:
    """Damages, reads, and restores the valid input; a failing input is kept."""
    backup = folder.with_name("backup")
    shutil.copytree(folder, backup, symlinks=True)
    try:
        damage(target, folder, seed, number)
        outcome = attempt(target, folder, right)
        if outcome[0] == "failed" and keep is not None:
            keep_input(keep, target, seed, number, folder, outcome[1])
        return outcome
    finally:
        shutil.rmtree(folder)
        backup.rename(folder)


def keep_input(keep: Path, target: Target, seed: int, number: int, folder: Path, why: str) -> None:
    """Copies a damaged input to where it can be looked at, with what came of it."""
    place = keep / target.name / f"{seed}-{number}"
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, place, symlinks=True)
    (place / "WHY").write_text(why, errors="replace")


def in_process(target: Target, seed: int, numbers: range) -> Tally:
    """All in this process, without a limit on its memory."""
    tally = Tally()
    with valid(target) as (folder, right):
        for number in numbers:
            outcome, told = one(target, folder, right, seed, number)
            tally.outcomes[outcome] += 1
            if outcome == "failed":
                tally.failures.append((number, told))
    return tally


def in_workers(target: Target, seed: int, count: int, workers: int, keep: Path) -> Tally:
    """Shared out to processes whose memory is limited; one that dies, or does not come back, is one failure."""
    tally = Tally()
    running = [_Worker(target, seed, range(rank, count, workers), keep) for rank in range(min(workers, count))]
    while running:
        ready = wait([worker.reader for worker in running], timeout=SECONDS)
        for worker in running:
            worker.take(worker.reader in ready, tally)
        running = [worker for worker in running if worker.numbers]
    return tally


class _Worker:
    """A process, and the numbers of which it has not told the outcome yet."""

    def __init__(self, target: Target, seed: int, numbers: range, keep: Path) -> None:
        self.target, self.seed, self.numbers, self.keep = target, seed, numbers, keep
        self._start()

    def _start(self) -> None:
        self.heard = time.monotonic()
        self.reader, writer = _FORK.Pipe(duplex=False)
        arguments = (self.target, self.seed, self.numbers, self.keep, writer)
        self.process = _FORK.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        writer.close()

    def take(self, ready: bool, tally: Tally) -> None:
        """Takes the next outcome, if there is one."""
        if not ready and time.monotonic() - self.heard < SILENCE:
            return
        ended = False
        try:
            if not ready:
                self.process.kill()
                raise EOFError
            number, outcome, told = self.reader.recv()
        except EOFError:
            ended = True
            self.process.join()
            number, outcome = self.numbers[0], "failed"
            told = f"the process ended ({self.process.exitcode})" if ready else "no end, and no way to interrupt it"
            self._keep_input(told)
        self.heard = time.monotonic()
        tally.outcomes[outcome] += 1
        if outcome == "failed":
            tally.failures.append((number, told))
        self.numbers = self.numbers[1:]
        if ended and self.numbers:
            self._start()

    def _keep_input(self, why: str) -> None:
        """By another process: this one, of which workers are forked, reads nothing, and so has no threads."""
        arguments = (self.target, self.seed, self.numbers[0], self.keep, why)
        keeper = _FORK.Process(target=_damage_and_keep, args=arguments)
        keeper.start()
        keeper.join()


def _damage_and_keep(target: Target, seed: int, number: int, keep: Path, why: str) -> None:
    with valid(target) as (folder, _):
        damage(target, folder, seed, number)
        keep_input(keep, target, seed, number, folder, why)


def _work(target: Target, seed: int, numbers: range, keep: Path, results: Any) -> None:
    with valid(target) as (folder, right):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        for number in numbers:
            results.send((number, *one(target, folder, right, seed, number, keep)))
    results.close()


def what_json_says(path: Path) -> Any:
    """By Python's own reader."""
    return json.loads(path.read_bytes())

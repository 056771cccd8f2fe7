"""The part under Ray: `coreset run` on a Ray of its own, of which one process after another, or all, are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from job import LONGER, Reference, names_in, run
from runs import HERE, Run, end, end_all, environment, gone, start, two_nodes
from serial import Tally, ended, forked

WITHIN = {
    "a task": ("", ("ray::produce_sharing", "ray::_scan", "ray::_prepare", "ray::Read", "ray::IDLE")),
    "a scoring actor": ("scores- evaluation-", ("ray::PartActor",)),
    "a train worker": ("training-", ("ray::RayTrainWorker", "ray::_RayTrainWorker")),
}
"""What dies while the run goes on: during which stages, and how Ray calls such a process."""
WHOLE = ("the driver", "all processes")
NODE = "a node"
GPU = "a GPU actor"
_LONGEST = 900.0
"""Seconds after which a run is held to hang."""


@dataclass
class Kill:
    """What is killed, when so many names stand in the store, so many seconds later."""

    kind: str
    share: float
    delay: float
    due: float | None = None


@dataclass
class Matrix:
    """The settings of all chains."""

    job: Path
    folder: Path
    reference: Reference
    seed: int
    tally: Tally
    again: int = 0
    """Runs that a worker's or a node's death ended, and that were run again."""
    went_on: int = 0
    """Deaths after which the run itself went on and ended well."""


def chains(job: Path, seed: int, wanted: int, folder: Path, only: int | None = None) -> Tally:
    """Chains until so many kills have been survived, or one of them alone."""
    out = folder / "ray-reference"
    if ended(forked(folder / "ray-reference.log", lambda: run(job, out, LONGER))):
        raise SystemExit((folder / "ray-reference.log").read_text())
    matrix = Matrix(job, folder, Reference(out), seed, Tally())
    number = 0
    while only is None and matrix.tally.kills.total() < wanted:
        _chain(matrix, number)
        number += 1
    if only is not None:
        _chain(matrix, only)
    print(f"after {matrix.went_on} deaths the run went on by itself, {matrix.again} runs were run again", flush=True)
    return matrix.tally


def drawn(seed: int, number: int) -> list[Kill]:
    """The kills of one chain: a function of the seed and its number. Every fourth loses a node, every eighth a GPU."""
    rng = random.Random(f"{seed}/ray/{number}")
    if number % 8 == 5:
        return [Kill(GPU, rng.random(), 0.0)]
    last = NODE if number % 4 == 2 else WHOLE[number % 2]
    kinds = [*rng.sample(sorted(WITHIN), rng.randint(1, 3)), last]
    return [Kill(kind, 0.9 * rng.random(), rng.random() * (3.0 if kind == last else 0.5)) for kind in kinds]


def _chain(matrix: Matrix, number: int) -> None:
    kills = drawn(matrix.seed, number)
    folder = matrix.folder / f"r{number}"
    folder.mkdir()
    died: list[str] = []
    begin = time.monotonic()
    try:
        if kills[0].kind == GPU:
            faults = _gpu(kills[0], folder, died)
        elif kills[-1].kind == NODE:
            with two_nodes(folder / "n") as (cluster, lose):
                faults = _until_done(matrix, kills, folder, died, cluster, lose)
        else:
            faults = _until_done(matrix, kills, folder, died, {}, None)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        faults = [str(error)]
    matrix.tally.kills.update(died)
    seconds, state = time.monotonic() - begin, "FAILED" if faults else "whole"
    print(f"ray {number}: {len(died)} kills in {seconds:.0f} s, {state}: {'; '.join(died)}", flush=True)
    if faults:
        matrix.tally.failures.append(f"ray:{number}")
        print("\n".join(f"  {fault}" for fault in faults), flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _until_done(
    matrix: Matrix,
    kills: list[Kill],
    folder: Path,
    died: list[str],
    cluster: Mapping[str, str],
    lose: Callable[[], None] | None,
) -> list[str]:
    """Runs the job until it ends well, killing what was drawn; how its folder differs then."""
    out = folder / "out"
    faults: list[str] = []
    before: Run | None = None
    for attempt in range(len(kills) + 2):
        going = start(matrix.job, out, folder / str(attempt), cluster)
        try:
            within = _watch(going, kills, matrix.reference.shards, lose)
        finally:
            status = end(going)
        died += within
        if status == -signal.SIGKILL and within and within[-1] == WHOLE[0]:
            before = going  # its processes end by themselves, while the next run is starting already
            continue
        if within and within[-1] == WHOLE[1]:
            continue
        if before is not None and not gone(before):
            faults.append("processes of a run whose driver was killed are left")
        if status == 0:
            matrix.went_on += len(within)
            return faults + matrix.reference.faults(out)
        log = going.log.read_text().strip()
        if not within:
            return [*faults, f"a run that nobody killed ended with {status}: {log}"]
        matrix.again += 1
        print(f"  ended with {status} after the death of {', '.join(within)}: {log[-300:]}", flush=True)
    return [*faults, "never ended well"]


def _watch(going: Run, kills: list[Kill], names: int, lose: Callable[[], None] | None) -> list[str]:
    """Kills each when its time has come, until the run ends; what died. Takes them from the list."""
    died = []
    for kill in kills:
        kill.due = None
    while going.process.poll() is None:
        if time.monotonic() - going.begun > _LONGEST:
            raise TimeoutError(f"a run did not end within {_LONGEST:.0f} s after {died}: {going.log}")
        standing = len(names_in(going.out / "artifacts"))
        for kill in list(kills):
            if not _due(kill, going, standing >= kill.share * names) or not _kill(kill, going, lose):
                continue
            kills.remove(kill)
            died.append(kill.kind)
            if kill.kind in WHOLE:
                return died
        with suppress(subprocess.TimeoutExpired):
            going.process.wait(0.05)
    return died


def _due(kill: Kill, going: Run, enough: bool) -> bool:
    stages, titles = WITHIN.get(kill.kind, ("", ()))
    if kill.due is None and enough:
        at_work = not stages or any(name.startswith(tuple(stages.split())) for name in going.stages())
        if at_work and (not titles or going.named(titles)):
            kill.due = time.monotonic() + kill.delay
    return kill.due is not None and time.monotonic() >= kill.due


def _kill(kill: Kill, going: Run, lose: Callable[[], None] | None) -> bool:
    """Whether it could be killed; a worker may have ended meanwhile."""
    if kill.kind == NODE:
        assert lose is not None
        lose()
    elif kill.kind == WHOLE[0]:
        going.process.kill()
    elif kill.kind == WHOLE[1]:
        while found := going.processes():
            end_all(found)
            psutil.wait_procs(found, timeout=10)
    else:
        found = going.named(WITHIN[kill.kind][1])
        # One that works, where there is one.
        busy = going.named(tuple(title for title in WITHIN[kill.kind][1] if title != "ray::IDLE"))
        found = busy or found
        end_all(found[int(kill.share * len(found)) :][:1])
        return bool(found)
    return True


def _gpu(kill: Kill, folder: Path, died: list[str]) -> list[str]:
    """A stage whose actor has a GPU that Ray takes on trust."""
    part = str(int(6 * kill.share))
    done = subprocess.run(
        [sys.executable, str(HERE / "gpu_actor.py"), str(folder), part],
        env={**os.environ, **environment(folder)},
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )
    if done.returncode:
        return [done.stderr]
    died.append(GPU)
    return []

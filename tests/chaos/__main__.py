"""The crash matrix: `python tests/chaos --seed 0 --serial 160 --ray 40`. Prints what it draws, and its counts."""

from __future__ import annotations

import os
import sys

# Before NumPy is imported: a fork must find no threads, and the bytes are those of one thread.
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
)

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import on_ray
import serial
from job import JOB_FILE, write_job


def main() -> int:
    """Runs both parts; 1 where anything was lost."""
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serial", type=int, default=160, help="kills of the serial executor")
    parser.add_argument("--ray", type=int, default=40, help="kills under Ray")
    parser.add_argument("--only", metavar="PART:NUMBER", default="", help="one chain alone, as serial:7 or ray:3")
    asked = parser.parse_args()
    part, _, number = asked.only.partition(":")
    alone = int(number) if part else None
    begin = time.monotonic()
    # Short, for Ray's sockets lie below it.
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    print(f"seed {asked.seed}, in {folder}", flush=True)
    # In a process of its own, for zarr starts threads.
    if serial.ended(serial.forked(folder / "job.log", lambda: write_job(folder))):
        raise SystemExit((folder / "job.log").read_text())
    job = folder / JOB_FILE
    tallies = []
    if part == "serial" or (not part and asked.serial):
        base = serial.undisturbed(job, folder)
        print(f"undisturbed: {base.seconds:.1f} s, {len(base.points)} points, {len(base.kinds)} kinds", flush=True)
        tallies.append(serial.chains(base, asked.seed, asked.serial, folder, alone))
        told("serial", tallies[-1], base.kinds)
    if part == "ray" or (not part and asked.ray):
        tallies.append(on_ray.chains(job, asked.seed, asked.ray, folder, alone))
        told("Ray", tallies[-1])
    failures = [failure for tally in tallies for failure in tally.failures]
    survived = sum(tally.kills.total() for tally in tallies)
    kept = sum(tally.kept for tally in tallies)
    for failure in failures:
        print(f"replay: python tests/chaos --seed {asked.seed} --only {failure}   (left in {folder})")
    lost = f"{len(failures)} chains FAILED" if failures else "nothing lost"
    print(f"{survived} kills, {lost}; {kept} finished shards kept; {time.monotonic() - begin:.0f} s", flush=True)
    if not failures:
        shutil.rmtree(folder)
    return 1 if failures else 0


def told(part: str, tally: serial.Tally, kinds: Iterable[str] = ()) -> None:
    """One line for each kind of kill."""
    for kind, count in sorted(tally.kills.items()):
        print(f"  {count:4d}  {kind}")
    print(f"{part}: {tally.kills.total()} kills of {len(tally.kills)} kinds; {len(tally.failures)} chains failed")
    missed = sorted(set(kinds) - set(tally.kills))
    if missed:
        print(f"not drawn: {', '.join(missed)}")


if __name__ == "__main__":
    sys.exit(main())

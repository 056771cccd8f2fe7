"""`python tests/fuzz [READER…]`: damaged inputs for every reader, which must give right data or an error of coreset.

An input is a function of its reader, the seed and its number: `--seed 0 --number 17` tries it again, and shows it.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

from campaign import OUTCOMES, in_workers, one, valid
from targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--count", type=int, default=10_000, help="inputs per reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, help="try this input alone, and show what comes of it")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder for the inputs that fail")
    given = parser.parse_args()
    unknown = sorted(set(given.readers) - set(TARGETS))
    if unknown:
        parser.error(f"READER: expected some of {', '.join(TARGETS)}, found {unknown[0]}")
    chosen = [TARGETS[name] for name in given.readers or TARGETS]
    if given.number is not None:
        return max(show(target, given.seed, given.number, given.keep) for target in chosen)
    print(f"seed {given.seed}, {given.count} inputs per reader")
    print(f"{'reader':<18}{'inputs':>8}" + "".join(f"{name:>11}" for name in (*OUTCOMES, "failed", "seconds")))
    total: Counter[str] = Counter()
    began = time.monotonic()
    for target in chosen:
        begin = time.monotonic()
        tally = in_workers(target, given.seed, given.count, given.workers, given.keep)
        print_row(target.name, tally.outcomes, time.monotonic() - begin)
        for number, why in sorted(tally.failures)[:20]:
            print(f"  number {number}: {why.strip().splitlines()[-1]}")
            print(f"    again: python tests/fuzz {target.name} --seed {given.seed} --number {number}")
        total += tally.outcomes
    print_row("all", total, time.monotonic() - began)
    if total["failed"]:
        print(f"{total['failed']} inputs failed; they lie in {given.keep}/READER/SEED-NUMBER, with the reason in WHY")
        return 1
    print(f"{total.total():,} inputs tried of {len(chosen)} readers: nothing wrong was read, and nothing else raised.")
    return 0


def print_row(name: str, outcomes: Counter[str], seconds: float) -> None:
    counts = [outcomes[each] for each in (*OUTCOMES, "failed")]
    print(f"{name:<18}{sum(counts):>8}" + "".join(f"{each:>11}" for each in counts) + f"{seconds:>11.0f}", flush=True)


def show(target, seed: int, number: int, keep: Path) -> int:
    with valid(target) as (folder, right):
        outcome, told = one(target, folder, right, seed, number, keep)
    print(f"{target.name}, seed {seed}, number {number}: {outcome}\n{told}")
    return 1 if outcome == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())

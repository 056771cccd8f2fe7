"""`python tests/fuzz/guided.py READER`: damaged inputs that are led by which code they reach (atheris, libFuzzer).

Inputs that reach new branches of the readers are kept and damaged further, by libFuzzer's mutations and by ours in
turn, so that what lies behind several conditions is tried too. Each is judged as `python tests/fuzz` judges it. The
first that fails ends the run, and is kept in `build/fuzz/READER`.
"""

import argparse
import contextlib
import importlib
import pkgutil
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

import coreset.numerics

READERS = ["coreset.corpus", "coreset.publishing", "coreset.artifacts", "coreset.job_file"]
"""What is instrumented."""

# Before the others, for numba cannot compile what is instrumented.
for module in pkgutil.iter_modules(coreset.numerics.__path__):
    importlib.import_module(f"coreset.numerics.{module.name}")

with atheris.instrument_imports(include=READERS):
    from targets import TARGETS

from campaign import attempt, valid  # noqa: E402
from mutations import mutate  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/fuzz/guided.py", description=__doc__)
    parser.add_argument("reader", choices=list(TARGETS))
    parser.add_argument("--count", type=int, default=10_000, help="inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", help="which of the reader's files is damaged; the first by default")
    given = parser.parse_args()
    target = TARGETS[given.reader]
    name = given.file or next(iter(target.files))
    keep = Path("build/fuzz") / target.name
    keep.mkdir(parents=True, exist_ok=True)
    with valid(target) as (folder, right), tempfile.TemporaryDirectory() as corpus:
        whole = (folder / name).read_bytes()
        (Path(corpus) / "valid").write_bytes(whole)

        def one(content: bytes) -> None:
            (folder / name).write_bytes(content)
            target.restate(folder)
            outcome, told = attempt(target, folder, right)
            if outcome == "failed":
                raise AssertionError(told)

        def mutated(content: bytes, largest: int, seed: int) -> bytes:
            rng = random.Random(seed)
            ours = rng.random() < 0.5
            with contextlib.suppress(ValueError):
                content = mutate(content, target.files[name], rng) if ours else atheris.Mutate(content, largest)
            return content[:largest]

        flags: list[Any] = [f"-runs={given.count}", f"-seed={given.seed}", f"-max_len={4 * len(whole)}", "-timeout=30"]
        flags += ["-rss_limit_mb=4096", f"-artifact_prefix={keep}/", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *flags, corpus], one, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

"""What `coreset plan` says, against what the run then takes and holds: each stage, on the three corpora."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Row, pinned, row
from benchmarks.watch import Run, watch

JOBS = ("al", "water", "crfeconi")

SHORT = (
    "score.epoch=1",
    "score.seeds=2",
    "select.proxy.seeds=1",
    "evaluation.seeds=2",
    "evaluation.steps=1500",
    'evaluation.methods=["full", "random", "ccs"]',
    "energy.pseudopotentials=null",
)
"""What makes a job of some minutes of each corpus."""

TRIVIAL = (*SHORT, "select.proxy.steps=20", "evaluation.steps=20", 'corpus.train="train/*_0"', "coverage.queries=200")


def rows(quick: bool) -> list[Row]:
    """Each corpus: measure the machine, plan, run on an empty store; on as many workers as there are cores."""
    found = []
    for name in JOBS[:1] if quick else JOBS:
        given = [word for each in (TRIVIAL if quick else SHORT) for word in ("--set", each)]
        with tempfile.TemporaryDirectory(prefix="coreset-plan-") as folder:
            place = ["--out", f"{folder}/run", *given]
            environment = {**pinned(), "XDG_CACHE_HOME": folder}
            planned = json.loads(_coreset(["plan", f"jobs/{name}.yaml", *place, "--calibrate", "--json"], environment))
            watched = watch(["run", f"jobs/{name}.yaml", *place], environment, memory=False)
            found += _compare(name, planned, Path(folder) / "run", watched)
    return found


def _coreset(arguments: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "benchmarks.watch", *arguments]
    made = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return made.stdout


def _compare(name: str, planned: dict[str, Any], run: Path, watched: Run) -> list[Row]:
    spent, held = _spent(run)
    stage = f"plan, {name}"
    found = [
        row(
            stage,
            f"{title}: seconds of its parts, said or taken, the greater of the lesser",
            _apart(planned["stages"][title]["work"], seconds),
            at_most=1.5,
            note=NOTE.format(workers=planned["workers"]),
        )
        for title, seconds in spent.items()
    ]
    found += [
        row(
            stage,
            f"{title}: memory of a worker, said or held",
            _apart(planned["stages"][title]["memory"], peak),
            at_most=1.5,
        )
        for title, peak in held.items()
    ]
    return [
        *found,
        row(
            stage, "the whole run on the wall, said or taken", _apart(planned["seconds"], watched.seconds), at_most=1.5
        ),
    ]


NOTE = (
    "`coreset plan --calibrate`, then `coreset run` on an empty store, {workers} workers. A stage whose parts took "
    "less than three seconds in all is left out: nobody plans for it. Memory is what a worker held resident at most "
    "during a part."
)


def _spent(run: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Of each stage: seconds (wall) of all its parts, and the most bytes that one of them held."""
    seconds: dict[str, float] = defaultdict(float)
    held: dict[str, float] = defaultdict(float)
    record = json.loads((run / "run.json").read_bytes())
    artifacts = {each["artifact"]: each["title"] for each in record["stages"]}
    for artifact, title in artifacts.items():
        parts = json.loads((run / "artifacts" / artifact / "timings.json").read_bytes())
        seconds[title] += sum(part["seconds"] for part in parts.values())
        held[title] = max(held[title], *(part["peak_bytes"] for part in parts.values()))
    return {title: each for title, each in seconds.items() if each > 3.0}, held


def _apart(one: float, other: float) -> list[float]:
    return [max(one / other, other / one)]

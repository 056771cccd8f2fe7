"""`python -m benchmarks.profiles`: where the two slowest stages spend their time, now and before they were made faster.

A job is run in one process with one thread, under Python's profiler, on this tree and on a copy of it as of `BEFORE`;
writes docs/profiles.md. What a row counts is spent in the functions themselves, not in those that they call.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

BEFORE = "1bc71e1f"
"""The last commit before anything was made faster."""
JOB = "jobs/al.yaml"
OVERRIDES = (
    "network.hidden=[256, 256, 256, 256]",
    "corpus.train=train/al32_T0[1-3]00_s?_0",
    'corpus.test={bulk: "test/al32_T0150_t0"}',
    "select.cutoff=0.1",
    "score.epoch=2",
    "score.seeds=4",
    "evaluation.steps=300",
    "evaluation.seeds=1",
)
STAGES = ("Training", "Scoring", "Coverage", "Evaluation", "Selection", "Extraction")
ROWS = 7

WHAT = {
    "linear": "products of the forward pass (`F.linear`, MKL)",
    "mm": "products (`torch.mm`, MKL)",
    "matmul": "products (NumPy)",
    "_linear_pointwise": "products (oneDNN)",
    "product": "products (oneDNN)",
    "run_backward": "backward pass (autograd: products by MKL, activations)",
    "gelu": "activations",
    "index_select": "rows of a batch",
    "_fused_adamw_": "optimizer's step (fused)",
    "describe": "descriptors",
    "search": "FAISS",
}
"""What is behind some names; others are told as they are."""


def main() -> None:
    """Profiles both trees and writes the page."""
    from benchmarks.harness import ROOT, pinned

    with tempfile.TemporaryDirectory(prefix="coreset-profiles-") as folder:
        old = Path(folder) / "before"
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(old)], check=True)
        subprocess.run(["git", "checkout", "--quiet", BEFORE], cwd=old, check=True)
        found: list[dict[str, Any]] = []
        for tree in (old, ROOT):
            command = [sys.executable, str(ROOT / "benchmarks" / "profiles.py"), f"{folder}/run-{len(found)}"]
            environment = {**pinned(), "PYTHONPATH": str(tree)}
            done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    (ROOT / "docs" / "profiles.md").write_text(page(*found))


def profiled(out: Path) -> dict[str, Any]:
    """Runs the job; of each stage its seconds, and those of its functions by file and name."""
    import torch

    from coreset.artifacts.executor import SerialExecutor
    from coreset.session import open_session
    from coreset.stages import coverage, evaluation, extraction, scoring, selection, training

    torch.set_num_threads(1)
    profiles: dict[str, cProfile.Profile] = {name: cProfile.Profile() for name in STAGES}
    for module, name in zip((training, scoring, coverage, evaluation, selection, extraction), STAGES, strict=True):
        kind = getattr(module, name)
        kind.compute = _under(profiles[name], kind.compute)
    session = open_session(Path(JOB), out, None, OVERRIDES)
    with session.recorded(SerialExecutor()) as pipeline:
        pipeline.run()
    return {name: _functions(profile) for name, profile in profiles.items()}


def _under(profile: cProfile.Profile, function: Any) -> Any:
    def wrapped(*given: Any) -> Any:
        return profile.runcall(function, *given)

    return wrapped


def _functions(profile: cProfile.Profile) -> dict[str, Any]:
    own: dict[str, float] = defaultdict(float)
    for (file, _, name), (_, _, seconds, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        name = name.removeprefix("<built-in method ").removeprefix("<method '").split("' of")[0].rstrip(">")
        own[f"{Path(file).name}:{name.rpartition('.')[2]}" if file != "~" else name.rpartition(".")[2]] += seconds
    return {"seconds": sum(own.values()), "own": dict(sorted(own.items(), key=lambda each: -each[1])[:30])}


def page(before: dict[str, Any], now: dict[str, Any]) -> str:
    """docs/profiles.md."""
    from benchmarks.page import hardware

    lines = [
        "# Profiles",
        "",
        f"Where stages spend their time: `{JOB}` with `--set {' --set '.join(OVERRIDES)}`, all stages in one process "
        f"with one thread, under Python's profiler; before anything was made faster (commit {BEFORE}) and now. Made by "
        "`python -m benchmarks.profiles`. Seconds of functions themselves, without what they call.",
        "",
        "| stage | before, s | now, s |",
        "|---|---|---|",
        *(f"| {name.lower()} | {before[name]['seconds']:.1f} | {now[name]['seconds']:.1f} |" for name in STAGES),
        "",
    ]
    slowest = sorted(STAGES, key=lambda name: -before[name]["seconds"])[:2]
    for name in slowest:
        for when, found in (("before", before[name]), ("now", now[name])):
            lines += [f"## {name}, {when}: {found['seconds']:.1f} s", "", "| s | of all | in |", "|---|---|---|"]
            for function, seconds in list(found["own"].items())[:ROWS]:
                told = WHAT.get(function.rpartition(":")[2])
                place = f"{told}: `{function}`" if told else f"`{function}`"
                lines.append(f"| {seconds:.1f} | {seconds / found['seconds']:.0%} | {place} |")
            lines.append("")
    return "\n".join([*lines, hardware(), ""])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(profiled(Path(sys.argv[1]))))
    else:
        main()

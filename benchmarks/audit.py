"""What an audit takes, of the corpus of aluminium and of a large table, on two workers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT, Row, apart, row

FEATURES = 8


def rows(quick: bool) -> list[Row]:
    """Each audit once, in a process of its own with two workers: seconds, and the memory of any process at most."""
    few, many = (20_000, 200_000) if quick else (1_000_000, 10_000_000)
    found, measured = [], {}
    with tempfile.TemporaryDirectory() as folder:
        corpora = {"aluminium": ROOT / "jobs/data/al.zarr"}
        for count in (few, many):
            corpora[str(count)] = Path(folder) / f"{count}.npy"
            write_table(corpora[str(count)], count)
        for name, path in corpora.items():
            if quick and name == "aluminium":
                continue
            out = Path(folder) / f"audit-{name}"
            measured[name] = apart("benchmarks.audit:audit_one", path=str(path), out=str(out))
    for name, each in measured.items():
        told = each["result"]
        stage = f"audit of {name}" if name == "aluminium" else f"audit of a table of {int(name):.0e} × {FEATURES}"
        note = f"{stage}: {told['points']:,} points, {told['queries']:,} queries, 2 workers; against itself."
        found += [
            row(stage, "time", [each["seconds"]], unit="s", note=note),
            row(stage, "peak memory of the process that reports", [each["peak"] / 2**20], unit="MiB"),
            row(stage, "peak memory of a process that compares", [told["peak"] / 2**20], unit="MiB"),
        ]
    growth = {
        "that reports": measured[str(many)]["peak"] / measured[str(few)]["peak"],
        "that compares": measured[str(many)]["result"]["peak"] / measured[str(few)]["result"]["peak"],
    }
    stage = f"audit of a table, from {few:.0e} to {many:.0e} rows"
    for which, ratio in growth.items():
        found.append(row(stage, f"peak memory of a process {which}, of that of the fewer", [ratio], at_most=1.5))
    return found


def audit_one(path: str, out: str) -> dict[str, float]:
    """Audits a corpus against itself: its points, its queries, and the peak of the processes that compare."""
    from coreset.auditing.opening import open_points
    from coreset.auditing.request import Audit
    from coreset.auditing.run import write_audit
    from coreset.distributed.executor import RayExecutor
    from coreset.stages.space import Space

    points = open_points(path, "CORPUS")
    with RayExecutor(address="local", workers=2) as executor:
        audit = Audit(points, None, Space(), None, "none", 0.1, 0)
        figures = write_audit(audit, ("corpus", "corpus"), Path(out), executor, "coreset audit")
    timings = [json.loads(file.read_bytes()) for file in Path(out).glob("artifacts/audit-*/timings.json")]
    peak = max(shard["peak_bytes"] for each in timings for shard in each.values())
    return {"points": points.points, "queries": figures["coverage"]["queries"], "peak": peak}


def write_table(path: Path, count: int) -> None:
    """Rows on a surface of three dimensions in a space of eight, one in a hundred twice; written in pieces."""
    rng = np.random.default_rng(0)
    turned = rng.normal(size=(6, FEATURES)).astype(np.float32)
    table = np.lib.format.open_memmap(path, "w+", np.float32, (count, FEATURES))
    for first in range(0, count, 100_000):
        free = rng.random((min(100_000, count - first), 3), np.float32)
        rows = np.concatenate([free, np.sin(3 * free)], axis=1) @ turned
        copies = len(rows) // 100
        rows[-copies:] = rows[:copies]
        table[first : first + len(rows)] = rows
    table.flush()

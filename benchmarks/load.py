"""What a run bears: 10⁵ shards, 10⁴ snapshots, 10⁸ rows, a snapshot of 10⁹ points; its time and its memory."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.harness import Row, apart, pinned, row
from benchmarks.run import Trivial
from benchmarks.watch import watch
from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus, finish, write_snapshot
from coreset.distributed.executor import RayExecutor
from coreset.numerics.descriptors import Descriptor
from coreset.stages.extraction import Extraction
from coreset.stages.ingestion import Source, ingest
from coreset.stages.scoring import Scoring
from coreset.stages.selection import Selection
from coreset.stages.training import Length, Training

JOB: dict[str, Any] = {
    "name": "many",
    "corpus": {"source": "many.zarr", "train": "train/*", "validation": 0.1, "test": {"bulk": "test/*"}},
    "descriptor": {"neighbours": 4},
    "network": {"hidden": [16], "activation": "gelu", "output": "relu"},
    "training": {"learning_rate": 2.0e-3, "batch": 4096, "epochs": 1},
    "score": {"method": "grand", "epoch": 1, "seeds": 1},
    "select": {"method": "ccs", "prune": 0.99, "cutoff": 0.3, "strata": 100, "seed": 0},
    "evaluation": {"methods": ["random", "ccs"], "seeds": 1, "steps": 200},
}
FEATURES = 8
"""Of the table."""
SETTINGS = {"learning_rate": 2e-3, "weight_decay": 0.0, "schedule": "constant", "batch": 1024, "window": 65_536}
SETTINGS |= {"average": 0.0, "checks": 0, "keep": "last"}


def rows(quick: bool) -> list[Row]:
    """Each in a process of its own, on two workers where Ray takes part."""
    return [
        *_shards(200 if quick else 100_000),
        *_many(*(20, 8) if quick else (10_000, 22)),
        *_table(20_000 if quick else 100_000_000),
        *_huge(quick),
    ]


def _shards(count: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="coreset-shards-") as folder:
        made = apart("benchmarks.load:shards", folder=folder, count=count)
    stage = f"one stage of {count:,} shards of a few bytes, two workers of Ray"
    return [
        row(stage, "time", [made["result"]["made"]], unit="s"),
        row(stage, "time to find that all are there", [made["result"]["again"]], unit="s"),
        row(stage, "memory of the driver", [made["peak"] / 2**30], unit="GiB", at_most=2),
    ]


def shards(folder: str, count: int) -> dict[str, float]:
    """Seconds to make so many shards, and to find them again."""
    taken = {}
    with RayExecutor("local", "cpu", 2) as executor:
        for what in ("made", "again"):
            begin = time.perf_counter()
            materialize(Trivial(count, 0), root=Path(folder), executor=executor)
            taken[what] = time.perf_counter() - begin
    return taken


def _many(count: int, edge: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="coreset-many-") as name:
        folder = Path(name)
        ingested = apart("benchmarks.load:many", folder=name, count=count, edge=edge)
        (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
        ran = watch(["run", f"{name}/job.yaml", "--out", f"{name}/run", "--set", "cluster.workers=2"], pinned())
    stage = f"a job on {count:,} snapshots of {edge}³ points, two workers"
    return [
        row(stage, "time of ingestion", [ingested["seconds"]], unit="s"),
        row(stage, "memory of ingestion's driver", [ingested["peak"] / 2**30], unit="GiB", at_most=2),
        row(stage, "time of the run", [ran.seconds], unit="s"),
        row(stage, "memory of the driver", [ran.driver / 2**30], unit="GiB", at_most=2),
        row(stage, "memory of all processes", [ran.together / 2**30], unit="GiB"),
    ]


def many(folder: str, count: int, edge: int) -> None:
    """A corpus of so many snapshots, in trajectories of ten, of which the last few are for the test."""
    tests = max(2, count // 1000)
    items = [
        f"{'test' if number >= count - tests else 'train'}/s{number // 10:05d}_T{100 + number // 10 % 9 * 100:04d}_"
        f"{number % 10}"
        for number in range(count)
    ]
    source = Source([Named(name, number) for number, name in enumerate(items)], partial(_made, edge))
    with RayExecutor("local", "cpu", 2) as executor:
        ingest(source, Path(folder) / "many.zarr", executor)


class Named:
    """A snapshot that is to be made."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number


def _made(edge: int, named: Named) -> tuple[Snapshot, np.ndarray]:
    return _gaussians(named.name, edge, named.number, np.empty((edge, edge, edge), np.float32))


def _gaussians(name: str, edge: int, seed: int, density: np.ndarray) -> tuple[Snapshot, np.ndarray]:
    """Four atoms in a cube of 7.5 Bohr; a Gaussian on each, nothing beyond 3 Bohr; filled in plane by plane."""
    rng = np.random.default_rng(seed)
    cell = np.diag([7.5, 7.5, 7.5])
    fractions = (np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) + rng.normal(0, 0.02, (4, 3))) % 1
    axis = np.arange(edge) / edge
    squares = [[(7.5 * ((axis - at + 0.5) % 1 - 0.5)) ** 2 for at in atom] for atom in fractions]
    for i in range(edge):
        plane = np.zeros((edge, edge))
        for x, y, z in squares:
            distance = x[i] + y[:, None] + z
            plane += np.where(distance < 9.0, np.exp(-distance), 0.0)
        density[i] = plane
    numbers, positions = np.full(4, 13), fractions @ cell
    snapshot = Snapshot(
        name=name, cell=cell, numbers=numbers, positions=positions, grid=(edge, edge, edge),
        electrons=float(density.mean(dtype=np.float64) * 7.5**3), energy=None, group=name.rpartition("_")[0],
        temperature=float(name.rpartition("_T")[2].split("_")[0]), composition="Al4", source={}, wrapped=0,
        digest=content_digest(cell, numbers, positions, density),
    )  # fmt: skip
    return snapshot, density


def _table(count: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="coreset-table-") as name:
        table = Path(name) / "table.npy"
        _write_table(table, count)
        options = ["--target", str(FEATURES), "--task", "regression"]
        ingested = watch(["ingest", str(table), f"{name}/table.zarr", *options], pinned())
        table.unlink()
        job = {key: value for key, value in JOB.items() if key != "descriptor"}
        job["corpus"] = {"source": "table.zarr", "train": "train/*", "validation": 0.1, "test": {"bulk": "test/*"}}
        (Path(name) / "job.yaml").write_text(yaml.safe_dump(job))
        ran = watch(["run", f"{name}/job.yaml", "--out", f"{name}/run", "--set", "cluster.workers=2"], pinned())
    stage = f"a table of {count:,} rows of {FEATURES} features, two workers"
    return [
        row(stage, "time of ingestion", [ingested.seconds], unit="s"),
        row(stage, "memory of ingestion's driver", [ingested.driver / 2**30], unit="GiB", at_most=2),
        row(stage, "time of the run", [ran.seconds], unit="s"),
        row(stage, "memory of the driver", [ran.driver / 2**30], unit="GiB", at_most=2),
        row(stage, "memory of the largest worker", [ran.worker / 2**30], unit="GiB", at_most=2),
    ]


def _write_table(path: Path, count: int) -> None:
    """Normal features, and a smooth function of them with a little noise, a million rows at a time."""
    table = np.lib.format.open_memmap(path, "w+", np.float32, (count, FEATURES + 1))
    for first in range(0, count, 1_000_000):
        rng = np.random.default_rng((0, first))
        rows = table[first : first + 1_000_000]
        rows[:, :FEATURES] = rng.standard_normal((len(rows), FEATURES), np.float32)
        rows[:, FEATURES] = np.sin(rows[:, :FEATURES]).sum(1) + 0.05 * rng.standard_normal(len(rows), np.float32)


def _huge(quick: bool) -> list[Row]:
    edges = (60, 120) if quick else (126, 1000)
    with tempfile.TemporaryDirectory(prefix="coreset-huge-") as folder:
        small, large = (apart("benchmarks.load:huge", folder=f"{folder}/{edge}", edge=edge) for edge in edges)
    stage = f"one snapshot of {edges[1]}³ points, one process"
    note = (
        "A network of 16 neurons, trained on a snapshot of 32³ points, scores it; CCS keeps one point in a thousand. "
        f"The peer has {edges[0]}³ points."
    )
    found = [row(stage, f"{what}: time", [taken], unit="s") for what, taken in large["result"].items()]
    found.append(row(stage, "peak memory", [large["peak"] / 2**30], unit="GiB", at_most=2, note=note))
    found.append(row(stage, "peak memory, of that of the peer", [large["peak"] / small["peak"]], at_most=1.5))
    return found


def huge(folder: str, edge: int) -> dict[str, float]:
    """Seconds to write, score, select from and extract from one snapshot."""
    root, executor, taken = Path(folder), SerialExecutor(), {}

    def corpus(name: str, edge: int) -> SnapshotSet:
        root.mkdir(parents=True, exist_ok=True)
        density = np.lib.format.open_memmap(root / f"{name}.npy", "w+", np.float32, (edge, edge, edge))
        write_snapshot(root / f"{name}.zarr", *_gaussians(f"{name}_T0300", edge, 0, density))
        finish(root / f"{name}.zarr", [f"{name}_T0300"])
        opened = Corpus.open(root / f"{name}.zarr")
        return SnapshotSet(opened.path, opened.snapshots)

    descriptor = Descriptor(4)
    network = {"hidden": [16], "activation": "gelu", "output": "relu"}
    tiny = corpus("tiny", 32)
    training = Training(tiny, descriptor, network, SETTINGS, Length(steps=100), "seed", tiny)
    model = materialize(training, root=root, executor=executor)

    def timed(what: str, make: Any) -> Any:
        begin = time.perf_counter()
        made = make()
        taken[what] = time.perf_counter() - begin
        return made

    points = timed("writing", lambda: corpus("huge", edge))
    (root / "huge.npy").unlink()
    scoring = Scoring(points, descriptor, (model,))
    scores = timed("scoring", lambda: materialize(scoring, root=root, executor=executor))
    settings = {"prune": 0.999, "cutoff": 0.3, "strata": 100, "redistribute": True, "seed": 0}
    selection = Selection(points, "ccs", settings, scores)
    kept = timed("selection", lambda: materialize(selection, root=root, executor=executor))
    extraction = Extraction(points, kept, descriptor, True)
    timed("extraction", lambda: materialize(extraction, root=root, executor=executor))
    return taken

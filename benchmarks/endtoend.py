"""From text files to a pruned dataset, 10⁸ grid points: time and memory of every stage, on two cores."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.harness import ROOT, Row, pinned, row
from benchmarks.watch import Watched, watch
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.store import Corpus
from coreset.numerics.fourier import resample

JOB: dict[str, Any] = {
    "name": "end-to-end",
    "corpus": {"source": "fine.zarr", "train": "train/*", "validation": 0.1, "test": {"bulk": "test/*"}},
    "descriptor": {"neighbours": 20},
    "network": {"hidden": [64, 64], "activation": "gelu", "output": "relu"},
    "training": {"learning_rate": 2.0e-3, "batch": 4096, "epochs": 1},
    "score": {"method": "grand", "epoch": 1, "seeds": 2},
    "select": {"method": "ccs", "prune": 0.99, "cutoff": 0.3, "strata": 100, "seed": 0},
    "evaluation": {"methods": ["random", "ccs"], "seeds": 1, "steps": 1000},
}


def rows(quick: bool) -> list[Row]:
    """Aluminium's densities on a finer grid, written as SPARC writes them; then `coreset ingest` and `coreset run`."""
    corpus = Corpus.open(ROOT / "jobs" / "data" / "al.zarr")
    sources = [each for each in corpus.snapshots if len(each.numbers) == 32 and each.name.startswith(("train", "test"))]
    wanted = 1e6 if quick else 1e8
    edge = 2 * math.ceil((wanted / len(sources)) ** (1 / 3) / 2)
    points = len(sources) * edge**3
    with tempfile.TemporaryDirectory(prefix="coreset-end-to-end-") as name:
        folder = Path(name)
        for source in sources:
            density = resample(corpus.density(source).reshape(source.grid), (edge, edge, edge))
            _write_cube(folder / "raw" / source.name / f"{source.name.rpartition('/')[2]}.dens", source, density)
        text = sum(file.stat().st_size for file in (folder / "raw").rglob("*.dens"))
        (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
        ingested = watch(["ingest", f"{name}/raw", f"{name}/fine.zarr"], pinned())
        ran = watch(["run", f"{name}/job.yaml", "--out", f"{name}/run"], pinned())
        stored = _size(folder / "fine.zarr")
        (scores,) = (folder / "run" / "artifacts").glob("scores-*")
        scored = _size(scores)
        trained = json.loads((scores / "manifest.json").read_bytes())["figures"]["points"]
    note = (
        f"{len(sources)} densities of 32 aluminium atoms, {edge}³ points each, {points:,} in all: {text / 1e9:.2f} GB "
        f"of text, {stored / 1e9:.2f} GB as a corpus. Two workers of one thread each."
    )
    found = [
        row("ingestion, scoring, selection, coverage, training, extraction", "grid points", [points], unit="",
            at_least=wanted, note=note)
    ]  # fmt: skip
    found += [
        row("text files", "bytes per point", [text / points], unit="B"),
        row("corpus", "bytes per point", [stored / points], unit="B"),
        row("scores", "bytes per point", [scored / trained], unit="B"),
        row("ingestion", "points per second", [points / ingested.stages["ingestion"].seconds], unit="points/s"),
    ]
    for what, seen in {**ingested.stages, **ran.stages, "all of the run": ran}.items():
        found += _figures(what, seen)
    return found


def _figures(what: str, seen: Watched) -> list[Row]:
    return [
        row(what, "time", [seen.seconds], unit="s"),
        row(what, "memory of all processes", [seen.together / 2**30], unit="GiB"),
        row(what, "memory of the largest worker", [seen.worker / 2**30], unit="GiB"),
        row(what, "memory of the driver", [seen.driver / 2**30], unit="GiB"),
    ]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _write_cube(path: Path, source: Snapshot, density: np.ndarray) -> None:
    """A density as SPARC prints it: cell in the steps, valence in the second column, e/Bohr³."""
    path.parent.mkdir(parents=True)
    lengths = np.linalg.norm(source.cell, axis=1)
    valence = source.electrons / len(source.numbers)
    lines = [
        "Electron density in Cube format printed by SPARC-X",
        "Cell length: {:.6f} {:.6f} {:.6f}, boundary condition: P P P.".format(*lengths),
        f"{len(source.numbers):5d} 0.0 0.0 0.0",
        *(
            f"{count:5d} " + " ".join(f"{value:.10f}" for value in step / count)
            for count, step in zip(density.shape, source.cell, strict=True)
        ),
        *(
            f"{number:5d} {valence:.6f} " + " ".join(f"{value:.10f}" for value in position)
            for number, position in zip(source.numbers, source.positions, strict=True)
        ),
    ]
    with path.open("w") as file:
        file.write("\n".join(lines) + "\n")
        np.savetxt(file, density.reshape(-1, density.shape[2]), fmt="%.6E")

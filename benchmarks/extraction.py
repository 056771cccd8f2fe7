"""The shards of the pruned dataset, against pyarrow writing the same tables from memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from benchmarks.harness import ROOT, Row, alternately, row
from coreset.artifacts.executor import SerialContext, SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Stage
from coreset.corpus.kept import read_kept
from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus, finish, write_snapshot
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.fourier import resample
from coreset.stages.extraction import Extraction
from coreset.stages.scoring import new_field
from coreset.stages.selection import Selection

DESCRIPTOR = Descriptor(20)
NOTE = (
    "Extraction reads the selection, with its scores, and densities from warm files and computes positions; pyarrow "
    "writes the finished tables with the same compression."
)


def rows(quick: bool) -> list[Row]:
    """Densities of aluminium on a finer grid, with scores that fall off smoothly and have noise."""
    snapshots, points, rounds = (2, 32, 2) if quick else (16, 128, 5)
    found = []
    with tempfile.TemporaryDirectory(prefix="coreset-extraction-") as folder:
        train = fine_corpus(Path(folder) / "fine.zarr", snapshots, points)
        scores = materialize(NoisyDensity(train), root=Path(folder), executor=SerialExecutor())
        for prune in (0.9, 0.99):
            settings = {"prune": prune, "seed": 0, "cutoff": 0.1, "strata": 100, "redistribute": True}
            selection = materialize(
                Selection(train, "ccs", settings, scores), root=Path(folder), executor=SerialExecutor()
            )
            stage = Extraction(train, selection, DESCRIPTOR, with_descriptor=False)
            ours, write, read_and_write = _seconds(stage, Path(folder), rounds)
            what = f"extraction of {train.points:,} points, {prune:.0%} pruned"
            # At 99% hardly anything is written, but each chunk of the densities still holds kept points.
            limit = {"at_most": 1.5} if prune == 0.9 else {}
            found += [
                row(what, "time, of pyarrow's writing the same tables", ours / write, note=NOTE, **limit),
                row(what, "time, of reading all densities and writing the tables", ours / read_and_write),
                row(what, "rows per second", stage.selection.figures["kept"] / ours, unit="/s"),
            ]
    return found


def _seconds(stage: Extraction, folder: Path, rounds: int) -> Any:
    (part,) = stage.parts()
    number = count()

    def extract() -> Path:
        read_kept.cache_clear()
        path = folder / f"out-{next(number)}.parquet"
        stage.compute(part, None, path, SerialContext(lambda units: None))
        return path

    file = pq.ParquetFile(extract())
    tables = [file.read_row_group(group) for group in range(file.num_row_groups)]

    def write() -> None:
        with pq.ParquetWriter(folder / f"out-{next(number)}.parquet", file.schema_arrow, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)

    def read_and_write() -> None:
        corpus = Corpus.open(stage.train.corpus)
        for snapshot in stage.train.grids:
            corpus.density(snapshot)
        write()

    pa.set_cpu_count(1)
    return alternately(extract, write, read_and_write, rounds=rounds)


def fine_corpus(path: Path, snapshots: int, points: int) -> SnapshotSet:
    """Training snapshots of aluminium, 32 atoms, their densities interpolated to `points` along each axis."""
    made = list(fine_snapshots(snapshots, points))
    for snapshot, density in made:
        write_snapshot(path, snapshot, density)
    finish(path, [snapshot.name for snapshot, _ in made])
    return SnapshotSet(str(path), Corpus.open(path).snapshots)


def fine_snapshots(snapshots: int, points: int) -> Iterator[tuple[Snapshot, np.ndarray]]:
    """See `fine_corpus`."""
    corpus = Corpus.open(ROOT / "jobs" / "data" / "al.zarr")
    grid = (points, points, points)
    for source in corpus.select("train/*")[:snapshots]:
        density = resample(corpus.density(source).reshape(source.grid), grid).astype(np.float32)
        digest = content_digest(source.cell, source.numbers, source.positions, density)
        fields = {**source.to_json(), "grid": list(grid), "digest": digest}
        yield Snapshot.from_json(source.name, fields), density


@dataclass(frozen=True)
class NoisyDensity(Stage):
    """Stands in for scoring, which would take hours: the density times noise, in files as scoring writes them."""

    name: ClassVar[str] = "scores"
    suffix: ClassVar[str] = ".zarr"

    train: SnapshotSet

    def parameters(self) -> dict[str, Any]:
        """None that matter."""
        return {}

    def inputs(self) -> dict[str, str]:
        """The densities."""
        return {"train": self.train.digest}

    def parts(self) -> list[Part]:
        """One per snapshot."""
        return [Part(snapshot.name, snapshot) for snapshot in self.train.snapshots]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        """Writes the one field that CCS reads."""
        snapshot: Snapshot = part.payload
        density = Corpus.open(self.train.corpus).density(snapshot)
        noise = np.random.default_rng(snapshot.points).lognormal(0.0, 0.5, snapshot.points)
        field = new_field(zarr.open_group(path, mode="w", zarr_format=3), "grand", snapshot.grid)
        field[...] = (density * noise).astype(np.float32).reshape(snapshot.grid)
        return {}

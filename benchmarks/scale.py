"""docs/scale.md: what a corpus of 2.2·10¹¹ points would cost, computed from the rates in docs/performance.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coreset.corpus.kept import batches_of
from coreset.report.plan import duration

POINTS = 220e9
MATERIALS = 122_689
ATOMS = 30
"""Atoms of a material, about."""
NEIGHBOURS = 40
FEATURES = 4 * NEIGHBOURS
PAPER = (FEATURES, *[900] * 12, 1)
SMALL = (FEATURES, *[256] * 4, 1)
QUERIES = 4_000

GPU_FLOPS = 67e12
"""Peak of an H100 SXM in float32 without tensor cores, operations per second: its data sheet, not measured."""
GPU_CORES = 16
"""Processor cores beside each GPU: assumed."""
GPU_STORAGE = 1e9
"""Bytes per second that each GPU's share of the storage gives: assumed."""
GPUS = (1, 8, 64)
UNPACK = 1.3e-4
"""Seconds to unpickle a snapshot of 32 atoms on one core, measured once."""


@dataclass(frozen=True)
class Rates:
    """What one core was measured to do, and what a point was measured to take on disk."""

    flops: float
    """Operations per second of the gradient norms, float32."""
    share: float
    """Of the flop rate of a large matrix product by the same library."""
    descriptors: float
    """Points per second, M = 40."""
    selection: float
    """Scores per second, all passes of CCS."""
    coverage: float
    """Operations per second."""
    extraction: float
    """Rows per second."""
    text: float
    """Bytes per point of the files that are ingested."""
    stored: float
    """Bytes per point of the corpus."""
    scores: float
    """Bytes per point of the score fields."""
    ingestion: float
    """Points per second and core."""


def rates(record: Mapping[str, Any]) -> Rates:
    """The rates in docs/performance.json. Raises KeyError for a figure that is not there."""
    found = {
        (name, each["stage"], each["figure"]): each["value"] for name, one in record.items() for each in one["rows"]
    }

    def value(benchmark: str, figure: str, stage: str = "") -> float:
        for (name, where, what), number in found.items():
            if name == benchmark and what == figure and where.startswith(stage):
                return float(number)
        raise KeyError(f"{benchmark}: {figure}")

    return Rates(
        flops=1e9 * value("gradient_norms", "rate of one core"),
        share=value("gradient_norms", "operations per second, of that product's by oneDNN"),
        descriptors=value("descriptors", "points per second", f"descriptors, M = {NEIGHBOURS}"),
        selection=1e6 * value("selection", "rate of one core"),
        coverage=1e9 * value("coverage", "rate of one core"),
        extraction=value("extraction", "rows per second"),
        text=value("endtoend", "bytes per point", "text files"),
        stored=value("endtoend", "bytes per point", "corpus"),
        scores=value("endtoend", "bytes per point", "scores"),
        ingestion=value("endtoend", "points per second", "ingestion") / 2,
    )


def weights(widths: Sequence[int]) -> float:
    """Multiplications of a forward pass for one point."""
    return float(sum(a * b for a, b in zip(widths, widths[1:], strict=False)))


@dataclass(frozen=True)
class Step:
    """One stage: operations on the GPU, core-seconds beside it, bytes read and written."""

    name: str
    flops: float
    core_seconds: float
    read: float
    written: float

    def seconds(self, gpus: int, usable: float) -> float:
        """Seconds on so many GPUs: the slowest of network, descriptors and storage, which run at the same time."""
        network = self.flops / (gpus * usable)
        processor = self.core_seconds / (gpus * GPU_CORES)
        storage = (self.read + self.written) / (gpus * GPU_STORAGE)
        return max(network, processor, storage)


def steps(
    measured: Rates, widths: Sequence[int], runs: int, epochs: float, trained_on: float, prune: float
) -> list[Step]:
    """The stages of a run whose `runs` scoring networks train for `epochs` on a share `trained_on` of the points."""
    kept, work = (1 - prune) * POINTS, weights(widths)
    described = POINTS / measured.descriptors
    seen = runs * epochs * trained_on
    return [
        Step("ingestion", 0, POINTS / measured.ingestion, POINTS * measured.text, POINTS * measured.stored),
        Step("scoring runs", 6 * work * seen * POINTS, seen * described, seen * POINTS * measured.stored, 0),
        Step("scoring", 4 * work * runs * POINTS, described, POINTS * measured.stored, POINTS * measured.scores),
        Step("selection", 0, POINTS / measured.selection, 5 * POINTS * measured.scores / 4, 21 * kept),
        Step(
            "coverage",
            0,
            kept / measured.descriptors + 2 * FEATURES * kept * QUERIES / measured.coverage,
            21 * kept,
            0,
        ),
        Step("extraction", 0, kept / measured.extraction, POINTS * (measured.stored + measured.scores / 4), 57 * kept),
    ]


def page(record: Mapping[str, Any]) -> str:
    """docs/scale.md."""
    measured = rates(record)
    usable = measured.share * 0.5 * GPU_FLOPS
    as_paper = steps(measured, PAPER, runs=10, epochs=10, trained_on=1.0, prune=0.99)
    proxy = steps(measured, SMALL, runs=4, epochs=10, trained_on=0.01, prune=0.99)
    return "\n".join(
        [
            HEAD.format(
                points=POINTS,
                materials=MATERIALS,
                flops=GPU_FLOPS / 1e12,
                usable=usable / 1e12,
                share=measured.share,
                cores=GPU_CORES,
                storage=GPU_STORAGE / 1e9,
                descriptors=measured.descriptors,
                selection=measured.selection,
                stored=measured.stored,
                held=4 * FEATURES * POINTS / 1e12,
            ),
            "## As the paper scores",
            "",
            "Ten networks of 12 × 900, trained for ten epochs on everything; 99% pruned.",
            "",
            *_table(as_paper, usable),
            "",
            "## With proxies",
            "",
            "Four networks of 4 × 256, trained for ten epochs on 1% of the points, drawn as whole blocks; 99% pruned.",
            "",
            *_table(proxy, usable),
            "",
            TAIL.format(
                materials=MATERIALS,
                batches=len(batches_of(MATERIALS)),
                bookkeeping=0.005 * MATERIALS / 60,
                row=4 * (FEATURES + 1),
                listing=4e3 * MATERIALS / 1e9,
                manifest=2e3 * MATERIALS / 1e9,
                training=as_paper[1].flops / sum(each.flops for each in as_paper),
                unpack=UNPACK * MATERIALS,
            ),
        ]
    )


def _table(listed: Sequence[Step], usable: float) -> list[str]:
    lines = [
        "| stage | operations | GPU-hours | core-hours | read | written | "
        + " | ".join(f"{n} GPU" for n in GPUS)
        + " |",
        "|---|---|---|---|---|---|" + "---|" * len(GPUS),
    ]
    for each in listed:
        lines.append(
            f"| {each.name} | {each.flops:.1e} | {each.flops / usable / 3600:,.1f} | {each.core_seconds / 3600:,.0f} | "
            f"{_bytes(each.read)} | {_bytes(each.written)} | "
            + " | ".join(duration(each.seconds(n, usable)) for n in GPUS)
            + " |"
        )
    flops, cores = sum(each.flops for each in listed), sum(each.core_seconds for each in listed)
    read, written = sum(each.read for each in listed), sum(each.written for each in listed)
    lines.append(
        f"| all | {flops:.1e} | {flops / usable / 3600:,.1f} | {cores / 3600:,.0f} | "
        f"{_bytes(read)} | {_bytes(written)} | "
        + " | ".join(duration(sum(each.seconds(n, usable) for each in listed)) for n in GPUS)
        + " |"
    )
    return lines


def _bytes(count: float) -> str:
    return f"{count / 1e12:,.2f} TB"


HEAD = """# Scale

What it would cost to curate the densities of the Materials Project as ChargE3Net used them: {materials:,} materials,
{points:.1e} grid points. **This is arithmetic**: nothing of this size was ever run, and nothing was run on a GPU. The
rates of one processor core come from [Performance](performance.md); this page is made from them by `make bench`.
Assumed:

- A GPU is an H100 with {flops:.0f} TFLOP/s in float32 (its data sheet). Half of the peak is taken as what a large
  matrix product reaches, and of that {share:.2f}, the share that the gradient norms reach on a core:
  {usable:.0f} TFLOP/s.
- Beside each GPU stand {cores} cores that compute descriptors (M = 40: {descriptors:,.0f} points per second and core)
  and scan scores ({selection:,.0f} per second and core), and storage that gives {storage:.0f} GB/s.
- A density takes {stored:.2f} bytes per point in the corpus. Descriptors are computed when they are needed; held, they
  would be {held:,.0f} TB.

The times take network, descriptors and storage of a stage to run at the same time, so each is that of the slowest.
"""

TAIL = """## Shards, network, memory

- **Shards.** A snapshot is a part of scoring, so there are {materials:,} folders of scores. Selection, coverage and
  extraction write a file for each 64 snapshots: {batches:,} files. At the 5 ms of bookkeeping that a shard may take,
  scoring spends {bookkeeping:.0f} minutes on it.
- **Network.** Between processes travel weights, histograms and thresholds: at most 8 MB per scan and worker. Densities
  and scores go from the storage to the process that needs them and nowhere else. Training sends described blocks from
  the readers to the networks: {row} bytes a point at M = 40, over shared memory where both are on one node.
- **The driver** holds the list of snapshots (4 kB each: {listing:.1f} GB) and, one artifact at a time, its manifest
  (2 kB for a snapshot's scores: {manifest:.2f} GB of JSON, some five times that in Python). Neither grows with the
  number of points; both grow with the number of snapshots.

## Where the design gives way first

1. **Training to the scoring epoch.** Ten passes over everything for each of ten networks are {training:.0%} of the
   operations of the first table. The job file can lower `score.epoch` and `score.seeds`; it cannot yet train the
   scoring networks on a share of the points, which the second table counts on. That setting comes first, once
   it is measured that the coresets stay as good.
2. **The list of snapshots travels whole.** A stage is sent to each worker with all its snapshots, {listing:.1f} GB
   here, which takes {unpack:.0f} s to unpack; a worker keeps it from part to part. Beyond some 10⁵ snapshots a part
   has to carry its own snapshot alone, and the list has to be a table of which a worker reads a slice.
3. **Manifests are single JSON files.** A manifest of 10⁵ shards is read whole by each process that looks for a shard.
   Beyond that it has to be split as the data are: a record file for each batch of shards, and a manifest of those.
4. **Four score fields** of float32 are written where selection reads one. Leaving out the spreads would halve them.
5. **One snapshot is one part** of scoring and of evaluation. Scoring holds it piece by piece, but one process does all
   of it; evaluation transforms whole fields, so that a test snapshot has to fit in memory. Parts below the snapshot
   would end the first; a distributed Fourier transform the second.
"""

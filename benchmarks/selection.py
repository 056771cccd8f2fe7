"""CCS of a score file, from file to file, against `np.histogram` of it and the sort of the reference CCS."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Row, alternately, apart, row
from coreset.methods.select import PIECE, ROWS, select_rows
from coreset.numerics.scans import ScoreShard
from coreset.stages.rows import select_file

CCS: dict[str, Any] = {"method": "ccs", "prune": 0.99, "cutoff": 0.3}
SHARDS = 100_000
SCALAR = {
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR "
    "X86_V3 X86_V4"
}
"""Makes a NumPy that does not know these instructions."""


def rows(quick: bool) -> list[Row]:
    """One thread; the file is in the page cache of the system for all of them."""
    count = 2_000_000 if quick else 1_000_000_000
    sorted_count = 1_000_000 if quick else 20_000_000
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder:
        even, few, heavy = (Path(folder) / f"{name}.npy" for name in ("even", "few", "heavy"))
        write_scores(even, count)
        write_scores(few, count // 10)
        write_scores(heavy, count, sigma=1.5)
        reference = np.load(even, mmap_mode="r")[:sorted_count].copy()
        select_file(few, few.with_suffix(".parquet"), **CCS)  # compiles
        seconds = alternately(
            lambda: np.histogram(np.load(even, mmap_mode="r"), bins=100),
            lambda: select_file(even, even.with_suffix(".parquet"), **CCS, strata=100),
            lambda: select_file(even, even.with_suffix(".parquet"), **CCS, strata=10_000),
            lambda: in_shards(even, max(1, count // SHARDS)),
            lambda: select_file(heavy, heavy.with_suffix(".parquet"), **CCS, strata=100),
            lambda: by_sorting(reference, prune=0.99, cutoff=0.3, strata=100),
            rounds=rounds,
            warm=False,
        )
        histogram, plain, many, sharded, tail, sorting = seconds
        larger = count * math.log(count) / (sorted_count * math.log(sorted_count))
        peaks = [peak(path) for path in (few, even)]
        scalar = [
            apart("benchmarks.selection:sort_some", environment=SCALAR, path=str(even), count=sorted_count)["result"]
            for _ in range(rounds)
        ]
    stage = f"CCS of {count:.0e} float32 scores from a file"
    note = (
        f"prune 0.99, cutoff 0.3, 100 strata; even in [0, 1). The sort: {sorted_count:.0e}, extrapolated n log n; it "
        "takes vector instructions where the processor has them."
    )
    return [
        row(stage, "time, of `np.histogram`'s (100 bins)", plain / histogram, at_most=1.5, note=note),
        row(stage, "speed, of the reference's argsort", sorting * larger / plain, at_least=50),
        row(stage, "speed, of that argsort without vector instructions", np.array(scalar) * larger / plain),
        row(stage, "rate of one core", count / plain / 1e6, unit="million scores/s"),
        row(stage, "10,000 strata, time, of 100", many / plain, at_most=1.5),
        row(stage, f"{SHARDS:.0e} shards, time, of pieces of 2²⁰ rows", sharded / plain, at_most=1.5),
        row(stage, "heavy tail (log-normal, σ 1.5), time, of even scores", tail / plain, at_most=1.5),
        row(stage, "peak memory of the process", [peaks[1] / 2**30], unit="GiB", at_most=1),
        row(stage, "peak memory, of a tenth of the scores", [peaks[1] / peaks[0]], at_most=1.1),
    ]


def write_scores(path: Path, count: int, sigma: float | None = None) -> None:
    """Random float32 scores, even in [0, 1) or log-normal, written in pieces."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, count, PIECE):
            n = min(PIECE, count - first)
            some = rng.random(n, np.float32) if sigma is None else rng.lognormal(0, sigma, n).astype(np.float32)
            some.tofile(file)


def in_shards(path: Path, size: int) -> int:
    """Selects from shards of so many rows each; the number of rows that are kept."""
    _, selected = select_rows(shards_of(path, size), **CCS, strata=100)
    return sum(len(each.index) for each in selected)


def shards_of(path: Path, size: int) -> Callable[[], Iterator[ScoreShard]]:
    """Shards of the rows of a file, which is read some hundred of them at a time."""
    mapped = np.load(path, mmap_mode="r")
    total, dtype, offset = len(mapped), mapped.dtype, mapped.offset
    step = max(1, PIECE // size) * size

    def shards() -> Iterator[ScoreShard]:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            for begin in range(0, total, step):
                piece = np.fromfile(file, dtype, min(step, total - begin))
                for first in range(0, len(piece), size):
                    yield ScoreShard(ROWS, begin + first, piece[first : first + size])

    return shards


def by_sorting(scores: np.ndarray, prune: float, cutoff: float, strata: int) -> np.ndarray:
    """The reference CCS in numpy: sort all, cut the hardest, a mask for each stratum, a permutation of it."""
    rng = np.random.default_rng(0)
    budget = round((1 - prune) * len(scores))
    rest = np.argsort(-scores)[int(cutoff * len(scores)) :]
    left = scores[rest]
    edges = np.linspace(left.min(), left.max() * 1.0001, strata + 1)
    members = [np.flatnonzero((left >= a) & (left < b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    chosen = []
    for served, i in enumerate(np.argsort([len(each) for each in members])):
        taken = min(len(members[i]), budget // (strata - served))
        chosen.append(rest[members[i][rng.permutation(len(members[i]))[:taken]]])
        budget -= taken
    return np.concatenate(chosen)


def sort_some(path: str, count: int) -> float:
    """Seconds of the reference CCS on the first scores of a file."""
    scores = np.load(path, mmap_mode="r")[:count].copy()
    begin = time.perf_counter()
    by_sorting(scores, prune=0.99, cutoff=0.3, strata=100)
    return time.perf_counter() - begin


def peak(path: Path) -> int:
    """Bytes that a process which selects from this file holds at most."""
    return int(apart("benchmarks.selection:select_one", path=str(path))["peak"])


def select_one(path: str) -> float:
    """Selects from a file into another one beside it, which is removed; seconds, after compiling on a small file."""
    out = Path(path).with_suffix(".one.parquet")
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.npy"
        write_scores(small, 100_000)
        select_file(small, out, **CCS, strata=100)
    begin = time.perf_counter()
    select_file(Path(path), out, **CCS, strata=100)
    seconds = time.perf_counter() - begin
    out.unlink()
    return seconds

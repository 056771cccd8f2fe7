"""Exact AUC_pr against a large matrix product, its time and memory against the number of points, and the estimate's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Row, alternately, apart, row
from coreset.corpus.described import describe_points
from coreset.corpus.split import SnapshotSet
from coreset.numerics.coverage_ivf import CELLS, COMPARED, LOOKED_INTO, cells_of, estimate_over
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.nearest import nearest, nearest_over
from coreset.session import open_session
from coreset.stages.coverage import query_indices

SHARD = 100_000


def rows(quick: bool) -> list[Row]:
    """One thread. The product is NumPy's, whose library is what the search computes with."""
    queries, points = (512, 20_000) if quick else (4096, 200_000)
    random = np.random.default_rng(0)
    a, b = random.random((2, 3072, 3072), np.float32)
    found = []
    for features in (100, 160, 240):
        x = random.standard_normal((queries, features), np.float32)
        y = random.standard_normal((points, features), np.float32)
        search_s, product_s = alternately(partial(nearest, y, x), lambda: a @ b, rounds=3 if quick else 7)
        rate, peak = 2 * features * queries * points / search_s, 2 * 3072**3 / product_s
        stage = f"AUC_pr, exact, {features} features, float32"
        found += [
            row(
                stage,
                "operations per second, of a 3072³ matrix product's",
                rate / peak,
                at_least=0.7,
                note=f"{queries:,} queries, {points:,} points of a normal distribution; 2 d operations per pair.",
            ),
            row(stage, "rate of one core", rate / 1e9, unit="GFLOP/s"),
        ]
    return found + _growth(quick) + [each for corpus in ("al", "water") for each in _estimate(corpus, quick)]


def _growth(quick: bool) -> list[Row]:
    queries, few = (64, 100_000) if quick else (512, 200_000)
    stage, note = (
        "AUC_pr, ten times as many points",
        f"{few:,} and {10 * few:,} points of 160 features, made in shards of {SHARD:,} as they are asked for; "
        f"{queries:,} queries. The time of making them is in both.",
    )
    time, memory = [], []
    for _ in range(1 if quick else 3):
        small, large = (
            apart("benchmarks.coverage:stream", queries=queries, points=points) for points in (few, 10 * few)
        )
        time.append(large["result"] / small["result"])
        memory.append(large["peak"] / small["peak"])
    return [
        row(stage, "time", time, at_most=10.5, note=note),
        row(stage, "peak memory", memory, at_most=1.1, note="The larger coreset is never held."),
    ]


def _estimate(corpus: str, quick: bool) -> list[Row]:
    """On real descriptors, for the bias depends on how they lie."""
    points, queries = _descriptors(corpus, *((20_000, 500) if quick else (1_000_000, 10_000)))
    shards = np.array_split(points, max(1, len(points) // 20_000))
    cells = cells_of(queries[:10])
    nearest_over([points[:10]], queries[:10])
    estimate_over([points[:10]], cells)
    found: dict[str, Any] = {}

    def exact() -> None:
        found["exact"] = nearest_over(shards, queries).distances

    def estimate() -> None:
        found["estimate"] = estimate_over(shards, cells_of(queries))

    exact_s, estimate_s = alternately(exact, estimate, rounds=1 if quick else 3, warm=False)
    area, bias = found["exact"].mean(), found["estimate"].bias
    stage = f"AUC_pr, estimated, jobs/data/{corpus}.zarr"
    note = (
        f"{len(points):,} points of the training snapshots, {len(queries):,} queries of the validation snapshots, "
        f"{queries.shape[1]} features; {CELLS} cells, a query looks into {LOOKED_INTO}, and {COMPARED} queries are "
        "compared with every point. Making the cells is in its time."
    )
    true = float((found["estimate"].distances - found["exact"]).mean())
    measured = [100 * each / area for each in (bias.low, bias.value, bias.high)]
    return [
        row(stage, "speed, of the exact search", exact_s / estimate_s, note=note),
        row(stage, "bias, of AUC_pr", [100 * true / area], unit="%", at_most=1),
        row(stage, "bias as the estimate measures it, with its interval", measured, unit="%"),
    ]


def _descriptors(corpus: str, points: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Of 40 neighbours: as many points of each training snapshot, and queries as a job draws them."""
    split = open_session(ROOT / "jobs" / f"{corpus}.yaml", None, None, ()).split
    descriptor = Descriptor(40)

    def describe(snapshots: SnapshotSet, wanted: int) -> np.ndarray:
        drawn = zip(snapshots.snapshots, query_indices(snapshots, wanted), strict=True)
        return np.concatenate([describe_points(snapshot, index, descriptor).features for snapshot, index in drawn])

    return describe(split.train, points), describe(split.validation, queries)


def stream(queries: int, points: int) -> float:
    """Seconds of the search over points that are made on the fly; compiled and loaded before."""
    import time

    x = np.random.default_rng(1).standard_normal((queries, 160), np.float32)
    nearest(x[:8], x[:8])
    begin = time.perf_counter()
    nearest_over(_shards(points), x)
    return time.perf_counter() - begin


def _shards(points: int) -> Iterator[np.ndarray]:
    for number in range(points // SHARD):
        yield np.random.default_rng([2, number]).standard_normal((SHARD, 160), np.float32)

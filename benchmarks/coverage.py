"""Exact AUC_pr against a large matrix product; its time and memory against the number of points."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.harness import Row, alternately, apart, row
from coreset.numerics.coverage import nearest, nearest_over
from coreset.numerics.products import product

SHARD = 100_000


def rows(quick: bool) -> list[Row]:
    """One thread. The product is NumPy's, and that of oneDNN, by which the search computes."""
    queries, points = (512, 20_000) if quick else (4096, 200_000)
    random = np.random.default_rng(0)
    a, b = random.random((2, 3072, 3072), np.float32)
    c, d = torch.from_numpy(a), torch.from_numpy(b)
    found = []
    for features in (100, 160, 240):
        x = random.standard_normal((queries, features), np.float32)
        y = random.standard_normal((points, features), np.float32)
        search_s, product_s, other_s = alternately(
            partial(nearest, y, x), lambda: a @ b, lambda: product(c, d), rounds=3 if quick else 7
        )
        rate, peak, other = (2 * features * queries * points / search_s, 2 * 3072**3 / product_s, 2 * 3072**3 / other_s)
        stage = f"AUC_pr, exact, {features} features, float32"
        found += [
            row(
                stage,
                "operations per second, of a 3072³ matrix product's",
                rate / peak,
                at_least=0.7,
                note=f"{queries:,} queries, {points:,} points of a normal distribution; 2 d operations per pair.",
            ),
            row(stage, "operations per second, of that product's by oneDNN", rate / other),
            row(stage, "rate of one core", rate / 1e9, unit="GFLOP/s"),
        ]
    return found + _growth(quick)


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

"""What a second process costs the first on this machine, with nothing of ours but kernels: no run can do better."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from benchmarks.harness import ROOT, Row, apart, row
from coreset.corpus.described import describe_points
from coreset.corpus.store import Corpus
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.products import product

SECONDS = 5.0
KERNELS = {"products": "float32 products by oneDNN, 3072 × 900 × 900", "descriptors": "descriptors, M = 20"}


def rows(quick: bool) -> list[Row]:
    """Each kernel by one process of one thread, then by two at a time."""
    found = []
    for name, what in KERNELS.items():
        ratios = []
        for _ in range(1 if quick else 5):
            alone = rate(name)
            with ThreadPoolExecutor(2) as pool:
                ratios.append(sum(pool.map(rate, [name] * 2)) / (2 * alone))
        found.append(row(f"{what}, two processes at a time", "speed of each, of one alone", ratios, note=NOTE))
    return found


NOTE = "What is below 1 is lost to what the cores of this machine share: units of a core, caches, memory, power."


def rate(name: str) -> float:
    """Calls per second of a kernel in a process of its own."""
    return float(apart(f"benchmarks.machine:{name}")["result"])


def products() -> float:
    """Products per second."""
    torch.set_num_threads(1)
    rows, other = torch.randn(3072, 900), torch.randn(900, 900)
    return _repeated(lambda: product(rows, other))


def descriptors() -> float:
    """Descriptions of 20,000 points per second."""
    corpus = Corpus.open(ROOT / "jobs" / "data" / "al.zarr")
    snapshot = next(each for each in corpus.snapshots if each.name.startswith("train/"))
    index = np.arange(20_000)
    return _repeated(lambda: describe_points(snapshot, index, Descriptor(20)))


def _repeated(function: Callable[[], object]) -> float:
    function()
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        function()
        calls += 1
    return calls / (time.perf_counter() - begin)

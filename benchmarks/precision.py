"""Scores in bfloat16 against float32: how much faster, and how far scores and coresets agree."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.gradient_norms import FEATURES, paper
from benchmarks.harness import Row, alternately, row
from benchmarks.trained import scorings
from coreset import select
from coreset.corpus.pieces import pieces_of
from coreset.numerics.gradient_norms import gradient_norms
from coreset.stages.scoring import Scoring

SEEDS = 5
RATES = (0.9, 0.99)


def rows(quick: bool) -> list[Row]:
    """Speed on random points; agreement on aluminium, by networks that were trained for two epochs."""
    torch.manual_seed(0)
    depth, width, points = (2, 64, 3072) if quick else (12, 900, 6144)
    network = paper(depth, width).network
    x, y = torch.randn(points, FEATURES), torch.rand(points)
    single, rounded = alternately(
        lambda: gradient_norms(network, x, y),
        lambda: gradient_norms(network, x, y, precision="bfloat16"),
        rounds=3 if quick else 7,
    )
    instructions = "with" if "avx512_bf16" in Path("/proc/cpuinfo").read_text() else "without"
    speed = row(
        f"gradient norms, {depth} × {width}, bfloat16", "points per second, of those in float32", single / rounded,
        note=f"{points} points of {FEATURES} features, on a processor {instructions} products of bfloat16. "
        "TF32 is a mode of GPUs and was not measured.",
    )  # fmt: skip
    return [speed, *_agreement(quick)]


def _agreement(quick: bool) -> list[Row]:
    hidden, models, snapshots = ((8,) * 4, 2, 2) if quick else ((256,) * 4, 2, 8)
    with tempfile.TemporaryDirectory() as folder:
        exact = scorings(Path(folder), hidden, models, snapshots, quick, epochs=2)[0]
        single, rounded = (_grand(replace(exact, precision=each)) for each in ("float32", "bfloat16"))
    stage = f"scores of {len(hidden)} × {hidden[0]} networks on Al, bfloat16"
    note = (
        f"{len(single)} points of {snapshots} snapshots, the mean over {models} networks after two epochs; "
        f"CCS with cutoff 0.3 and 100 strata, seeds 0 to {SEEDS - 1}, the same draw for both."
    )
    correlation = [float(spearmanr(single, rounded).statistic)]
    rows = [row(stage, "rank correlation with float32", correlation, unit="", note=note)]
    for rate in RATES:
        shares = []
        for seed in range(SEEDS):
            one, other = (select(scores, "ccs", prune=rate, cutoff=0.3, seed=seed) for scores in (single, rounded))
            shares.append(len(np.intersect1d(one, other)) / len(one))
        figure = f"share of the CCS coreset of float32 that is kept too, {rate:.0%} pruned"
        rows.append(row(stage, figure, shares, unit=""))
    return rows


def _grand(scoring: Scoring) -> np.ndarray:
    """Scores of all points, float32."""
    found = [
        scoring._score(snapshot, piece, "cpu")[0].mean(0)
        for snapshot in scoring.train.snapshots
        for piece in pieces_of(snapshot)
    ]
    return np.concatenate(found).astype(np.float32)

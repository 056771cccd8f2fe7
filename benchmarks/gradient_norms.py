"""Gradient norms of the paper's network against its forward pass, per-row autograd and a matrix product; K networks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from benchmarks.harness import Row, alternately, apart, row
from benchmarks.peers import as_pytorch
from benchmarks.trained import scorings
from coreset.corpus.pieces import pieces_of
from coreset.learning.network import Architecture, Model, Normalisation, build
from coreset.numerics.gradient_norms import gradient_norms
from coreset.numerics.products import product

STAGE = "gradient norms, {depth} × {width}, float32"
FEATURES = 160
MODELS = 4


def rows(quick: bool) -> list[Row]:
    """One thread; every function sees the same points, in blocks as scoring cuts them."""
    depth, width, points = (2, 64, 3072) if quick else (12, 900, 6144)
    return [*_kernel(depth, width, points, 3 if quick else 7), *_memory(depth, width, points), *_models(quick)]


def paper(depth: int, width: int) -> Model:
    """A network of the paper's kind, with random weights."""
    unscaled = Normalisation(torch.zeros(FEATURES), torch.ones(FEATURES), 0.0, 1.0)
    return build(Architecture(FEATURES, (width,) * depth, "gelu", "relu"), unscaled, "benchmark")


def _kernel(depth: int, width: int, points: int, rounds: int) -> list[Row]:
    torch.manual_seed(0)
    network = paper(depth, width).network
    theirs = as_pytorch(network)
    x, y = torch.randn(points, FEATURES), torch.rand(points)
    few = 64  # per-sample autograd holds a copy of the weights' size for each of them
    each = torch.func.vmap(
        torch.func.grad(lambda weights, a, b: (torch.func.functional_call(network, weights, a) - b).square().sum()),
        in_dims=(None, 0, 0),
    )
    weights = {name: value.detach() for name, value in network.named_parameters()}

    def forward(network: nn.Module) -> None:
        with torch.inference_mode():
            for block in x.split(3072):
                network(block)

    def by_autograd() -> None:
        found = each(weights, x[:few], y[:few])
        torch.stack([value.flatten(1).square().sum(1) for value in found.values()]).sum(0).sqrt()

    a, b = torch.randn(3072, 3072), torch.randn(3072, 3072)
    seconds = alternately(
        lambda: forward(network),
        lambda: forward(theirs),
        lambda: gradient_norms(network, x, y),
        by_autograd,
        lambda: a @ b,
        lambda: product(a, b),
        rounds=rounds,
    )
    forward_s, theirs_s, norms_s, autograd_s, product_s, other_s = seconds
    parameters = sum(m.weight.numel() for m in network if isinstance(m, nn.Linear))
    rate, peak, other = 4 * parameters * points / norms_s, 2 * 3072**3 / product_s, 2 * 3072**3 / other_s
    stage = STAGE.format(depth=depth, width=width)
    note = (
        f"{points} points of {FEATURES} features. Norms and forward pass multiply by oneDNN; PyTorch's own layers and "
        "`a @ b` by MKL, which leaves half of the vector unit idle where the processor is not Intel's."
    )
    return [
        row(stage, "points per second, of a forward pass's (limit 0.5)", forward_s / norms_s, at_least=0.45),
        row(stage, "points per second, of that of PyTorch's own layers", theirs_s / norms_s),
        row(stage, "points per second, of `vmap(grad)`'s", autograd_s / few / (norms_s / points), at_least=40),
        row(stage, "operations per second, of a 3072³ matrix product's", rate / peak, at_least=0.85),
        row(stage, "operations per second, of that product's by oneDNN", rate / other, note=note),
        row(stage, "rate of one core", rate / 1e9, unit="GFLOP/s"),
    ]


def scored(depth: int, width: int, points: int) -> None:
    """Scores so many random points; 0 points only loads what that takes."""
    network = paper(depth, width).network
    # The first call fetches kernels and starts autograd.
    gradient_norms(network, torch.randn(1, FEATURES), torch.rand(1), block=192)
    if points:
        gradient_norms(network, torch.randn(points, FEATURES), torch.rand(points))


def _memory(depth: int, width: int, points: int) -> list[Row]:
    weights = 4 * paper(depth, width).architecture.multiplications
    idle, few, many = (
        apart("benchmarks.gradient_norms:scored", depth=depth, width=width, points=count)["peak"]
        for count in (0, points, 4 * points)
    )
    stage = STAGE.format(depth=depth, width=width)
    note = (
        f"Memory: peak of a process that scores, less that of one that has the network loaded; the weights take "
        f"{weights / 2**20:.1f} MiB. A block of 3072 rows keeps its activations and pre-activations, "
        f"{2 * 4 * 3072 * depth * width / 2**20:.0f} MiB; a copy of the weights per row would take "
        f"{weights * 3072 / 2**30:.0f} GiB."
    )
    return [
        row(stage, "memory", [(few - idle) / 2**20], unit="MiB", note=note),
        row(stage, "memory per point, of the size of the weights", [(few - idle) / points / weights]),
        row(stage, f"memory for {4 * points} points, of that for {points}", [(many - idle) / (few - idle)]),
    ]


def _models(quick: bool) -> list[Row]:
    """One pass of `Scoring` for K networks against K passes, each of which reads and describes the snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        together, *apart_ = scorings(Path(folder), (96, 96, 96), MODELS, steps=1, snapshots=1, quick=quick)
        (snapshot,) = together.train.snapshots
        (piece,) = pieces_of(snapshot)

        def separately() -> None:
            for each in apart_:
                each._score(snapshot, piece, "cpu")

        one, alone, several = alternately(
            lambda: together._score(snapshot, piece, "cpu"),
            lambda: apart_[0]._score(snapshot, piece, "cpu"),
            separately,
            rounds=3 if quick else 7,
        )  # fmt: skip
    stage = f"scores of {MODELS} models, 3 × 96"
    note = f"K models: the snapshot {snapshot.name}, {snapshot.points} points, descriptor and network of jobs/al.yaml."
    return [
        row(stage, f"time of {MODELS} separate passes, of one pass for all", several / one, note=note),
        row(stage, "time of one pass for all, of one for a single model", one / alone),
    ]

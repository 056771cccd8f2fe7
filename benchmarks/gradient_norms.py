"""Gradient norms of the paper's network against its forward pass, per-sample autograd and a matrix product."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from benchmarks.harness import Row, alternately, row
from coreset.numerics.gradient_norms import gradient_norms

STAGE = "gradient norms, {depth} × {width}, float32"


def rows(quick: bool) -> list[Row]:
    """One thread; every function sees the same points, in blocks as scoring cuts them."""
    torch.manual_seed(0)
    depth, width, points = (2, 64, 3072) if quick else (12, 900, 6144)
    features = 160
    sizes = [features, *[width] * depth, 1]
    layers = [module for a, b in pairwise(sizes) for module in (nn.Linear(a, b), nn.GELU())]
    network = nn.Sequential(*layers[:-1], nn.ReLU())
    x, y = torch.randn(points, features), torch.rand(points)
    few = 64  # per-sample autograd holds a copy of the weights' size for each of them
    each = torch.func.vmap(
        torch.func.grad(lambda weights, a, b: (torch.func.functional_call(network, weights, a) - b).square().sum()),
        in_dims=(None, 0, 0),
    )
    weights = {name: value.detach() for name, value in network.named_parameters()}

    def forward() -> None:
        with torch.inference_mode():
            for block in x.split(3072):
                network(block)

    def by_autograd() -> None:
        found = each(weights, x[:few], y[:few])
        torch.stack([value.flatten(1).square().sum(1) for value in found.values()]).sum(0).sqrt()

    a, b = torch.randn(3072, 3072), torch.randn(3072, 3072)
    seconds = alternately(
        forward, lambda: gradient_norms(network, x, y), by_autograd, lambda: a @ b, rounds=3 if quick else 7
    )
    forward_s, norms_s, autograd_s, product_s = seconds
    parameters = sum(m.weight.numel() for m in network if isinstance(m, nn.Linear))
    rate, peak = 4 * parameters * points / norms_s, 2 * 3072**3 / product_s
    stage = STAGE.format(depth=depth, width=width)
    return [
        row(stage, "points per second, of a forward pass's (limit 0.5)", forward_s / norms_s, at_least=0.45),
        row(stage, "points per second, of `vmap(grad)`'s", autograd_s / few / (norms_s / points), at_least=40),
        row(stage, "operations per second, of a 3072³ matrix product's", rate / peak, at_least=0.85),
        row(stage, "rate of one core", rate / 1e9, unit="GFLOP/s", note=f"{points} points of {features} features."),
    ]

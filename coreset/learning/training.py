"""The training loop: mean squared error on the scaled density, AdamW, one seed, one device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch
from torch import Tensor, nn

from coreset.errors import WorkError
from coreset.learning.feed import Feed
from coreset.learning.network import Architecture, Model, build

_ATTEMPTS = 5
"""Initialisations that one run may try before it gives up on its dead outputs."""


@dataclass(frozen=True)
class Recipe:
    """How long and how a network is trained: exactly one of `epochs` and `steps` is given."""

    learning_rate: float
    weight_decay: float
    schedule: Literal["constant", "cosine"]
    batch: int
    window: int
    epochs: int | None = None
    steps: int | None = None

    def total_steps(self, points: int) -> int:
        """Optimiser steps of the whole training on so many points."""
        return self.steps if self.steps is not None else (self.epochs or 0) * self.steps_per_epoch(points)

    def steps_per_epoch(self, points: int) -> int:
        """Steps of one epoch, not counting the few short batches at the ends of windows."""
        return math.ceil(points / self.batch)


@dataclass(frozen=True)
class Trained:
    """A trained model and what is to be told of its training."""

    model: Model
    steps: int
    loss: float
    """Mean squared error, in scaled units, over the last epoch or part of one."""
    dead: float
    """Share of the last batches' points whose output is exactly 0: they have no gradient."""
    redrawn: int
    """Initialisations that were thrown away because their output was 0 everywhere."""


class _Dead(Exception):
    """The output is 0 at every point that was looked at: no gradient will ever change it."""


def train(
    feed: Feed,
    architecture: Architecture,
    recipe: Recipe,
    seed: str,
    device: str = "cpu",
    advance: Callable[[float], None] = lambda units: None,
) -> Trained:
    """Trains one network; the result is a function of the feed's points, the settings and `seed` alone.

    A run whose ReLU output dies (0 at every point; looked at where an epoch's last batches are all 0) is redrawn from
    the next initialisation and counted. Raises WorkError when the loss is no longer finite, or each of them died.
    """
    normalisation = feed.normalisation
    for attempt in range(_ATTEMPTS):
        draw = seed if attempt == 0 else f"{seed} redrawn {attempt}"
        model = build(architecture, normalisation, draw)
        model.network.to(device)
        try:
            steps, loss, dead = _run(feed, model, recipe, draw, device, advance)
        except _Dead:
            continue
        model.network.to("cpu")
        return Trained(model, steps, loss, dead, redrawn=attempt)
    raise WorkError(
        f"Training run {seed!r}: {_ATTEMPTS} initialisations died (output 0 everywhere). "
        "Use output: linear, a smaller learning rate, or fewer layers."
    )


def _run(
    feed: Feed, model: Model, recipe: Recipe, seed: str, device: str, advance: Callable[[float], None]
) -> tuple[int, float, float]:
    network = model.network.train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    total = recipe.total_steps(feed.points)
    steps = 0
    for epoch in count() if recipe.steps is not None else range(recipe.epochs or 0):
        losses: list[Tensor] = []
        outputs: list[Tensor] = []
        for x, y in _on(device, feed.batches(recipe.batch, seed, epoch)):
            if recipe.schedule == "cosine":
                optimizer.param_groups[0]["lr"] = recipe.learning_rate * _cosine(steps / total)
            output = network(x).squeeze(1)
            loss = torch.mean((output - model.target(y)) ** 2)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            outputs = [*outputs[-15:], output.detach()]
            steps += 1
            if steps % 50 == 0:
                advance(50 * recipe.batch)
            if steps == recipe.steps:
                break
        mean_loss = float(torch.stack(losses).double().mean())
        dead = float((torch.cat(outputs) == 0).double().mean())
        if not math.isfinite(mean_loss):
            raise WorkError(
                f"Training run {seed!r}: the loss is {mean_loss} after epoch {epoch + 1}; lower training.learning_rate."
            )
        # The last batches may all be of vacuum, where the output is rightly 0: every point has to be looked at.
        if dead == 1.0 and not _alive(network, feed, recipe.batch, device):
            raise _Dead
        if steps == recipe.steps:
            break
    return steps, mean_loss, dead


@torch.no_grad()
def _alive(network: nn.Sequential, feed: Feed, batch: int, device: str) -> bool:
    """Whether the output is positive anywhere."""
    return any(bool((network(x) > 0).any()) for x, _ in _on(device, feed.batches(batch, "alive", 0)))


def _on(device: str, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    if device == "cpu":
        return batches
    return (
        (x.pin_memory().to(device, non_blocking=True), y.pin_memory().to(device, non_blocking=True)) for x, y in batches
    )


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

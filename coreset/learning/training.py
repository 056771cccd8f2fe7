"""The training loop: mean squared error on the scaled density (or another loss), AdamW, one seed, one device.

Two trainings differ by their seeds alone, and at high pruning by more than the methods do. Three things quieten that: a
rate that decays to zero, averaged weights, and keeping the weights of the check with the least validation error.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Literal, cast

import torch
from torch import Tensor, nn

from coreset.errors import DataError, WorkError
from coreset.learning.averaging import AveragedWeights
from coreset.learning.divergence import SLOWER, Diverged, expect_sense
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
    average: float = 0.0
    """Decay per step of the averaged weights; 0 takes the weights as they are."""
    checks: int = 0
    """How often the validation error is looked at, at even distances, and at the end: at least so often."""
    keep: Literal["last", "best"] = "last"
    """Which check's weights are kept; `best` needs checks."""

    def total_steps(self, points: int) -> int:
        """Optimiser steps of the whole training on so many points."""
        return self.steps if self.steps is not None else (self.epochs or 0) * self.steps_per_epoch(points)

    def steps_per_epoch(self, points: int) -> int:
        """Steps of one epoch, not counting the few short batches at the ends of windows."""
        return math.ceil(points / self.batch)


@dataclass(frozen=True)
class HeldOut:
    """Descriptors, shape [n, d], and densities (e/Bohr³) or other targets, [n] or [n, o], of validation points."""

    features: Tensor
    density: Tensor

    def error(self, model: Model) -> float:
        """Root mean square error over these points, divided by the range of their densities; of classes their share."""
        predicted = model.predict(self.features).double()
        density = self.density.double()
        if model.architecture.loss == "cross-entropy":
            return float((predicted.argmax(1) != density.long()).double().mean())
        if density.ndim > 1:
            spread = (density.amax(0) - density.amin(0)).clamp_min(torch.finfo(torch.float32).tiny)
            return float(((predicted - density) / spread).square().mean().sqrt())
        return float((predicted - density).square().mean().sqrt() / (density.max() - density.min()))

    def to(self, device: str) -> HeldOut:
        """The same points on a device."""
        return HeldOut(self.features.to(device), self.density.to(device))


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
    validation: list[tuple[int, float]]
    """Step and validation error of each check."""
    kept_step: int
    """The step whose weights are kept."""
    slowed_to: float | None = None
    """The learning rate with which it was begun again, where it had diverged with the stated one."""


class _Dead(Exception):
    """The output is 0 at every point that was looked at: no gradient will ever change it."""


def train(
    feed: Feed,
    architecture: Architecture,
    recipe: Recipe,
    seed: str,
    device: str = "cpu",
    advance: Callable[[float], None] = lambda units: None,
    held_out: HeldOut | None = None,
) -> Trained:
    """Trains one network; the result is a function of the feed's points, the settings, `seed` and the team's size.

    In a team (`feed.team`) every rank calls this, takes its rows of each batch, and returns the same network.

    With `recipe.checks` the error on `held_out` is recorded, and with `keep="best"` decides which weights are kept.

    A run whose ReLU output dies (0 at every point; looked at where an epoch's last batches are all 0) is redrawn from
    the next initialisation and counted. A run that diverges is begun again, once, from the same seed with a tenth of
    the learning rate, which `Trained.slowed_to` then tells. It has diverged where the mean loss of an epoch or a
    validation error is not finite, and at the end as `divergence` says.

    Raises WorkError when it diverges again, or each initialisation died; DataError where the checks are to look at a
    density that does not vary.
    """
    if recipe.checks and held_out is not None and not held_out.density.max() > held_out.density.min():
        raise DataError(
            f"Training run {seed!r}: expected validation densities that vary, found the same at all "
            f"{len(held_out.density)} points; validate on other snapshots, or set training.checks to 0."
        )
    try:
        return _drawn(feed, architecture, recipe, seed, device, advance, held_out)
    except Diverged as error:
        found = str(error)
    slower = replace(recipe, learning_rate=recipe.learning_rate / SLOWER)
    try:
        trained = _drawn(feed, architecture, slower, seed, device, advance, held_out)
    except Diverged as error:
        raise WorkError(
            f"Training run {seed!r}: {found}, and with a tenth of the learning rate, {slower.learning_rate:g}, "
            f"{error}; lower training.learning_rate."
        ) from None
    return replace(trained, slowed_to=slower.learning_rate)


def _drawn(
    feed: Feed,
    architecture: Architecture,
    recipe: Recipe,
    seed: str,
    device: str,
    advance: Callable[[float], None],
    held_out: HeldOut | None,
) -> Trained:
    """Trains from the first initialisation whose output does not die."""
    for attempt in range(_ATTEMPTS):
        draw = seed if attempt == 0 else f"{seed} redrawn {attempt}"
        model = build(architecture, feed.normalisation, draw)
        model.network.to(device)
        checks = _Checks(model, recipe, feed, held_out.to(device) if held_out is not None else None)
        try:
            steps, loss, dead = _run(feed, model, recipe, draw, device, advance, checks)
        except _Dead:
            continue
        kept_step = checks.finish(steps)
        model.network.to("cpu")
        return Trained(model, steps, loss, dead, attempt, checks.errors, kept_step)
    raise WorkError(
        f"Training run {seed!r}: {_ATTEMPTS} initialisations died (output 0 everywhere). "
        "Use output: linear, a smaller learning rate, or fewer layers."
    )


@dataclass
class _Checks:
    """What a training does beside its steps: averages its weights and looks at the validation error."""

    model: Model
    recipe: Recipe
    feed: Feed
    held_out: HeldOut | None
    errors: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._average = AveragedWeights(self.model.network, self.recipe.average) if self.recipe.average else None
        self._total = self.recipe.total_steps(self.feed.points)
        self._best: tuple[float, int, dict[str, Tensor]] | None = None

    def after(self, step: int) -> None:
        """To be called after every step, counted from 1."""
        if self._average is not None:
            self._average.update()
        total, checks = self._total, self.recipe.checks
        if checks and step * checks // total > (step - 1) * checks // total:
            self._swapped(lambda: self._look(step))

    def finish(self, steps: int) -> int:
        """Leaves the weights to be kept in the model and returns the step that they are of."""
        if self._average is not None:
            self._average.swap()
        if self.recipe.checks and (not self.errors or self.errors[-1][0] != steps):
            self._look(steps)
        if self._best is None or self.recipe.keep == "last":
            return steps
        self.model.network.load_state_dict(self._best[2])
        return self._best[1]

    def _swapped(self, look: Callable[[], None]) -> None:
        if self._average is None:
            look()
            return
        self._average.swap()
        look()
        self._average.swap()

    def _look(self, step: int) -> None:
        if self.held_out is None:
            raise ValueError("checks look at held-out points, found none")
        # One rank's word: another processor might round otherwise, and then keep other weights.
        error = self.feed.team.agreed(self.held_out.error(self.model))
        self.model.network.train()
        if not math.isfinite(error):
            raise Diverged(f"the validation error is {error} after step {step}")
        self.errors.append((step, error))
        if self.recipe.keep == "best" and (self._best is None or error < self._best[0]):
            self._best = (error, step, copy.deepcopy(self.model.network.state_dict()))


def _run(
    feed: Feed,
    model: Model,
    recipe: Recipe,
    seed: str,
    device: str,
    advance: Callable[[float], None],
    checks: _Checks,
) -> tuple[int, float, float]:
    team = feed.team
    network = team.joined(model.network.train())
    joined = replace(model, network=cast(nn.Sequential, network))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    total = recipe.total_steps(feed.points)
    steps = 0
    for epoch in count() if recipe.steps is not None else range(recipe.epochs or 0):
        sizes = feed.sizes(recipe.batch, seed, epoch)
        losses = torch.empty(len(sizes), device=device)
        outputs: deque[Tensor] = deque(maxlen=16)
        batches = _on(device, feed.batches(recipe.batch, seed, epoch))
        for step, (size, (x, y)) in enumerate(zip(sizes, batches, strict=True), 1):
            if recipe.schedule == "cosine":
                optimizer.param_groups[0]["lr"] = recipe.learning_rate * _cosine(steps / total)
            total_loss, output = joined.loss(x, y)
            # A rank's part of the batch's mean times G, for gradients are averaged over the G ranks.
            loss = total_loss / (size / team.size)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses[step - 1] = loss.detach()
            outputs.append(output.detach())
            steps += 1
            checks.after(steps)
            if steps % 50 == 0:
                advance(50 * recipe.batch)
            if steps == recipe.steps:
                break
        # Nothing before this line waits for the device.
        mean_loss = sum(team.gathered(float(losses[:step].double().mean()))) / team.size
        last = torch.cat(list(outputs))
        silent = int((last == 0 if last.ndim == 1 else (last == 0).all(1)).sum())
        zeros, looked = map(sum, zip(*team.gathered((silent, len(last))), strict=True))
        dead = zeros / looked
        if not math.isfinite(mean_loss):
            raise Diverged(f"the loss is {mean_loss} after epoch {epoch + 1}")
        # The last batches may all be of vacuum, where the output is rightly 0: every point has to be looked at.
        if dead == 1.0 and not any(team.gathered(_alive(model.network, feed, recipe.batch, device))):
            raise _Dead
        if steps == recipe.steps:
            break
    expect_sense(model.network, losses[:step], team)
    return steps, mean_loss, dead


@torch.no_grad()
def _alive(network: nn.Sequential, feed: Feed, batch: int, device: str) -> bool:
    """Whether the output is positive anywhere."""
    return any(bool((network(x) > 0).any()) for x, _ in _on(device, feed.batches(batch, "alive", 0)))


def _on(device: str, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches on the device. On a GPU each is copied, on a stream of its own, while the one before it computes."""
    return batches if device == "cpu" else _copied(device, batches)


def _copied(device: str, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    computing, copying = torch.cuda.current_stream(), torch.cuda.Stream()
    before = None
    for batch in chain(batches, [None]):
        sent = None
        if batch is not None:
            with torch.cuda.stream(copying):
                x, y = (rows.pin_memory().to(device, non_blocking=True) for rows in batch)
                sent = x, y, copying.record_event()
        if before is not None:
            x, y, arrived = before
            computing.wait_event(arrived)
            for rows in (x, y):
                rows.record_stream(computing)  # so that its memory is not given to a later copy too early
            yield x, y
        before = sent


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

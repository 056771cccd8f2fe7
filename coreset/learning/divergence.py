"""When a training has diverged: it has gone where no further step will bring it back from.

In scaled units the densities have variance 1, so to predict their mean everywhere costs a loss of 1. What costs more
than `DIVERGED` is wrong by ten standard deviations. One batch may be, for a few steps: Adam's first steps can
overshoot, and what was lost is soon made good. More than half of the last epoch's batches may not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coreset.learning.team import Team

DIVERGED = 100.0
"""Loss, of which the mean density everywhere costs 1."""
SLOWER = 10.0
"""What the learning rate of a run that diverged is divided by, once."""


class Diverged(Exception):
    """A training has diverged; the message says how that was seen."""


def expect_sense(network: nn.Module, losses: Tensor, team: Team) -> None:
    """Looks at a training's last weights, and at its rank's losses of the batches of its last epoch, shape [batches].

    Raises Diverged, on all ranks alike, where a weight is not finite, or where the losses are mostly absurd.
    """
    # The last step may have broken what the loss before it was of.
    finite = all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
    if not all(team.gathered(finite)):
        raise Diverged("a weight is not finite after the last step")
    by_rank = torch.tensor(team.gathered(losses.tolist()))
    usual = float(by_rank.mean(0).median())
    if usual > DIVERGED:
        raise Diverged(f"more than half of the last epoch's losses are {usual:.3g} or more, 1 being that of the mean")

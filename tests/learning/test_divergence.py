"""Which losses and weights are no sense, on one rank and on several; what a training does then is in test_training."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from coreset.learning.divergence import DIVERGED, Diverged, expect_sense
from coreset.learning.team import Team

ABOVE, BELOW = DIVERGED * 1.01, DIVERGED * 0.99


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


@dataclass(frozen=True)
class Heard(Team):
    """A team in which the other rank says what is given, in turn."""

    says: tuple[Any, ...] = ()

    def gathered(self, value: Any) -> list[Any]:
        says = {bool: self.says[0], list: self.says[1]}
        return [value, says[type(value)]]


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([BELOW], False),
        ([ABOVE], True),
        ([ABOVE, BELOW], False),
        ([ABOVE, BELOW, ABOVE], True),
        ([ABOVE, ABOVE, BELOW, BELOW], False),
        ([0.5] * 50 + [1e30] * 50, False),
        ([1e30] * 51 + [0.5] * 49, True),
    ],
)
def test_more_than_half_of_the_losses_decide(losses: list[float], diverged: bool) -> None:
    if diverged:
        with pytest.raises(Diverged, match="more than half of the last epoch's losses are"):
            expect_sense(network(), torch.tensor(losses), Team())
    else:
        expect_sense(network(), torch.tensor(losses), Team())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("parameter", range(4))
def test_any_weight_that_is_not_finite_is_found(parameter: int, value: float) -> None:
    broken = network()
    with torch.no_grad():
        list(broken.parameters())[parameter].view(-1)[-1] = value
    with pytest.raises(Diverged, match="a weight is not finite"):
        expect_sense(broken, torch.tensor([0.1]), Team())


def test_what_another_rank_found_counts() -> None:
    """A batch's loss is the mean of what the ranks say of it."""
    losses = torch.tensor([1.0, 1.0, 1.0])
    expect_sense(network(), losses, Heard(0, 2, says=(True, [BELOW, BELOW, ABOVE])))
    with pytest.raises(Diverged, match="losses"):
        expect_sense(network(), losses, Heard(0, 2, says=(True, [2 * ABOVE, 2 * ABOVE, 0.0])))
    with pytest.raises(Diverged, match="weight"):
        expect_sense(network(), losses, Heard(0, 2, says=(False, [1.0, 1.0, 1.0])))

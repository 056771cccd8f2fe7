"""The averaged weights against the sum written out, and against torch's own average."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel

from coreset.learning.averaging import AveragedWeights


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1)).double()


def weights(of: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().ravel() for parameter in of.parameters()])


def move(of: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in of.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


def averaged(of: nn.Module, average: AveragedWeights) -> torch.Tensor:
    average.swap()
    found = weights(of)
    average.swap()
    return found


@given(st.floats(0.01, 0.999), st.integers(1, 30))
def test_it_is_the_weighted_sum_of_all_states(decay: float, steps: int) -> None:
    net = network()
    average = AveragedWeights(net, decay)
    states = [weights(net)]
    for step in range(steps):
        move(net, step)
        average.update()
        states.append(weights(net))
    # State k enters with 1 − d_k and is scaled down by the decays of all later steps; the initialisation by all.
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(steps)]
    expected, later = torch.zeros_like(states[0]), 1.0
    for state, each in zip(states[:0:-1], decays[::-1], strict=True):
        expected += later * (1 - each) * state
        later *= each
    expected += later * states[0]
    torch.testing.assert_close(averaged(net, average), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.99])
def test_it_is_torchs_average_with_the_ramped_decay(decay: float) -> None:
    net = network()
    average = AveragedWeights(net, decay)

    def ramped(mean: torch.Tensor, now: torch.Tensor, told: torch.Tensor | int) -> torch.Tensor:
        # Torch counts the copy of the initial weights as the first.
        each = min(decay, float(told) / (9 + float(told)))
        return each * mean + (1 - each) * now

    theirs = AveragedModel(net, avg_fn=ramped)
    theirs.update_parameters(net)
    for step in range(40):
        move(net, step)
        average.update()
        theirs.update_parameters(net)
        torch.testing.assert_close(averaged(net, average), weights(theirs.module), rtol=1e-12, atol=1e-12)


def test_swapping_twice_changes_no_bit_and_updates_do_not_touch_the_network() -> None:
    net = network().float()
    average = AveragedWeights(net, 0.9)
    for step in range(5):
        move(net, step)
        before = weights(net)
        average.update()
        assert torch.equal(weights(net), before)
        average.swap()
        assert not torch.equal(weights(net), before)
        average.swap()
        assert torch.equal(weights(net), before)


def test_weights_that_stand_still_are_their_own_average() -> None:
    net = network()
    average = AveragedWeights(net, 0.9)
    for _ in range(20):
        average.update()
    torch.testing.assert_close(averaged(net, average), weights(net), rtol=1e-15, atol=0)

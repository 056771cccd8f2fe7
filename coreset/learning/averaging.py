"""Averaged weights: the mean of a training's last states, which differs less from seed to seed than its last state.

    w̄ ← w̄ + (1 − d_t) (w_t − w̄),        d_t = min(d, (1 + t) / (10 + t)),        t = 0, 1, 2, …

an exponential average of decay d; the smaller decay at first forgets the initialisation. Source: Polyak and Juditsky
1992, SIAM J. Control Optim. 30, 838, for averages of iterates; the ramp is that of TensorFlow's moving averages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The average of a network's parameters over the steps that it was told of."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._parameters: list[Tensor] = list(network.parameters())
        self._average = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay
        self._told = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes the network's present weights into the average."""
        decay = min(self._decay, (1 + self._told) / (10 + self._told))
        torch._foreach_lerp_(self._average, self._parameters, 1 - decay)  # one kernel for all, on a GPU
        self._told += 1

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the network's weights and the average; a second call undoes the first."""
        for average, parameter in zip(self._average, self._parameters, strict=True):
            held: Tensor = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)

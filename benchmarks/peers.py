"""PyTorch's own layers, to compare with."""

from __future__ import annotations

from torch import nn


def as_pytorch(network: nn.Sequential) -> nn.Sequential:
    """The same network with dense layers of PyTorch's own."""
    layers: list[nn.Module] = []
    for module in network:
        if isinstance(module, nn.Linear):
            layers.append(nn.Linear(module.in_features, module.out_features))
            layers[-1].load_state_dict(module.state_dict())
        else:
            layers.append(module)
    return nn.Sequential(*layers)

"""Gradient norms of a network that tells classes apart, against autograd."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from coreset.errors import DataError, RequestError
from coreset.numerics.gradient_norms import gradient_norms, gradient_norms_and_residuals


def network(outputs: int) -> nn.Sequential:
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(5, 12), nn.GELU(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, outputs))
    return layers.double()


@pytest.mark.parametrize("outputs", [2, 4])
def test_norms_are_those_of_autograd(outputs: int) -> None:
    net = network(outputs)
    x = torch.randn(300, 5, dtype=torch.float64)
    y = torch.randint(outputs, (300,))

    def loss(parameters: dict[str, torch.Tensor], row: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(net, parameters, (row[None],)), label[None])

    gradients = vmap(grad(loss), (None, 0, 0))(dict(net.named_parameters()), x, y)
    expected = torch.stack([each.flatten(1).square().sum(1) for each in gradients.values()]).sum(0).sqrt()
    norms, losses = gradient_norms_and_residuals(net, x, y.float(), loss="cross-entropy")
    torch.testing.assert_close(norms, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(losses, nn.functional.cross_entropy(net(x), y, reduction="none").detach())


def test_norms_depend_on_no_block() -> None:
    net, x, y = (
        network(3).float(),
        np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32),
        np.arange(500) % 3,
    )
    one = gradient_norms(net, x, y.astype(np.float32), loss="cross-entropy")
    parts = [
        gradient_norms(net, x[i : i + 77], y[i : i + 77].astype(np.float32), loss="cross-entropy")
        for i in range(0, 500, 77)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), one)


@pytest.mark.parametrize(
    ("y", "error", "found"),
    [
        ([0.0, 3.0], DataError, "classes from 0 to 2, found 3.0 in row 1"),
        ([0.5, 1.0], DataError, "found 0.5 in row 0"),
        ([-1.0, 1.0], DataError, "found -1.0 in row 0"),
        ([[0.0], [1.0]], RequestError, "number of a class for each of 2 rows"),
    ],
)
def test_what_is_no_class_is_refused(y: list[float], error: type[Exception], found: str) -> None:
    with pytest.raises(error, match=found):
        gradient_norms(network(3), torch.zeros(2, 5), torch.tensor(y), loss="cross-entropy")
    with pytest.raises(RequestError, match="loss: expected one of"):
        gradient_norms(network(3), torch.zeros(2, 5), torch.zeros(2), loss="hinge")

"""Per-row gradient norms of any network whose rows do not interact, by automatic differentiation.

Where `gradient_norms` has a closed form it takes twice a forward pass, and no copy of the weights. Here each row has a
gradient of its own, as large as the weights: tens of times slower, and rows go through in blocks that fit into memory.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from coreset.errors import DataError, WorkError
from coreset.numerics.gradient_norms import Loss

HELD = 2**26
"""Numbers of the gradients that are held at a time."""


def per_sample_norms_and_residuals(
    network: nn.Module, x: Float[Tensor, "n d"], y: Tensor, loss: Loss = "squared"
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """As `gradient_norms_and_residuals`, shape [n] each, by `vmap(grad)`; the network in evaluation mode.

    y: targets, shape [n] or [n, o], or with the loss "cross-entropy" numbers of classes, shape [n]. Raises `DataError`
    for a row that is not finite, `WorkError` for a norm that is not.
    """
    if not bool((finite := torch.isfinite(x).all(1)).all()):
        raise DataError(f"x: expected finite values, found others in row {int(finite.to(torch.uint8).argmin())}.")
    network.eval()
    parameters = {name: each.detach() for name, each in network.named_parameters()}
    buffers = dict(network.named_buffers())
    row_loss = _squared if loss == "squared" else _cross_entropy

    def of_row(weights: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        return row_loss(functional_call(network, (weights, buffers), (row[None],))[0], target)

    of_rows = vmap(grad_and_value(of_row), (None, 0, 0), randomness="error")
    block = max(1, HELD // sum(each.numel() for each in parameters.values()))
    norms, losses = [x.new_empty(0)], [x.new_empty(0)]
    for rows, targets in zip(x.split(block), y.split(block), strict=True):
        gradients, values = of_rows(parameters, rows, targets)
        squares = torch.stack([each.flatten(1).square().sum(1) for each in gradients.values()])
        norms.append(squares.sum(0).sqrt().detach())
        losses.append((values.sqrt() if loss == "squared" else values).detach())
    norm = torch.cat(norms)
    if not bool((finite := torch.isfinite(norm)).all()):
        raise WorkError(
            f"x: row {int(finite.to(torch.uint8).argmin())} is finite but its gradient norm is not: the network has "
            "diverged; use an earlier checkpoint."
        )
    return norm, torch.cat(losses)


def _squared(output: Tensor, target: Tensor) -> Tensor:
    return (output - target.reshape(output.shape)).square().sum()


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    # A product with 0 and 1, for vmap cannot pick by an index.
    chosen = torch.arange(output.shape[0], device=output.device) == target.long()
    return -(torch.log_softmax(output, 0) * chosen).sum()

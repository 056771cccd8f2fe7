"""Products of float32 matrices, and the dense layer made of them, at the full rate of the processor.

By oneDNN where PyTorch has it: MKL, behind `torch.mm`, chooses its code by the maker of the processor, and leaves half
of a vector unit of AVX-512 idle on one that is not Intel's.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def by_onednn() -> bool:
    """Whether `product` goes by oneDNN, which this build of PyTorch may not have."""
    return bool(torch.backends.mkldnn.is_available())


def product(
    rows: Float[Tensor, "n k"], other: Float[Tensor, "m k"], bias: Float[Tensor, " m"] | None = None
) -> Float[Tensor, "n m"]:
    """Return rows · otherᵀ + bias, all of float32 on the CPU; autograd does not see it."""
    if by_onednn() and rows.numel() and other.numel():  # oneDNN knows no empty matrices
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, other, bias, "none", [], "")
        return found
    return rows @ other.T if bias is None else torch.addmm(bias, rows, other.T)


class Dense(nn.Linear):
    """y = x Wᵀ + b, as `nn.Linear`, whose products and those of its gradients go by `product` where they can.

    They cannot on a GPU, in another precision, for x of other than two dimensions, or under `torch.func`; then this is
    `nn.Linear`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b, shape [n, o], for x of shape [n, i]."""
        plain = x.ndim == 2 and x.dtype == self.weight.dtype == torch.float32 and x.device.type == "cpu"
        transformed = torch.is_autocast_enabled("cpu") or torch._C._are_functorch_transforms_active()
        if plain and by_onednn() and not transformed:
            found: Tensor = _Affine.apply(x, self.weight, self.bias)
            return found
        return super().forward(x)


class _Affine(torch.autograd.Function):
    """x Wᵀ + b, and its gradients once: G W at x, Gᵀ x at W, and the sum of the rows of G at b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            product(gradient, weight.T) if wanted[0] else None,
            product(gradient.T, x.T) if wanted[1] else None,
            gradient.sum(0) if wanted[2] else None,
        )

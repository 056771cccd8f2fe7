"""Products of float32 matrices at the full rate of the processor."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


def by_onednn() -> bool:
    """Whether `product` goes by oneDNN, which this build of PyTorch may not have."""
    return bool(torch.backends.mkldnn.is_available())


def product(rows: Float[Tensor, "n k"], other: Float[Tensor, "m k"]) -> Float[Tensor, "n m"]:
    """Return rows · otherᵀ, both of float32 on the CPU.

    By oneDNN where there is one: MKL, behind `torch.mm`, and the OpenBLAS that comes with NumPy choose their kernels by
    the maker of the processor as much as by what it can do, and run at half its rate on some that have AVX-512.
    """
    if by_onednn():
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, other, None, "none", [], "")
        return found
    return rows @ other.T


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch takes one thread for what the block computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

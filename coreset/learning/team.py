"""Several processes that train one network: each holds its share of the points, and gradients are averaged by DDP."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that train one network together, and which of them this one is. Alone, nothing is sent.

    Rank r of G holds the rows r, r + G, r + 2G, … of every slab: so each descriptor is computed once, and a share of
    every batch falls to every rank.
    """

    rank: int = 0
    size: int = 1
    group: Any = None
    """Process group of torch.distributed; None where the process is alone."""

    def rows(self, rows: int) -> int:
        """How many of so many rows of a slab this rank holds."""
        return len(range(self.rank, rows, self.size))

    def gathered(self, value: T) -> list[T]:
        """The values of all ranks, in their order. Every rank must call it, and as often as the others."""
        if self.size == 1:
            return [value]
        import torch.distributed

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self.group)
        return values

    def agreed(self, value: T) -> T:
        """The value of rank 0."""
        return self.gathered(value)[0]

    def joined(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are, after each backward pass, the means over all ranks."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 has another name for broadcast_buffers
            # The buffers are the normalisation, which is the same on all ranks and does not change.
            return DistributedDataParallel(
                network, process_group=self.group, broadcast_buffers=False, gradient_as_bucket_view=True
            )

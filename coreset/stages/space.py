"""The space in which points are compared: their features, or what the last hidden layer of a network makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64

from coreset.atomic import sha256_file
from coreset.corpus.point_set import PointSet
from coreset.errors import RequestError

if TYPE_CHECKING:
    from coreset.learning.network import Model

_BLOCK = 1024
"""Rows of a forward pass, filled with zeros: the bits of a product depend on its shape."""


@dataclass(frozen=True)
class Space:
    """network: the checkpoint whose last hidden layer is looked at, None for the features themselves."""

    network: Path | None = None
    content: str = ""
    """SHA-256 of the checkpoint."""

    @classmethod
    def of(cls, network: Path | None) -> Space:
        """The space of a checkpoint. Raises RequestError where there is none, DataError for what is no network."""
        if network is None:
            return cls()
        if not network.is_file():
            raise RequestError(
                f"--network: expected a checkpoint of a network (.safetensors), found none at {network}."
            )
        found = cls(network.absolute(), sha256_file(network))
        found.model()
        return found

    @property
    def name(self) -> str:
        """`features` or `embedding`."""
        return "features" if self.network is None else "embedding"

    def parameters(self) -> dict[str, Any]:
        """What decides the space, as JSON."""
        return {"space": self.name, "network": self.content}

    def model(self) -> Model:
        """The network, read once per process."""
        assert self.network is not None
        return _model(self.network, self.content)

    def check(self, points: PointSet) -> None:
        """Raises RequestError where the network does not take the features of these points."""
        if self.network is not None and (wanted := self.model().architecture.inputs) != len(points.columns):
            raise RequestError(
                f"--network: expected a network of {len(points.columns)} features, as {points.path} has, found one of "
                f"{wanted}; give --neighbours the number that the network was trained with."
            )

    def features(self, points: PointSet, member: int, index: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        """Some points of a member in this space."""
        found = points.read(member, index)
        return found if self.network is None else _embedded(self.model(), found)


@lru_cache(maxsize=1)
def _model(network: Path, content: str) -> Model:
    from coreset.learning.network import load

    return load(network)[0]


def _embedded(model: Model, features: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n h"]:
    import torch

    torch.set_num_threads(1)  # the bits depend on how many there are
    hidden = model.network[:-2]
    found = np.empty((len(features), model.architecture.hidden[-1]), np.float32)
    block = np.zeros((_BLOCK, features.shape[1]), np.float32)
    with torch.no_grad():
        for first in range(0, len(features), _BLOCK):
            rows = features[first : first + _BLOCK]
            block[: len(rows)] = rows
            block[len(rows) :] = 0
            found[first : first + len(rows)] = hidden(torch.from_numpy(block)).numpy()[: len(rows)]
    return found

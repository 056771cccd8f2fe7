"""The multilayer perceptron that maps features to targets, and the normalisation that belongs to it."""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from coreset.atomic import parse_json
from coreset.errors import DataError, brief
from coreset.learning.code import Code
from coreset.numerics.products import Dense

_FORMAT = "coreset-network-1"

Loss = Literal["squared", "cross-entropy"]
"""Σ_o (f_o(x) − y_o)² of scaled targets, or −log softmax(f(x))_y of a class y."""

_ACTIVATIONS: Mapping[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


@dataclass(frozen=True)
class Architecture:
    """Shape of the perceptron: `inputs` → hidden layers → `outputs`, and what it is trained for."""

    inputs: int
    hidden: tuple[int, ...]
    activation: Literal["gelu", "relu"]
    output: Literal["relu", "linear"]
    outputs: int = 1
    loss: Loss = "squared"
    code: Code | None = None
    """A user's own network, in the place of hidden layers."""

    @property
    def multiplications(self) -> int:
        """Multiply-adds of one forward pass per point: P = Σ n_in n_out."""
        return sum(a * b for a, b in pairwise(self.widths))

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the rows before each layer, and after the last."""
        return (self.inputs, *self.hidden, self.outputs)

    @property
    def stated(self) -> dict[str, Any]:
        """As a checkpoint tells it: one output of a squared loss, a density's, goes without saying."""
        told = {name: value for name, value in asdict(self).items() if name != "code"}
        if self.code is not None:
            return {**told, "code": self.code.stated}
        return told if (self.outputs, self.loss) != (1, "squared") else {k: told[k] for k in _OF_A_DENSITY}


_OF_A_DENSITY = ("inputs", "hidden", "activation", "output")


class Standardise(nn.Module):
    """x ↦ (x − mean) / scale, feature by feature; part of the network, so part of its checkpoint."""

    elementwise = True

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised features, shape [n, d]."""
        return (x - self.mean) / self.scale


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the features, shape [d] each, and of the target, over the training points.

    Those of several targets are tensors, shape [o]; those of a class are 0 and 1.
    """

    mean: Tensor
    scale: Tensor
    target_mean: float | Tensor
    target_scale: float | Tensor


@dataclass
class Model:
    """A network in scaled units, and the affine map to those of the target, as e/Bohr³: y = shift + scale · f(x)."""

    architecture: Architecture
    network: nn.Sequential
    scale: float | Tensor
    shift: float | Tensor

    def target(self, y: Tensor) -> Tensor:
        """What the network is to give for a density or other targets, (y − shift) / scale; of a class itself."""
        if self.architecture.loss == "cross-entropy":
            return y
        return (y - self._on(y, self.shift)) / self._on(y, self.scale)

    def loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses of some rows, and the network's outputs; y as it is stored, shape [n] or [n, o]."""
        output = self.network(x)
        if self.architecture.loss == "cross-entropy":
            return nn.functional.cross_entropy(output, y.long(), reduction="sum"), output
        output = output.squeeze(1) if self.architecture.outputs == 1 else output
        return torch.sum((output - self.target(y)) ** 2), output

    @staticmethod
    def _on(rows: Tensor, value: float | Tensor) -> float | Tensor:
        return value.to(rows.device) if isinstance(value, Tensor) else value

    @torch.no_grad()
    def predict(self, x: Tensor, block: int = 8192) -> Tensor:
        """Densities (e/Bohr³), shape [n], of descriptors of shape [n, d]; several targets, or probabilities: [n, o]."""
        self.network.eval()
        if self.architecture.loss == "cross-entropy":
            return torch.cat([self.network(rows).softmax(1) for rows in x.split(block)])
        if self.architecture.outputs == 1:
            return torch.cat([self.network(rows).squeeze(1) for rows in x.split(block)]) * self.scale + self.shift
        found = torch.cat([self.network(rows) for rows in x.split(block)])
        return found * self._on(found, self.scale) + self._on(found, self.shift)

    def save(self, path: Path, notes: Mapping[str, Any]) -> None:
        """Writes safetensors: weights, normalisation, architecture and notes; no code travels."""
        tensors = {name: tensor.contiguous().cpu() for name, tensor in self.network.state_dict().items()}
        affine = [torch.as_tensor(each, dtype=torch.float64) for each in (self.scale, self.shift)]
        tensors["target.affine"] = torch.stack(affine)
        header = {"format": _FORMAT, "architecture": self.architecture.stated, "notes": dict(notes)}
        # One key: safetensors writes several in an order that changes from process to process.
        save_file(tensors, path, metadata={"coreset": json.dumps(header, sort_keys=True)})


def build(architecture: Architecture, normalisation: Normalisation, seed: str) -> Model:
    """A freshly initialised model; its weights are a function of `seed` and the architecture alone.

    Weights and biases are uniform in ±1/√n_in, as torch draws them. With a ReLU output the target is divided by its
    standard deviation and never shifted, for a shifted target has negative values that a ReLU cannot reach; its output
    bias starts at the scaled target mean, so that the output starts alive. With a linear output the target is
    standardised and the bias starts at its mean, 0.
    """
    activation = _ACTIVATIONS[architecture.activation]
    standardise = Standardise(architecture.inputs)
    standardise.mean.copy_(normalisation.mean)
    standardise.scale.copy_(normalisation.scale)
    if architecture.code is not None:
        own = architecture.code.make(architecture.inputs, architecture.outputs, _seed_number(f"weights {seed}"))
        network = nn.Sequential(standardise, own)
        return Model(architecture, network, normalisation.target_scale, normalisation.target_mean)
    layers: list[nn.Module] = [standardise]
    generator = torch.Generator().manual_seed(_seed_number(f"weights {seed}"))
    for n_in, n_out in pairwise(architecture.widths):
        linear = nn.utils.skip_init(Dense, n_in, n_out)
        bound = 1 / math.sqrt(n_in)
        with torch.no_grad():
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)
        layers += [linear, activation()]
    relu = architecture.output == "relu"
    layers[-1] = nn.ReLU() if relu else nn.Identity()
    shift = 0.0 if relu else normalisation.target_mean
    scale = normalisation.target_scale
    with torch.no_grad():
        layers[-2].bias.copy_(torch.as_tensor((normalisation.target_mean - shift) / scale))  # type: ignore[operator, union-attr]
    return Model(architecture, nn.Sequential(*layers), scale=scale, shift=shift)


def load(path: Path, code: Code | None = None) -> tuple[Model, dict[str, Any]]:
    """Reads what `Model.save` wrote: the model and its notes. Raises DataError for anything else.

    code: what may be run, where the checkpoint is of a user's own network; one that states other code is refused.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_json((file.metadata() or {}).get("coreset", "{}").encode())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        written = header.get("format") if isinstance(header, dict) else None
        if written != _FORMAT:
            raise DataError(f"{path}: expected a checkpoint of format {_FORMAT}, found {reprlib.repr(written)}.")
        stated = _Header.model_validate(header)
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        found = f"{type(error).__name__}: {brief(error)}"
        raise DataError(f"{path}: expected a safetensors checkpoint of a network, found none ({found}).") from None
    own = stated.architecture.code
    if own != (None if code is None else code.stated):
        wanted, held = (each or "a multilayer perceptron" for each in (code and code.stated, own))
        raise DataError(
            f"{path}: expected the weights of {reprlib.repr(wanted)}, found those of {reprlib.repr(held)}; a user's "
            "own network is read by the run that made it."
        )
    told = {**dict(stated.architecture), "hidden": tuple(stated.architecture.hidden), "code": code}
    architecture = Architecture(**told)
    _expect_tensors(tensors, architecture, path)
    affine = tensors.pop("target.affine")
    scale, shift = affine.tolist() if affine.ndim == 1 else affine.float()
    ones = torch.ones(architecture.inputs)
    model = build(architecture, Normalisation(ones, ones, 0.0, 1.0), seed="")
    model.network.load_state_dict(tensors)
    return Model(architecture, model.network, scale=scale, shift=shift), stated.notes


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    inputs: Annotated[int, Field(ge=1)]
    hidden: list[Annotated[int, Field(ge=1)]]
    activation: Literal["gelu", "relu"]
    output: Literal["relu", "linear"]
    outputs: Annotated[int, Field(ge=1)] = 1
    loss: Loss = "squared"
    code: dict[str, Any] | None = None


class _Header(BaseModel):
    model_config = ConfigDict(strict=True)

    architecture: _Shape
    notes: dict[str, Any]


def _expect_tensors(tensors: Mapping[str, Tensor], architecture: Architecture, path: Path) -> None:
    """Looks at what the file holds before a network of the stated size is built: it may not fit into the memory."""
    affine = (2, architecture.outputs) if architecture.outputs > 1 and architecture.loss == "squared" else (2,)
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {"target.affine": (affine, torch.float64)}
    expected |= {f"0.{name}": ((architecture.inputs,), torch.float32) for name in ("mean", "scale")}
    for layer, (n_in, n_out) in enumerate(pairwise(architecture.widths) if architecture.code is None else ()):
        expected[f"{2 * layer + 1}.weight"] = (n_out, n_in), torch.float32
        expected[f"{2 * layer + 1}.bias"] = (n_out,), torch.float32
    if architecture.code is not None:
        made = architecture.code.make(architecture.inputs, architecture.outputs, 0).state_dict()
        expected |= {f"1.{name}": (tuple(each.shape), each.dtype) for name, each in made.items()}
    for name in sorted({*expected, *tensors}):
        found = (tuple(tensors[name].shape), tensors[name].dtype) if name in tensors else "none"
        if found != expected.get(name, "none"):
            raise DataError(
                f"{path}: expected of {name[:80]}, by the architecture stated, shape and type "
                f"{expected.get(name, 'none')}, found {found}."
            )
        if not torch.isfinite(tensors[name]).all():
            raise DataError(f"{path}: {name}: expected finite numbers, found others.")


def _seed_number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

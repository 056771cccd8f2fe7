"""A user's own network: a class that a job file names. It is code, and runs only where the user has said that it may.

A class is named by where it can be imported from, `package.models:Net`, or by its file, `models.py:Net`. It is called
with `inputs`, `outputs` and the arguments of the job file, and gives a `torch.nn.Module` that maps rows, shape
[n, inputs], to outputs, shape [n, outputs], in scaled units or as logits. A row's output must depend on that row alone.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from coreset.atomic import canonical_json
from coreset.errors import CoresetError, RequestError, WorkError, brief
from coreset.numerics.gradient_norms import has_closed_form

_MIXING = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True)
class Code:
    """A class and its arguments.

    reference: as in the job file, a file's path made absolute; arguments: canonical JSON; source: SHA-256 of the file
    that holds the class.
    """

    reference: str
    arguments: str
    source: str

    @property
    def stated(self) -> dict[str, Any]:
        """What recipes and checkpoints tell of it: no path."""
        return {"class": _name(self.reference), "arguments": json.loads(self.arguments), "source": self.source}

    def make(self, inputs: int, outputs: int, seed: int) -> nn.Module:
        """The network, drawn from a seed; the generators of this process stay as they are.

        Raises WorkError where the file that holds the class is not the one that was stated.
        """
        module, made = _load(self.reference)
        if _checksum(module) != self.source:
            raise WorkError(f"network.code: {self.reference}: its file was changed while the run went; run again.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = made(inputs=inputs, outputs=outputs, **json.loads(self.arguments))
        return network.float() if isinstance(network, nn.Module) else network  # type: ignore[no-any-return]


def code_of(reference: str, arguments: dict[str, Any], folder: Path) -> Code:
    """The class that a job file in `folder` names; imports it. Raises RequestError where there is none."""
    file, colon, name = reference.rpartition(":")
    if not colon or not name.isidentifier():
        raise RequestError(
            f"network.code: expected a class as package.module:Name or file.py:Name, found {reference!r}."
        )
    if file.endswith(".py"):
        reference = f"{(folder / file).resolve()}:{name}"
    module, _ = _load(reference)
    return Code(reference, canonical_json(arguments).decode(), _checksum(module))


def check_code(code: Code, inputs: int, outputs: int, precision: str = "float32") -> None:
    """Makes the network once, on drawn rows.

    Raises RequestError where it is none, where its rows are not apart, or where no closed form scores it in the
    precision that is asked for.
    """
    place = f"network.code: {_name(code.reference)}"
    try:
        network = code.make(inputs, outputs, 0)
    except CoresetError:
        raise
    except Exception as error:
        raise RequestError(
            f"{place}: expected to be called with inputs={inputs}, outputs={outputs} and network.arguments, found "
            f"{type(error).__name__}: {brief(error)}."
        ) from None
    if not isinstance(network, nn.Module) or not any(True for _ in network.parameters()):
        raise RequestError(f"{place}: expected a torch.nn.Module with parameters, found {type(network).__name__}.")
    for name, module in network.named_modules():
        if isinstance(module, _MIXING):
            raise RequestError(
                f"{place}: {name} ({type(module).__name__}) mixes the rows of a batch, and a score is of one row; take "
                "a layer that does not, such as nn.LayerNorm."
            )
    rows = torch.randn(8, inputs, generator=torch.Generator().manual_seed(0))
    network.eval()
    try:
        with torch.no_grad():
            together, alone = network(rows), torch.cat([network(row[None]) for row in rows])
    except Exception as error:
        raise RequestError(
            f"{place}: expected to take rows of shape [n, {inputs}], found {type(error).__name__}: {brief(error)}."
        ) from None
    if together.shape != (8, outputs):
        raise RequestError(f"{place}: expected outputs of shape [8, {outputs}], found {list(together.shape)}.")
    if not torch.allclose(together, alone, rtol=1e-4, atol=1e-5):
        raise RequestError(f"{place}: expected outputs that depend on their row alone, found some that do not.")
    if precision != "float32" and not has_closed_form(network):
        raise RequestError(
            f"{place}: score.precision: expected float32 for a network that has no closed form of the gradient's norm, "
            f"found {precision}; leave it out."
        )


def _load(reference: str) -> tuple[ModuleType, Any]:
    place, _, name = reference.rpartition(":")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        found = getattr(module, name)
    except Exception as error:  # whatever the user's code raises
        raise RequestError(
            f"network.code: expected to import {reference!r}, found {type(error).__name__}: {brief(error)}."
        ) from None
    return module, found


def _from_file(path: Path) -> ModuleType:
    name = f"coreset_user_{hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it runs, for dataclasses look themselves up there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _checksum(module: ModuleType) -> str:
    try:
        source = inspect.getsourcefile(module)
    except TypeError:
        source = None
    if source is None:
        raise RequestError(f"network.code: expected a module with a source file, found {module.__name__} without one.")
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()


def _name(reference: str) -> str:
    place, _, name = reference.rpartition(":")
    return f"{Path(place).name if place.endswith('.py') else place}:{name}"

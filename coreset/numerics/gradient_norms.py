"""Per-row gradient norms of a network whose rows do not interact, in closed form (GraNd, before its mean over seeds).

For the loss of one row, Σ_o (f_o(x) − y_o)², a dense layer z_l = W_l a_{l−1} + b_l has the weight gradient δ_l a_{l−1}ᵀ
and the bias gradient δ_l, where δ_l is the gradient at z_l. Both are of rank one, so over all parameters

    ‖g‖² = Σ_l ‖δ_l‖² (‖a_{l−1}‖² + 1)          (the + 1 only where the layer has a bias)

which takes a forward pass and a backward pass through the activations: 2P + 2P operations per row for P parameters, no
weight gradient, and no copy of the weights per row. On the way forward the derivatives of the activations are kept, on
the way back they become the δ. The loss carries neither 1/N nor ½: scores of other codes differ by such factors.

Source: Pathrudkar et al., arXiv 2507.09001 (GraNd scores); Paul et al., arXiv 2107.07075, definition 2.1.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from coreset.errors import DataError, RequestError, WorkError
from coreset.numerics.products import Dense, product

Rows = TypeVar("Rows", Tensor, np.ndarray)

Precision = Literal["float32", "bfloat16", "tf32"]
"""What the matrix products of a float32 network round their operands to; sums and all else stay in float32."""

Loss = Literal["squared", "cross-entropy"]
"""Σ_o (f_o(x) − y_o)², or −log softmax(f(x))_y of the class y."""

ROW_TILE = 192
"""A row's bits must not depend on its place in the block, so a block is a whole number of the tiles into which matrix
products and vector loops cut it: 24 rows (products with AVX2), 64 (AVX-512), 32 elements (activations).
"""

ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink, nn.Hardtanh),
    *(nn.Hardsigmoid, nn.Hardswish, nn.Threshold, nn.Identity),
)


@dataclass(frozen=True)
class _Layer:
    """One dense layer and the elementwise modules behind it; weight: shape [o, i], bias: shape [o]."""

    weight: Tensor
    bias: Tensor | None
    activations: tuple[nn.Module, ...]


def gradient_norms(
    network: nn.Module, x: Rows, y: Rows, block: int = 3072, precision: Precision = "float32", loss: Loss = "squared"
) -> Rows:
    """‖∇_w Σ_o (f_o(x) − y_o)²‖₂ of each row, over all parameters of the network; or that of another loss.

    `network` is an `nn.Linear` or an `nn.Sequential` (nested as you like) of dense layers, elementwise activations,
    `nn.Flatten` of rows, `nn.Dropout` in evaluation mode, and modules that have no parameters and declare, by an
    attribute `elementwise = True`, that an element of the result depends on that element of the argument alone.

    x: rows, shape [n, d]; y: targets, shape [n] (one output) or [n, o]; with the loss "cross-entropy" the number of the
    class, shape [n], from 0 to o − 1, and the network's outputs are its logits; the result: shape [n], in the network's
    precision (float32 or float64) and of x's kind (a tensor on x's device, or a numpy array). Rows go through the
    network in zero-padded blocks of `block` rows, rounded up to a multiple of 192: on a CPU with one thread, a row's
    bits depend on neither its place nor the rows beside it. They may depend on `block`, on the number of threads and
    on the kind of device.

    precision: "float32" takes the network as it is, whatever its precision. "bfloat16" rounds both operands and the
    result of each product of matrices to 8 bits of significand; "tf32", on a GPU alone, rounds the operands to 11. Both
    sum in float32. What comes to one output (the last layer, as a rule), activations and norms are not rounded.

    Only reads the network: its gradients, flags and modes stay as they are, and the caller's grad, inference and
    autocast modes have no effect. Parameters that are all frozen count as if they were not.

    Raises `RequestError` for a network outside this family, for shapes that do not match, and for a precision that the
    network or its device does not have; `DataError` for a row that is not finite; `WorkError` where a finite row has a
    norm that is not (the network has diverged).
    """
    return gradient_norms_and_residuals(network, x, y, block, precision, loss)[0]


def gradient_norms_and_residuals(
    network: nn.Module, x: Rows, y: Rows, block: int = 3072, precision: Precision = "float32", loss: Loss = "squared"
) -> tuple[Rows, Rows]:
    """`gradient_norms` and, from the same pass, the residuals ‖f(x) − y‖₂ = sqrt(Σ_o (f_o(x) − y_o)²), shape [n].

    With the loss "cross-entropy": the loss itself.
    """
    if loss not in get_args(Loss):
        raise RequestError(f"loss: expected one of {', '.join(get_args(Loss))}, found {loss!r}.")
    if isinstance(x, np.ndarray):
        found = gradient_norms_and_residuals(network, _tensor(x), _tensor(y), block, precision, loss)
        return found[0].numpy(), found[1].numpy()
    if block < 1:
        raise RequestError(f"block: expected a positive number of rows, found {block}.")
    with torch.inference_mode(False), torch.no_grad():
        before, layers = _dense_layers(network)
        _check_precision(layers[0].weight, precision)
        x, y = x.detach(), _tensor(y).detach()
        targets = _targets(layers, x, y) if loss == "squared" else _one_hot(layers, x, y)
        _check_finite("x", x)
        _check_finite("y", targets)
        empty = x.new_empty(0, dtype=layers[0].weight.dtype)
        norms, residuals = [empty], [empty]
        block = -(-block // ROW_TILE) * ROW_TILE
        space, rounded = _Space(layers, block), precision == "bfloat16"
        for first, rows, wanted in _blocks(layers, x, targets, block):
            tf32 = _tf32() if precision == "tf32" else nullcontext()
            with torch.autocast(rows.device.type, enabled=False), tf32:
                squared_norm, squared_residual = _one_block(before, layers, rows, wanted, space, rounded, loss)
            count = min(len(x) - first, len(rows))
            norms.append(squared_norm[:count].sqrt().to(x.device))
            residuals.append(squared_residual[:count].sqrt().to(x.device))
        norm, residual = torch.cat(norms), torch.cat(residuals)
        if not bool((finite := torch.isfinite(norm)).all()):
            raise WorkError(
                f"x: row {_first_false(finite)} is finite but its gradient norm is not: the network has diverged, or "
                f"overflows {norm.dtype}; use an earlier checkpoint, or network.double()."
            )
        return norm, residual


def has_closed_form(network: nn.Module) -> bool:
    """Whether `gradient_norms` takes this network; others need `per_sample`."""
    try:
        _dense_layers(network)
    except RequestError:
        return False
    return True


class _Space:
    """Memory of one block, taken once for all of them: fresh pages for each block cost a tenth of the time."""

    def __init__(self, layers: Sequence[_Layer], block: int) -> None:
        weight = layers[0].weight
        widths = [len(layer.weight) for layer in layers]
        self.slopes = [weight.new_empty(block, width) for width in widths]
        """Of each layer: its pre-activation, then the derivative there of its activation, then δ."""
        self.ones = weight.new_ones((ROW_TILE if weight.device.type == "cpu" else block) * max(widths))
        self._moving = weight.new_empty(block * max(widths))
        self._block = block

    def moving(self, width: int) -> Float[Tensor, "n w"]:
        """The place of activations on their way forward, and of gradients on their way back."""
        return self._moving[: self._block * width].view(self._block, width)


def _one_block(
    before: Sequence[nn.Module],
    layers: Sequence[_Layer],
    rows: Float[Tensor, "n d"],
    wanted: Float[Tensor, "n o"],
    space: _Space,
    rounded: bool,
    loss: Loss,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """‖g‖², and Σ_o (f_o − y_o)² or the square of another loss, of each row of a block; `rounded`: to bfloat16."""
    activation = _through(before, rows)
    squared_inputs = []
    for layer, slope in zip(layers, space.slopes, strict=True):
        squared_inputs.append(_squared_norms(activation) + (0 if layer.bias is None else 1))
        preactivation = _times(activation, layer.weight.T, slope, rounded)
        activation = space.moving(slope.shape[1])
        _activate(layer, preactivation, activation, slope, space.ones)

    if loss == "squared":
        residual = activation - wanted
        squared_residual, gradient = _squared_norms(residual), 2 * residual
    else:
        logarithms = torch.log_softmax(activation, 1)
        squared_residual = (logarithms * wanted).sum(1).square()
        gradient = logarithms.exp() - wanted
    squared_norm = torch.zeros_like(squared_residual)
    for position in reversed(range(len(layers))):
        delta = space.slopes[position].mul_(gradient)
        squared_norm += _squared_norms(delta) * squared_inputs[position]
        if position:
            weight = layers[position].weight
            gradient = _times(delta, weight, space.moving(weight.shape[1]), rounded)
    return squared_norm, squared_residual


def _activate(
    layer: _Layer,
    preactivation: Float[Tensor, "n w"],
    activation: Float[Tensor, "n w"],
    slope: Float[Tensor, "n w"],
    ones: Float[Tensor, " t"],
) -> None:
    """Add the bias to `preactivation`, and write the activation there and its derivative, which may take its place.

    In pieces of as many rows as `ones` holds, so that all of this happens in the processor's cache.
    """
    step = len(ones) // slope.shape[1] // ROW_TILE * ROW_TILE
    for first in range(0, len(slope), step):
        piece = preactivation[first : first + step]
        if layer.bias is not None:
            piece += layer.bias
        with torch.enable_grad():
            given = piece.detach().requires_grad_()
            output = _through(layer.activations, given)
        (derivative,) = torch.autograd.grad(output, given, ones[: piece.numel()].view_as(piece))
        activation[first : first + step] = output.detach()
        slope[first : first + step] = derivative


def _times(
    rows: Float[Tensor, "n k"], matrix: Float[Tensor, "k m"], out: Float[Tensor, "n m"], rounded: bool
) -> Float[Tensor, "n m"]:
    """Rows times matrix, in `out` unless oneDNN makes it.

    A vector goes another way: matrix–vector kernels cut the rows by thread count, not by tile.
    """
    if rows.dtype == torch.float32 and rows.device.type == "cpu" and min(matrix.shape) > 1 and not rounded:
        return product(rows, matrix.T)
    if matrix.shape[1] == 1:
        torch.sum(rows * matrix[:, 0], 1, keepdim=True, out=out)
    elif matrix.shape[0] == 1:
        torch.mul(rows, matrix, out=out)
    elif rounded:
        out.copy_(rows.bfloat16() @ matrix.bfloat16())
    else:
        torch.mm(rows, matrix, out=out)
    return out


def _through(modules: Sequence[nn.Module], rows: Tensor) -> Tensor:
    for module in modules:
        # An in-place activation would overwrite the pre-activation that autograd still needs.
        rows = module(rows.clone() if getattr(module, "inplace", False) else rows)
    return rows


def _squared_norms(rows: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    return cast(Tensor, torch.linalg.vector_norm(rows, dim=1)).square()


@contextmanager
def _tf32() -> Iterator[None]:
    """Products of float32 on a GPU round their operands to TF32."""
    settings = torch.backends.cuda.matmul
    before = settings.allow_tf32
    settings.allow_tf32 = True
    try:
        yield
    finally:
        settings.allow_tf32 = before


def _dense_layers(network: nn.Module) -> tuple[tuple[nn.Module, ...], tuple[_Layer, ...]]:
    """The elementwise modules before the first dense layer, and the dense layers; refuses every other network."""
    behind: list[list[nn.Module]] = [[]]
    linears: list[nn.Linear] = []
    owners: dict[int, str] = {}
    for name, module in _flat(network, "network"):
        if _is_dense(module):
            for parameter in module.parameters():
                if id(parameter) in owners:
                    shared = f"parameters of its own, found those of {owners[id(parameter)]} again"
                    raise _unsupported(name, module, shared)
                owners[id(parameter)] = name
            linears.append(cast(nn.Linear, module))
            behind.append([])
        elif not _is_identity(name, module):
            behind[-1].append(module)
    _check_parameters([parameter for linear in linears for parameter in linear.parameters()])
    # Copies: the bits of a product may depend on how its operands are aligned, and a weight mapped from a file may lie
    # anywhere.
    layers = tuple(
        _Layer(linear.weight.clone(), None if linear.bias is None else linear.bias.clone(), tuple(activations))
        for linear, activations in zip(linears, behind[1:], strict=True)
    )
    return tuple(behind[0]), layers


def _flat(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for position, child in enumerate(module):  # named_children() would leave out a module that is used again
            yield from _flat(child, f"{name}[{position}]")
    else:
        yield name, module


def _is_dense(module: nn.Module) -> bool:
    """Whether this is W a + b with W itself a parameter (weight norm and the like make W from other parameters)."""
    own = {name for name, _ in module.named_parameters()}
    plain = isinstance(module, nn.Linear) and type(module).forward in (nn.Linear.forward, Dense.forward)
    return plain and "weight" in own and own <= {"weight", "bias"}


def _is_identity(name: str, module: nn.Module) -> bool:
    """Whether the module leaves rows as they are; False for one that acts element by element; refuses any other."""
    if isinstance(module, nn.Dropout | nn.AlphaDropout):
        if module.training and module.p > 0:
            raise _unsupported(name, module, "evaluation mode, found training mode; call network.eval()")
        return True
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) in ((1, -1), (1, 1)):
        return True
    declared = getattr(module, "elementwise", False) is True
    if type(module) not in ELEMENTWISE and not declared:
        family = "nn.Linear, an elementwise activation, or a module without parameters declaring `elementwise = True`"
        raise _unsupported(name, module, family)
    if any(True for _ in module.parameters()):
        raise _unsupported(name, module, "no parameters outside nn.Linear")
    return False


def _unsupported(name: str, module: nn.Module, expected: str) -> RequestError:
    return RequestError(
        f"{name} ({type(module).__name__}): the closed form of the gradient norm expects {expected}. "
        "For other networks take torch.func.vmap(torch.func.grad(...)), which is many times slower."
    )


def _check_parameters(parameters: Sequence[nn.Parameter]) -> None:
    if not parameters:
        raise RequestError("network: expected at least one nn.Linear, found none; the norm is over its parameters.")
    kinds = {(parameter.dtype, parameter.device) for parameter in parameters}
    if len(kinds) > 1 or parameters[0].dtype not in (torch.float32, torch.float64):
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise RequestError(
            f"network: expected all parameters in float32, or all in float64, on one device, found {found}; "
            "use network.to(device, dtype)."
        )
    if len({parameter.requires_grad for parameter in parameters}) > 1:
        raise RequestError(
            "network: expected parameters that are all trainable or all frozen, found both; the norm is over all of "
            "them, so call network.requires_grad_(True) if that is what you want."
        )


def _check_precision(weight: Tensor, precision: Precision) -> None:
    if precision not in get_args(Precision):
        raise RequestError(f"precision: expected one of {', '.join(get_args(Precision))}, found {precision!r}.")
    if precision != "float32" and weight.dtype != torch.float32:
        raise RequestError(f"precision: {precision} expects a network in float32, found {weight.dtype}.")
    if precision == "tf32" and weight.device.type != "cuda":
        raise RequestError(f"precision: tf32 is a mode of GPUs, found a network on {weight.device}; use bfloat16.")


def _targets(layers: Sequence[_Layer], x: Tensor, y: Tensor) -> Float[Tensor, "n o"]:
    """The targets, shape [n, o], after the shapes of rows and targets were checked against the network's."""
    inputs, outputs = layers[0].weight.shape[1], layers[-1].weight.shape[0]
    if x.ndim != 2 or x.shape[1] != inputs:
        raise RequestError(
            f"x: expected shape [n, {inputs}], as the network's first layer takes, found {list(x.shape)}."
        )
    if tuple(y.shape) != (len(x), outputs) and (outputs, tuple(y.shape)) != (1, (len(x),)):
        wanted = f"[{len(x)}] or [{len(x)}, 1]" if outputs == 1 else f"[{len(x)}, {outputs}]"
        raise RequestError(f"y: expected shape {wanted}, a target for each row of x and output, found {list(y.shape)}.")
    return y.reshape(len(y), outputs)


def _one_hot(layers: Sequence[_Layer], x: Tensor, y: Tensor) -> Float[Tensor, "n o"]:
    """1 at the class of each row and 0 elsewhere, after shapes and classes were checked."""
    outputs = layers[-1].weight.shape[0]
    _targets(layers, x, y.new_empty(len(x), outputs))  # the shape of the rows
    if tuple(y.shape) != (len(x),) or outputs < 2:
        raise RequestError(
            f"y: expected the number of a class for each of {len(x)} rows, and two outputs or more, found shape "
            f"{list(y.shape)} and {outputs} outputs."
        )
    classes = y.long()
    wrong = (classes != y) | (classes < 0) | (classes >= outputs)
    if bool(wrong.any()):
        row = int(wrong.to(torch.uint8).argmax())
        raise DataError(f"y: expected classes from 0 to {outputs - 1}, found {y[row].item()} in row {row}.")
    return nn.functional.one_hot(classes, outputs).to(x.dtype)


def _check_finite(name: str, values: Float[Tensor, "n d"]) -> None:
    # A sum is one cheap pass; it is not finite where a value is not, and else only if it overflows.
    if not bool(torch.isfinite(values.sum())) and not bool((finite := torch.isfinite(values).all(1)).all()):
        raise DataError(
            f"{name}: expected finite values, found NaN or infinity in row {_first_false(finite)}; remove or mend it."
        )


def _blocks(
    layers: Sequence[_Layer], x: Float[Tensor, "n d"], y: Float[Tensor, "n o"], block: int
) -> Iterator[tuple[int, Float[Tensor, "b d"], Float[Tensor, "b o"]]]:
    """(first row, rows, targets) of each block, zero-padded, on the network's device and in its precision."""
    weight = layers[0].weight
    for first in range(0, len(x), block):
        padded = []
        for values in (x[first : first + block], y[first : first + block]):
            rows = weight.new_zeros(block, values.shape[1])
            rows[: len(values)] = values
            padded.append(rows)
        yield first, padded[0], padded[1]


def _first_false(flags: Bool[Tensor, " n"]) -> int:
    return int(flags.to(torch.uint8).argmin())


def _tensor(values: np.ndarray | Tensor) -> Tensor:
    """The array's memory as a tensor where torch can have it; it warns of arrays that must not be written to."""
    if isinstance(values, np.ndarray):
        return torch.as_tensor(values if values.flags.writeable else values.copy())
    return values

"""Closed-form gradient norms against autograd, and the promise that a row's bits do not depend on its neighbours."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from coreset.errors import DataError, RequestError, WorkError
from coreset.numerics.gradient_norms import _tf32, gradient_norms, gradient_norms_and_residuals

ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.GELU,
    nn.ReLU,
    nn.SiLU,
    nn.Tanh,
    lambda: nn.ReLU(inplace=True),
    nn.Identity,
)


class Standardise(nn.Module):
    """(x − mean) / std by column, as the first layer of a network has it."""

    elementwise = True

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.std


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["oneDNN", "BLAS"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What multiplies float32 matrices: oneDNN where PyTorch has it, else its BLAS."""
    if request.param == "BLAS":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)


def mlp(
    widths: list[int], activation: Callable[[], nn.Module], last: Callable[[], nn.Module], bias: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), activation()]
    return nn.Sequential(*layers[:-1], last())


def data(network: nn.Module, rows: int, inputs: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = next(network.parameters()).dtype
    x = torch.randn(rows, inputs, generator=generator, dtype=dtype)
    return x, torch.randn(rows, outputs, generator=generator, dtype=dtype)


def per_sample_oracle(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A second implementation: the full per-sample gradient by torch.func."""
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def loss(parameters: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        return (functional_call(network, parameters, (row[None],)) - target).square().sum()

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    return torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS[:4]),
    last=st.sampled_from(ACTIVATIONS),
    bias=st.booleans(),
    standardise=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_equals_the_norm_of_the_per_sample_gradient(
    widths: list[int],
    activation: Callable[[], nn.Module],
    last: Callable[[], nn.Module],
    bias: bool,
    standardise: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    network: nn.Module = mlp(widths, activation, last, bias)
    if standardise:
        first = Standardise(torch.randn(widths[0]), torch.rand(widths[0]) + 0.5)
        network = nn.Sequential(first, nn.Flatten(), network, nn.Dropout(0.5))
    network.double().eval()
    x, y = data(network, 23, widths[0], widths[-1], seed)
    norms, residuals = gradient_norms_and_residuals(network, x, y, block=1)
    torch.testing.assert_close(norms, per_sample_oracle(network, x, y), rtol=1e-5, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(residuals, torch.linalg.vector_norm(network(x) - y, dim=1), rtol=1e-12, atol=1e-12)


def test_equals_plain_autograd_row_by_row() -> None:
    torch.manual_seed(3)
    network = mlp([5, 7, 6, 2], nn.GELU, nn.Identity).double()
    x, y = data(network, 6, 5, 2)
    expected = []
    for row, target in zip(x, y, strict=True):
        loss = ((network(row) - target) ** 2).sum()
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        expected.append(torch.cat([g.flatten() for g in gradients]).norm())
    torch.testing.assert_close(gradient_norms(network, x, y), torch.stack(expected), rtol=1e-12, atol=0)


def test_a_single_dense_layer_by_hand() -> None:
    network = nn.Linear(2, 1)
    nn.init.ones_(network.weight)
    nn.init.zeros_(network.bias)
    # f = 3 + 4, residual 7 − 5 = 2, δ = 4, ‖a‖² = 25: ‖g‖ = 4 sqrt(26)
    norm = gradient_norms(network, torch.tensor([[3.0, 4.0]]), torch.tensor([5.0]))
    assert norm.item() == pytest.approx(4 * 26**0.5, rel=1e-6)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("widths", "activation"),
    [
        ([81, 128, 128, 128, 1], nn.GELU),
        ([120, 33, 1], nn.Mish),
        ([7, 1, 5, 3], nn.Tanh),
        ([160, *[900] * 12, 1], nn.GELU),
    ],
    ids=str,
)
def test_bits_of_a_row_depend_neither_on_its_place_nor_on_its_neighbours(
    widths: list[int], activation: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    network = mlp(widths, activation, nn.Identity)
    block = 301
    x, y = data(network, block + 100, widths[0], widths[-1])
    whole = gradient_norms(network, x, y, block)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert torch.equal(gradient_norms(network, x[order], y[order], block), whole[order])
    shards = [gradient_norms(network, x[i:j], y[i:j], block) for i, j in pairwise([0, 1, 78, 300, len(x)])]
    assert torch.equal(torch.cat(shards), whole)
    assert torch.equal(gradient_norms(network, x[5:6] * 1.0, y[5:6], block), whole[5:6])


def test_block_is_rounded_up_to_whole_tiles() -> None:
    torch.manual_seed(0)
    network = mlp([20, 64, 1], nn.GELU, nn.Identity)
    x, y = data(network, 400, 20, 1)
    assert torch.equal(gradient_norms(network, x, y, block=1), gradient_norms(network, x, y, block=192))


@pytest.mark.usefixtures("library")
def test_float32_is_close_to_float64() -> None:
    torch.manual_seed(0)
    network = mlp([40, 128, 128, 1], nn.GELU, nn.Identity)
    x, y = data(network, 500, 40, 1)
    single = gradient_norms(network, x, y)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), gradient_norms(network.double(), x, y), rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    hidden=st.lists(st.integers(2, 40), min_size=1, max_size=4),
    outputs=st.sampled_from([1, 3]),
    # Where rounding moves a ReLU across its kink, its derivative changes by 1.
    activation=st.sampled_from((nn.GELU, nn.SiLU, nn.Tanh)),
    seed=st.integers(0, 2**16),
)
def test_bfloat16_is_close_to_float64(
    hidden: list[int], outputs: int, activation: Callable[[], nn.Module], seed: int
) -> None:
    torch.manual_seed(seed)
    network = mlp([12, *hidden, outputs], activation, nn.Identity)
    x, y = data(network, 50, 12, outputs, seed)
    rounded = gradient_norms(network, x, y, precision="bfloat16")
    assert rounded.dtype == torch.float32
    exact = gradient_norms(network.double(), x, y)
    # Half a unit in the last of 8 bits is 2⁻⁹, for both operands and the result of two products a layer; a row with a
    # small residual loses more, relative to its own norm.
    error = (rounded - exact).norm() / exact.norm()
    assert error < 2**-9 * 6 * (len(hidden) + 1)


def test_bfloat16_rounds_products_of_matrices_and_nothing_else() -> None:
    torch.manual_seed(0)
    network = mlp([20, 64, 64, 1], nn.GELU, nn.Identity)
    x, y = data(network, 400, 20, 1)
    whole = gradient_norms(network, x, y)
    assert torch.equal(gradient_norms(network, x, y, precision="float32"), whole)
    assert not torch.equal(gradient_norms(network, x, y, precision="bfloat16"), whole)
    # One product, with a vector: the residual of a linear model is not rounded.
    line = nn.Linear(20, 1)
    assert torch.equal(gradient_norms(line, x, y, precision="bfloat16"), gradient_norms(line, x, y))


@pytest.mark.parametrize(
    ("network", "precision", "named"),
    [
        (nn.Linear(3, 3), "tf32", "tf32 is a mode of GPUs, found a network on cpu"),
        (nn.Linear(3, 3), "float16", "expected one of float32, bfloat16, tf32, found 'float16'"),
        (nn.Linear(3, 3).double(), "bfloat16", "expects a network in float32, found torch.float64"),
    ],
)
def test_refuses_a_precision_that_network_or_device_do_not_have(network: nn.Module, precision: str, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        gradient_norms(network, torch.zeros(2, 3), torch.zeros(2, 3), precision=precision)


def test_tf32_is_on_for_the_products_alone() -> None:
    settings = torch.backends.cuda.matmul
    before = settings.allow_tf32
    with _tf32():
        assert settings.allow_tf32
    assert settings.allow_tf32 == before


def test_rows_where_the_relu_output_is_dead_score_exactly_zero() -> None:
    torch.manual_seed(0)
    network = mlp([4, 16, 1], nn.GELU, nn.ReLU)
    x, y = data(network, 300, 4, 1)
    with torch.no_grad():
        dead = network(x)[:, 0] == 0
    norms, residuals = gradient_norms_and_residuals(network, x, y[:, 0])
    assert 0 < dead.sum() < 300
    assert torch.equal(norms == 0, dead)
    assert torch.equal(residuals[dead], y[dead, 0].abs())


def test_leaves_the_network_and_the_modes_of_the_caller_alone() -> None:
    torch.manual_seed(0)
    network = mlp([4, 8, 1], nn.GELU, nn.ReLU)
    network[0].weight.grad = torch.full_like(network[0].weight, 7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x, y = data(network, 10, 4, 1)
    expected = gradient_norms(network, x, y)
    with torch.no_grad():
        assert torch.equal(gradient_norms(network, x, y), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(gradient_norms(network, x.clone(), y.clone()), expected)
        assert torch.is_inference_mode_enabled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gradient_norms(network, x, y), expected)
    assert torch.equal(gradient_norms(network.requires_grad_(False), x.requires_grad_(), y), expected)
    assert not any(p.requires_grad for p in network.parameters())
    assert not expected.requires_grad
    assert not expected.is_inference()
    assert torch.equal(network[0].weight.grad, torch.full_like(network[0].weight, 7))
    assert network[2].weight.grad is None
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_numpy_in_numpy_out() -> None:
    torch.manual_seed(0)
    network = mlp([4, 8, 1], nn.GELU, nn.Identity)
    x, y = data(network, 10, 4, 1)
    array = x.numpy().astype(np.float64)
    array.flags.writeable = False
    norms, residuals = gradient_norms_and_residuals(network, array, y[:, 0].numpy())
    assert isinstance(norms, np.ndarray)
    assert norms.dtype == np.float32
    np.testing.assert_array_equal(norms, gradient_norms(network, x, y).numpy())
    assert residuals.shape == (10,)
    assert gradient_norms(network, array[:0], y[:0, 0].numpy()).shape == (0,)


def tied() -> nn.Sequential:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.ReLU(), layer)


def tied_weights() -> nn.Sequential:
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    network[2].weight = network[0].weight
    return network


def partly_frozen() -> nn.Sequential:
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    network[0].requires_grad_(False)
    return network


class Squaring(nn.Sequential):
    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows).square()


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3))), r"network\[1\]\[0\] \(BatchNorm1d\)"),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "LayerNorm"),
        (nn.Sequential(nn.Linear(3, 3), nn.PReLU()), "PReLU"),
        (nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)), "Softmax"),
        (nn.Sequential(nn.Conv1d(3, 3, 1)), "Conv1d"),
        (nn.MultiheadAttention(3, 1), "MultiheadAttention"),
        (nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), r"network\[1\] \(Dropout\).*eval"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))), "ParametrizedLinear"),
        (Squaring(nn.Linear(3, 3)), "Squaring"),
        (tied(), r"network\[2\].*those of network\[0\]"),
        (tied_weights(), r"network\[2\].*those of network\[0\]"),
        (partly_frozen(), "trainable"),
        (nn.Sequential(nn.ReLU()), r"nn\.Linear"),
        (nn.Linear(3, 3).bfloat16(), "bfloat16"),
        (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).double()), "found torch.float32 .* torch.float64"),
    ],
)
def test_refuses_networks_without_the_closed_form(network: nn.Module, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        gradient_norms(network, torch.zeros(2, 3), torch.zeros(2, 3))


def test_a_module_with_parameters_cannot_declare_itself_elementwise() -> None:
    scale = nn.PReLU()
    scale.elementwise = True
    with pytest.raises(RequestError, match="no parameters"):
        gradient_norms(nn.Sequential(nn.Linear(3, 1), scale), torch.zeros(2, 3), torch.zeros(2))


def test_an_activation_may_be_used_twice() -> None:
    torch.manual_seed(0)
    shared = nn.Tanh()
    network = nn.Sequential(nn.Linear(3, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 1)).double()
    x, y = data(network, 5, 3, 1)
    torch.testing.assert_close(gradient_norms(network, x, y), per_sample_oracle(network, x, y), rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("x_shape", "y_shape", "named"),
    [
        ((4, 3), (4, 2), "x:"),
        ((4,), (4, 2), "x:"),
        ((4, 5), (4,), "y:"),
        ((4, 5), (3, 2), "y:"),
        ((4, 5), (4, 1), "y:"),
    ],
)
def test_refuses_shapes_that_do_not_match(x_shape: tuple[int, ...], y_shape: tuple[int, ...], named: str) -> None:
    with pytest.raises(RequestError, match=f"^{named} expected shape"):
        gradient_norms(nn.Linear(5, 2), torch.zeros(x_shape), torch.zeros(y_shape))


def test_refuses_an_empty_block() -> None:
    with pytest.raises(RequestError, match="block"):
        gradient_norms(nn.Linear(5, 2), torch.zeros(1, 5), torch.zeros(1, 2), block=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_names_the_first_row_that_is_not_finite(bad: float) -> None:
    x, y = torch.zeros(500, 5), torch.zeros(500, 2)
    x[[301, 400], 3] = bad
    with pytest.raises(DataError, match=r"x: .* row 301;"):
        gradient_norms(nn.Linear(5, 2), x, y, block=192)
    with pytest.raises(DataError, match=r"y: .* row 7;"):
        gradient_norms(nn.Linear(5, 2), torch.zeros(10, 5), torch.zeros(10, 2).index_fill_(0, torch.tensor([7]), bad))


def test_large_finite_values_are_not_mistaken_for_infinite_ones() -> None:
    network = nn.Linear(2, 1).double()
    x = torch.full((3, 2), 1e308, dtype=torch.float64)
    with pytest.raises(WorkError, match="diverged"):
        gradient_norms(network, x, torch.zeros(3))

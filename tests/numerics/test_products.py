"""A product by oneDNN is the product, whatever the place of its rows; a dense layer is that of PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coreset.numerics.products import Dense, by_onednn, product


@given(n=st.integers(0, 70), k=st.integers(0, 50), m=st.integers(1, 70), seed=st.integers(0, 2**16))
def test_it_is_the_product_of_the_rows_and_the_others_transposed(n: int, k: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, other = rng.standard_normal((n, k), np.float32), rng.standard_normal((m, k), np.float32)
    found = product(torch.from_numpy(rows), torch.from_numpy(other)).numpy()
    size = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    assert found.shape == (n, m)
    assert found.dtype == np.float32
    # γ_k of the sum of k products, Higham, section 3.1; the sizes bound what is summed (Cauchy and Schwarz).
    assert np.all(np.abs(found - rows.astype(np.float64) @ other.T) <= 2.0**-23 * (k + 1) * size)


@pytest.mark.skipif(not by_onednn(), reason="this build of PyTorch has no oneDNN")
def test_a_row_has_the_same_bits_in_any_place() -> None:
    rng = np.random.default_rng(0)
    rows, other = (torch.from_numpy(rng.standard_normal(shape, np.float32)) for shape in ((500, 90), (77, 90)))
    whole = product(rows, other)
    order = torch.from_numpy(rng.permutation(500))
    assert torch.equal(product(rows[order], other), whole[order])


def test_without_onednn_it_is_the_same_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, other = torch.randn(40, 30), torch.randn(20, 30)
    found = product(rows, other)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not by_onednn()
    torch.testing.assert_close(product(rows, other), found)


def layers(inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> tuple[Dense, torch.nn.Linear]:
    ours = Dense(inputs, outputs, bias, dtype=dtype)
    theirs = torch.nn.Linear(inputs, outputs, bias, dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 5), (0, 5), (2, 7, 5)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_and_its_gradients_are_those_of_pytorch(
    dtype: torch.dtype, shape: tuple[int, ...], bias: bool
) -> None:
    torch.manual_seed(0)
    pair = layers(5, 3, bias, dtype)
    x = torch.randn(shape, dtype=dtype)
    found = []
    for layer in pair:
        given = x.clone().requires_grad_()
        y = layer(given)
        y.sin().sum().backward()
        found.append((y, given.grad, *(parameter.grad for parameter in layer.parameters())))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_is_not_asked_for_is_not_computed() -> None:
    layer, _ = layers(5, 3, True, torch.float32)
    layer.weight.requires_grad_(False)
    layer(torch.randn(4, 5)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


def test_per_sample_gradients_pass_through_a_dense_layer() -> None:
    torch.manual_seed(0)
    pair = layers(5, 3, True, torch.float32)
    x = torch.randn(6, 5)

    def norms(layer: torch.nn.Module) -> torch.Tensor:
        def loss(weights: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(layer, weights, row[None]).square().sum()

        weights = {name: value.detach() for name, value in layer.named_parameters()}
        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
        return sum(value.flatten(1).square().sum(1) for value in each.values())  # type: ignore[return-value]

    torch.testing.assert_close(norms(pair[0]), norms(pair[1]))


def test_autocast_and_bfloat16_are_left_to_pytorch() -> None:
    pair = layers(8, 4, True, torch.float32)
    x = torch.randn(6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pair[0](x), pair[1](x))
        assert pair[0](x).dtype == torch.bfloat16

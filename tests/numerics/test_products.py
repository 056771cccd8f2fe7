"""A product by oneDNN is the product, whatever the place of its rows, and leaves PyTorch's threads as they were."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coreset.numerics.products import by_onednn, one_thread, product


@given(n=st.integers(1, 70), k=st.integers(1, 50), m=st.integers(1, 70), seed=st.integers(0, 2**16))
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


def test_threads_are_given_back_also_after_an_error() -> None:
    def fail() -> None:
        with one_thread():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError):
            fail()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

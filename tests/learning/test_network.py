"""A network is a function of its seed and architecture, and a checkpoint holds all of it and no code."""

import io
import json
import math
import pickle
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.special import erf

from coreset.errors import DataError
from coreset.learning.network import Architecture, Model, Normalisation, build, load

KINDS = [(activation, output) for activation in ("gelu", "relu") for output in ("relu", "linear")]
NORMALISATION = Normalisation(
    torch.tensor([1.0, -2.0, 0.5, 0.0]), torch.tensor([2.0, 0.25, 1.0, 3.0]), target_mean=0.04, target_scale=0.02
)


def architecture(activation: Any = "gelu", output: Any = "relu", hidden: tuple[int, ...] = (7, 5)) -> Architecture:
    return Architecture(4, hidden, activation, output)


def points(rows: int = 50) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0.0, 2.0, (rows, 4)).astype(np.float32))


def linears(model: Model) -> list[torch.nn.Linear]:
    return [layer for layer in model.network if isinstance(layer, torch.nn.Linear)]


def weights(model: Model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.network.state_dict().items()}


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_network_whatever_the_global_state_of_torch() -> None:
    torch.manual_seed(0)
    first = weights(build(architecture(), NORMALISATION, "a"))
    torch.manual_seed(1)
    torch.rand(3)
    state = torch.get_rng_state()
    assert equal(weights(build(architecture(), NORMALISATION, "a")), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_seed_gives_other_weights_in_every_layer() -> None:
    one, other = (build(architecture(), NORMALISATION, seed) for seed in ("a", "b"))
    for a, b in zip(linears(one), linears(other), strict=True):
        assert not (a.weight == b.weight).any()


def test_weights_are_uniform_within_one_over_the_root_of_the_inputs() -> None:
    model = build(Architecture(4, (400, 300), "gelu", "relu"), NORMALISATION, "a")
    for layer in linears(model):
        bound = 1 / math.sqrt(layer.in_features)
        found = layer.weight.detach().numpy().ravel() / bound
        assert np.abs(found).max() <= 1
        if found.size >= 1000:
            # Uniform on [−1, 1]: variance 1/3; five standard errors.
            assert abs(found.mean()) < 5 * math.sqrt(1 / 3 / found.size)
            assert abs((found**2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / found.size)


def test_weights_do_not_depend_on_the_normalisation() -> None:
    other = Normalisation(torch.zeros(4), torch.ones(4), 1.0, 5.0)
    one, two = (build(architecture(), each, "a") for each in (NORMALISATION, other))
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(linears(one), linears(two), strict=True))


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_relu_output_starts_at_the_scaled_mean_of_a_target_that_is_never_shifted(activation: str) -> None:
    model = build(architecture(activation, "relu"), NORMALISATION, "a")
    assert linears(model)[-1].bias.item() == pytest.approx(0.04 / 0.02)
    assert (model.scale, model.shift) == (0.02, 0.0)
    density = torch.tensor([0.0, 0.01, 0.05])
    assert model.target(density).tolist() == pytest.approx([0.0, 0.5, 2.5])
    assert model.predict(10 * points(500)).min() >= 0


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_linear_output_is_standardised_and_starts_at_the_mean(activation: str) -> None:
    model = build(architecture(activation, "linear"), NORMALISATION, "a")
    assert linears(model)[-1].bias.item() == 0.0
    assert (model.scale, model.shift) == (0.02, 0.04)
    assert model.target(torch.tensor([0.04, 0.06])).tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize(("activation", "output"), KINDS)
def test_a_prediction_is_the_formula_in_float64(activation: str, output: str) -> None:
    model = build(architecture(activation, output), NORMALISATION, "a")
    value = (points().numpy().astype(np.float64) - NORMALISATION.mean.numpy()) / NORMALISATION.scale.numpy()
    layers = linears(model)
    for number, layer in enumerate(layers):
        value = value @ layer.weight.detach().numpy().T.astype(np.float64) + layer.bias.detach().numpy()
        if number < len(layers) - 1:
            value = np.maximum(value, 0) if activation == "relu" else value * 0.5 * (1 + erf(value / math.sqrt(2)))
    expected = 0.02 * np.maximum(value[:, 0], 0) if output == "relu" else 0.04 + 0.02 * value[:, 0]
    np.testing.assert_allclose(model.predict(points()).numpy(), expected, rtol=1e-5, atol=1e-8)


def test_a_prediction_does_not_depend_on_the_block_and_leaves_no_graph() -> None:
    model = build(architecture(), NORMALISATION, "a")
    whole = model.predict(points())
    assert not whole.requires_grad
    torch.testing.assert_close(model.predict(points(), block=7), whole, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("hidden", [(7,), (7, 5), (3, 9, 2)])
def test_multiplications_count_every_weight(hidden: tuple[int, ...]) -> None:
    shape = architecture(hidden=hidden)
    model = build(shape, NORMALISATION, "a")
    assert shape.multiplications == sum(layer.weight.numel() for layer in linears(model))
    assert [(layer.in_features, layer.out_features) for layer in linears(model)] == list(pairwise([4, *hidden, 1]))


@pytest.mark.parametrize(("activation", "output"), KINDS)
def test_a_checkpoint_gives_back_the_very_network(activation: str, output: str, tmp_path: Path) -> None:
    model = build(architecture(activation, output), NORMALISATION, "a")
    with torch.no_grad():
        for layer in linears(model):
            layer.weight.add_(0.125)
    notes = {"seed": "a", "loss": 0.1 + 0.2, "nested": {"x": [1, None]}}
    model.save(tmp_path / "model.safetensors", notes)
    found, found_notes = load(tmp_path / "model.safetensors")
    assert found.architecture == model.architecture
    assert (found.scale, found.shift) == (model.scale, model.shift)
    assert equal(weights(found), weights(model))
    assert found_notes == notes
    assert torch.equal(found.predict(points()), model.predict(points()))
    found.save(tmp_path / "again.safetensors", found_notes)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_scale_and_shift_keep_all_their_bits(tmp_path: Path) -> None:
    model = replace(build(architecture(), NORMALISATION, "a"), scale=0.1 + 2**-50, shift=-1 / 3)
    model.save(tmp_path / "m", {})
    found, _ = load(tmp_path / "m")
    assert (found.scale, found.shift) == (0.1 + 2**-50, -1 / 3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    build(architecture(), NORMALISATION, "a").save(path, {"seed": "a"})
    return path


def test_a_checkpoint_that_is_cut_anywhere_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 4, len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"model\.safetensors: expected a safetensors checkpoint"):
            load(saved)


@pytest.mark.parametrize(
    "content", [b"not a checkpoint", b"\xff" * 200, b"\x00" * 200, b"{}", b"\x02" + bytes(7) + b"{}"]
)
def test_another_file_is_refused(content: bytes, saved: Path) -> None:
    saved.write_bytes(content)
    with pytest.raises(DataError, match="expected a"):
        load(saved)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match="expected a safetensors checkpoint"):
            load(path)


class Evil:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch-legacy"])
def test_a_pickle_is_refused_and_its_code_never_runs(kind: str, saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = io.BytesIO()
    if kind == "pickle":
        pickle.dump(Evil(trace), content)
    else:
        torch.save(Evil(trace), content, _use_new_zipfile_serialization=kind == "torch")
    saved.write_bytes(content.getvalue())
    with pytest.raises(DataError, match="expected a safetensors checkpoint"):
        load(saved)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Evil(trace)))
    assert trace.exists(), "the trap must be one"


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, str] = file.metadata()
        return found


def test_another_format_is_named(saved: Path) -> None:
    tensors = load_file(saved)
    changed = {**json.loads(header(saved)["coreset"]), "format": "coreset-network-9"}
    save_file(tensors, saved, metadata={"coreset": json.dumps(changed)})
    with pytest.raises(DataError, match="expected a checkpoint of format coreset-network-1, found 'coreset-network-9'"):
        load(saved)
    save_file(tensors, saved)
    with pytest.raises(DataError, match="found None"):
        load(saved)


def test_a_checkpoint_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    model = build(architecture(), NORMALISATION, "a")
    found = set()
    for _ in range(20):
        model.save(tmp_path / "m", {"b": 1, "a": 2})
        found.add((tmp_path / "m").read_bytes())
    assert len(found) == 1


SHAPE = asdict(architecture())


FORMAT = "coreset-network-1"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "3",
        "{}",
        json.dumps({"format": FORMAT}),
        json.dumps({"format": FORMAT, "architecture": SHAPE}),
        json.dumps({"format": FORMAT, "architecture": {**SHAPE, "activation": "evil"}, "notes": {}}),
        json.dumps({"format": FORMAT, "architecture": {**SHAPE, "hidden": [7, 6]}, "notes": {}}),
        json.dumps({"format": FORMAT, "architecture": {**SHAPE, "hidden": [7]}, "notes": {}}),
        json.dumps({"format": FORMAT, "architecture": {**SHAPE, "hidden": "ab"}, "notes": {}}),
        json.dumps({"format": FORMAT, "architecture": {**SHAPE, "surplus": 1}, "notes": {}}),
        json.dumps({"format": FORMAT, "architecture": [], "notes": {}}),
        json.dumps({"format": FORMAT, "architecture": {"inputs": 4}, "notes": {}}),
    ],
    ids=range(13),
)
def test_a_header_that_does_not_describe_the_weights_is_refused(content: str, saved: Path) -> None:
    save_file(load_file(saved), saved, metadata={"coreset": content})
    with pytest.raises(DataError, match=r"model\.safetensors: expected"):
        load(saved)


@pytest.mark.parametrize("change", ["no header", "lost weight", "lost affine", "surplus", "short affine"])
def test_tensors_that_are_not_those_of_the_network_are_refused(change: str, saved: Path) -> None:
    tensors, metadata = load_file(saved), header(saved)
    if change == "no header":
        del metadata["coreset"]
    elif change == "lost weight":
        del tensors["1.weight"]
    elif change == "lost affine":
        del tensors["target.affine"]
    elif change == "surplus":
        tensors["9.weight"] = torch.ones(3)
    else:
        tensors["target.affine"] = torch.ones(1, dtype=torch.float64)
    save_file(tensors, saved, metadata=metadata)
    with pytest.raises(DataError, match=r"model\.safetensors: expected"):
        load(saved)


def stated(path: Path, **change: Any) -> None:
    """Writes the same weights under a header that states something else."""
    content = {"format": FORMAT, "architecture": {**SHAPE, **change}, "notes": {}}
    save_file(load_file(path), path, metadata={"coreset": json.dumps(content)})


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": [10**9, 10**9]},
        {"hidden": [7, 10**7]},
        {"inputs": 10**12},
        {"inputs": 0},
        {"inputs": "4"},
        {"hidden": [7.0, 5]},
        {"hidden": [True, 5]},
        {"output": "sigmoid"},
        {"output": None},
    ],
    ids=range(9),
)
def test_no_network_is_built_that_the_file_does_not_hold(
    change: dict[str, Any], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated(saved, **change)
    monkeypatch.setattr("coreset.learning.network.build", lambda *_, **__: pytest.fail("it is built"))
    with pytest.raises(DataError, match=r"model\.safetensors: "):
        load(saved)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["1.weight", "5.bias", "0.scale", "target.affine"])
def test_a_weight_that_is_no_number_is_refused_by_its_name(name: str, bad: float, saved: Path) -> None:
    tensors, metadata = load_file(saved), header(saved)
    tensors[name].view(-1)[0] = bad
    save_file(tensors, saved, metadata=metadata)
    with pytest.raises(DataError, match=rf"model\.safetensors: {name}: expected finite numbers"):
        load(saved)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.int32])
def test_weights_of_another_type_are_refused(kind: torch.dtype, saved: Path) -> None:
    tensors, metadata = load_file(saved), header(saved)
    tensors["3.weight"] = tensors["3.weight"].to(kind)
    save_file(tensors, saved, metadata=metadata)
    with pytest.raises(DataError, match=r"model\.safetensors: expected of 3\.weight"):
        load(saved)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": 1, "format": 2}', "1e400"], ids=range(3))
def test_a_header_that_nobody_writes_is_refused(content: str, saved: Path) -> None:
    save_file(load_file(saved), saved, metadata={"coreset": content})
    with pytest.raises(DataError, match=r"model\.safetensors: expected"):
        load(saved)

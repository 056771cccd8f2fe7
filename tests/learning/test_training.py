"""Training learns, repeats to the byte, and says so when it does neither."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from coreset.errors import DataError, WorkError
from coreset.learning import training
from coreset.learning.feed import Feed
from coreset.learning.network import Architecture, Model, Normalisation, build
from coreset.learning.slabs import Slab
from coreset.learning.training import HeldOut, Recipe, Trained, train

RELU = Architecture(2, (24, 24), "gelu", "relu")
LINEAR = Architecture(2, (24, 24), "gelu", "linear")


def recipe(**settings: Any) -> Recipe:
    return Recipe(
        **{
            "learning_rate": 3e-3,
            "weight_decay": 0.0,
            "schedule": "constant",
            "batch": 64,
            "window": 512,
            "steps": 10,
            **settings,
        }
    )


def density_of(x: np.ndarray) -> np.ndarray:
    """Smooth and positive, as a density is."""
    return (0.03 + 0.02 * np.sin(1.5 * x[:, 0]) * np.cos(x[:, 1])).astype(np.float32)


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).uniform(-2.0, 2.0, (rows, 2)).astype(np.float32)
    return x, density_of(x)


@pytest.fixture
def feed_of(table_with: Any) -> Any:
    def make(rows: int = 1000, slab: int = 100, window: int = 512, cache: float = math.inf) -> Feed:
        x, y = draw(rows, 0)
        slabs = [Slab("s", "d", first, first + slab, min(slab, rows - first)) for first in range(0, rows, slab)]

        def read(requests: Sequence[Slab]) -> Iterator[pa.Table]:
            return (table_with(x[each.start : each.stop], y[each.start : each.stop]) for each in requests)

        return Feed(slabs, read, 2, window, cache)

    return make


def saved(trained: Trained, path: Path) -> bytes:
    trained.model.save(path, {"loss": trained.loss})
    return path.read_bytes()


@pytest.mark.parametrize("shape", [RELU, LINEAR], ids=["relu", "linear"])
def test_it_learns_a_smooth_function_far_better_than_its_mean(shape: Architecture, feed_of: Any) -> None:
    trained = train(feed_of(2000), shape, recipe(steps=500, learning_rate=0.01, schedule="cosine"), "seed")
    x, y = draw(2000, 1)
    error = ((trained.model.predict(torch.from_numpy(x)).numpy() - y) ** 2).mean()
    # Predicting the mean leaves the variance; a straight line, hardly less.
    columns = np.column_stack([x, np.ones(len(x))])
    line = columns @ np.linalg.lstsq(columns, y, rcond=None)[0]
    assert error < 0.01 * y.var()
    assert error < 0.02 * ((line - y) ** 2).mean()
    # The loss is told in units of the scaled target, whose variance is 1.
    assert trained.loss == pytest.approx(error / y.var(), rel=0.5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(feed_of: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = saved(train(feed_of(), RELU, recipe(), "a"), tmp_path / "m")
    torch.manual_seed(1)
    assert saved(train(feed_of(), RELU, recipe(), "a"), tmp_path / "m") == first
    assert saved(train(feed_of(), RELU, recipe(), "b"), tmp_path / "m") != first


def test_one_feed_may_serve_several_seeds(feed_of: Any, tmp_path: Path) -> None:
    feed = feed_of()
    shared = [saved(train(feed, RELU, recipe(), seed), tmp_path / "m") for seed in "ab"]
    alone = [saved(train(feed_of(), RELU, recipe(), seed), tmp_path / "m") for seed in "ab"]
    assert shared == alone


def test_streaming_gives_the_bytes_of_training_from_memory(feed_of: Any, tmp_path: Path) -> None:
    settings = recipe(steps=None, epochs=2)
    held = saved(train(feed_of(), RELU, settings, "a"), tmp_path / "m")
    assert saved(train(feed_of(cache=0.0), RELU, settings, "a"), tmp_path / "m") == held


def test_the_checkpoint_holds_the_normalisation_of_the_points(feed_of: Any) -> None:
    model = train(feed_of(), LINEAR, recipe(), "a").model
    x, y = draw(1000, 0)
    np.testing.assert_allclose(model.network[0].mean.numpy(), x.astype(np.float64).mean(0), rtol=1e-5)
    np.testing.assert_allclose(model.network[0].scale.numpy(), x.astype(np.float64).std(0), rtol=1e-5)
    assert model.shift == pytest.approx(y.astype(np.float64).mean(), rel=1e-9)
    assert model.scale == pytest.approx(y.astype(np.float64).std(), rel=1e-9)


@pytest.mark.parametrize(("window", "per_epoch"), [(10_000, 16), (250, 5 + 5 + 5 + 2), (1, 20)])
def test_an_epoch_takes_each_window_in_batches(feed_of: Any, window: int, per_epoch: int) -> None:
    # 1000 points in slabs of 100: windows of 1000, of 300 (4 batches of 64 and one of 44, the last 100), or of 100.
    for epochs in (1, 3):
        trained = train(feed_of(window=window), RELU, recipe(steps=None, epochs=epochs), "a")
        assert trained.steps == epochs * per_epoch


@pytest.mark.parametrize("steps", [1, 16, 17, 40])
def test_steps_are_counted_across_epochs(feed_of: Any, steps: int) -> None:
    told: list[float] = []
    trained = train(feed_of(window=10_000), RELU, recipe(steps=steps), "a", advance=told.append)
    assert trained.steps == steps
    assert sum(told) <= steps * 64


def test_so_many_steps_are_so_many_epochs(feed_of: Any, tmp_path: Path) -> None:
    by_epochs = train(feed_of(window=10_000), RELU, recipe(steps=None, epochs=2), "a")
    by_steps = train(feed_of(window=10_000), RELU, recipe(steps=32), "a")
    assert saved(by_epochs, tmp_path / "m") == saved(by_steps, tmp_path / "m")


@pytest.mark.parametrize(("points", "batch", "expected"), [(1000, 64, 16), (1024, 64, 16), (1025, 64, 17), (5, 64, 1)])
def test_total_steps_are_epochs_times_batches(points: int, batch: int, expected: int) -> None:
    assert recipe(steps=None, epochs=3, batch=batch).total_steps(points) == 3 * expected
    assert recipe(steps=7, batch=batch).total_steps(points) == 7


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every optimiser step."""
    seen: list[float] = []

    class Watched(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    return seen


@pytest.mark.parametrize("settings", [{"steps": 40}, {"steps": None, "epochs": 3}])
def test_the_cosine_schedule_falls_from_the_stated_rate_to_zero(
    settings: dict[str, Any], feed_of: Any, rates: list[float]
) -> None:
    trained = train(feed_of(window=10_000), RELU, recipe(schedule="cosine", learning_rate=0.01, **settings), "a")
    total = trained.steps
    expected = [0.01 * math.cos(0.5 * math.pi * step / total) ** 2 for step in range(total)]
    assert rates == pytest.approx(expected, abs=1e-15)
    # Nothing is left after the last step: the next rate of this sequence is 0.
    assert rates[0] == 0.01
    assert rates[-1] < 0.01 * (math.pi / total) ** 2


def test_the_constant_schedule_keeps_the_stated_rate(feed_of: Any, rates: list[float]) -> None:
    train(feed_of(), RELU, recipe(learning_rate=0.002), "a")
    assert rates == [0.002] * 10


def lowered(model: Model, by: float) -> Model:
    with torch.no_grad():
        model.network[-2].bias.sub_(by)
    return model


def test_a_dead_initialisation_is_redrawn_and_counted(
    feed_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alive = {f"a redrawn {n}": train(feed_of(), RELU, recipe(steps=40), f"a redrawn {n}") for n in (1, 2)}
    for deaths in (1, 2):
        seeds: list[str] = []

        def first_are_dead(
            shape: Architecture, normalisation: Normalisation, seed: str, seeds: Any = seeds, deaths: int = deaths
        ) -> Model:
            seeds.append(seed)
            model = build(shape, normalisation, seed)
            return lowered(model, 1e6) if len(seeds) <= deaths else model

        with monkeypatch.context() as patched:
            patched.setattr(training, "build", first_are_dead)
            trained = train(feed_of(), RELU, recipe(steps=40), "a")
        assert trained.redrawn == deaths
        assert len(set(seeds)) == deaths + 1
        assert trained.steps == 40
        assert trained.dead < 1
        # The run is that of the seed that was drawn in its place, as if the dead one had never been.
        other = alive[f"a redrawn {deaths}"]
        assert other.redrawn == 0
        assert saved(trained, tmp_path / "m") == saved(other, tmp_path / "m")


def test_a_run_that_only_ever_dies_is_an_error(feed_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "build", lambda *given: lowered(build(*given), 1e6))
    with pytest.raises(WorkError, match="Training run 'a': 5 initialisations died"):
        train(feed_of(), RELU, recipe(), "a")


def test_the_dead_share_is_that_of_outputs_that_are_zero(feed_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(draw(1000, 0)[0])
    half: list[Model] = []

    def half_dead(shape: Architecture, normalisation: Normalisation, seed: str) -> Model:
        model = build(shape, normalisation, seed)
        with torch.no_grad():
            middle = model.network[:-1](x).median().item()
        half.append(lowered(model, middle))
        return model

    monkeypatch.setattr(training, "build", half_dead)
    # 16 batches are an epoch, and with this rate no weight moves by a visible amount.
    trained = train(feed_of(window=10_000), RELU, recipe(learning_rate=1e-12, steps=16), "a")
    expected = (half[0].predict(x) == 0).double().mean().item()
    assert 0.45 < expected < 0.55
    assert trained.dead == pytest.approx(expected, abs=0.003)
    assert trained.redrawn == 0


def test_a_linear_output_is_never_called_dead(feed_of: Any) -> None:
    assert train(feed_of(), LINEAR, recipe(), "a").dead == 0.0


@pytest.mark.parametrize("settings", [{"steps": 40}, {"steps": None, "epochs": 2}])
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_run_and_the_way_out(
    settings: dict[str, Any], feed_of: Any
) -> None:
    with pytest.raises(WorkError, match=r"Training run 'a': the loss is (nan|inf) .* lower training\.learning_rate"):
        train(feed_of(), LINEAR, recipe(learning_rate=1e30, **settings), "a")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """From step 12 on a learning rate above 0.005 makes a weight NaN; the rate of every step that was taken."""
    seen: list[float] = []

    class Poisoned(torch.optim.AdamW):
        taken = 0

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            rate = self.param_groups[0]["lr"]
            seen.append(rate)
            self.taken += 1
            if rate > 0.005 and self.taken >= 12:
                self.param_groups[0]["params"][0][0, 0] = math.nan

    monkeypatch.setattr(torch.optim, "AdamW", Poisoned)
    return seen


@pytest.mark.parametrize("shape", [RELU, LINEAR], ids=["relu", "linear"])
# Found by the loss of an epoch, by the last weights, and by a check.
@pytest.mark.parametrize("settings", [{"steps": 40}, {"steps": 12}, {"steps": 12, "checks": 1, "keep": "best"}])
def test_a_run_that_diverges_is_begun_again_once_with_a_tenth_of_the_rate(
    shape: Architecture, settings: dict[str, Any], feed_of: Any, poisoned: list[float], tmp_path: Path
) -> None:
    held_out = unseen() if "checks" in settings else None
    usual = recipe(learning_rate=0.02, average=0.5, **settings)
    trained = train(feed_of(), shape, usual, "a", held_out=held_out)
    assert trained.slowed_to == 0.002
    assert poisoned[-settings["steps"] - 1 :] == [0.02] + [0.002] * settings["steps"]
    # It is the training that the lower rate gives by itself, from the same seed.
    plain = train(feed_of(), shape, replace(usual, learning_rate=0.002), "a", held_out=held_out)
    assert plain.slowed_to is None
    assert saved(trained, tmp_path / "m") == saved(plain, tmp_path / "m")
    assert replace(trained, model=plain.model, slowed_to=None) == plain


def test_a_run_that_diverges_again_is_an_error_that_tells_both(feed_of: Any, poisoned: list[float]) -> None:
    with pytest.raises(WorkError) as caught:
        train(feed_of(window=10_000), LINEAR, recipe(learning_rate=0.2, steps=16), "a")
    assert str(caught.value) == (
        "Training run 'a': the loss is nan after epoch 1, and with a tenth of the learning rate, 0.02, the loss is nan "
        "after epoch 1; lower training.learning_rate."
    )
    assert poisoned == [0.2] * 16 + [0.02] * 16


def test_a_run_that_is_begun_again_may_be_redrawn(
    feed_of: Any, poisoned: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def first_is_dead_at_last(shape: Architecture, normalisation: Normalisation, seed: str) -> Model:
        drawn.append(seed)
        model = build(shape, normalisation, seed)
        return lowered(model, 1e6) if len(drawn) == 2 else model

    monkeypatch.setattr(training, "build", first_is_dead_at_last)
    trained = train(feed_of(), RELU, recipe(learning_rate=0.02, steps=40), "a")
    assert drawn == ["a", "a", "a redrawn 1"]
    assert (trained.redrawn, trained.slowed_to) == (1, 0.002)


@pytest.fixture
def lifted(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, int, int], None]:
    """Lifts the output by so much for the steps after one and up to another."""

    def patch(by: float, first: int, last: int) -> None:
        class Lifted(torch.optim.AdamW):
            taken = 0

            @torch.no_grad()
            def step(self, closure: Any = None) -> Any:
                super().step(closure)
                self.taken += 1
                if self.taken in (first, last):
                    self.param_groups[0]["params"][-1].add_(by if self.taken == first else -by)

        monkeypatch.setattr(torch.optim, "AdamW", Lifted)

    return patch


# An epoch has 16 batches, and whoever is wrong by d standard deviations everywhere has a loss of d² in scaled units.
@pytest.mark.parametrize(("by", "first", "last"), [(1e4, 1, 9), (1e4, 4, 12), (1e4, 8, 99), (9.0, 1, 99)])
def test_a_spike_that_passes_and_a_loss_that_is_merely_bad_are_no_divergence(
    by: float, first: int, last: int, feed_of: Any, lifted: Any
) -> None:
    lifted(by, first, last)
    trained = train(feed_of(window=10_000), LINEAR, recipe(steps=16), "a")
    assert trained.slowed_to is None
    assert trained.loss > (1e6 if by == 1e4 else 60)


@pytest.mark.parametrize(("by", "first", "last"), [(1e4, 3, 12), (1e4, 7, 99), (11.0, 1, 99)])
def test_a_finite_loss_far_above_that_of_the_mean_has_diverged(
    by: float, first: int, last: int, feed_of: Any, lifted: Any
) -> None:
    lifted(by, first, last)
    with pytest.raises(
        WorkError, match=r"more than half of the last epoch's losses are .* lower training\.learning_rate"
    ):
        train(feed_of(window=10_000), LINEAR, recipe(steps=16), "a")


def test_a_rate_that_is_far_too_high_is_noticed_though_its_loss_stays_finite(feed_of: Any) -> None:
    deep = replace(LINEAR, hidden=(24,) * 4)
    # So few that no processor finds its way back by the end.
    trained = train(feed_of(), deep, recipe(learning_rate=3.0, steps=20), "a")
    assert trained.slowed_to == 0.3
    assert trained.loss < 10


def test_validation_densities_that_do_not_vary_are_told_before_the_first_step(feed_of: Any, rates: list[float]) -> None:
    held_out = HeldOut(unseen().features, torch.full((300,), 0.1))
    with pytest.raises(DataError, match="expected validation densities that vary, found the same at all 300 points"):
        train(feed_of(), RELU, recipe(checks=2), "a", held_out=held_out)
    assert rates == []
    assert train(feed_of(), RELU, recipe(), "a", held_out=held_out).steps == 10


def test_a_run_whose_last_window_is_vacuum_is_not_dead() -> None:
    """A slab of a surface: most slabs of points are empty, and there a ReLU output is rightly 0."""
    rng = np.random.default_rng(5)
    slabs = [Slab("s", "d", start * 64, start * 64 + 64, 64) for start in range(9)]
    x = rng.normal(size=(9 * 64, 2)).astype(np.float32)
    x[:, 0] = np.repeat(np.where(np.arange(9) < 2, 1.0, -1.0), 64) + 0.01 * x[:, 0]
    density = np.where(x[:, 0] > 0, 1.0 + 0.1 * x[:, 1], 0.0).astype(np.float32)

    def read(wanted: Sequence[Slab]) -> Iterator[pa.Table]:
        for slab in wanted:
            rows = slice(slab.start, slab.stop)
            features = pa.FixedSizeListArray.from_arrays(pa.array(x[rows].ravel()), 2)
            yield pa.table({"features": features, "density": density[rows]})

    feed = Feed(slabs, read, 2, window=64, cache=1e9)
    recipe = Recipe(1e-2, 0.0, "constant", 16, 64, epochs=12)
    trained = train(feed, Architecture(2, (16,), "gelu", "relu"), recipe, "vacuum")
    assert trained.redrawn == 0
    assert bool((trained.model.predict(torch.from_numpy(x[:128])) > 0).any())


def weights(model: Model) -> torch.Tensor:
    return torch.cat([parameter.detach().ravel() for parameter in model.network.parameters()])


def unseen(rows: int = 300) -> HeldOut:
    x, y = draw(rows, 1)
    return HeldOut(torch.from_numpy(x), torch.from_numpy(y))


def predicted_by(model: Model) -> HeldOut:
    """Points at which this model makes no error at all."""
    x = torch.from_numpy(draw(300, 1)[0])
    return HeldOut(x, model.predict(x))


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("average", [0.0, 0.5, 0.9])
def test_the_weights_are_those_of_a_plain_loop_under_torchs_own_average(
    average: float, schedule: Any, feed_of: Any
) -> None:
    feed, steps = feed_of(window=10_000), 40  # two epochs of 16 batches and half of a third
    model = build(RELU, feed.normalisation, "a")
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=3e-3, weight_decay=0.01)
    factor = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if schedule == "cosine" else None

    def ramped(mean: torch.Tensor, now: torch.Tensor, told: torch.Tensor | int) -> torch.Tensor:
        # Torch counts the copy of the initial weights as the first.
        each = min(average, float(told) / (9 + float(told)))
        return each * mean + (1 - each) * now

    mean = AveragedModel(model.network, avg_fn=ramped)
    mean.update_parameters(model.network)
    batches = [batch for epoch in range(3) for batch in feed.batches(64, "a", epoch)][:steps]
    for x, y in batches:
        loss = nn.functional.mse_loss(model.network(x).squeeze(1), (y - model.shift) / model.scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if factor is not None:
            factor.step()
        mean.update_parameters(model.network)
    expected = Model(RELU, mean.module if average else model.network, model.scale, model.shift)
    trained = train(feed, RELU, recipe(steps=steps, schedule=schedule, weight_decay=0.01, average=average), "a")
    torch.testing.assert_close(weights(trained.model), weights(expected), rtol=1e-4, atol=1e-6)
    x = unseen().features
    torch.testing.assert_close(trained.model.predict(x), expected.predict(x), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("steps", "checks", "expected"),
    [
        (40, 4, [10, 20, 30, 40]),
        (10, 3, [4, 7, 10]),
        (10, 1, [10]),
        (3, 8, [1, 2, 3]),
        (10, 0, []),
    ],
)
def test_checks_stand_at_even_distances_and_at_the_end(
    steps: int, checks: int, expected: list[int], feed_of: Any
) -> None:
    trained = train(feed_of(), RELU, recipe(steps=steps, checks=checks), "a", held_out=unseen())
    assert [step for step, _ in trained.validation] == expected
    assert trained.kept_step == steps


@pytest.mark.parametrize(("window", "per_epoch"), [(10_000, 16), (250, 17), (1, 20)])
def test_the_last_check_is_at_the_end_of_the_last_epoch(window: int, per_epoch: int, feed_of: Any) -> None:
    settings = recipe(steps=None, epochs=2, checks=2)
    trained = train(feed_of(window=window), RELU, settings, "a", held_out=unseen())
    looked = [step for step, _ in trained.validation]
    assert looked == sorted(set(looked))
    assert looked[0] == 16
    assert looked[-1] == trained.steps == trained.kept_step == 2 * per_epoch


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_each_check_is_the_error_of_a_training_that_ends_there(average: float, feed_of: Any) -> None:
    held_out = unseen()
    trained = train(feed_of(), RELU, recipe(steps=40, checks=4, average=average), "a", held_out=held_out)
    reference = held_out.density.numpy().astype(np.float64)
    for step, error in trained.validation:
        alone = train(feed_of(), RELU, recipe(steps=step, average=average), "a")
        predicted = alone.model.predict(held_out.features).numpy().astype(np.float64)
        assert error == pytest.approx(np.sqrt(np.mean((predicted - reference) ** 2)) / np.ptp(reference), rel=1e-12)


@pytest.mark.parametrize("settings", [{"steps": 40}, {"steps": 40, "average": 0.9, "schedule": "cosine"}])
def test_looking_changes_no_byte(settings: dict[str, Any], feed_of: Any, tmp_path: Path) -> None:
    blind = train(feed_of(), RELU, recipe(**settings), "a")
    for checks in (1, 7, 40):
        seen = train(feed_of(), RELU, recipe(**settings, checks=checks), "a", held_out=unseen())
        assert saved(seen, tmp_path / "m") == saved(blind, tmp_path / "m")
    # Points that are held out but not asked for are not looked at.
    assert train(feed_of(), RELU, recipe(**settings), "a", held_out=unseen()).validation == []


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("best", [10, 20, 40])
def test_best_keeps_the_weights_of_the_check_with_the_least_error(average: float, best: int, feed_of: Any) -> None:
    """Held-out densities that one state predicts exactly: that state is the best."""
    state = train(feed_of(), RELU, recipe(steps=best, average=average), "a").model
    settings = recipe(steps=40, checks=4, average=average)
    held_out = predicted_by(state)
    trained = train(feed_of(), RELU, replace(settings, keep="best"), "a", held_out=held_out)
    assert trained.kept_step == best
    assert trained.steps == 40
    assert dict(trained.validation)[best] == 0
    assert min(error for step, error in trained.validation if step != best) > 0
    assert torch.equal(weights(trained.model), weights(state))
    assert trained.model.network.state_dict().keys() == state.network.state_dict().keys()
    assert trained.model.predict(held_out.features).equal(held_out.density)
    # It is the choice alone that differs from keeping the last.
    last = train(feed_of(), RELU, settings, "a", held_out=held_out)
    assert last.validation == trained.validation
    assert last.loss == trained.loss
    assert torch.equal(weights(last.model), weights(state)) == (best == 40)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_training_with_checks_repeats_to_the_byte(average: float, feed_of: Any, tmp_path: Path) -> None:
    settings = recipe(steps=40, learning_rate=0.05, checks=8, keep="best", average=average)
    first, again = (train(feed_of(), RELU, settings, "a", held_out=unseen()) for _ in range(2))
    assert saved(first, tmp_path / "m") == saved(again, tmp_path / "m")
    assert first.validation == again.validation
    assert first.kept_step == again.kept_step
    assert dict(first.validation)[first.kept_step] == min(error for _, error in first.validation)


def test_a_redrawn_run_forgets_the_checks_and_the_average_of_the_dead_one(
    feed_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = recipe(steps=40, checks=8, keep="best", average=0.9)
    alive = train(feed_of(), RELU, settings, "a redrawn 1", held_out=unseen())
    drawn: list[str] = []

    def first_is_dead(shape: Architecture, normalisation: Normalisation, seed: str) -> Model:
        drawn.append(seed)
        model = build(shape, normalisation, seed)
        return lowered(model, 1e6) if len(drawn) == 1 else model

    monkeypatch.setattr(training, "build", first_is_dead)
    trained = train(feed_of(), RELU, settings, "a", held_out=unseen())
    assert trained.redrawn == 1
    assert trained.validation == alive.validation
    assert saved(trained, tmp_path / "m") == saved(alive, tmp_path / "m")


def test_averaged_weights_differ_less_from_seed_to_seed(feed_of: Any) -> None:
    """What the average is for, at a rate that does not decay: predictions scatter less, about a better mean."""
    x, y = draw(500, 2)

    def errors(average: float) -> np.ndarray:
        settings = recipe(steps=300, learning_rate=0.02, average=average)
        models = [train(feed_of(), LINEAR, settings, seed).model for seed in "abcdef"]
        return np.array([model.predict(torch.from_numpy(x)).numpy() - y for model in models])

    plain, quiet = errors(0.0), errors(0.97)
    assert quiet.std(0).mean() < 0.7 * plain.std(0).mean()
    assert (quiet**2).mean() < (plain**2).mean()


def test_on_a_gpu_a_batch_is_on_its_way_before_the_one_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for streams and tensors, for no GPU is at hand: the order of what is asked of them."""
    log: list[tuple[str, Any]] = []

    class Rows:
        def __init__(self, name: str) -> None:
            self.name = name

        def pin_memory(self) -> "Rows":
            return self

        def to(self, device: str, non_blocking: bool) -> "Rows":
            assert (device, non_blocking) == ("cuda", True)
            log.append(("sent", self.name))
            return self

        def record_stream(self, stream: Any) -> None:
            assert stream is computing
            log.append(("kept", self.name))

    computing = SimpleNamespace(wait_event=lambda event: log.append(("waited", event)))
    copying = SimpleNamespace(record_event=lambda: log[-1][1])
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: computing)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: copying)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext() if stream is copying else None)
    batches = [(Rows(f"x{i}"), Rows(f"y{i}")) for i in range(3)]
    for number, (x, y) in enumerate(training._on("cuda", iter(batches))):
        assert (x.name, y.name) == (f"x{number}", f"y{number}")
        # The copy of y ends what is waited for, and the next batch is sent already.
        assert log[-3:] == [("waited", f"y{number}"), ("kept", f"x{number}"), ("kept", f"y{number}")]
        assert [name for what, name in log if what == "sent"][-1] == f"y{min(number + 1, 2)}"
        log.append(("computed", number))
    assert log[-1] == ("computed", 2)
    assert list(training._on("cuda", iter([]))) == []

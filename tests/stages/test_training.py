"""What a training may look at: the training set, validation where checks are asked for, and never a test set."""

import gc
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize, materialize_all
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet, Split, split
from coreset.corpus.store import Corpus
from coreset.learning import feed
from coreset.learning.network import load
from coreset.numerics.descriptors import Descriptor
from coreset.stages import training
from coreset.stages.evaluation import predict
from coreset.stages.training import Length, Training

DESCRIPTOR = Descriptor(neighbours=5, distances=True)
NETWORK = {"hidden": [8], "activation": "gelu", "output": "relu"}
PLAIN = {
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "schedule": "constant",
    "batch": 32,
    "window": 65_536,
    "average": 0.0,
    "checks": 0,
    "keep": "last",
}
CHOSEN = PLAIN | {"average": 0.8, "checks": 6, "keep": "best"}

Made = tuple[Snapshot, np.ndarray]


@pytest.fixture(autouse=True)
def forget() -> None:
    """Nothing is taken from what an earlier training of this process has read."""
    training._held_out.cache_clear()


def split_of(corpus: Corpus) -> Split:
    return split(corpus, "job.yaml", train="train/*", tests={"bulk": "test/*"}, validation=0.4)


def stage_of(parts: Split, settings: dict[str, Any]) -> Training:
    return Training(
        train=parts.train,
        descriptor=DESCRIPTOR,
        network=NETWORK,
        settings=settings,
        length=Length(steps=60),
        seed="0",
        validation=parts.validation,
    )


def made(stage: Training, root: Path) -> Artifact:
    return materialize(stage, root=root, executor=SerialExecutor())


@pytest.mark.parametrize("settings", [PLAIN, CHOSEN], ids=["plain", "chosen"])
def test_a_training_needs_no_test_snapshot(settings: dict[str, Any], small_corpus: Corpus, tmp_path: Path) -> None:
    first = made(stage_of(split_of(small_corpus), settings), tmp_path / "first")
    blind = tmp_path / "blind.zarr"
    shutil.copytree(small_corpus.path, blind)
    for shards in blind.glob("test/*/c"):
        shutil.rmtree(shards)
    again = made(stage_of(split_of(Corpus.open(blind)), settings), tmp_path / "again")
    assert again.digest == first.digest
    assert again.path("model").read_bytes() == first.path("model").read_bytes()


@pytest.mark.parametrize(("settings", "changes"), [(PLAIN, False), (CHOSEN, True)], ids=["plain", "chosen"])
def test_a_training_depends_on_validation_where_it_looks_at_it(
    settings: dict[str, Any], changes: bool, small_corpus: Corpus
) -> None:
    parts = split_of(small_corpus)
    stage = stage_of(parts, settings)
    fewer = replace(stage, validation=replace(parts.validation, snapshots=parts.validation.snapshots[:1]))
    assert (fewer.digest != stage.digest) == changes


@pytest.mark.parametrize(("settings", "changes"), [(PLAIN, False), (CHOSEN, True)], ids=["plain", "chosen"])
def test_the_digest_knows_how_many_points_the_checks_look_at(
    settings: dict[str, Any], changes: bool, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = split_of(small_corpus)
    before = stage_of(parts, settings).digest
    monkeypatch.setattr(training, "CHECKED", 90)
    assert (stage_of(parts, settings).digest != before) == changes


def test_describing_the_points_is_timed_apart_and_done_once(
    small_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds: list[Any] = []
    make = feed.Feed
    monkeypatch.setattr(feed, "Feed", lambda *given: feeds.append(given) or make(*given))
    stages = [replace(stage_of(split_of(small_corpus), CHOSEN), seed=seed, cache=1.0) for seed in "012"]
    artifacts = materialize_all(stages, root=tmp_path, executor=SerialExecutor())
    for artifact in artifacts:
        assert "seconds" not in (artifact.folder / "manifest.json").read_text()
        each = artifact.timings["model"]
        assert set(each) == {"seconds", "cpu_seconds", "describe_seconds", "describe_cpu_seconds", "peak_bytes"}
        assert 0 <= each["describe_seconds"] <= each["seconds"]
    assert len(feeds) == 1  # the same for all three


def test_what_a_map_has_read_is_let_go_with_it_at_once(
    small_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds: list[weakref.ref[feed.Feed]] = []
    make = feed.Feed

    def noted(*given: Any) -> feed.Feed:
        made = make(*given)
        feeds.append(weakref.ref(made))
        return made

    monkeypatch.setattr(feed, "Feed", noted)
    stage = replace(stage_of(split_of(small_corpus), PLAIN), cache=1.0)
    gc.disable()  # it would find in time what refers to itself, which may be gigabytes
    try:
        materialize_all([stage], root=tmp_path, executor=SerialExecutor())
        assert [each() for each in feeds] == [None]
    finally:
        gc.enable()


def test_a_slower_second_try_is_told_where_it_happened_and_nowhere_else(
    small_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of(split_of(small_corpus), PLAIN)
    usual = made(stage, tmp_path / "usual")

    class Poisoned(torch.optim.AdamW):
        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            if self.param_groups[0]["lr"] == PLAIN["learning_rate"]:
                self.param_groups[0]["params"][0].fill_(float("inf"))

    monkeypatch.setattr(torch.optim, "AdamW", Poisoned)
    slowed = made(stage, tmp_path / "slowed")
    for artifact, expected in ((usual, None), (slowed, 0.002)):
        assert artifact.shards[0]["figures"].get("slowed_to") == expected
        assert load(artifact.path("model"))[1].get("slowed_to") == expected
    assert "slowed_to" not in (usual.folder / "manifest.json").read_text()
    assert slowed.digest == usual.digest


@pytest.mark.parametrize("average", [0.0, 0.8])
def test_the_checks_are_the_errors_on_the_validation_snapshots(
    average: float, small_corpus: Corpus, tmp_path: Path
) -> None:
    parts = split_of(small_corpus)
    artifact = made(stage_of(parts, CHOSEN | {"average": average}), tmp_path)
    model, notes = load(artifact.path("model"))
    assert [step for step, _ in notes["validation"]] == [10, 20, 30, 40, 50, 60]
    error = dict(map(tuple, notes["validation"]))[notes["kept_step"]]
    assert error == min(each for _, each in notes["validation"])
    # So few are their points that the checks look at all of them.
    predicted = np.concatenate([predict([model], snapshot, DESCRIPTOR)[0] for snapshot in parts.validation.snapshots])
    density = np.concatenate([small_corpus.density(snapshot).ravel() for snapshot in parts.validation.snapshots])
    difference = predicted.astype(np.float64) - density
    assert error == pytest.approx(np.sqrt(np.mean(difference**2)) / np.ptp(density), rel=1e-5)


def test_the_checks_look_at_a_bounded_even_share_of_the_validation_points(
    make_snapshot: Callable[..., Made],
    write_corpus: Callable[..., Corpus],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    grids = [(6, 5, 4), (4, 4, 4), (8, 5, 4)]
    corpus = write_corpus(
        tmp_path / "c.zarr", [make_snapshot(f"a_{i}/0", seed=i, grid=grid) for i, grid in enumerate(grids)]
    )
    validation = SnapshotSet(str(corpus.path), corpus.select("*"))
    monkeypatch.setattr(training, "CHECKED", 90)
    densities = {each.name: set(corpus.density(each).ravel().tolist()) for each in validation.snapshots}
    held_out = training._held_out(validation, DESCRIPTOR)
    counts = {name: sum(y in values for y in held_out.density.tolist()) for name, values in densities.items()}
    assert set(counts.values()) == {30}
    assert held_out.features.shape == (90, DESCRIPTOR.length)
    # More than the smallest snapshot has is taken of none.
    monkeypatch.setattr(training, "CHECKED", 10_000)
    training._held_out.cache_clear()
    assert len(training._held_out(validation, DESCRIPTOR).density) == 3 * 64

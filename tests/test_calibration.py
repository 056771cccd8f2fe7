"""The rates of a machine: what is measured, stored and read again."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.calibration import Rates, calibrate, calibration_file, multiplications, slabs_in, stored_rates
from coreset.corpus.split import SnapshotSet
from coreset.job_file import load_job
from coreset.learning.network import Architecture
from coreset.learning.slabs import slabs_of
from coreset.session import Session, open_session


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def opened(tmp_path: Path, small_job: Callable[..., Path]) -> Session:
    job = small_job(
        "score: {seeds: 2, epoch: 1}", "select: {prune: 0.8, cutoff: 0.1, strata: 10}", "coverage: {queries: 100}"
    )
    return open_session(job, tmp_path / "run", None, ())


def test_what_is_measured_is_positive_stored_and_read_again(
    opened: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr("coreset.calibration._PART", 1e6)
    corpus = Path(opened.split.train.corpus)
    before = picture(corpus)
    rates = calibrate(opened.job, opened.split, SerialExecutor(), 2)
    assert rates.measured
    assert rates.multiplications == 16 * 8 + 8
    for each in fields(Rates):
        found = getattr(rates, each.name)
        values = found.values() if isinstance(found, dict) else [found]
        assert all(0 <= value < float("inf") for value in values), each.name
    assert min(rates.training, rates.scoring, rates.evaluation, rates.coverage, rates.descriptors) > 0
    assert min(rates.selection, rates.extraction, *rates.memory.values()) > 0
    assert stored_rates() == rates
    # The corpus is only read, and the miniature leaves nothing behind.
    assert picture(corpus) == before
    assert not (tmp_path / "run").exists()


def test_a_machine_that_was_not_measured_has_assumed_rates() -> None:
    assert stored_rates() == Rates()
    assert not Rates().measured


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: {"flops": 2e10, "descriptors": 3e5},  # what an earlier version stored
        lambda saved: {name: value for name, value in saved.items() if name != "slab"},
        lambda saved: saved | {"start": {"task": 1.0}},
        lambda saved: saved | {"training": "fast"},
        lambda saved: list(saved),
    ],
)
def test_rates_that_lack_anything_count_as_not_measured(damage: Callable[[Any], Any]) -> None:
    calibration_file().parent.mkdir(parents=True)
    saved = asdict(replace(Rates(), multiplications=7, slab=0.5))
    calibration_file().write_text(json.dumps(saved))
    assert stored_rates() == replace(Rates(), multiplications=7, slab=0.5)
    calibration_file().write_text(json.dumps(damage(saved)))
    assert stored_rates() == Rates()


def test_a_file_that_is_no_json_counts_as_not_measured() -> None:
    calibration_file().parent.mkdir(parents=True)
    calibration_file().write_bytes(b"\xff")
    assert stored_rates() == Rates()


def test_multiplications_are_those_of_the_network() -> None:
    job = load_job(Path(__file__).parents[1] / "jobs" / "al.yaml")
    network = Architecture(job.descriptor.resolve().length, **job.network.model_dump())
    assert multiplications(job) == network.multiplications


def test_slabs_are_those_that_a_training_reads(make_snapshot: Callable[..., Any]) -> None:
    snapshots = [
        replace(make_snapshot(f"train/{number}", number)[0], grid=grid)
        for number, grid in enumerate([(32, 32, 32), (32, 32, 33), (2, 2, 2)])
    ]
    counted = sum(len(slabs_of(s.name, s.digest, s.points)) for s in snapshots)
    assert slabs_in(SnapshotSet("nowhere", tuple(snapshots))) == counted == 1 + 2 + 1


def test_descriptors_of_more_neighbours_take_longer() -> None:
    rates = Rates(descriptors=100.0)
    assert rates.describe(50, 40) == pytest.approx(0.5)
    assert rates.describe(50, 20) < rates.describe(50, 40) < rates.describe(50, 60)
    assert rates.describe(0, 20) == 0


@pytest.mark.parametrize("value", ["NaN", "1e400", "-1.0", '"1"', "[]", "[" * 100_000, "9" * 5000])
def test_a_rate_that_is_none_counts_as_not_measured(value: str) -> None:
    calibration_file().parent.mkdir(parents=True)
    saved = json.dumps(asdict(replace(Rates(), multiplications=7, slab=0.5)))
    assert '"slab": 0.5' in saved
    calibration_file().write_text(saved.replace('"slab": 0.5', f'"slab": {value}'))
    assert stored_rates() == Rates()

"""Time and memory of a plan against sums by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coreset.calibration import Rates
from coreset.learning.slabs import SLAB
from coreset.plan import Ledger, known_cutoff, plan
from coreset.session import open_session
from coreset.workflow import Pipeline

NOTHING = {"task": 0.0, "actor": 0.0, "train": 0.0}

FREE = Rates(
    training=1e30,
    scoring=1e30,
    evaluation=1e30,
    coverage=1e30,
    descriptors=1e30,
    selection=1e30,
    extraction=1e30,
    feed=0.0,
    slab=0.0,
    part=0.0,
    ray=0.0,
    start=NOTHING,
    first=NOTHING,
    memory=NOTHING,
    multiplications=16 * 8 + 8,
)
"""Everything takes no time at all, so that a test can let one thing take some."""

WEIGHTS = 16 * 8 + 8


@pytest.fixture
def planned(tmp_path: Path, small_job: Callable[..., Path]) -> Any:
    """Plans the small job."""

    def make(rates: Rates, workers: int = 1, *overrides: str) -> dict[str, Any]:
        job = small_job(
            "score: {seeds: 3, epoch: 1}",
            "select: {prune: 0.8, cutoff: 0.1, strata: 10}",
            "coverage: {queries: 100}",
            "evaluation: {methods: [full, random, ccs], seeds: 2}",
        )
        opened = open_session(job, tmp_path / "run", None, overrides)
        ledger = Ledger(opened.store, opened.split.train.points)
        pipeline = Pipeline(opened.job, opened.split, ledger.materialize, None, known_cutoff)
        return plan(pipeline, ledger, rates, workers)

    return make


def with_rates(**given: Any) -> Rates:
    return replace(FREE, **given)


@pytest.mark.parametrize(("workers", "longest"), [(1, 3), (2, 2), (3, 1), (8, 1)])
def test_trainings_are_dealt_out_in_turn(planned: Any, workers: int, longest: int) -> None:
    rates = with_rates(training=6 * WEIGHTS * 960)  # an epoch a second
    row = planned(rates, workers)["stages"]["scoring runs"]
    assert row["seconds"] == pytest.approx(longest)
    assert row["work"] == pytest.approx(3)


def test_points_are_read_once_while_there_is_other_work_for_the_other_workers(planned: Any) -> None:
    # Evaluation runs: full, full, random, random, ccs, ccs; coresets are read by the process that trains on them.
    trained = planned(with_rates(training=6 * WEIGHTS * 960), 1)["stages"]["evaluation runs"]["work"]
    for workers in (1, 2):
        rates = with_rates(training=6 * WEIGHTS * 960, feed=1.0)
        assert planned(rates, workers)["stages"]["evaluation runs"]["work"] == pytest.approx(1 + trained)
    # Of three scoring runs on the same points the second worker has one, and reads for it.
    assert planned(with_rates(feed=1.0), 2)["stages"]["scoring runs"]["work"] == pytest.approx(2)
    # Eight snapshots of one slab.
    assert planned(with_rates(slab=1.0), 1)["stages"]["scoring runs"]["work"] == pytest.approx(8)


def test_what_the_cache_cannot_hold_is_read_in_each_epoch(planned: Any) -> None:
    without = planned(with_rates(feed=1.0), 1, "training.cache=0")["stages"]
    # Three trainings on the same points, each once for the normalisation and once for its one epoch.
    assert without["scoring runs"]["work"] == pytest.approx(1 + 1)
    # A window, which is all 960 points here, and a slab are held twice: as they come and as they are joined.
    assert without["scoring runs"]["memory"] == 4 * 17 * 2 * (960 + SLAB)


def test_parts_go_to_whoever_is_free(planned: Any) -> None:
    rates = with_rates(scoring=4 * WEIGHTS * 120 * 3)  # a snapshot a second
    assert [planned(rates, workers)["stages"]["scoring"]["seconds"] for workers in (1, 3, 8, 9)] == [
        pytest.approx(seconds) for seconds in (8, 3, 1, 1)
    ]


def test_each_stage_takes_what_its_rate_says(planned: Any) -> None:
    kept = 192
    cases = {
        "selection": (with_rates(selection=960.0), 4),  # random and ccs, two seeds each
        "extraction": (with_rates(extraction=1.0), kept),
        "coverage": (with_rates(coverage=2.0 * 16 * kept * 100), 2),
        "evaluation": (with_rates(evaluation=2.0 * WEIGHTS * 240 * 2), 3),
    }
    for title, (rates, seconds) in cases.items():
        assert planned(rates)["stages"][title]["work"] == pytest.approx(seconds), title


def test_a_large_coreset_is_compared_with_some_queries_alone(planned: Any) -> None:
    rates = with_rates(coverage=2.0 * 16 * 192)
    row = planned(rates, 1, "coverage.exact_up_to=191")["stages"]["coverage"]
    assert row["work"] == pytest.approx(2 * (128 + 100 * 16 // 128 + 100))
    assert planned(rates, 1, "coverage.exact_up_to=192")["stages"]["coverage"]["work"] == pytest.approx(2 * 100)


def test_all_queries_that_may_be_asked_are_planned(planned: Any) -> None:
    # An equal share of the two validation snapshots is less than the first number that is asked.
    assert planned(FREE, 1, "coverage.queries=auto")["stages"]["coverage"]["artifacts"] == 2
    assert planned(FREE, 1, "coverage.queries=auto")["stages"]["coverage"]["flops"] == 2 * 2.0 * 16 * 192 * 240


def test_descriptors_take_time_wherever_points_are_described(planned: Any) -> None:
    stages = planned(with_rates(descriptors=1.0))["stages"]
    one = (16 + 4) / 56
    assert stages["scoring runs"]["work"] == pytest.approx(960 * one)
    assert stages["scoring"]["work"] == pytest.approx(960 * one)
    assert stages["evaluation"]["work"] == pytest.approx(3 * 240 * one)
    assert stages["coverage"]["work"] == pytest.approx(2 * (192 + 100) * one)
    assert stages["selection"]["work"] + stages["extraction"]["work"] == pytest.approx(0, abs=1e-12)


def test_the_checks_of_a_training_take_time(planned: Any) -> None:
    rates = with_rates(training=1.0)
    plain = planned(rates)["stages"]["evaluation runs"]["work"]
    checked = planned(rates, 1, "training.checks=5")["stages"]["evaluation runs"]["work"]
    assert checked - plain == pytest.approx(6 * 5 * 2 * WEIGHTS * 240)


def test_starts_are_counted_once_per_place(planned: Any) -> None:
    figures = planned(with_rates(ray=100.0, start={"task": 1.0, "actor": 10.0, "train": 20.0}))
    seconds = {title: row["seconds"] for title, row in figures["stages"].items()}
    assert seconds["scoring runs"] == pytest.approx(20)
    assert seconds["scoring"] == pytest.approx(10)
    assert seconds["evaluation"] == pytest.approx(0)
    assert sum(seconds[title] for title in ("selection", "extraction", "coverage")) == pytest.approx(1)
    assert figures["start"] == 100
    assert figures["seconds"] == pytest.approx(100 + sum(seconds.values()))


def test_the_first_part_of_every_worker_takes_longer(planned: Any) -> None:
    rates = with_rates(first=NOTHING | {"actor": 1.0}, part=1e-9)
    row = planned(rates, 3)["stages"]["scoring"]
    assert row["work"] == pytest.approx(3, abs=1e-6)
    assert row["seconds"] == pytest.approx(1, abs=1e-6)


def test_memory_is_what_a_worker_is_and_the_points_it_holds(planned: Any) -> None:
    held = 4 * 17 * 960
    stages = planned(with_rates(memory={"task": 1e6, "actor": 2e6, "train": 3e6}))["stages"]
    assert stages["scoring runs"]["memory"] == pytest.approx(3e6 + held)
    assert stages["selection"]["memory"] >= 1e6
    assert stages["scoring"]["memory"] >= 2e6
    assert stages["evaluation runs"]["memory"] == pytest.approx(3e6 + held)


def test_a_plan_says_whose_rates_it_has(planned: Any) -> None:
    assert not planned(Rates())["calibrated"]
    assert planned(FREE)["calibrated"] and planned(FREE)["same_network"]
    assert not planned(with_rates(multiplications=7))["same_network"]

"""Means and intervals over seeds and snapshots against sums by hand and Student's t."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from coreset.artifacts.manifest import Artifact, write_manifest
from coreset.corpus.split import SnapshotSet
from coreset.estimates import bounds, difference, estimate, figure, measured


@pytest.fixture(scope="module")
def points_of(make_snapshot: Callable[..., Any]) -> Callable[..., SnapshotSet]:
    """A set of snapshots of these groups, in this order."""

    def make(*groups: str) -> SnapshotSet:
        made = (make_snapshot(f"test/x_{i}", i, group=group)[0] for i, group in enumerate(groups))
        return SnapshotSet("nowhere", tuple(made))

    return make


@pytest.fixture
def values() -> Callable[[int, int], np.ndarray]:
    rng = np.random.default_rng(5)
    return lambda seeds, snapshots: rng.normal(3.0, 1.0, (seeds, snapshots))


def test_the_mean_is_over_snapshots_and_seeds_whatever_the_groups(points_of: Any, values: Any) -> None:
    points, found = points_of("b", "a", "b", "b", "c"), values(3, 5)
    by_hand = sum(found[seed, i] for seed in range(3) for i in range(5)) / 15
    assert estimate(found, points).value == pytest.approx(by_hand, rel=1e-14)


def test_without_a_second_seed_the_interval_is_students_over_trajectories(points_of: Any, values: Any) -> None:
    points, found = points_of("b", "a", "c", "a", "b", "c"), values(1, 6)
    of_groups = [(found[0, 1] + found[0, 3]) / 2, (found[0, 0] + found[0, 4]) / 2, (found[0, 2] + found[0, 5]) / 2]
    low, high = stats.t.interval(0.95, 2, np.mean(of_groups), stats.sem(of_groups))
    made = estimate(found, points)
    assert (made.low, made.high) == (pytest.approx(low), pytest.approx(high))


def test_without_a_second_trajectory_the_interval_is_students_over_seeds(points_of: Any, values: Any) -> None:
    points, found = points_of("a", "a", "a"), values(4, 3)
    of_seeds = [row.sum() / 3 for row in found]
    low, high = stats.t.interval(0.95, 3, np.mean(of_seeds), stats.sem(of_seeds))
    made = estimate(found, points)
    assert (made.low, made.high) == (pytest.approx(low), pytest.approx(high))


def test_frames_of_one_trajectory_count_as_one(points_of: Any, values: Any) -> None:
    found = values(1, 3)
    repeated = np.repeat(found, 4, axis=1)
    once = estimate(found, points_of("a", "b", "c"))
    often = estimate(repeated, points_of(*(group for group in "abc" for _ in range(4))))
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    independent = estimate(repeated, points_of(*map(str, range(12))))
    assert independent.high - independent.low < 0.7 * (often.high - often.low)


def test_a_trajectory_counts_by_its_frames(points_of: Any) -> None:
    assert estimate(np.array([[1.0, 1.0, 4.0]]), points_of("a", "a", "b")).value == 2.0


def test_an_interval_that_cannot_be_had_is_null(points_of: Any) -> None:
    made = figure(np.array([[0.25]]), points_of("a"))
    assert made == {
        "value": 0.25,
        "low": None,
        "high": None,
        "seeds": 1,
        "groups": 1,
        "by_seed": [0.25],
        "by_snapshot": [0.25],
    }
    assert bounds(1.0, float("inf")) == {"low": 1.0, "high": None}
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_a_figure_tells_every_seed_and_every_snapshot(points_of: Any, values: Any) -> None:
    points, found = points_of("b", "a", "b"), values(2, 3)
    made = figure(found, points)
    assert made["by_seed"] == pytest.approx([sum(found[seed]) / 3 for seed in range(2)])
    # In the order of the snapshots, not of the groups.
    assert made["by_snapshot"] == pytest.approx([(found[0, i] + found[1, i]) / 2 for i in range(3)])
    assert made["low"] < made["value"] < made["high"]
    # What the interval rests on.
    assert (made["seeds"], made["groups"]) == (2, 2)
    less = difference(found, points)
    assert (less["seeds"], less["groups"]) == (2, 2)


@pytest.mark.parametrize(("shift", "verdict"), [(-1.0, "lower"), (0.0, "tie"), (1.0, "higher")])
def test_a_verdict_needs_an_interval_without_zero(shift: float, verdict: str, points_of: Any) -> None:
    spread = 0.1 * np.array([[-1.0, 0.0, 1.0], [0.5, -0.5, 0.0]])
    made = difference(spread + shift, points_of("a", "b", "c"))
    assert made["verdict"] == verdict
    assert (made["low"] < 0 < made["high"]) == (verdict == "tie")
    assert made["value"] == pytest.approx(shift)


def test_one_value_alone_is_a_tie(points_of: Any) -> None:
    made = difference(np.array([[-5.0]]), points_of("a"))
    assert made == {"value": -5.0, "low": None, "high": None, "seeds": 1, "groups": 1, "verdict": "tie"}


def test_what_is_measured_stands_by_seed_and_snapshot(tmp_path: Path) -> None:
    names = ["nrmse", "nmae", "h1_seminorm", "h1_norm", "electrons_lost"]
    shards = [
        {
            "name": f"s{j}",
            "files": {f"{j}.json": {}},
            "figures": {name: [100.0 * k + 10 * i + j for i in range(2)] for k, name in enumerate(names)},
        }
        for j in range(3)
    ]
    write_manifest(tmp_path / "manifest.json", {"shards": shards})
    found = measured(Artifact(tmp_path))
    assert sorted(found) == sorted(names)
    for k, name in enumerate(names):
        assert found[name].tolist() == [[100 * k + 10 * i + j for j in range(3)] for i in range(2)]

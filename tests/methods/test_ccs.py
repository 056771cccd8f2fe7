"""CCS on strata made by hand, and what it refuses."""

from typing import Any

import numpy as np
import pytest

from coreset.errors import DataError, RequestError
from coreset.methods import ccs
from coreset.methods.rule import Rule
from coreset.numerics.keys import DRAW, TIES, keys, stream
from coreset.numerics.scans import ScoreShard, serial_scan
from coreset.numerics.strata import allocate


def rule_of(scores: Any, **options: Any) -> Rule:
    shard = ScoreShard(b"rows", 0, np.asarray(scores, dtype=np.float64))
    return ccs.rule(serial_scan(lambda: [shard]), **({"prune": 0.9, "seed": 0} | options))


def test_the_example_that_the_reference_once_got_wrong() -> None:
    """Strata of 90 and 10: a budget of 20 is 10 + 10, not 5 + 5; of 40 it is 30 + 10."""
    scores = [0.0] * 90 + [1.0] * 10
    assert rule_of(scores, prune=0.8, strata=2).budgets == (10, 10)
    assert rule_of(scores, prune=0.6, strata=2).budgets == (30, 10)
    assert rule_of(scores, prune=0.6, strata=2, redistribute=False).budgets == (20, 10)
    assert rule_of(scores, prune=0.6, strata=2, redistribute=False).kept == 30


def test_figures_worked_by_hand() -> None:
    """0 to 99: the cut takes 80 to 99; 4 strata of [0, 79] hold 20 each; 10 = 2 + 2 + 3 + 3."""
    rule = rule_of(np.arange(100), cutoff=0.2, strata=4)
    assert (rule.total, rule.keep, rule.kept, rule.cut, rule.lo, rule.hi) == (100, 10, 10, 20, 0.0, 79.0)
    assert (rule.sizes, rule.budgets) == ((20, 20, 20, 20), (2, 2, 3, 3))
    selected = rule.apply(ScoreShard(b"rows", 0, np.arange(100.0)))
    assert selected.stratum is not None and selected.stratum.tolist() == (selected.index // 20).tolist()
    assert selected.weight.tolist() == [20 / (2, 2, 3, 3)[i] for i in selected.stratum]
    assert selected.weight.sum() == pytest.approx(80)


def test_empty_strata_leave_their_share_only_when_redistributing() -> None:
    scores = [0.0] * 50 + [10.0] * 50
    assert rule_of(scores, strata=10).budgets == (5, 0, 0, 0, 0, 0, 0, 0, 0, 5)
    assert rule_of(scores, strata=10, redistribute=False).budgets == (1, 0, 0, 0, 0, 0, 0, 0, 0, 1)


def test_a_heavy_tail_gives_its_few_and_the_bulk_the_rest() -> None:
    scores = np.random.default_rng(0).lognormal(0, 1.5, 20_000)
    rule = rule_of(scores, strata=100)
    sizes = np.histogram(scores, bins=100)[0]  # numpy's edges may differ from ours by a rounding
    assert np.abs(np.array(rule.sizes) - sizes).max() <= 1
    assert sum(rule.budgets) == 2000 == rule.kept
    assert all(taken == size for taken, size in zip(rule.budgets, rule.sizes, strict=True) if size < 20)


def test_a_maximum_that_is_negative_or_zero_is_not_lost() -> None:
    for scores in (-np.arange(1.0, 101), -np.arange(100.0)):
        assert rule_of(scores, prune=0, strata=7).kept == 100


def test_the_cut_may_leave_exactly_the_budget() -> None:
    rule = rule_of(np.arange(100), prune=0.5, cutoff=0.5, strata=5)
    assert rule.budgets == rule.sizes == (10,) * 5
    assert rule.apply(ScoreShard(b"rows", 0, np.arange(100.0))).index.tolist() == list(range(50))


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (range(100), {"prune": 1.0}, "prune: expected"),
        (range(100), {"prune": 0.999}, "prune: expected to keep at least 1"),
        (range(100), {"cutoff": 1.0}, "cutoff: expected a fraction"),
        (range(100), {"prune": 0.5, "cutoff": 0.6, "strata": 5}, "cutoff: expected at least 50 points left"),
        (range(100), {"strata": 0}, "strata: expected an integer of at least 1, found 0"),
        (range(100), {"strata": 2.0}, "strata: expected an integer"),
        (range(100), {"strata": True}, "strata: expected an integer"),
        (range(100), {"strata": 11}, "strata: expected at most the 10 points to be kept of 100, found 11"),
        ([3.0] * 100, {"strata": 5}, "ccs needs scores that differ, found all 100 left equal to 3.0"),
        ([3.0] * 90 + [9.0] * 10, {"strata": 5, "cutoff": 0.1}, "found all 90 left equal to 3.0; cut less"),
        ([0.0, -0.0] * 50, {"strata": 5}, "found all 100 left equal to 0.0"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(scores: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        rule_of(list(scores), **options)


def test_bad_data_is_refused() -> None:
    with pytest.raises(DataError, match="row 3: expected a finite number, found nan"):
        rule_of([0.0, 1.0, 2.0, np.nan] * 10, strata=1)
    with pytest.raises(DataError, match="range within float64"):
        rule_of([-1.7e308, 1.7e308] * 10, strata=1)


@pytest.mark.parametrize("kind", ["even", "heavy tail", "ties"])
@pytest.mark.parametrize(("strata", "cutoff"), [(1, 0.0), (100, 0.3), (3000, 0.0), (3000, 0.3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_those_of_numpy_that_sorts(kind: str, strata: int, cutoff: float, dtype: type) -> None:
    """40,000 points in shards of 7,000: sort, cut, divide, and take the smallest keys of each stratum."""
    rng = np.random.default_rng(strata)
    scores: np.ndarray = {
        "even": lambda: rng.random(40_000),
        "heavy tail": lambda: rng.lognormal(0, 1.5, 40_000),
        "ties": lambda: rng.integers(0, 9000, 40_000) / 7,
    }[kind]().astype(dtype)
    shards = [ScoreShard(b"rows", first, scores[first : first + 7000]) for first in range(0, 40_000, 7000)]
    rule = ccs.rule(serial_scan(lambda: shards), prune=0.8, cutoff=cutoff, strata=strata, seed=3)
    found = np.concatenate([rule.apply(shard).index for shard in shards])

    tie_keys, draw_keys = (keys(stream(3, b"rows", purpose), 0, 40_000) for purpose in (TIES, DRAW))
    rest = np.lexsort((tie_keys, -scores))[int(cutoff * 40_000) :]
    left = scores[rest].astype(np.float64)
    lo, hi = left.min(), left.max()
    stratum = np.minimum(strata - 1, np.floor((left - lo) / (hi - lo) * strata)).astype(int)
    size = np.bincount(stratum, minlength=strata)
    assert size.tolist() == list(rule.sizes)
    order = np.lexsort((draw_keys[rest], stratum))
    place = np.arange(rest.size) - np.repeat(np.cumsum(size) - size, size)
    expected = rest[order[place < np.repeat(allocate(size, 8000), size)]]
    assert np.array_equal(found, np.sort(expected))


def test_ten_thousand_strata() -> None:
    scores = np.random.default_rng(0).random(200_000)
    rule = rule_of(scores, prune=0.5, strata=10_000)
    assert sum(rule.budgets) == 100_000
    assert rule.apply(ScoreShard(b"rows", 0, scores)).index.size == 100_000

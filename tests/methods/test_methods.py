"""The table of methods, whole snapshots, and saved rules."""

import numpy as np
import pytest

from coreset.errors import DataError, RequestError
from coreset.methods import METHODS, Rule, Scan, ScoreShard, method, serial_scan


def snapshots(count: int, points: int = 10) -> Scan:
    shards = [ScoreShard(bytes([i]), first, np.zeros(5)) for i in range(count) for first in range(0, points, 5)]
    return serial_scan(lambda: shards)


def test_each_method_says_what_it_takes_and_ranks() -> None:
    assert {name: each.parameters for name, each in METHODS.items()} == {
        "random": ("prune", "seed"),
        "random-snapshots": ("prune", "seed"),
        "grand": ("prune", "seed"),
        "loss": ("prune", "seed"),
        "ccs": ("prune", "seed", "cutoff", "strata", "redistribute"),
        "cut-random": ("prune", "seed", "cutoff"),
        "full": (),
    }
    assert {name for name, each in METHODS.items() if each.field == "grand"} == {"grand", "ccs", "cut-random"}
    assert {name for name, each in METHODS.items() if each.field == "loss"} == {"loss"}
    assert all(name == each.name for name, each in METHODS.items())


def test_an_unknown_method_names_the_nearest() -> None:
    assert method("ccs").name == "ccs"
    for wrong, near in [("css", "ccs"), ("grnd", "grand"), ("random_snapshots", "random-snapshots"), ("zz", "")]:
        with pytest.raises(RequestError, match=f"found '{wrong}'; did you mean {near}"):
            method(wrong)


def test_a_parameter_that_is_not_taken_is_refused() -> None:
    method("ccs").check(["prune", "strata"])
    with pytest.raises(RequestError, match="strata: method random takes prune, seed, and not strata; leave it out"):
        method("random").check(["prune", "strata"])
    with pytest.raises(RequestError, match="full takes no parameters"):
        method("full").check(["prune"])


@pytest.mark.parametrize(
    ("count", "prune", "kept"), [(10, 0.9, 1), (10, 0.5, 5), (2, 0.99, 1), (25, 0.9, 2), (3, 0, 3)]
)
def test_whole_snapshots_are_kept_and_at_least_one(count: int, prune: float, kept: int) -> None:
    rule = METHODS["random-snapshots"].rule(snapshots(count, points=100), prune=prune, seed=3)
    sizes = [rule.apply(ScoreShard(bytes([i]), 0, np.zeros(100))).index.size for i in range(count)]
    assert sorted(sizes) == [0] * (count - kept) + [100] * kept
    assert (rule.total, rule.kept) == (100 * count, 100 * kept)


def test_snapshots_are_drawn_evenly() -> None:
    counts = np.zeros(5)
    for seed in range(1000):
        rule = METHODS["random-snapshots"].rule(snapshots(5), prune=0.6, seed=seed)
        counts += [rule.apply(ScoreShard(bytes([i]), 0, np.zeros(1))).index.size for i in range(5)]
    assert counts.sum() == 2000
    assert np.abs(counts - 400).max() < 5 * np.sqrt(1000 * 0.4 * 0.6)


def test_one_snapshot_cannot_be_drawn_from() -> None:
    with pytest.raises(RequestError, match="needs at least 2 snapshots, found 1; take random"):
        METHODS["random-snapshots"].rule(snapshots(1), prune=0.5, seed=0)


def test_unranked_methods_do_not_look_at_scores_and_ranked_ones_refuse_bad_ones() -> None:
    shard = ScoreShard(b"rows", 0, np.full(100, np.nan))
    scan = serial_scan(lambda: [shard])
    assert METHODS["random"].rule(scan, prune=0.5, seed=0).apply(shard).index.size == 50
    assert METHODS["full"].rule(scan).apply(shard).index.size == 100
    for name in ("grand", "loss", "ccs", "cut-random"):
        with pytest.raises(DataError, match="row 0"):
            METHODS[name].rule(scan, prune=0.5, seed=0)


def test_seeds_choose_differently_and_nested_rates_nest() -> None:
    shard = ScoreShard(b"rows", 0, np.zeros(1000))
    scan = serial_scan(lambda: [shard])
    half, tenth, other = (
        set(METHODS["random"].rule(scan, prune=prune, seed=seed).apply(shard).index.tolist())
        for prune, seed in ((0.5, 0), (0.9, 0), (0.9, 1))
    )
    assert tenth < half and tenth != other


def test_a_rule_of_other_keys_is_refused() -> None:
    shard = ScoreShard(b"rows", 0, np.zeros(10))
    saved = METHODS["random"].rule(serial_scan(lambda: [shard]), prune=0.5, seed=0).to_json()
    with pytest.raises(DataError, match="expected keys coreset-key-1, found coreset-key-0"):
        Rule.from_json(saved | {"keys": "coreset-key-0"})

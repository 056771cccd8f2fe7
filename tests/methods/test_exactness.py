"""Every method against a brute-force oracle that sorts, over any sharding, order of shards and order of merging."""

import hashlib
import json
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coreset.methods import METHODS, Rule, Scan, ScoreShard, serial_scan
from coreset.numerics import draw as draw_module

Points = list[tuple[bytes, int, float]]
Chosen = dict[tuple[bytes, int], tuple[int | None, float]]


@dataclass(frozen=True)
class Options:
    prune: str
    cutoff: float
    strata: int
    seed: int
    redistribute: bool

    def of(self, method: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in METHODS[method].parameters}


def key(seed: int, identity: bytes, index: int | None, purpose: bytes = b"") -> int:
    """SplitMix64 in integers of any size; without an index the state itself."""
    packed = b"coreset-key-1" + purpose + seed.to_bytes(8, "little", signed=True) + identity
    z = int.from_bytes(hashlib.sha256(packed).digest()[:8], "little")
    if index is None:
        return z
    z = (z + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def oracle(method: str, points: Points, options: Options) -> Chosen:
    """Select by sorting, as the contracts say and in no other way; {} where the request cannot be met."""
    seed, total = options.seed, len(points)
    keep = round((1 - Fraction(options.prune)) * total)  # round() of a Fraction is half-even
    cut = math.floor(options.cutoff * total)
    ranked = sorted(points, key=lambda p: (-p[2], key(seed, p[0], p[1], b"/ties"), p[0], p[1]))
    everything: Chosen = {p[:2]: (None, 1.0) for p in points}
    if method == "full":
        return everything
    if method == "random-snapshots":
        identities = sorted({p[0] for p in points}, key=lambda i: (key(seed, i, None, b"/snapshots"), i))
        count = max(1, round((1 - Fraction(options.prune)) * len(identities)))
        return {name: value for name, value in everything.items() if name[0] in identities[:count]}
    if method in ("grand", "loss"):
        return {p[:2]: (None, 1.0) for p in ranked[:keep]}
    rest = points if method == "random" else ranked[cut:]
    drawn_first = sorted(rest, key=lambda p: (key(seed, p[0], p[1]), p[0], p[1]))
    if method in ("random", "cut-random"):
        return {p[:2]: (None, 1.0) for p in drawn_first[:keep]} if len(rest) >= keep else {}
    k = options.strata
    lo, hi = min((p[2] for p in rest), default=0.0), max((p[2] for p in rest), default=0.0)
    if lo == hi or keep < k or len(rest) < keep:
        return {}
    strata: list[Points] = [[] for _ in range(k)]
    for p in drawn_first:
        strata[min(k - 1, math.floor((p[2] - lo) / (hi - lo) * k))].append(p)
    budget = keep
    chosen: Chosen = {}
    for served, i in enumerate(sorted(range(k), key=lambda i: len(strata[i]))):
        even = budget // (k - served) if options.redistribute else keep // k
        taken = strata[i][:even]
        budget -= len(taken)
        chosen |= {p[:2]: (i, len(strata[i]) / len(taken)) for p in taken}
    return chosen


def scrambled(shards: list[ScoreShard], seed: int) -> Scan:
    """Scan shards in a random order and merge partial results in a random order, each through a pickle."""

    def scan(function: Callable[[ScoreShard], Any], merge: Callable[[Any, Any], Any]) -> Any:
        rng = random.Random(seed)
        partials = [pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(function))(shard))) for shard in shards]
        while len(partials) > 1:
            rng.shuffle(partials)
            partials.append(merge(partials.pop(), partials.pop()))
        return partials[0]

    return scan


def cut_up(scores: dict[bytes, np.ndarray], seed: int) -> list[ScoreShard]:
    """Cut each identity's scores at random places, some of them equal, and shuffle the shards."""
    rng = random.Random(seed)
    shards = []
    for identity, values in scores.items():
        ends = sorted(rng.randint(0, values.size) for _ in range(rng.randint(0, 4)))
        shards += [ScoreShard(identity, a, values[a:b]) for a, b in zip([0, *ends], [*ends, values.size], strict=True)]
    rng.shuffle(shards)
    return shards


def applied(rule: Rule, shards: list[ScoreShard]) -> Chosen:
    chosen: Chosen = {}
    for shard in shards:
        selected = rule.apply(shard)
        assert (np.diff(selected.index) > 0).all()
        strata = selected.stratum.tolist() if selected.stratum is not None else [None] * selected.index.size
        for index, stratum, weight in zip(selected.index.tolist(), strata, selected.weight.tolist(), strict=True):
            assert (shard.identity, index) not in chosen
            chosen[shard.identity, index] = (stratum, weight)
    return chosen


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "heavy tail": lambda rng, n: rng.lognormal(0, 1.5, n).astype("f4"),
    "heavy tail in float64": lambda rng, n: rng.lognormal(0, 1.5, n),
    "negative": lambda rng, n: -rng.lognormal(0, 0.5, n).astype("f4"),
    "both signs": lambda rng, n: rng.normal(size=n),
    "many ties": lambda rng, n: rng.integers(-3, 4, n).astype("f4"),
    "mostly zero": lambda rng, n: (rng.lognormal(size=n) * (rng.random(n) < 0.2) * rng.choice([-1, 1], n)).astype("f4"),
    "denormal": lambda rng, n: rng.integers(0, 50, n) * 5e-324,
    "twelve decades": lambda rng, n: (10 ** rng.uniform(-6, 6, n)).astype("f4"),
    "all zero": lambda rng, n: rng.choice([0.0, -0.0], n),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data_seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 150), min_size=2, max_size=4),
    prune=st.sampled_from(["0", "0.1", "0.5", "0.9", "0.905"]),
    cutoff=st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5]),
    strata=st.sampled_from([1, 2, 5, 20]),
    seed=st.integers(-(2**63), 2**63 - 1),
    redistribute=st.booleans(),
    refined=st.booleans(),
)
def test_rule_equals_the_oracle_however_scores_are_cut_and_merged(
    method: str,
    kind: str,
    data_seed: int,
    sizes: list[int],
    prune: str,
    cutoff: float,
    strata: int,
    seed: int,
    redistribute: bool,
    refined: bool,
) -> None:
    rng = np.random.default_rng(data_seed)
    scores = {bytes([7 * i % 5, i]): KINDS[kind](rng, size) for i, size in enumerate(sizes)}
    points = [(name, i, float(s)) for name, values in scores.items() for i, s in enumerate(values)]
    options = Options(prune, cutoff, strata, seed, redistribute)
    expected = oracle(method, points, options)
    with pytest.MonkeyPatch.context() as patch:
        if refined:  # small tables, so that the keys are refined again and again
            patch.setattr(draw_module.draw, "__defaults__", (b"", 3, 16))
        if not expected:
            with pytest.raises(ValueError, match=r"cutoff|strata|prune|method"):
                METHODS[method].rule(scrambled(cut_up(scores, seed), 0), **options.of(method))
            return
        rules = [METHODS[method].rule(scrambled(cut_up(scores, cut), cut), **options.of(method)) for cut in range(3)]
    assert rules[0] == rules[1] == rules[2]
    rule = Rule.from_json(json.loads(json.dumps(rules[0].to_json(), allow_nan=False)))
    assert rule == rules[0] == pickle.loads(pickle.dumps(rule))
    chosen = applied(rule, cut_up(scores, 99))
    assert chosen == expected
    assert rule.kept == len(expected) and rule.total == len(points)
    if method in ("random", "grand", "loss", "cut-random") or (method == "ccs" and redistribute):
        assert rule.kept == rule.keep


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_leaves_nothing_above_what_it_removed(kind: str) -> None:
    values = KINDS[kind](np.random.default_rng(1), 1000)
    shard = ScoreShard(b"rows", 0, values)
    rule = METHODS["cut-random"].rule(scrambled([shard], 0), prune="0.3", cutoff=0.3, seed=0)
    kept = values[rule.apply(shard).index]
    assert (rule.cut, kept.size) == (300, 700)
    assert np.array_equal(np.sort(kept), np.sort(values)[:700])


@pytest.mark.parametrize("method", ["ccs", "cut-random"])
def test_inclusion_frequencies_match_the_weights(method: str) -> None:
    """1,500 seeds, a tie at the cut: a frequency is n/N of the stratum, times the chance to survive the cut."""
    values = np.array([0.1, 0.2, 0.3, 0.4] * 5 + [1.0] * 10 + [2.0] * 3)  # the cut takes the 2.0 and 6 of the 1.0
    shard = ScoreShard(b"rows", 0, values)
    options = {"prune": 0.7, "cutoff": 9 / 33, **({"strata": 2} if method == "ccs" else {})}
    counts, seeds = np.zeros(33), 1500
    for seed in range(seeds):
        counts[METHODS[method].rule(serial_scan(lambda: [shard]), seed=seed, **options).apply(shard).index] += 1
    # keep 10 of 24 left. ccs: 20 points below 0.55 and 4 above: 4 of 4 (min(4, 5)) and 6 of 20
    low, tie = (6 / 20, 0.4 * 1.0) if method == "ccs" else (10 / 24, 0.4 * 10 / 24)
    for part, p in ((counts[:20], low), (counts[20:30], tie), (counts[30:], 0.0)):
        assert np.abs(part / seeds - p).max() <= 4.5 * np.sqrt(p * (1 - p) / seeds)

"""Draws against sorting by (key, identity), and against the probabilities they promise."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Int32

from coreset.errors import WorkError
from coreset.numerics.draw import Draw, _Brackets, draw, drawn
from coreset.numerics.keys import DRAW, keys, stream
from coreset.numerics.scans import ScoreShard, serial_scan

Stream = Callable[[int, bytes], np.uint64]


def by_score(shard: ScoreShard) -> Int32[np.ndarray, " n"]:
    """Let the score be the stratum itself."""
    return shard.scores.astype(np.int32)


def one_stream(seed: int, identity: bytes, purpose: bytes = b"") -> np.uint64:
    """Give all identities the same keys, so that each is shared by all of them."""
    return stream(seed, b"", purpose)


def brute_force(
    shards: list[ScoreShard], taken: list[int], seed: int, stream: Stream = stream
) -> set[tuple[bytes, int]]:
    points: dict[int, list[tuple[int, bytes, int]]] = {g: [] for g in range(len(taken))}
    for shard in shards:
        shard_keys = keys(stream(seed, shard.identity), shard.first, shard.scores.size)
        for i, (g, key) in enumerate(zip(shard.scores, shard_keys, strict=True)):
            if g >= 0:
                points[int(g)].append((int(key), shard.identity, shard.first + i))
    return {each[1:] for g, n in enumerate(taken) for each in sorted(points[g])[:n]}


def chosen(shards: list[ScoreShard], draws: tuple[Draw, ...], seed: int) -> set[tuple[bytes, int]]:
    return {
        (shard.identity, shard.first + int(i)) for shard in shards for i in drawn(shard, by_score(shard), draws, seed)
    }


def some_shards(seed: int, strata: int, points: int = 300) -> list[ScoreShard]:
    rng = np.random.default_rng(seed)
    groups = [rng.integers(-1, strata, points).astype(np.float64) for _ in range(3)]
    return [ScoreShard(identity, 5, g) for identity, g in zip((b"b", b"a", b"c"), groups, strict=True)]


def population_of(shards: list[ScoreShard], strata: int) -> list[int]:
    return [int(sum((shard.scores == g).sum() for shard in shards)) for g in range(strata)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    strata=st.integers(1, 30),
    fraction=st.floats(0, 1),
    most_candidates=st.sampled_from([1, 2, 30, 1000]),
    most_bins=st.sampled_from([1, 64, 4096]),
    same_streams=st.booleans(),
)
def test_draw_takes_the_smallest_keys_of_each_stratum(
    seed: int, strata: int, fraction: float, most_candidates: int, most_bins: int, same_streams: bool
) -> None:
    """Refined to the last bit or collected at once; with equal streams each key is shared by three identities."""
    with pytest.MonkeyPatch.context() as patch:
        if same_streams:
            patch.setattr("coreset.numerics.draw.stream", one_stream)
        shards = some_shards(seed % 2**32, strata, points=60)
        population = population_of(shards, strata)
        taken = [int(fraction * size) for size in population]
        scan = serial_scan(lambda: shards)
        draws = draw(scan, by_score, population, taken, seed, DRAW, most_candidates, most_bins)
        expected = brute_force(shards, taken, seed, one_stream if same_streams else stream)
        assert chosen(shards, draws, seed) == expected
        assert [(each.population, each.taken) for each in draws] == list(zip(population, taken, strict=True))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), most_candidates=st.sampled_from([1, 30, 1000]))
def test_windows_that_miss_cost_scans_and_nothing_else(seed: int, most_candidates: int) -> None:
    """Windows anywhere in the brackets: most keys lie below or above them, at first."""
    rng = np.random.default_rng(seed)

    def anywhere(brackets: _Brackets, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        length = (brackets.upper - brackets.lower).astype(np.float64)
        ends = np.sort(rng.random((2, rank.size)), axis=0) * (1 - 2**-53) * length
        first, last = brackets.lower + np.minimum(ends.astype(np.uint64), brackets.upper - brackets.lower)
        return first, last, float(rng.integers(2 * most_candidates))

    shards = some_shards(seed, 3, points=60)
    population = population_of(shards, 3)
    taken = [size // 2 for size in population]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Brackets, "windows", anywhere)
        draws = draw(serial_scan(lambda: shards), by_score, population, taken, 5, DRAW, most_candidates)
    assert chosen(shards, draws, 5) == brute_force(shards, taken, 5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), most_candidates=st.sampled_from([1, 30, 1000]), fraction=st.floats(0, 1))
def test_numbered_points_are_drawn_as_if_they_followed_on_each_other(
    seed: int, most_candidates: int, fraction: float
) -> None:
    """The points of one identity, dealt to shards at random: each shard has some of the numbers, in any order."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(-1, 4, 3000).astype(np.float64)
    whole = [ScoreShard(b"rows", 0, groups)]
    dealt = np.array_split(rng.permutation(groups.size), 5)
    shards = [ScoreShard(b"rows", 7, groups[some], some) for some in dealt]
    population = population_of(whole, 4)
    taken = [int(fraction * size) for size in population]
    draws = draw(serial_scan(lambda: shards), by_score, population, taken, seed, DRAW, most_candidates)
    found = {(b"rows", int(s.numbers[i])) for s in shards for i in drawn(s, by_score(s), draws, seed)}  # type: ignore[index]
    assert found == brute_force(whole, taken, seed)


def test_many_strata_at_once_with_tables_of_the_default_size() -> None:
    shards = some_shards(1, 2000, points=20_000)
    population = population_of(shards, 2000)
    taken = [size // 3 for size in population]
    draws = draw(serial_scan(lambda: shards), by_score, population, taken, 4, most_candidates=2000)
    assert chosen(shards, draws, 4) == brute_force(shards, taken, 4)


def test_inclusion_frequencies_are_n_over_population_for_every_point() -> None:
    """1,000 seeds: a point's count is binomial, and over points its mean is exact and its variance n·p·(1 − p)."""
    shards = some_shards(3, 3, points=100)
    population = population_of(shards, 3)
    taken = [10, population[1] // 2, population[2] - 5]
    seeds = 1000
    counts: dict[tuple[bytes, int], int] = {}
    for seed in range(seeds):
        for point in chosen(shards, draw(serial_scan(lambda: shards), by_score, population, taken, seed), seed):
            counts[point] = counts.get(point, 0) + 1
    for g in range(3):
        p = taken[g] / population[g]
        spread = np.sqrt(seeds * p * (1 - p))
        found = [
            counts.get((s.identity, s.first + int(i)), 0) for s in shards for i in np.flatnonzero(by_score(s) == g)
        ]
        deviation = (np.array(found) - seeds * p) / spread
        assert abs(deviation).max() < 5
        assert 0.6 < deviation.std() < 1.4


def test_takes_tells_of_one_point() -> None:
    assert Draw(5, 5).takes(2**64 - 1, b"z")
    assert not Draw(5, 0).takes(0, b"")
    assert Draw(5, 2, (7, b"m")).takes(7, b"m") and not Draw(5, 2, (7, b"m")).takes(7, b"n")


def test_smallest_key_of_all_excludes_a_later_identity() -> None:
    """Key 0 as the last one taken: a later identity would need a key below 0."""
    (shard,) = [ScoreShard(b"z", 0, np.zeros(4))]
    assert drawn(shard, by_score(shard), [Draw(5, 1, (0, b"a"))], 0).size == 0


@pytest.mark.parametrize("most_candidates", [1, 1000])
def test_population_that_is_not_there_is_noticed(most_candidates: int) -> None:
    shards = some_shards(0, 2)
    population = [size + 1 for size in population_of(shards, 2)]
    with pytest.raises(WorkError, match="changed"):
        draw(serial_scan(lambda: shards), by_score, population, [3, 3], 0, most_candidates=most_candidates)

"""Exact draws without replacement from many strata at once: a stratum keeps the points with its n smallest keys.

Keys are uniform, so the n-th smallest of N lies near n/N of their range, within some standard deviations of its rank.
A scan counts the keys below a window there and in some bins of it, so the bin that holds the n-th is known, for all
strata together. Once few points are expected in the windows of all strata, those are collected and sorted, most often
in the first scan. A window that misses costs one more scan and nothing else. Neither the tables nor the candidates grow
with the number of points. Only the points up to the end of their window, seldom more than are drawn, are looked at one
by one.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import add
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt32, UInt64
from numba import njit

from coreset.errors import WorkError
from coreset.numerics.keys import DRAW, GAMMA, gather, mix, stream
from coreset.numerics.scans import Scan, ScoreShard

Groups = Callable[[ScoreShard], Int32[np.ndarray, " n"]]
"""The stratum (0, 1, …) of each point of a shard, −1 for points in none."""
Candidates = tuple[tuple[bytes, UInt32[np.ndarray, " _"], UInt64[np.ndarray, " _"]], ...]
"""(identity, row of the stratum, key) of points, one entry per shard that has any."""

MOST_CANDIDATES = 1 << 19
"""Points collected at once, as far as can be foretold: 6 MB."""
MOST_BINS = 1 << 17
"""Bins of one table over all strata: 1 MB."""
BINS = 64
"""Bins of one stratum, at most: its window holds some 10·√n points of which one bin is left."""
LAST_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
BLOCK = 1024
"""Keys computed at once: 8 KB, which stay in the first cache."""
CONSECUTIVE = np.empty(0, np.int64)
"""In the place of the numbers of points that follow on each other, for the kernels."""


@dataclass(frozen=True)
class Draw:
    """`taken` of `population` points: those whose (key, identity) is at most `last`, which is None for none or all.

    The index is not needed to break ties, for the keys of one identity are distinct.
    """

    population: int
    taken: int
    last: tuple[int, bytes] | None = None

    def takes(self, key: int, identity: bytes) -> bool:
        """Whether a point of the population is drawn."""
        return (key, identity) <= self.last if self.last is not None else self.taken > 0


def draw(
    scan: Scan,
    groups: Groups,
    population: Sequence[int],
    taken: Sequence[int],
    seed: int,
    purpose: bytes = DRAW,
    most_candidates: int = MOST_CANDIDATES,
    most_bins: int = MOST_BINS,
) -> tuple[Draw, ...]:
    """Draw `taken[g]` of the `population[g]` points of every stratum g: those with the smallest (key, identity).

    Raises:
        WorkError: the scans do not find the population that was announced.
    """
    open_strata = [g for g, (n, size) in enumerate(zip(taken, population, strict=True)) if 0 < n < size]
    if not open_strata:
        return tuple(Draw(size, n) for n, size in zip(taken, population, strict=True))

    row = np.full(len(population) + 1, len(open_strata), dtype=np.uint32)
    row[np.array(open_strata) + 1] = np.arange(len(open_strata))
    size = np.array([population[g] for g in open_strata], dtype=np.int64)
    rank = np.array([taken[g] for g in open_strata], dtype=np.int64)
    points = _Points(groups, row, seed, purpose)
    brackets = _Brackets.whole(size)
    bins = max(2, min(BINS, most_bins // len(open_strata)))
    while True:
        first, last, expected = brackets.windows(rank)
        collect = bool(expected <= most_candidates or (first == last).all())
        windows = _Windows.of(first, last, 2 if collect else bins)
        table, members, candidates = scan(partial(_look, points, windows, collect), _merge)
        _check(np.array([sum(population)]), np.array([members]))
        brackets = brackets.narrowed(windows, table, rank)
        if collect and ((first <= brackets.lower) & (brackets.upper <= last)).all():
            break

    chosen = dict(zip(open_strata, _pick(candidates, table[:, 0], rank), strict=True))
    return tuple(Draw(size, n, chosen.get(g)) for g, (n, size) in enumerate(zip(taken, population, strict=True)))


def drawn(
    shard: ScoreShard, groups: Int32[np.ndarray, " n"], draws: Sequence[Draw], seed: int, purpose: bytes = DRAW
) -> Int64[np.ndarray, " drawn"]:
    """Return the positions in a shard of the points that are drawn, ascending, given the stratum of each."""
    return Thresholds.of(draws).drawn(shard, groups, seed, purpose)


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What `drawn` needs of the draws of k strata, ready for many shards; entry g + 1 is stratum g, entry 0 is none."""

    key: UInt64[np.ndarray, "2 k_plus_1"]
    """The greatest key that is taken of an identity, and of one after that of the last point drawn; 0 if none is."""
    takes: Bool[np.ndarray, "2 k_plus_1"]
    """Whether any key is taken, for the same identities."""
    whose: Int64[np.ndarray, " k_plus_1"]
    """Number of the identity of the last point drawn, among the sorted `identities`."""
    identities: tuple[bytes, ...]

    @classmethod
    def of(cls, draws: Sequence[Draw]) -> "Thresholds":
        """Return those of the draws of strata 0, 1, …"""
        identities = sorted({each.last[1] for each in draws if each.last is not None})
        number = {identity: i for i, identity in enumerate(identities)}
        everything = (int(LAST_KEY), len(identities))
        last = [everything if each.last is None else (each.last[0], number[each.last[1]]) for each in draws]
        key = np.array([0, *[key for key, _ in last]], dtype=np.uint64)
        some = np.array([False, *[each.taken > 0 for each in draws]])
        takes = np.stack([some, some & (key > 0)])
        return cls(
            np.where(takes, np.stack([key, key - np.uint64(1)]), np.uint64(0)),
            takes,
            np.array([0, *[whose for _, whose in last]], dtype=np.int64),
            tuple(identities),
        )

    def drawn(
        self, shard: ScoreShard, groups: Int32[np.ndarray, " n"], seed: int, purpose: bytes = DRAW
    ) -> Int64[np.ndarray, " drawn"]:
        """Return the positions in a shard of the points that are drawn, ascending, given the stratum of each."""
        if not self.identities:
            everything: Int64[np.ndarray, " drawn"] = np.flatnonzero(self.takes[0, groups + 1])
            return everything
        # within a shard the identity is one, so (key, identity) <= last is a bound of the key
        later = self.whose < bisect_left(self.identities, shard.identity)
        key, takes = np.where(later, self.key[1], self.key[0]), np.where(later, self.takes[1], self.takes[0])
        at, _ = _upto(shard, groups, key, stream(seed, shard.identity, purpose))
        taken: Int64[np.ndarray, " drawn"] = at[takes[groups[at] + 1]]  # a bound of 0 let the key 0 pass
        return taken


@dataclass(frozen=True, eq=False)
class _Points:
    """The points of the open strata with their keys: row[g + 1] is the row of stratum g, row r for all others."""

    groups: Groups
    row: UInt32[np.ndarray, " k_plus_1"]
    seed: int
    purpose: bytes

    def of(self, shard: ScoreShard) -> tuple[Int32[np.ndarray, " n"], UInt32[np.ndarray, " k_plus_1"], np.uint64]:
        return self.groups(shard), self.row, stream(self.seed, shard.identity, self.purpose)


@dataclass(frozen=True, eq=False)
class _Windows:
    """A range of keys per row from `first` to `last`, both included, in `bins` bins of `width` keys; none for row r."""

    first: UInt64[np.ndarray, " r_plus_1"]
    last: UInt64[np.ndarray, " r_plus_1"]
    width: UInt64[np.ndarray, " r_plus_1"]
    bins: int

    @classmethod
    def of(cls, first: UInt64[np.ndarray, " r"], last: UInt64[np.ndarray, " r"], bins: int) -> "_Windows":
        width = (last - first) // np.uint64(bins) + np.uint64(1)
        return cls(np.append(first, LAST_KEY), np.append(last, np.uint64(0)), np.append(width, LAST_KEY), bins)


@dataclass(frozen=True, eq=False)
class _Brackets:
    """A range of keys per row, both ends included: `before` keys are below it, `inside` in it, the wanted one too."""

    lower: UInt64[np.ndarray, " r"]
    upper: UInt64[np.ndarray, " r"]
    before: Int64[np.ndarray, " r"]
    inside: Int64[np.ndarray, " r"]

    @classmethod
    def whole(cls, size: Int64[np.ndarray, " r"]) -> "_Brackets":
        return cls(np.zeros(size.size, np.uint64), np.full(size.size, LAST_KEY), np.zeros_like(size), size)

    def windows(
        self, rank: Int64[np.ndarray, " r"]
    ) -> tuple[UInt64[np.ndarray, " r"], UInt64[np.ndarray, " r"], float]:
        """Return the ranges, both ends included, that most probably hold the keys of these ranks, and expected keys."""
        rank = rank - self.before
        spread = 5 * np.sqrt(np.minimum(rank, self.inside - rank)) + 16
        length = self.upper - self.lower

        def offset(rank: Float64[np.ndarray, " r"]) -> UInt64[np.ndarray, " r"]:
            part = np.clip(rank / self.inside, 0, 1 - 2**-53)  # so that a part of 2^64 is below it
            keys: UInt64[np.ndarray, " r"] = np.minimum((length.astype(np.float64) * part).astype(np.uint64), length)
            return keys

        begin = offset(rank - spread)
        end = np.where(rank + spread < self.inside, offset(rank + spread), length)
        expected = self.inside * (((end - begin).astype(np.float64) + 1) / (length.astype(np.float64) + 1))
        return self.lower + begin, self.lower + end, float(expected.sum())

    def narrowed(
        self, windows: _Windows, table: Int64[np.ndarray, "r bins_and_1"], rank: Int64[np.ndarray, " r"]
    ) -> "_Brackets":
        """Return the bins that hold the keys of these ranks, given how many are below and in each bin of the windows.

        Raises:
            WorkError: the counts contradict those of an earlier scan.
        """
        first, last, width = windows.first[:-1], windows.last[:-1], windows.width[:-1]
        upto = np.column_stack([self.before, np.cumsum(table, axis=1), self.before + self.inside])
        begins, ends = first == self.lower, last == self.upper
        _check(upto[begins, 0], upto[begins, 1])
        _check(upto[ends, -1], upto[ends, -2])
        column = (upto < rank[:, None]).sum(axis=1) - 1
        before, after = (np.take_along_axis(upto, column[:, None] + i, axis=1)[:, 0] for i in (0, 1))
        below, above = column == 0, column == windows.bins + 1
        lower = first + (np.maximum(column, 1) - 1).astype(np.uint64) * width
        upper = lower + np.minimum(width - np.uint64(1), last - lower)
        return _Brackets(
            lower=np.where(below, self.lower, np.where(above, last + np.uint64(1), lower)),
            upper=np.where(below, first - np.uint64(1), np.where(above, self.upper, upper)),
            before=before,
            inside=after - before,
        )


def _look(
    points: _Points, windows: _Windows, collect: bool, shard: ScoreShard
) -> tuple[Int64[np.ndarray, "r bins_and_1"], int, Candidates]:
    """Return how many keys are below and in each bin of the windows, how many points have a stratum, and the keys."""
    groups, row, start = points.of(shard)
    at, members = _upto(shard, groups, windows.last[row], start)  # of row r the key 0 alone, which is below any window
    table = np.zeros((windows.first.size, windows.bins + 1), dtype=np.int64)
    rows, keys = np.empty(at.size, dtype=np.uint32), np.empty(at.size, dtype=np.uint64)
    numbers = CONSECUTIVE if shard.numbers is None else shard.numbers
    found = _bin(groups, row, start, shard.first, numbers, at, windows.first, windows.width, table, rows, keys)
    candidates = ((shard.identity, rows[:found].copy(), keys[:found].copy()),) if collect and found else ()
    return table[:-1], members, candidates


def _merge(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(add, a, b))


def _pick(
    candidates: Candidates, below: Int64[np.ndarray, " r"], rank: Int64[np.ndarray, " r"]
) -> list[tuple[int, bytes]]:
    """Return the (key, identity) of number rank[r] − below[r] (from 1) among the sorted candidates of each row r."""
    identities = sorted({identity for identity, _, _ in candidates})
    number = {identity: i for i, identity in enumerate(identities)}
    rows = np.concatenate([rows for _, rows, _ in candidates])
    keys = np.concatenate([keys for _, _, keys in candidates])
    whose = np.concatenate([np.full(rows.size, number[identity]) for identity, rows, _ in candidates])
    order = np.lexsort((whose, keys, rows))
    begin = np.searchsorted(rows[order], np.arange(rank.size, dtype=np.uint32))
    chosen = order[begin + rank - below - 1]
    return [(int(keys[i]), identities[whose[i]]) for i in chosen]


def _check(expected: Int64[np.ndarray, " _"], found: Int64[np.ndarray, " _"]) -> None:
    if not np.array_equal(expected, found):
        i = int(np.flatnonzero(expected != found)[0])
        raise WorkError(
            f"draw: {expected[i]} points expected, {found[i]} found: the scores changed between two scans; "
            "select again when nothing writes them."
        )


def _upto(
    shard: ScoreShard, groups: Int32[np.ndarray, " n"], limit: UInt64[np.ndarray, " k_plus_1"], start: np.uint64
) -> tuple[Int64[np.ndarray, " _"], int]:
    """Return the positions of points whose key is at most limit[g + 1], and the number of points that have a stratum.

    So the key 0 always passes.
    """
    at = np.empty(groups.size + 1, dtype=np.int64)
    numbers = CONSECUTIVE if shard.numbers is None else shard.numbers
    found, members = _within(groups, limit, start, shard.first, numbers, at)
    return at[:found], members


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _keys(state, begin, keys):
    for i in range(keys.size):  # this loop is vectorised
        keys[i] = mix(state + np.uint64(begin + i + 1) * GAMMA)


@njit(cache=True, nogil=True)
@no_type_check
def _within(groups, limit, start, index, numbers, at):
    state = start + np.uint64(index) * GAMMA
    block = np.empty(BLOCK, dtype=np.uint64)
    found = np.uint64(0)
    members = 0
    for begin in range(0, groups.size, BLOCK):
        some = groups[begin : begin + BLOCK]
        here = 0
        for i in range(some.size):  # this loop is vectorised
            here += some[i] >= 0
        if here == 0:  # most blocks, where few points are tied
            continue
        members += here
        keys = block[: some.size]
        if numbers.size == 0:
            _keys(state, begin, keys)
        else:
            gather(start, numbers[begin : begin + BLOCK], keys)
        for i in range(some.size):
            at[found] = begin + i  # written over unless the point is drawn: cheaper than a branch hard to predict
            found += np.uint64(keys[i] <= limit[np.uint64(some[i] + 1)])  # unsigned: it cannot count from the end
    return found, members


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _bin(groups, row, start, index, numbers, at, first, width, table, rows, keys):
    state = start + np.uint64(index) * GAMMA
    found = np.uint64(0)
    for i in at:
        r = row[np.uint64(groups[i] + 1)]
        if numbers.size == 0:
            key = mix(state + np.uint64(i + 1) * GAMMA)
        else:
            key = mix(start + np.uint64(numbers[i] + 1) * GAMMA)
        inside = key >= first[r]
        table[r, (key - first[r]) // width[r] + np.uint64(1) if inside else np.uint64(0)] += 1
        rows[found] = r  # written over unless the key is inside
        keys[found] = key
        found += np.uint64(inside)
    return found

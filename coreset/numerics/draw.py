"""Exact draws without replacement from many strata at once: a stratum keeps the points with its n smallest keys.

Keys are uniform, so the n-th smallest of N lies near n/N of their range, within some standard deviations of its rank.
A scan counts the keys below a window there, in some bins of it, and above, so the bin that holds the n-th is known, for
all strata together. Once few points remain in the bins of all strata, those are collected and sorted. A window that
misses costs one more scan and nothing else. Neither the tables nor the candidates grow with the number of points.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import add
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt32, UInt64
from numba import njit

from coreset.errors import WorkError
from coreset.numerics.keys import DRAW, GAMMA, mix, stream
from coreset.numerics.scans import Scan, ScoreShard

Groups = Callable[[ScoreShard], Int32[np.ndarray, " n"]]
"""The stratum (0, 1, …) of each point of a shard, −1 for points in none."""
Candidates = tuple[tuple[bytes, Int32[np.ndarray, " _"], UInt64[np.ndarray, " _"]], ...]
"""(identity, row of the stratum, key) of points, one entry per shard that has any."""

MOST_CANDIDATES = 1 << 18
"""Points collected at once: 3 MB."""
MOST_BINS = 1 << 18
"""Bins of one table over all strata: 2 MB."""
BINS = 64
"""Bins of one stratum, at most: its window holds some 12·√n points of which one bin is left."""
LAST_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
BLOCK = 1024
"""Keys computed at once: 8 KB, which stay in the first cache."""


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

    # row[g + 1] is the row of stratum g among the open ones; the last row is for points that are not drawn
    row = np.full(len(population) + 1, len(open_strata), dtype=np.uint32)
    row[np.array(open_strata) + 1] = np.arange(len(open_strata))
    size = np.array([population[g] for g in open_strata], dtype=np.int64)
    rank = np.array([taken[g] for g in open_strata], dtype=np.int64)
    points = _Points(groups, row, seed, purpose)
    brackets = _Brackets.whole(size)
    bins = max(2, min(BINS, most_bins // len(open_strata)))
    while brackets.inside.sum() > most_candidates and (brackets.lower < brackets.upper).any():
        first, shift = brackets.windows(rank, bins)
        table = scan(partial(_table, points, first, shift, bins), add)
        _check(size, table.sum(axis=1))
        brackets = brackets.narrowed(table, rank, first, shift)

    candidates = scan(partial(_collect, points, brackets.lower, brackets.upper), add)
    last = dict(zip(open_strata, _pick(candidates, brackets.inside, rank - brackets.before), strict=True))
    return tuple(Draw(size, n, last.get(g)) for g, (n, size) in enumerate(zip(taken, population, strict=True)))


def drawn(
    shard: ScoreShard, groups: Int32[np.ndarray, " n"], draws: Sequence[Draw], seed: int, purpose: bytes = DRAW
) -> Int64[np.ndarray, " drawn"]:
    """Return the positions in a shard of the points that are drawn, ascending, given the stratum of each."""
    return Thresholds.of(draws).drawn(shard, groups, seed, purpose)


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What `drawn` needs of the draws of k strata, ready for many shards; entry g + 1 is stratum g, entry 0 is none."""

    key: UInt64[np.ndarray, " k_plus_1"]
    whose: Int64[np.ndarray, " k_plus_1"]
    """Number of the identity of the last point drawn, among the sorted `identities`."""
    takes: Bool[np.ndarray, " k_plus_1"]
    identities: tuple[bytes, ...]

    @classmethod
    def of(cls, draws: Sequence[Draw]) -> "Thresholds":
        """Return those of the draws of strata 0, 1, …"""
        identities = sorted({each.last[1] for each in draws if each.last is not None})
        number = {identity: i for i, identity in enumerate(identities)}
        everything = (int(LAST_KEY), len(identities))
        last = [everything if each.last is None else (each.last[0], number[each.last[1]]) for each in draws]
        return cls(
            np.array([0, *[key for key, _ in last]], dtype=np.uint64),
            np.array([0, *[whose for _, whose in last]], dtype=np.int64),
            np.array([False, *[each.taken > 0 for each in draws]]),
            tuple(identities),
        )

    def drawn(
        self, shard: ScoreShard, groups: Int32[np.ndarray, " n"], seed: int, purpose: bytes = DRAW
    ) -> Int64[np.ndarray, " drawn"]:
        """Return the positions in a shard of the points that are drawn, ascending, given the stratum of each."""
        if not self.identities:
            everything: Int64[np.ndarray, " drawn"] = np.flatnonzero(self.takes[groups + 1])
            return everything
        # Within a shard the identity is one, so (key, identity) <= last is key <= limit, or key < limit where the
        # identity is later; then a limit of 0 takes nothing, as does a stratum that takes none of its points.
        later = self.whose < bisect_left(self.identities, shard.identity)
        takes = self.takes & ~(later & (self.key == 0))
        limit = np.where(takes, self.key - later, np.uint64(0))
        start = stream(seed, shard.identity, purpose)
        at = np.empty(groups.size + 1, dtype=np.int64)
        at = at[: _within(groups, limit, start, shard.first, at)]
        taken: Int64[np.ndarray, " drawn"] = at[takes[groups[at] + 1]]  # a limit of 0 let the key 0 pass
        return taken


@dataclass(frozen=True, eq=False)
class _Points:
    """The points of the open strata with their keys: row[g + 1] is the row of stratum g, the last for the others."""

    groups: Groups
    row: UInt32[np.ndarray, " k_plus_1"]
    seed: int
    purpose: bytes

    def of(self, shard: ScoreShard) -> tuple[Int32[np.ndarray, " n"], UInt32[np.ndarray, " k_plus_1"], np.uint64, int]:
        return self.groups(shard), self.row, stream(self.seed, shard.identity, self.purpose), shard.first


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
        self, rank: Int64[np.ndarray, " r"], bins: int
    ) -> tuple[UInt64[np.ndarray, " r"], UInt64[np.ndarray, " r"]]:
        """Return where `bins` bins of 2^shift keys each begin, that hold the key of this rank most probably."""
        rank = rank - self.before
        spread = 6 * np.sqrt(np.minimum(rank, self.inside - rank)) + 16
        length = self.upper - self.lower

        def offset(rank: Float64[np.ndarray, " r"]) -> UInt64[np.ndarray, " r"]:
            part = np.clip(rank / self.inside, 0, 1 - 2**-53)  # so that a part of 2^64 is below it
            keys: UInt64[np.ndarray, " r"] = np.minimum((length.astype(np.float64) * part).astype(np.uint64), length)
            return keys

        begin = offset(rank - spread)
        end = np.where(rank + spread < self.inside, offset(rank + spread), length)
        longer = ((end - begin)[:, None] >> np.arange(64, dtype=np.uint64)) >= bins
        return self.lower + begin, longer.sum(axis=1).astype(np.uint64)

    def narrowed(
        self,
        table: Int64[np.ndarray, "r bins_and_2"],
        rank: Int64[np.ndarray, " r"],
        first: UInt64[np.ndarray, " r"],
        shift: UInt64[np.ndarray, " r"],
    ) -> "_Brackets":
        """Return the bins that hold the keys of these ranks, given how many are below, in each bin, and above."""
        upto = np.cumsum(table, axis=1)
        column = (upto < rank[:, None]).sum(axis=1)
        upto = np.take_along_axis(upto, column[:, None], axis=1)[:, 0]
        below, above = column == 0, column == table.shape[1] - 1
        before = np.where(below, self.before, upto - np.take_along_axis(table, column[:, None], axis=1)[:, 0])
        after = np.where(above, self.before + self.inside, upto)
        begin = first + ((np.maximum(column, 1) - 1).astype(np.uint64) << shift)
        width = np.minimum((np.uint64(1) << shift) - np.uint64(1), LAST_KEY - begin)
        return _Brackets(
            lower=np.where(below, self.lower, begin),
            upper=np.where(below, first - np.uint64(1), np.where(above, self.upper, begin + width)),
            before=before,
            inside=after - before,
        )


def _table(
    points: _Points, first: UInt64[np.ndarray, " r"], shift: UInt64[np.ndarray, " r"], bins: int, shard: ScoreShard
) -> Int64[np.ndarray, "r bins_and_2"]:
    table = np.zeros((first.size + 1, bins + 2), dtype=np.int64)
    # the row that is dropped counts its points above the window, as nearly all others do: no branch to mispredict
    _count(*points.of(shard), np.append(first, np.uint64(0)), np.append(shift, np.uint64(0)), table)
    return table[:-1]


def _collect(
    points: _Points, lower: UInt64[np.ndarray, " r"], upper: UInt64[np.ndarray, " r"], shard: ScoreShard
) -> Candidates:
    groups, row, start, first = points.of(shard)
    rows, keys = np.empty(groups.size, dtype=np.int32), np.empty(groups.size, dtype=np.uint64)
    lower, length = np.append(lower, LAST_KEY), np.append(upper - lower, np.uint64(0))
    found = _gather(groups, row, start, first, lower, length, rows, keys)
    return ((shard.identity, rows[:found].copy(), keys[:found].copy()),) if found else ()


def _pick(
    candidates: Candidates, inside: Int64[np.ndarray, " r"], rest: Int64[np.ndarray, " r"]
) -> list[tuple[int, bytes]]:
    """Return the (key, identity) of number rest[r] (from 1) among the sorted candidates of each row r."""
    identities = sorted({identity for identity, _, _ in candidates})
    number = {identity: i for i, identity in enumerate(identities)}
    rows = np.concatenate([np.empty(0, dtype=np.int32), *[rows for _, rows, _ in candidates]])
    _check(inside, np.bincount(rows, minlength=inside.size))
    keys = np.concatenate([keys for _, _, keys in candidates])
    whose = np.concatenate([np.full(rows.size, number[identity]) for identity, rows, _ in candidates])
    order = np.lexsort((whose, keys, rows))
    chosen = order[np.cumsum(inside) - inside + rest - 1]
    return [(int(keys[i]), identities[whose[i]]) for i in chosen]


def _check(expected: Int64[np.ndarray, " r"], found: Int64[np.ndarray, " r"]) -> None:
    if not np.array_equal(expected, found):
        r = int(np.flatnonzero(expected != found)[0])
        raise WorkError(
            f"draw: {expected[r]} points expected in a range of keys, {found[r]} found: the scores changed between two "
            "scans; select again when nothing writes them."
        )


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _keys(state, begin, keys):
    for i in range(keys.size):  # this loop is vectorised
        keys[i] = mix(state + np.uint64(begin + i + 1) * GAMMA)


@njit(cache=True, nogil=True)
@no_type_check
def _count(groups, row, start, index, first, shift, table):
    state = start + np.uint64(index) * GAMMA
    bins = np.uint64(table.shape[1] - 2)
    block = np.empty(BLOCK, dtype=np.uint64)
    for begin in range(0, groups.size, BLOCK):
        keys = block[: min(BLOCK, groups.size - begin)]
        _keys(state, begin, keys)
        for i in range(keys.size):
            r = row[np.uint64(groups[begin + i] + 1)]  # unsigned: numba need not ask whether to count from the end
            column = min((keys[i] - first[r]) >> shift[r], bins) + np.uint64(1)
            table[r, column if keys[i] >= first[r] else np.uint64(0)] += 1


@njit(cache=True, nogil=True)
@no_type_check
def _gather(groups, row, start, index, lower, length, rows, keys_out):
    state = start + np.uint64(index) * GAMMA
    block = np.empty(BLOCK, dtype=np.uint64)
    found = np.uint64(0)
    for begin in range(0, groups.size, BLOCK):
        some = groups[begin : begin + BLOCK]
        highest = np.int32(-1)
        for i in range(some.size):
            highest = max(highest, some[i])
        if highest < 0:  # most blocks, where few points are tied
            continue
        keys = block[: some.size]
        _keys(state, begin, keys)
        for i in range(keys.size):
            r = row[np.uint64(some[i] + 1)]
            if keys[i] - lower[r] <= length[r] and r < lower.size - 1:  # in this order: the first is rarely true
                rows[found] = r
                keys_out[found] = keys[i]
                found += np.uint64(1)
    return found


@njit(cache=True, nogil=True)
@no_type_check
def _within(groups, limit, start, index, at):
    state = start + np.uint64(index) * GAMMA
    block = np.empty(BLOCK, dtype=np.uint64)
    found = np.uint64(0)
    for begin in range(0, groups.size, BLOCK):
        keys = block[: min(BLOCK, groups.size - begin)]
        _keys(state, begin, keys)
        for i in range(keys.size):
            at[found] = begin + i  # written over unless the point is drawn: cheaper than a branch hard to predict
            found += np.uint64(keys[i] <= limit[np.uint64(groups[begin + i] + 1)])
    return found

"""Exact draws without replacement from many strata at once: a stratum keeps the points with its n smallest keys.

The n-th smallest key of every stratum is found together: a merged histogram of the keys' upper bits tells in which bin
it lies, further histograms refine the bin until few points remain in the bins of all strata, and those are collected
and sorted. Neither the tables nor the candidates grow with the number of points, only the number of scans does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import add
from typing import no_type_check

import numpy as np
from jaxtyping import Int32, Int64, UInt32, UInt64
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
MOST_BINS = 1 << 20
"""Bins of one table over all strata: 8 MB."""
NO_PREFIX = np.uint64(0xFFFFFFFFFFFFFFFF)


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
    rest = np.array([taken[g] for g in open_strata], dtype=np.int64)  # rank of the last point drawn, within the bin
    inside = np.array([population[g] for g in open_strata], dtype=np.int64)
    bins = _Bins(groups, row, np.zeros(len(open_strata), dtype=np.uint64), 0, seed, purpose)
    while inside.sum() > most_candidates and bins.depth < 63:
        wanted = (int(inside.sum()) // most_candidates).bit_length()
        affordable = max(1, (most_bins // len(open_strata)).bit_length() - 1)
        bits = min(wanted, affordable, 63 - bins.depth)
        table = scan(partial(_table, bins, bits), add)
        _check(inside, table.sum(axis=1))
        upto = np.cumsum(table, axis=1)
        digit = (upto < rest[:, None]).sum(axis=1)
        inside = np.take_along_axis(table, digit[:, None], axis=1)[:, 0]
        rest -= np.take_along_axis(upto, digit[:, None], axis=1)[:, 0] - inside
        bins = bins.refined(digit.astype(np.uint64), bits)

    last = dict(zip(open_strata, _pick(scan(partial(_collect, bins), add), inside, rest), strict=True))
    return tuple(Draw(size, n, last.get(g)) for g, (n, size) in enumerate(zip(taken, population, strict=True)))


def drawn(
    shard: ScoreShard, groups: Int32[np.ndarray, " n"], draws: Sequence[Draw], seed: int, purpose: bytes = DRAW
) -> Int64[np.ndarray, " drawn"]:
    """Return the positions in a shard of the points that are drawn, ascending, given the stratum of each."""
    if all(each.last is None for each in draws):
        return np.flatnonzero(np.array([each.taken > 0 for each in draws] + [False])[groups])
    # Within a shard the identity is one, so (key, identity) <= last is key <= limit, or key < limit.
    # A key is below 2^64, and a stratum that takes none of its points is closed.
    limit = np.zeros(len(draws) + 1, dtype=np.uint64)
    closed = np.ones(len(draws) + 1, dtype=np.bool_)
    for g, each in enumerate(draws):
        key, identity = each.last if each.last is not None else (int(NO_PREFIX), shard.identity)
        bound = key if shard.identity <= identity else key - 1
        if each.taken > 0 and bound >= 0:
            limit[g + 1], closed[g + 1] = bound, False
    start = stream(seed, shard.identity, purpose)
    at = np.empty(groups.size + 1, dtype=np.int64)
    return at[: _within(groups, limit, closed, start, shard.first, at)].copy()


@dataclass(frozen=True, eq=False)
class _Bins:
    """One bin of keys per open stratum: those whose upper `depth` bits are `prefix[row[stratum]]`."""

    groups: Groups
    row: UInt32[np.ndarray, " k_plus_1"]
    prefix: UInt64[np.ndarray, " r"]
    depth: int
    seed: int
    purpose: bytes

    def refined(self, digit: UInt64[np.ndarray, " r"], bits: int) -> "_Bins":
        prefix = (self.prefix << np.uint64(bits)) | digit
        return _Bins(self.groups, self.row, prefix, self.depth + bits, self.seed, self.purpose)


def _table(bins: _Bins, bits: int, shard: ScoreShard) -> Int64[np.ndarray, "r bins"]:
    table = np.zeros((bins.prefix.size + 1, 1 << bits), dtype=np.int64)
    # in the first table the row that is dropped is counted too: cheaper than a branch that cannot be predicted
    prefix = np.append(bins.prefix, np.uint64(0) if bins.depth == 0 else NO_PREFIX)
    start = stream(bins.seed, shard.identity, bins.purpose)
    _count(bins.groups(shard), bins.row, start, shard.first, prefix, bins.depth, bits, table)
    return table[:-1]


def _collect(bins: _Bins, shard: ScoreShard) -> Candidates:
    groups = bins.groups(shard)
    rows, keys = np.empty(groups.size, dtype=np.int32), np.empty(groups.size, dtype=np.uint64)
    prefix = np.append(bins.prefix, NO_PREFIX)
    start = stream(bins.seed, shard.identity, bins.purpose)
    found = _gather(groups, bins.row, start, shard.first, prefix, bins.depth, rows, keys)
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


@njit(cache=True, nogil=True)
@no_type_check
def _count(groups, row, start, first, prefix, depth, bits, table):
    state = start + np.uint64(first) * GAMMA
    upper = np.uint64(63 - depth)  # shifted in two steps, for a shift by 64 is undefined
    lower = np.uint64(64 - depth - bits)
    mask = np.uint64((1 << bits) - 1)
    for i in range(groups.size):
        r = row[np.uint64(groups[i] + 1)]  # unsigned: numba need not ask whether to count from the end
        key = mix(state + np.uint64(i + 1) * GAMMA)
        if (key >> np.uint64(1)) >> upper == prefix[r]:
            table[r, (key >> lower) & mask] += 1


@njit(cache=True, nogil=True)
@no_type_check
def _gather(groups, row, start, first, prefix, depth, rows, keys):
    state = start + np.uint64(first) * GAMMA
    upper = np.uint64(63 - depth)
    found = np.uint64(0)
    for i in range(groups.size):
        r = row[np.uint64(groups[i] + 1)]
        key = mix(state + np.uint64(i + 1) * GAMMA)
        if (key >> np.uint64(1)) >> upper == prefix[r]:
            rows[found] = r
            keys[found] = key
            found += np.uint64(1)
    return found


@njit(cache=True, nogil=True)
@no_type_check
def _within(groups, limit, closed, start, first, at):
    state = start + np.uint64(first) * GAMMA
    found = np.uint64(0)
    for i in range(groups.size):
        g = np.uint64(groups[i] + 1)
        key = mix(state + np.uint64(i + 1) * GAMMA)
        at[found] = i  # written over unless the point is drawn: cheaper than a branch that cannot be predicted
        found += np.uint64((key <= limit[g]) & (not closed[g]))
    return found

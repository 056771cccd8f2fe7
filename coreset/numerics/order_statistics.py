"""Exact order statistics of sharded scores, by merged histograms of 16 bits of their ordered bits at a time.

float32 takes two scans and float64 four, the first of which also finds the extremes and the first score that is not
finite.
"""

from dataclasses import dataclass
from functools import partial
from operator import add

import numpy as np
from jaxtyping import Int64

from coreset.errors import DataError, RequestError, WorkError
from coreset.numerics.ordered_bits import DIGIT, digit_histogram, extremes, from_ordered, width
from coreset.numerics.scans import Scan, ScoreShard


@dataclass(frozen=True, eq=False)
class Summary:
    """What one scan tells of all scores: their number, extremes, and the histogram of their first digit."""

    count: int
    dtype: np.dtype
    least: int
    greatest: int
    digits: Int64[np.ndarray, " bins"]
    unusable: tuple[bytes, int, float] | None
    """Identity, index and value of the first score, in the order of points, that is NaN or infinite."""

    @property
    def lo(self) -> float:
        """The lowest score."""
        return from_ordered(self.least, self.dtype)

    @property
    def hi(self) -> float:
        """The highest score."""
        return from_ordered(self.greatest, self.dtype)


@dataclass(frozen=True)
class OrderStatistic:
    """A score, the number of scores `above` it, and the number `equal` to it (at least 1)."""

    value: float
    above: int
    equal: int


def summarise(scan: Scan) -> Summary:
    """Scan the scores once.

    Raises:
        DataError: a score is NaN or infinite (the first one is named), or there is no score at all.
        RequestError: some shards are float32 and others float64.
    """
    summary = scan(_summary, _merge)
    if summary.unusable is not None:
        identity, index, value = summary.unusable
        place = f"row {index}" if identity == b"rows" else f"point {index} of {identity.hex()}"
        raise DataError(
            f"score of {place}: expected a finite number, found {value}; "
            "find out why its scoring failed (a diverged training, a bad target) and score again, or leave it out."
        )
    if summary.count == 0:
        raise DataError("scores: expected at least one, found none; name scores that are not empty.")
    return summary


def nth_highest(scan: Scan, summary: Summary, rank: int) -> OrderStatistic:
    """Return the score with exactly this many points before it in falling order (rank 0 is the highest).

    Raises:
        WorkError: the scores changed between two scans.
    """
    if not 0 <= rank < summary.count:
        raise ValueError(f"rank: expected 0 to {summary.count - 1}, found {rank}.")
    shift = width(summary.dtype) - DIGIT
    prefix, above, inside, digits = 0, 0, summary.count, summary.digits
    while True:
        if int(digits.sum()) != inside:
            raise WorkError(
                f"scores: {inside} expected in a range, {int(digits.sum())} found: they changed between two scans; "
                "select again when nothing writes them."
            )
        before = above + np.concatenate([np.cumsum(digits[::-1])[::-1][1:], [0]])  # points above each digit's range
        digit = int(np.flatnonzero((before <= rank) & (digits > 0))[0])
        prefix, above, inside = (prefix << DIGIT) | digit, int(before[digit]), int(digits[digit])
        if shift == 0:
            return OrderStatistic(from_ordered(prefix, summary.dtype), above, inside)
        shift -= DIGIT
        digits = scan(partial(_digits, prefix=prefix, shift=shift), add)


def _summary(shard: ScoreShard) -> Summary:
    least, greatest, finite, digits = extremes(shard.scores)
    unusable = None
    if not finite:
        i = int(np.flatnonzero(~np.isfinite(shard.scores))[0])
        unusable = (shard.identity, shard.number(i), float(shard.scores[i]))
    return Summary(int(shard.scores.size), shard.scores.dtype, least, greatest, digits, unusable)


def _merge(a: Summary, b: Summary) -> Summary:
    if a.dtype != b.dtype:
        raise RequestError("scores: expected one type in all shards, found float32 and float64; convert them to one.")
    unusable = [found for found in (a.unusable, b.unusable) if found is not None]
    return Summary(
        count=a.count + b.count,
        dtype=a.dtype,
        least=min(a.least, b.least),
        greatest=max(a.greatest, b.greatest),
        digits=a.digits + b.digits,
        unusable=min(unusable, key=lambda found: found[:2], default=None),
    )


def _digits(shard: ScoreShard, prefix: int, shift: int) -> Int64[np.ndarray, " bins"]:
    return digit_histogram(shard.scores, prefix, shift)

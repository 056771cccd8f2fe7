"""Floats as unsigned integers of the same order, so that an order statistic can be found digit by digit.

A float of w bits is a sign and a magnitude m (exponent above mantissa, so larger floats have larger m). Its ordered
bits are 2^(w−1) + m for positive and 2^(w−1) − m for negative numbers: monotone over all finite floats, denormals
included, and −0.0 and +0.0 are one value.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int64, UInt
from numba import njit

DIGIT = 16
"""Bits of one radix pass: 65,536 bins of 8 bytes are 512 KiB, the size of a partial result."""
BLOCK = 1024
"""Digits computed at once, which stay in the first cache."""


def width(dtype: np.dtype) -> int:
    """Return the number of bits w of a float: 32 or 64."""
    return 8 * dtype.itemsize


def patterns(scores: Float[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
    """Return the bit patterns of the floats, a view."""
    return scores.view(np.uint32 if scores.dtype == np.float32 else np.uint64)


def from_ordered(ordered: int, dtype: np.dtype) -> float:
    """Return the float (exact as a float64) that has these ordered bits."""
    sign = 1 << (width(dtype) - 1)
    bits = ordered - sign if ordered >= sign else (sign - ordered) | sign
    return float(np.array(bits, dtype=f"u{dtype.itemsize}").view(dtype))


def extremes(scores: Float[np.ndarray, " n"]) -> tuple[int, int, bool, Int64[np.ndarray, " bins"]]:
    """Return the least and greatest ordered bits, whether all scores are finite, and the histogram of the first digit.

    Without scores the least is 2^w − 1 and the greatest 0.
    """
    bits = width(scores.dtype)
    mantissa = np.finfo(scores.dtype).nmant
    counts = np.zeros(1 << DIGIT, dtype=np.int64)
    sign, shift = np.uint64(1 << (bits - 1)), np.uint64(bits - DIGIT)
    least, greatest, magnitude = _extremes(patterns(scores), sign, shift, counts)
    infinity = (1 << (bits - 1)) - (1 << mantissa)
    return min(int(least), (1 << bits) - 1), int(greatest), int(magnitude) < infinity, counts


def digit_histogram(scores: Float[np.ndarray, " n"], prefix: int, shift: int) -> Int64[np.ndarray, " bins"]:
    """Count the digit at bit `shift` of those scores whose ordered bits above it equal `prefix`."""
    counts = np.zeros(1 << DIGIT, dtype=np.int64)
    sign = np.uint64(1 << (width(scores.dtype) - 1))
    _digits(patterns(scores), sign, np.uint64(prefix), np.uint64(shift), counts)
    return counts


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _ordered(bits, sign):
    magnitude = bits & (sign - np.uint64(1))
    return sign + magnitude if bits < sign else sign - magnitude


@njit(cache=True, nogil=True)
@no_type_check
def _extremes(patterns, sign, shift, counts):
    least = np.uint64(0xFFFFFFFFFFFFFFFF)
    greatest = np.uint64(0)
    largest = np.uint64(0)
    block = np.empty(BLOCK, dtype=np.uint16)
    for begin in range(0, patterns.size, BLOCK):
        some = patterns[begin : begin + BLOCK]
        for i in range(some.size):  # this loop is vectorised
            bits = np.uint64(some[i])
            largest = max(largest, bits & (sign - np.uint64(1)))
            ordered = _ordered(bits, sign)
            least = min(least, ordered)
            greatest = max(greatest, ordered)
            block[i] = ordered >> shift
        for i in range(some.size):
            counts[block[i]] += 1
    return least, greatest, largest


@njit(cache=True, nogil=True)
@no_type_check
def _digits(patterns, sign, prefix, shift, counts):
    block = np.empty_like(patterns[:BLOCK])
    for begin in range(0, patterns.size, BLOCK):
        some = patterns[begin : begin + BLOCK]
        for i in range(some.size):  # this loop is vectorised
            block[i] = _ordered(np.uint64(some[i]), sign) >> shift
        for i in range(some.size):
            if block[i] >> np.uint64(DIGIT) == prefix:
                counts[block[i] & np.uint64(0xFFFF)] += 1

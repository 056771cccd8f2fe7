"""Rows that are equal bit for bit, found by a 64-bit hash of each row.

Two rows of different content share a hash with probability 2⁻⁶⁴: in 10⁹ rows one pair in 37 such sets. Hashes are
sorted where they are made; equal ones are then found range by range, with memory for one range.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int, UInt64
from numba import njit

from coreset.numerics.keys import GAMMA, mix


def hash_rows(rows: Float32[np.ndarray, "n d"]) -> UInt64[np.ndarray, " n"]:
    """A hash of each row's float32 bits; a negative zero counts as zero."""
    out = np.empty(len(rows), np.uint64)
    plain = np.ascontiguousarray(rows + np.float32(0))
    _hash(plain.view(np.uint32), out)
    return out


def runs_of_equals(hashes: UInt64[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"]]:
    """Where each run of two or more equal hashes begins among sorted ones, and how long it is."""
    edges = np.flatnonzero(np.diff(hashes, prepend=hashes[:1] - np.uint64(1)) != 0)
    lengths = np.diff(edges, append=len(hashes))
    several = lengths > 1
    return edges[several], lengths[several]


@njit(cache=True, nogil=True)
@no_type_check
def _hash(bits, out):
    for i in range(bits.shape[0]):
        state = np.uint64(bits.shape[1])
        for j in range(bits.shape[1]):
            state = mix((state ^ np.uint64(bits[i, j])) + GAMMA)
        out[i] = state

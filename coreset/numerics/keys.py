"""Keys of random draws: a 64-bit hash of (seed, purpose, identity, index), so that a draw depends on the points alone.

A stream is a SplitMix64 generator (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") whose
state is the SHA-256 of the seed and the identity; the key of the point with index i is its output number i + 1. Within
one stream the state is a bijection of i and so is the output function, so **two points of one identity never share a
key**: ties arise only between identities, and the identity breaks them.

Different purposes have different streams. Were the ties of a cut broken by the keys of the later draw, the survivors of
the tie would all have large keys, and the draw, which takes small ones, would pass them over.
"""

import hashlib
import struct
from functools import lru_cache
from typing import no_type_check

import numpy as np
from jaxtyping import Int64, UInt64
from numba import njit

from coreset.errors import RequestError

KEY_VERSION = "coreset-key-1"
DRAW = b""
"""Purpose: which points of a stratum are drawn."""
TIES = b"/ties"
"""Purpose: which of equal scores belong to the high end."""
SNAPSHOTS = b"/snapshots"
"""Purpose: in which order whole identities are drawn."""

GAMMA = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def mix(z):
    """SplitMix64's output function of the state z (uint64)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@lru_cache(maxsize=64, typed=True)  # shards of one identity often follow on each other
def stream(seed: int, identity: bytes, purpose: bytes = DRAW) -> np.uint64:
    """Return the first 8 bytes (little endian) of SHA-256(KEY_VERSION + purpose + int64 LE seed + identity).

    Raises:
        RequestError: the seed is not a 64-bit signed integer.
    """
    try:
        packed = struct.pack("<q", seed)
    except struct.error:
        raise RequestError(f"seed: expected an integer of 64 bits with sign, found {seed!r}.") from None
    digest = hashlib.sha256(KEY_VERSION.encode() + purpose + packed + identity).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def keys(start: np.uint64, first: int, count: int) -> UInt64[np.ndarray, " n"]:
    """Return the keys of the points first, first + 1, … first + count − 1 in the stream `start`."""
    out = np.empty(count, dtype=np.uint64)
    _range(start, first, out)
    return out


def keys_at(start: np.uint64, index: Int64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Return the key of each point of `index` in the stream `start`."""
    out = np.empty(index.size, dtype=np.uint64)
    gather(start, index, out)
    return out


@njit(cache=True, nogil=True)
@no_type_check
def _range(start, first, out):
    state = start + np.uint64(first) * GAMMA
    for i in range(out.size):
        out[i] = mix(state + np.uint64(i + 1) * GAMMA)


@njit(cache=True, nogil=True)
@no_type_check
def gather(start, index, out):
    """Write the key of each point of `index` (int64) into `out`, for kernels."""
    for i in range(out.size):
        out[i] = mix(start + np.uint64(index[i] + 1) * GAMMA)

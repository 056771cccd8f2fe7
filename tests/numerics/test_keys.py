"""Keys against published SplitMix64 outputs, a pure-Python hash, and what uniform keys would do."""

import hashlib

import numpy as np
import pytest

from coreset.errors import RequestError
from coreset.numerics.keys import DRAW, SNAPSHOTS, TIES, keys, keys_at, smallest, stream


def test_outputs_are_the_published_ones_of_splitmix64() -> None:
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert keys(np.uint64(1234567), 0, 5).tolist() == published
    assert keys(np.uint64(1234567), 3, 2).tolist() == published[3:]


def test_stream_is_the_documented_hash() -> None:
    for purpose in (DRAW, TIES, SNAPSHOTS):
        hashed = hashlib.sha256(b"coreset-key-1" + purpose + (-3).to_bytes(8, "little", signed=True) + b"snapshot")
        assert int(stream(-3, b"snapshot", purpose)) == int.from_bytes(hashed.digest()[:8], "little")


def test_streams_differ_by_seed_identity_and_purpose() -> None:
    streams = {
        int(stream(seed, identity, purpose))
        for seed in range(10)
        for identity in (b"rows", b"a", b"b")
        for purpose in (DRAW, TIES, SNAPSHOTS)
    }
    assert len(streams) == 90


def test_keys_at_are_keys_of_a_range_far_out() -> None:
    start = stream(0, b"rows")
    first = 2**40 + 12345
    index = first + np.array([0, 7, 99])
    assert keys_at(start, index).tolist() == keys(start, first, 100)[[0, 7, 99]].tolist()


def test_keys_of_one_identity_are_distinct() -> None:
    assert np.unique(keys(stream(1, b"rows"), 0, 200_000)).size == 200_000


@pytest.mark.parametrize("shift", [0, 26, 58])
def test_keys_are_uniform(shift: int) -> None:
    """Chi-square of 64 bins by bits at the top, in the middle and at the bottom: 63 degrees of freedom, 6 sigma."""
    for seed in range(5):
        bins = keys(stream(seed, b"rows"), 0, 100_000) >> np.uint64(shift) & np.uint64(63)
        counts = np.bincount(bins.astype(int))
        chi_square = float(((counts - 100_000 / 64) ** 2 / (100_000 / 64)).sum())
        assert abs(chi_square - 63) < 6 * np.sqrt(2 * 63)


def test_keys_of_neighbours_and_of_seeds_are_uncorrelated() -> None:
    a, b = (keys(stream(seed, b"rows"), 0, 100_000) / 2**64 for seed in (0, 1))
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 5 / np.sqrt(a.size)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 0.5])
def test_seed_beyond_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(RequestError, match="seed"):
        stream(seed, b"rows")


@pytest.mark.parametrize("wanted", [0, 1, 999, 4000, 5000, 6000])
def test_the_smallest_keys_are_the_head_of_all_keys_sorted(wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coreset.numerics.keys._PIECE", 700)
    start = stream(3, b"some")
    expected = np.sort(np.argsort(keys(start, 0, 5000))[:wanted])
    assert smallest(start, 5000, wanted).tolist() == expected.tolist()

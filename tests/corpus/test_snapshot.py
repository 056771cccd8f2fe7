import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.corpus.snapshot import Snapshot, content_digest

CELL = np.array([[6.0, 0.0, 0.0], [1.5, 5.5, 0.0], [-0.7, 0.9, 7.0]])
NUMBERS = np.array([8, 1, 1, 8])
POSITIONS = np.array([[0.0, 0.5, 0.75], [1.0, 2.0, 3.0], [1.0, 2.0, 2.5], [0.0, 0.5, 0.25]])
DENSITY = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7


def test_the_digest_is_that_of_the_documented_bytes():
    content = b"coreset-snapshot-1" + struct.pack("<9d", *CELL.ravel()) + struct.pack("<3q", 2, 3, 4)
    content += struct.pack("<4q", 1, 1, 8, 8)
    content += struct.pack("<12d", 1, 2, 2.5, 1, 2, 3, 0, 0.5, 0.25, 0, 0.5, 0.75)
    content += struct.pack("<24f", *DENSITY.ravel())
    assert content_digest(CELL, NUMBERS, POSITIONS, DENSITY) == hashlib.sha256(content).hexdigest()


@settings(deadline=None)
@given(order=st.permutations(range(4)))
def test_the_order_of_atoms_does_not_matter(order):
    expected = content_digest(CELL, NUMBERS, POSITIONS, DENSITY)
    assert content_digest(CELL, NUMBERS[order], POSITIONS[order], DENSITY) == expected


def test_memory_layout_and_the_sign_of_zero_do_not_matter():
    expected = content_digest(CELL, NUMBERS, POSITIONS, DENSITY)
    negative = np.where(DENSITY == 0, np.float32(-0.0), DENSITY)
    assert np.signbit(negative).any()
    cell = np.where(CELL == 0, -0.0, CELL)
    assert content_digest(np.asfortranarray(cell), NUMBERS, POSITIONS, np.asfortranarray(negative)) == expected


def test_every_content_matters():
    moved, changed, longer = POSITIONS.copy(), DENSITY.copy(), CELL.copy()
    moved[0, 0] += 1e-9
    changed[1, 2, 3] = np.nextafter(changed[1, 2, 3], np.float32(9))
    longer[2, 2] += 1e-9
    variants = [
        (CELL, NUMBERS, POSITIONS, DENSITY),
        (CELL, NUMBERS, moved, DENSITY),
        (CELL, NUMBERS, POSITIONS, changed),
        (longer, NUMBERS, POSITIONS, DENSITY),
        (CELL, NUMBERS[::-1], POSITIONS, DENSITY),
        (CELL, NUMBERS, POSITIONS, DENSITY.reshape(2, 4, 3)),
    ]
    assert len({content_digest(*variant) for variant in variants[:4]}) == 4
    assert len({content_digest(*variant) for variant in variants}) == 5  # both O stand first in the reversed order too


def snapshot_of():
    return Snapshot(
        name="train/x",
        cell=CELL / 3,
        numbers=NUMBERS,
        positions=POSITIONS / 7,
        grid=(2, 3, 4),
        electrons=14.0,
        energy=-0.1 - 0.2,
        group="train",
        temperature=None,
        composition="H2O2",
        source={"x.dens": "0" * 64},
        wrapped=1,
        digest="ab" * 32,
    )


def test_json_keeps_every_bit():
    snapshot = snapshot_of()
    back = Snapshot.from_json("train/x", json.loads(json.dumps(snapshot.to_json())))
    for field in dataclasses.fields(Snapshot):
        assert np.array_equal(getattr(back, field.name), getattr(snapshot, field.name)), field.name
    assert (back.points, back.identity, back.volume) == (24, b"\xab" * 32, snapshot.volume)
    assert not back.positions.flags.writeable


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("grid", value) for value in ([3, 4], [3, 4, 5.5], [3, 4, 0], [3, 4, True], "345", None)),
        *(("cell", value) for value in ([[1, 0, 0]], [[0.0] * 3] * 3, [["1", 0, 0], [0, 1, 0], [0, 0, 1]], 3)),
        *(("numbers", value) for value in ([0], [119], [8.5], [8] * 50)),
        *(("positions", value) for value in ([[0, 0, float("inf")]], [[0, 0, 1e300]], [[0, 0]], {})),
        *(("electrons", value) for value in (float("nan"), "13", True, None)),
        *(("source", value) for value in ([], {"x": 1}, None)),
        *(("digest", value) for value in ("0" * 63, "G" * 64, 5)),
        *((("energy", "x"), ("wrapped", -1), ("group", 5), ("surplus", 1))),
    ],
)
def test_what_to_json_did_not_make_is_refused_by_its_key(key, value):
    fields = json.loads(json.dumps(snapshot_of().to_json()))
    with pytest.raises(ValueError, match="numbers" if value == [8] * 50 else key):
        Snapshot.from_json("train/x", {**fields, key: value})


@pytest.mark.parametrize("fields", [None, [], 3, "x", {}])
def test_what_is_no_object_is_refused(fields):
    with pytest.raises(ValueError, match=r"\w"):
        Snapshot.from_json("train/x", fields)

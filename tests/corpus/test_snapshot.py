import dataclasses
import hashlib
import json
import struct

import numpy as np
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


def test_json_keeps_every_bit():
    snapshot = Snapshot(
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
    back = Snapshot.from_json("train/x", json.loads(json.dumps(snapshot.to_json())))
    for field in dataclasses.fields(Snapshot):
        assert np.array_equal(getattr(back, field.name), getattr(snapshot, field.name)), field.name
    assert (back.points, back.identity, back.volume) == (24, b"\xab" * 32, snapshot.volume)
    assert not back.positions.flags.writeable

"""Pieces are a snapshot's points, once each and in order, in whole planes, no more than is stated at a time."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coreset.corpus import pieces
from coreset.corpus.pieces import pieces_of, planes_of


@given(st.tuples(*[st.integers(1, 12)] * 3), st.integers(1, 200))
def test_pieces_are_the_snapshot_in_order(make_snapshot: Callable[..., Any], grid: Any, most: int) -> None:
    snapshot, _ = make_snapshot("a/b_0", grid=grid)
    plane = grid[1] * grid[2]
    before, pieces.PIECE = pieces.PIECE, most
    try:
        found = pieces_of(snapshot)
        thick = planes_of(grid)
    finally:
        pieces.PIECE = before
    assert found[0].first == 0 and found[-1].stop == snapshot.points
    assert all(one.stop == other.first for one, other in pairwise(found))
    for piece in found:
        assert (piece.first, piece.stop) == (piece.planes.start * plane, piece.planes.stop * plane)
        assert piece.points <= max(most, plane)
        assert piece.planes.stop - piece.planes.start <= thick
    assert all(piece.planes.stop - piece.planes.start == thick for piece in found[:-1])
    assert pieces_of(snapshot)[0].points == snapshot.points  # of the real size there is one piece

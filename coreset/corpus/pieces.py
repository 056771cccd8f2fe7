"""A snapshot piece by piece, so that a stage holds no more of a large one than of a small one."""

from __future__ import annotations

from dataclasses import dataclass

from coreset.corpus.split import Member

PIECE = 2**20
"""Points of a piece at most; one plane of the grid at least."""


@dataclass(frozen=True)
class Piece:
    """The grid points first ≤ index < stop of a snapshot, in C order, which are whole planes of its grid."""

    first: int
    stop: int
    planes: slice

    @property
    def points(self) -> int:
        """How many they are."""
        return self.stop - self.first


def planes_of(grid: tuple[int, int, int]) -> int:
    """Planes of a piece of this grid; the last piece of a snapshot may have fewer."""
    return min(grid[0], max(1, PIECE // (grid[1] * grid[2])))


def pieces_of(snapshot: Member) -> list[Piece]:
    """The pieces of a snapshot, in order."""
    plane, thick = snapshot.grid[1] * snapshot.grid[2], planes_of(snapshot.grid)
    borders = [*range(0, snapshot.grid[0], thick), snapshot.grid[0]]
    return [Piece(a * plane, b * plane, slice(a, b)) for a, b in zip(borders, borders[1:], strict=False)]

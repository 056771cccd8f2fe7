"""A point set: points of grids, of a coreset or of a table, behind one interface, for what compares any two sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from coreset.corpus.elements import SYMBOLS
from coreset.corpus.snapshot import Snapshot
from coreset.numerics.grids import grid_points
from coreset.numerics.keys import keys_at, stream
from coreset.numerics.periodic import nearest_atoms

AT_ONCE = 2**18
"""Points that are read and described at a time, at most."""
_BATCHES = 1024
"""Batches of a large set, about."""


@dataclass(frozen=True)
class Member:
    """Points that belong together: a snapshot, or a file of a table.

    identity: with a point's number (grid index, row) what a random draw knows it by; digest: of the content; group: the
    trajectory, None where points are independent of each other; labels: what the member is, such as its temperature.
    """

    name: str
    points: int
    identity: bytes
    digest: str
    group: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Consecutive points of one member."""

    member: int
    first: int
    stop: int


@dataclass(frozen=True)
class PointSet(ABC):
    """Members in a fixed order, whose points are read when they are needed; small enough to be sent to every worker."""

    path: str
    members: tuple[Member, ...]

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is, in a word: `grids`, `coreset`, `table`."""

    @property
    def member_kind(self) -> str:
        """What a member is called."""
        return "snapshot"

    @property
    def group_kind(self) -> str:
        """What members that are not independent of each other are called together."""
        return "group" if self.kind == "table" else "trajectory"

    @property
    @abstractmethod
    def digest(self) -> str:
        """Of names and content of all members; no path enters."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What else decides the features, as JSON."""

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """What each feature is called."""

    @property
    def unit(self) -> str:
        """Of distances between points; empty where features have no common one."""
        return ""

    @abstractmethod
    def read(self, member: int, index: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        """The features of some points of a member, by their ascending positions in it."""

    def numbers(self, member: int, first: int, stop: int) -> Int64[np.ndarray, " n"]:
        """What the points first ≤ position < stop of a member are known by: grid indices, rows."""
        return np.arange(first, stop, dtype=np.int64)

    def snapshot(self, member: int) -> Snapshot | None:
        """The atoms around the points of a member, where there are any."""
        return None

    @property
    def points(self) -> int:
        """Points of all members."""
        return sum(member.points for member in self.members)

    @cached_property
    def groups(self) -> list[str] | None:
        """The trajectories, sorted; None where there are none."""
        found = {member.group for member in self.members if member.group is not None}
        return sorted(found) if found and all(member.group is not None for member in self.members) else None

    @cached_property
    def offsets(self) -> Int64[np.ndarray, " m"]:
        """The number of points before each member."""
        return np.cumsum([0, *(member.points for member in self.members)])[:-1].astype(np.int64)

    def at(self, position: int) -> tuple[int, int]:
        """The member of a point and its position in it, from its position among the points of all."""
        member = int(np.searchsorted(self.offsets, position, side="right")) - 1
        return member, position - int(self.offsets[member])

    def keys(self, seed: int, purpose: bytes, piece: Piece) -> np.ndarray:
        """The keys of a piece's points in a random draw."""
        numbers = self.numbers(piece.member, piece.first, piece.stop)
        return keys_at(stream(seed, self.members[piece.member].identity, purpose), numbers)

    def pieces(self) -> Iterator[Piece]:
        """All points, in pieces of `AT_ONCE` points at most."""
        for number, member in enumerate(self.members):
            for first in range(0, member.points, AT_ONCE):
                yield Piece(number, first, min(first + AT_ONCE, member.points))

    def batches(self) -> list[tuple[Piece, ...]]:
        """All pieces, in batches large enough to be worth a file each."""
        wanted = max(AT_ONCE, self.points // _BATCHES)
        found: list[tuple[Piece, ...]] = []
        held: list[Piece] = []
        for piece in self.pieces():
            held.append(piece)
            if sum(each.stop - each.first for each in held) >= wanted:
                found.append(tuple(held))
                held = []
        return [*found, tuple(held)] if held else found

    def place(self, member: int, position: int) -> dict[str, Any]:
        """Where a point is, in words that lead to it: snapshot, grid index, place and nearest atom; or file and row."""
        found = self._named(member, position)
        near = self.surroundings(member, np.array([position]))
        if near is not None:
            found |= {name: round(float(value), 6) for name, value in zip("xyz", near.places[0], strict=True)}
            found |= {"species": near.species[0], "from_atom": round(float(near.distances[0]), 6)}
        return found

    def _named(self, member: int, position: int) -> dict[str, Any]:
        """A point by names that its owner knows: snapshot and grid index, or file and row."""
        return {"snapshot": self.members[member].name, "index": int(self.numbers(member, position, position + 1)[0])}

    def surroundings(self, member: int, positions: Int64[np.ndarray, " n"]) -> Surroundings | None:
        """Where some points of a member are, and the atoms next to them; None where there are no atoms."""
        snapshot = self.snapshot(member)
        if snapshot is None:
            return None
        numbers = np.concatenate([self.numbers(member, each, each + 1) for each in positions.tolist()])
        places = grid_points(snapshot.cell, snapshot.grid, numbers)
        atoms, distances = nearest_atoms(places, snapshot.cell, snapshot.positions)
        return Surroundings(places, [SYMBOLS[number - 1] for number in snapshot.numbers[atoms].tolist()], distances)


@dataclass(frozen=True)
class Surroundings:
    """Cartesian places (Bohr), shape [n, 3]; the element of the nearest atom, and its distance (Bohr), shape [n]."""

    places: Float[np.ndarray, "n 3"]
    species: list[str]
    distances: Float[np.ndarray, " n"]


def labels_of(snapshot: Snapshot) -> dict[str, str]:
    """Temperature and composition of a snapshot, as text."""
    temperature = {} if snapshot.temperature is None else {"temperature": f"{snapshot.temperature:g} K"}
    return {**temperature, "composition": snapshot.composition}

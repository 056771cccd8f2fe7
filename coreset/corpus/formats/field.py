"""What every format gives: atoms, a cell and a density, taken in piece by piece, checked, and made a snapshot."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from coreset.corpus.checks import Checks
from coreset.corpus.cube import LARGEST
from coreset.corpus.elements import formula
from coreset.corpus.naming import Naming
from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.errors import DataError

MOST_POINTS = 1 << 33
"""Of a grid; one of 2000³ is below it, a damaged header mostly above."""

ROUNDING = 1e-12
"""Fractional coordinates that are less below 0 count as 0: the inverse of a skewed cell rounds."""

WHOLE = 0.1
"""Electrons by which an integral may miss the whole number that it is taken for where no file states one."""

RINGING = 1e-2
"""Where no floor is given, the part of the largest density by which one may lie below 0."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Cell, atoms and grid as a file states them. Lengths in Bohr.

    Attributes:
        place: file, and line where there is one, to be named in messages.
    """

    cell: Float64[np.ndarray, "3 3"]
    numbers: Int64[np.ndarray, " a"]
    positions: Float64[np.ndarray, "a 3"]
    grid: tuple[int, int, int]
    place: str

    def __post_init__(self) -> None:
        lengths = np.concatenate([self.cell.ravel(), self.positions.ravel()])
        if not (np.abs(lengths) <= LARGEST).all():
            raise DataError(f"{self.place}: expected finite lengths, found {lengths[~(np.abs(lengths) <= LARGEST)][0]}")
        if not abs(np.linalg.det(self.cell)) > 0.0:
            raise DataError(f"{self.place}: expected three independent lattice vectors, found a cell without volume")
        if not len(self.numbers):
            raise DataError(f"{self.place}: expected atoms, found none")
        if min(self.grid) < 1 or math.prod(self.grid) > MOST_POINTS:
            raise DataError(f"{self.place}: expected a grid of at most {MOST_POINTS:,} points, found {self.grid}")

    @staticmethod
    def fractional(
        cell: Float64[np.ndarray, "3 3"],
        numbers: Int64[np.ndarray, " a"],
        fractions: Float64[np.ndarray, "a 3"],
        grid: tuple[int, int, int],
        place: str,
    ) -> "Structure":
        """With the atoms at fractions of the lattice vectors."""
        with np.errstate(invalid="ignore", over="ignore"):  # it is found below
            positions = fractions @ cell
        return Structure(cell, numbers, positions, grid, place)

    @property
    def points(self) -> int:
        """Number of grid points."""
        return math.prod(self.grid)

    @property
    def volume(self) -> float:
        """Volume of the cell, Bohr³."""
        return float(abs(np.linalg.det(self.cell)))


class Density:
    """Values of a density on a grid, e/Bohr³, rounded to float32 once; integral and extremes are those in float64.

    `order` says in which order they come: C, the last lattice vector fastest, or F, the first.
    """

    def __init__(self, structure: Structure, path: str, checks: Checks, order: Literal["C", "F"] = "C") -> None:
        self.structure, self._path, self._checks = structure, path, checks
        self._order, self._flat, self._done = order, np.empty(structure.points, dtype=np.float32), 0
        self._sum, self._highest, self._lowest, self._place = 0.0, -math.inf, math.inf, ""

    def add(self, values: Float64[np.ndarray, " n"], place: Callable[[int], str] | None = None) -> None:
        """The next values, e/Bohr³; `place` tells where a value stands.

        Raises:
            DataError: one is not finite, beyond float32, or below the floor that the user gave.
        """
        place = place or self._point
        lowest, highest = int(np.argmin(values)), int(np.argmax(values))
        if not (np.isfinite(values[lowest]) and np.isfinite(values[highest])):
            bad = int(np.argmin(np.isfinite(values)))
            raise DataError(f"{self._path}, {place(bad)}: expected a finite density, found {values[bad]}")
        if values[highest] > np.finfo(np.float32).max:
            raise DataError(
                f"{self._path}, {place(highest)}: expected densities that float32 can hold, "
                f"found {values[highest]:g} e/Bohr³; compute it again"
            )
        if values[lowest] < min(self._lowest, 0.0 if self._checks.density_floor is None else math.inf):
            self._place = place(lowest)
        self._lowest, self._highest = min(self._lowest, values[lowest]), max(self._highest, values[highest])
        self._sum += float(values.sum())
        self._flat[self._done : self._done + len(values)] = values
        self._done += len(values)

    def integral(self) -> float:
        """Electrons in the cell."""
        return self._sum * self.structure.volume / self.structure.points

    def finish(self) -> Float32[np.ndarray, "nx ny nz"]:
        """The whole density, in the memory that it was read into, whatever its order.

        Raises:
            DataError: a value lies below the floor.
        """
        given = self._checks.density_floor
        floor = -RINGING * self._highest if given is None else given
        if self._lowest < floor:
            raise DataError(
                f"{self._path}, {self._place}: expected densities of at least {floor:g} e/Bohr³, found "
                f"{self._lowest:g}; compute it again, or lower density_floor"
            )
        return self._flat.reshape(self.structure.grid, order=self._order)

    def _point(self, index: int) -> str:
        point = np.unravel_index(self._done + index, self.structure.grid, order=self._order)
        return f"grid point {tuple(map(int, point))}"


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read of one density.

    Attributes:
        stated: numbers of electrons that the files state, of which the integral must be one, each with where it stands.
        certain: whether it must; else any whole number will do.
        energy: Ha.
        source: SHA-256 of each file that was read, by its name.
    """

    density: Density
    stated: Sequence[tuple[str, float]] = ()
    certain: bool = True
    energy: float | None = None
    source: Mapping[str, str] = field(default_factory=dict)

    def snapshot(
        self, name: str, path: str, checks: Checks, naming: Naming
    ) -> tuple[Snapshot, Float32[np.ndarray, "nx ny nz"]]:
        """The snapshot and its density, whose atoms are moved into the cell and counted.

        Raises:
            DataError: the density does not integrate to its electrons, or lies below the floor.
        """
        structure = self.density.structure
        density = self.density.finish()
        electrons = self._electrons(self.density.integral(), path, checks)
        fractions = structure.positions @ np.linalg.inv(structure.cell)
        outside = ((fractions < -ROUNDING) | (fractions >= 1.0)).any(axis=1)
        positions = structure.positions.copy()
        positions[outside] -= np.floor(fractions[outside]) @ structure.cell
        snapshot = Snapshot(
            name=name,
            cell=structure.cell,
            numbers=structure.numbers,
            positions=positions,
            grid=structure.grid,
            electrons=electrons,
            energy=self.energy,
            group=naming.group_of(name),
            temperature=naming.temperature_of(name),
            composition=formula(structure.numbers.tolist()),
            source=self.source,
            wrapped=int(outside.sum()),
            digest=content_digest(structure.cell, structure.numbers, positions, density),
        )
        return snapshot, density

    def _electrons(self, integral: float, path: str, checks: Checks) -> float:
        """The number of electrons that the density integrates to: a stated one, else the nearest whole one."""
        candidates = [(where, electrons, np.inf) for where, electrons in self.stated]
        if not self.certain:
            candidates.append(("the nearest whole number", max(1.0, float(round(integral))), WHOLE))
        for _, electrons, most in candidates:
            if electrons > 0.0 and abs(integral - electrons) <= min(checks.electron_tolerance * electrons, most):
                return electrons
        expected = " or ".join(f"{electrons:g} ({where})" for where, electrons, _ in candidates)
        raise DataError(
            f"{path}: the density integrates to {integral:.6f} electrons, expected {expected} within "
            f"electron_tolerance = {checks.electron_tolerance:g}: a value is wrong or the files are of different "
            "calculations; compute it again, raise the tolerance, or put the file that states the number beside it"
        )

"""Periodic fields cut and traced in real space, in cells of any shape: planes, lines and isosurfaces.

A field of shape [nx, ny, nz] has its point (i, j, k) at i/nx a₁ + j/ny a₂ + k/nz a₃, with the lattice vectors as rows
of `cell`, in Bohr.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.ndimage import map_coordinates

from coreset.errors import RequestError
from coreset.numerics.fourier import resample

_EDGE = 1e-9


@dataclass(frozen=True)
class Plane:
    """The plane of two lattice vectors, at a fraction `height` of the third, which is the shortest."""

    cell: Float64[np.ndarray, "3 3"]
    height: float

    @property
    def axes(self) -> tuple[int, int, int]:
        """Indices of the two vectors in the plane, ascending, and of the third: the last of equally short ones."""
        lengths = np.linalg.norm(self.cell, axis=1).round(6)
        third = max(range(3), key=lambda i: (-lengths[i], i))
        first, second = (i for i in range(3) if i != third)
        return first, second, third

    @property
    def frame(self) -> Float64[np.ndarray, "2 3"]:
        """Unit vectors in the plane: along its first lattice vector, and at right angles to that."""
        first, second, _ = self.axes
        along = self.cell[first] / np.linalg.norm(self.cell[first])
        across = self.cell[second] - (self.cell[second] @ along) * along
        frame: np.ndarray = np.stack([along, across / np.linalg.norm(across)])
        return frame

    def flat(self, points: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
        """In-plane coordinates (Bohr) of points, which are projected on the plane."""
        flat: np.ndarray = (points - self.height * self.cell[self.axes[2]]) @ self.frame.T
        return flat

    def distances(self, points: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
        """Distance (Bohr) of points from the plane or its nearest periodic image."""
        third = self.axes[2]
        normal = np.cross(*self.frame)
        fraction = (points @ np.linalg.inv(self.cell))[:, third] - self.height
        distances: np.ndarray = np.abs((fraction - np.round(fraction)) * (self.cell[third] @ normal))
        return distances

    def coordinates(self, size: int) -> tuple[Float64[np.ndarray, " nu"], Float64[np.ndarray, " nv"]]:
        """Cartesian axes (Bohr) of a picture that holds the whole plane, with `size` points on the longer one."""
        first, second, _ = self.axes
        corners = np.array([self.cell[first], self.cell[second], self.cell[first] + self.cell[second]]) @ self.frame.T
        low, high = corners.min(0, initial=0.0), corners.max(0, initial=0.0)
        counts = np.maximum(2, np.round(size * (high - low) / (high - low).max()).astype(int))
        return np.linspace(low[0], high[0], counts[0]), np.linspace(low[1], high[1], counts[1])

    def cut(self, field: Float[np.ndarray, "nx ny nz"], size: int) -> Float64[np.ndarray, "nv nu"]:
        """The field on the picture of `coordinates`, linear between grid points; NaN outside the cell."""
        u, v = self.coordinates(size)
        first, second, third = self.axes
        points = u[None, :, None] * self.frame[0] + v[:, None, None] * self.frame[1]
        fractions = (points + self.height * self.cell[third]) @ np.linalg.inv(self.cell)
        inside = fractions[..., [first, second]]
        values = sample(field, fractions.reshape(-1, 3)).reshape(len(v), len(u))
        values[((inside < -_EDGE) | (inside > 1 + _EDGE)).any(-1)] = np.nan
        return values


def sample(field: Float[np.ndarray, "nx ny nz"], fractions: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
    """The periodic field at fractional coordinates, linear between grid points."""
    at = (fractions * field.shape).T
    values: np.ndarray = map_coordinates(np.asarray(field, np.float64), at, order=1, mode="grid-wrap")
    return values


def coarse(field: Float[np.ndarray, "nx ny nz"], limit: int) -> Float64[np.ndarray, "mx my mz"]:
    """The field on at most `limit` points along each axis, by Fourier interpolation."""
    nx, ny, nz = (min(n, limit) for n in field.shape)
    return np.asarray(field, np.float64) if (nx, ny, nz) == field.shape else resample(field, (nx, ny, nz))


def surface(
    field: Float[np.ndarray, "nx ny nz"], cell: Float[np.ndarray, "3 3"], level: float
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Vertices (Bohr) and triangles of the isosurface within one cell; none where the field does not reach the level.

    Raises RequestError for a level that is no number.
    """
    from skimage.measure import marching_cubes

    if not np.isfinite(level):
        raise RequestError(f"level: expected a finite number, found {level}.")
    if not field.min() < level < field.max():
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.int64)
    # One more layer at the far faces, which is that at the near ones: the cell is full to its edges.
    closed = np.pad(field, [(0, 1)] * 3, mode="wrap")
    vertices, faces, *_ = marching_cubes(closed, level, allow_degenerate=False)
    return (vertices / field.shape @ cell).astype(np.float32), faces

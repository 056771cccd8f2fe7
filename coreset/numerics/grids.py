"""Uniform grids in a periodic cell: point (i, j, k) of an n₁ × n₂ × n₃ grid lies at i/n₁ a₁ + j/n₂ a₂ + k/n₃ a₃."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from coreset.errors import RequestError


def grid_points(
    cell: Float[np.ndarray, "3 3"], shape: tuple[int, int, int], index: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    """Cartesian coordinates r = i/n₁ a₁ + j/n₂ a₂ + k/n₃ a₃ of the points with C-order index (i n₂ + j) n₃ + k.

    `cell` has the lattice vectors as rows; the result has the unit of the cell (Bohr). A point's bits do not depend on
    which other points are asked for. Raises RequestError for a shape that is no grid and for an index outside of it.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise RequestError(f"grid: expected three positive numbers of points, got {tuple(shape)}")
    if np.shape(cell) != (3, 3):
        raise RequestError(f"cell: expected three lattice vectors as rows, shape (3, 3), got shape {np.shape(cell)}")
    index = np.asarray(index, dtype=np.int64)
    total = int(shape[0]) * int(shape[1]) * int(shape[2])
    if index.size and (index.min() < 0 or index.max() >= total):
        raise RequestError(
            f"grid index: expected 0 to {total - 1} for a grid of {tuple(shape)}, got {index.min()} to {index.max()}"
        )
    points = np.empty((index.size, 3))
    _points(np.array(cell, dtype=np.float64), *map(np.uint64, shape), index, points)
    return points


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _points(a, n1, n2, n3, index, points):
    for p in range(index.size):
        ij, k = np.uint64(index[p]) // n3, np.uint64(index[p]) % n3
        i, j = ij // n2, ij % n2
        u, v, w = i / n1, j / n2, k / n3
        for axis in range(3):
            points[p, axis] = u * a[0, axis] + v * a[1, axis] + w * a[2, axis]

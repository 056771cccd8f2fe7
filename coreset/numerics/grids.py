"""Uniform grids in a periodic cell: point (i, j, k) of an n₁ × n₂ × n₃ grid lies at i/n₁ a₁ + j/n₂ a₂ + k/n₃ a₃."""

import numpy as np
from jaxtyping import Float, Int

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
    a = np.asarray(cell, dtype=np.float64)
    ij, k = np.divmod(index, shape[2])
    i, j = np.divmod(ij, shape[1])
    # Written out, because the bits of a matrix product depend on its shape.
    u, v, w = ((n / count)[:, None] for n, count in zip((i, j, k), shape, strict=True))
    return np.asarray(u * a[0] + v * a[1] + w * a[2])

"""Periodic space: reduced cells, wrapped points, every image of the atoms within a radius, blocks of points.

Cells hold the lattice vectors as rows; lengths are in Bohr. Nothing here uses a matrix product over points, because
its bits depend on the number of rows: what is computed for one point does not depend on the others.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from coreset.errors import RequestError


@dataclass(frozen=True)
class Images:
    """Periodic images of atoms: Cartesian `positions` (rows x, y, z) and the `atom` that each is an image of.

    Two images stand in the same order in every list that holds both, whatever the radius of the list.
    """

    positions: Float[np.ndarray, "3 i"]
    atom: Int[np.ndarray, "i"]


def reduced(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Minkowski-reduced basis of the same lattice: its three vectors are as short as they can be, shortest first.

    Greedy reduction (Nguyen & Stehlé, ACM Trans. Algorithms 5, 46 (2009)): reduce two vectors as Gauss did, subtract
    from the third the lattice vector of their plane nearest to it, and repeat while something gets shorter. A skewed
    cell then needs no more images than a cubic one. Raises RequestError unless the cell spans a volume.
    """
    rows = np.array(cell, dtype=np.float64)
    if rows.shape != (3, 3):
        raise RequestError(f"cell: expected three lattice vectors as rows, shape (3, 3), got shape {rows.shape}")
    lengths = np.linalg.norm(rows, axis=1)
    if not np.isfinite(rows).all() or abs(np.linalg.det(rows)) <= 1e-12 * float(np.prod(lengths)):
        raise RequestError(f"cell: expected three finite, linearly independent lattice vectors, got {rows.tolist()}")
    while True:
        rows = rows[np.argsort(np.sum(rows**2, axis=1), kind="stable")]
        a, b, c = rows
        multiple = np.round((a @ b) / (a @ a))
        shorter = b - multiple * a
        if shorter @ shorter < (b @ b) * (1 - 1e-12):
            rows[1] = shorter
            continue
        in_plane = np.floor(np.linalg.solve(rows[:2] @ rows[:2].T, rows[:2] @ c))
        trials = [c - (in_plane[0] + i) * a - (in_plane[1] + j) * b for i, j in product((0, 1), repeat=2)]
        shorter = min(trials, key=lambda vector: float(vector @ vector))
        if shorter @ shorter >= (c @ c) * (1 - 1e-12):
            return rows
        rows[2] = shorter


def heights(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3"]:
    """Distances between opposite faces of the cell, V / |a_j × a_k|: the inscribed heights, in Bohr."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def wrapped(points: Float[np.ndarray, "n 3"], cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n 3"]:
    """The equivalent points inside the cell: r − Σᵢ ⌊fᵢ⌋ aᵢ with fractional coordinates f, up to rounding of f."""
    return np.asarray(_wrapped(points, cell, np.linalg.inv(cell)))


@njit(cache=True, nogil=True)
def _wrapped(points: np.ndarray, cell: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    inside = np.empty_like(points)
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        i = np.floor(x * inverse[0, 0] + y * inverse[1, 0] + z * inverse[2, 0])
        j = np.floor(x * inverse[0, 1] + y * inverse[1, 1] + z * inverse[2, 1])
        k = np.floor(x * inverse[0, 2] + y * inverse[1, 2] + z * inverse[2, 2])
        for axis in range(3):
            inside[n, axis] = points[n, axis] - (i * cell[0, axis] + j * cell[1, axis] + k * cell[2, axis])
    return inside


def images(cell: Float[np.ndarray, "3 3"], positions: Float[np.ndarray, "a 3"], radius: float) -> Images:
    """Every image of the atoms that lies within `radius` of some point of the cell, and a few that do not.

    `positions` must lie in the cell (see `wrapped`). With h the inscribed heights, a point within R of the cell has
    fractional coordinates −R/hᵢ ≤ fᵢ ≤ 1 + R/hᵢ; the images in that range are listed, in the order of their lattice
    vector, then of the atoms.
    """
    margin = radius / heights(cell) + 1e-9
    reach = np.floor(margin).astype(np.int64) + 1
    n1, n2, n3 = (grid.reshape(-1, 1) for grid in np.mgrid[tuple(slice(-n, n + 1) for n in reach)])
    inverse = np.linalg.inv(cell)
    kept = np.ones((len(n1), len(positions)), dtype=np.bool_)
    for axis, n in enumerate((n1, n2, n3)):
        fraction = (positions * inverse[:, axis]).sum(axis=1)[None, :] + n
        kept &= (fraction >= -margin[axis]) & (fraction <= 1.0 + margin[axis])
    which, atom = np.nonzero(kept)
    shift = (n1 * cell[0] + n2 * cell[1] + n3 * cell[2])[which]
    return Images(np.ascontiguousarray((positions[atom] + shift).T), atom)


@njit(cache=True, nogil=True)
def blocks(points: np.ndarray, inverse: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Sort points [n, 3] of a cell into `shape` bins of their fractional coordinates (`inverse`: of the cell).

    Returns (order, bounds): block b holds the points order[bounds[b]:bounds[b + 1]]; no block is empty.
    """
    n1, n2, n3 = shape
    home = np.empty(len(points), dtype=np.int64)
    start = np.zeros(n1 * n2 * n3 + 1, dtype=np.int64)
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        i = int((x * inverse[0, 0] + y * inverse[1, 0] + z * inverse[2, 0]) * n1)
        j = int((x * inverse[0, 1] + y * inverse[1, 1] + z * inverse[2, 1]) * n2)
        k = int((x * inverse[0, 2] + y * inverse[1, 2] + z * inverse[2, 2]) * n3)
        i, j, k = min(max(i, 0), n1 - 1), min(max(j, 0), n2 - 1), min(max(k, 0), n3 - 1)
        home[n] = (i * n2 + j) * n3 + k
        start[home[n] + 1] += 1
    bounds = np.zeros(len(start), dtype=np.int64)
    filled = 0
    for b in range(len(start) - 1):
        if start[b + 1] > 0:
            bounds[filled + 1] = bounds[filled] + start[b + 1]
            filled += 1
        start[b + 1] += start[b]
    order = np.empty(len(points), dtype=np.int64)
    for n in range(len(points)):
        order[start[home[n]]] = n
        start[home[n]] += 1
    return order, bounds[: filled + 1].copy()


@njit(cache=True, nogil=True)
def enclose(
    points: np.ndarray, order: np.ndarray, bounds: np.ndarray, positions: np.ndarray, rank: int, likely: float = np.inf
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball around each block of points, and the distance from its centre to the image number `rank` (1 = nearest).

    Returns (centres [b, 3], radii [b], distances [b]); a distance is inf if fewer images than `rank` are given. By the
    triangle inequality the `rank` nearest images of every member lie within distance + 2 radius of the centre.
    `likely` is a distance that the result is probably below: it saves time where it is, and changes nothing.
    """
    count = len(bounds) - 1
    centres = np.empty((count, 3))
    radii = np.empty(count)
    distances = np.full(count, np.inf)
    squares = np.empty(positions.shape[1])
    for b in range(count):
        members = order[bounds[b] : bounds[b + 1]]
        for axis in range(3):
            low, high = np.inf, -np.inf
            for n in members:
                low, high = min(low, points[n, axis]), max(high, points[n, axis])
            centres[b, axis] = 0.5 * (low + high)
        x, y, z = centres[b]
        farthest = 0.0
        for n in members:
            farthest = max(farthest, (points[n, 0] - x) ** 2 + (points[n, 1] - y) ** 2 + (points[n, 2] - z) ** 2)
        radii[b] = np.sqrt(farthest)
        for limit in (likely * likely, np.inf):
            found = 0
            for i in range(len(squares)):
                square = (positions[0, i] - x) ** 2 + (positions[1, i] - y) ** 2 + (positions[2, i] - z) ** 2
                squares[found] = square
                found += square <= limit
            if found >= rank:
                distances[b] = np.sqrt(np.partition(squares[:found], rank - 1)[rank - 1])
                break
    return centres, radii, distances


def nearest_atoms(
    points: Float[np.ndarray, "n 3"], cell: Float[np.ndarray, "3 3"], positions: Float[np.ndarray, "a 3"]
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """The atom whose nearest periodic image is closest to each point, and its distance (Bohr); of equals the first."""
    small = reduced(cell)
    shifts = np.array(list(product((-1, 0, 1), repeat=3))) @ small  # enough, for the cell is reduced
    atom, distance = np.empty(len(points), np.int64), np.empty(len(points))
    inverse = np.linalg.inv(small)
    for i, point in enumerate(points):
        fractions = (positions - point) @ inverse
        apart = (fractions - np.round(fractions)) @ small
        squared = np.square(apart[:, None] + shifts).sum(axis=2).min(axis=1)
        atom[i] = int(np.argmin(squared))
        distance[i] = np.sqrt(squared[atom[i]])
    return atom, distance

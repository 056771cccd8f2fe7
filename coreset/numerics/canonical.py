"""The canonical row of a point whose neighbourhood is symmetric: tied distances, equal eigenvalues, or no skew.

In crystals such points are the rule. Any choice made by the order of the atoms or by rounding would give equivalent
points different rows, so the row is defined as a maximum over all choices:

1. Sorted by distance, atoms whose distances follow each other within the tolerance form a tied shell, which is ordered
   by atomic number: sub-shells (shell, Z). All sub-shells up to the one with the M-th neighbour take part.
2. If that last one is cut by M, each of its n atoms counts with weight (M − inner) / n in the mean, the covariance and
   the skew, so that the principal axes need no choice among them.
3. Where axes or signs are not unique, all candidate frames are tried that `frames` lists.
4. In each frame the atoms of a sub-shell are ordered by x, then y, then z, descending; the first M atoms are the row.
   The lexicographically largest row wins: x₁ decides, then y₁, z₁, x₂ …

Distances within the tolerance are equal in these comparisons, and so are components within BLUR times the tolerance:
the axes turn with the positions by up to the inverse of the eigenvalue gap, so components are less certain. Every step
turns with the atoms and ignores their order, so the row is invariant under rotation, translation, permutation and
choice of image (and, with free handedness, reflection) to within these tolerances; positions of a perfect crystal that
were rounded to a tenth of the tolerance give rows next to those of the exact ones (measured, not proven).

Cost: the number of frames is at most 4 n n' with n, n' the sizes of two sub-shells, reached in the most symmetric
sites only (48 on an atom of fcc, with free handedness); a frame is dropped at its first smaller component.
"""

import numpy as np
from numba import njit

from coreset.numerics.frames import (
    GAP,
    covariance,
    first_axes,
    principal_axes,
    second_axes,
    sign_by_skew,
    third_axes,
)

BLUR = 10.0
"""Components are equal within so many times the tolerance of distances."""
NOISE = 1e-9
"""Components below this (Bohr) are written as +0, so that rounding decides neither their sign nor their value."""


@njit(cache=True, nogil=True)
def tied_shell_end(distances: np.ndarray, neighbours: int, tolerance: float) -> int:
    """Length of the shortest head of the sorted distances that holds `neighbours` of them and cuts no tied shell."""
    end = neighbours
    while end < len(distances) and distances[end] - distances[end - 1] <= tolerance:
        end += 1
    return end


@njit(cache=True, nogil=True)
def _sub_shells(
    distances: np.ndarray, numbers: np.ndarray, neighbours: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms in order of (tied shell, Z, distance), and bounds of the sub-shells up to that of the last neighbour."""
    count = len(distances)
    order = np.arange(count)
    bounds = np.zeros(count + 1, dtype=np.int64)
    shells = begin = 0
    while bounds[shells] < neighbours:
        end = begin + 1
        while end < count and distances[end] - distances[end - 1] <= tolerance:
            end += 1
        for i in range(begin + 1, end):
            atom, j = order[i], i
            while j > begin and numbers[order[j - 1]] > numbers[atom]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = atom
        for i in range(begin + 1, end + 1):
            if bounds[shells] < neighbours and (i == end or numbers[order[i]] != numbers[order[i - 1]]):
                shells += 1
                bounds[shells] = i
        begin = end
    return order[: bounds[shells]], bounds[: shells + 1]


@njit(cache=True, nogil=True)
def _descending(order: np.ndarray, key: np.ndarray, begin: int, end: int) -> None:
    """Stable insertion sort of order[begin:end] by key, largest first."""
    for i in range(begin + 1, end):
        item, j = order[i], i
        while j > begin and key[order[j - 1]] < key[item]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = item


@njit(cache=True, nogil=True)
def _tied(order: np.ndarray, key: np.ndarray, begin: int, end: int, tolerance: float) -> int:
    """End of the run of order[begin:end], sorted by key, whose neighbouring keys are equal within the tolerance."""
    i = begin + 1
    while i < end and key[order[i - 1]] - key[order[i]] <= tolerance:
        i += 1
    return i


@njit(cache=True, nogil=True)
def _by_component(order: np.ndarray, seen: np.ndarray, begin: int, end: int, tolerance: float) -> None:
    """Order atoms order[begin:end] by components seen [3, m], x first, largest first, equal within the tolerance."""
    _descending(order, seen[0], begin, end)
    i = begin
    while i < end:
        j = _tied(order, seen[0], i, end, tolerance)
        if j > i + 1:
            _descending(order, seen[1], i, j)
            k = i
            while k < j:
                m = _tied(order, seen[1], k, j, tolerance)
                if m > k + 1:
                    _descending(order, seen[2], k, m)
                k = m
        i = j


@njit(cache=True, nogil=True)
def _larger_row(
    frame: np.ndarray, vectors: np.ndarray, bounds: np.ndarray, best: np.ndarray, atoms: np.ndarray, tolerance: float,
    first: bool,
) -> bool:  # fmt: skip
    """Whether the row in `frame` exceeds `best` [M, 3], or is the `first`; then it replaces it and its `atoms` [M]."""
    neighbours = len(best)
    order = np.arange(len(vectors))
    seen = np.empty((3, len(vectors)))
    larger = first
    for s in range(len(bounds) - 1):
        begin, end = bounds[s], bounds[s + 1]
        for i in range(begin, end):
            for axis in range(3):
                seen[axis, i] = (
                    vectors[i, 0] * frame[axis, 0] + vectors[i, 1] * frame[axis, 1] + vectors[i, 2] * frame[axis, 2]
                )
        if end > begin + 1:
            _by_component(order, seen, begin, end, tolerance)
        if not larger:
            for i in range(begin, min(end, neighbours)):
                for axis in range(3):
                    difference = seen[axis, order[i]] - best[i, axis]
                    if difference < -tolerance:
                        return False
                    if difference > tolerance:
                        larger = True
                        break
                if larger:
                    break
    if larger:
        for i in range(neighbours):
            atoms[i] = order[i]
            for axis in range(3):
                value = seen[axis, order[i]]
                best[i, axis] = value if abs(value) > NOISE else 0.0
    return larger


@njit(cache=True, nogil=True)
def canonical_row(
    vectors: np.ndarray, distances: np.ndarray, numbers: np.ndarray, neighbours: int, free: bool, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Components [M, 3] of the M neighbours in the canonical frame, and which of the given atoms [M] they are.

    `vectors` [m, 3] from the point to the atoms, sorted by their `distances` [m], must hold all atoms of the tied shell
    of the M-th neighbour, see `tied_shell_end`; `numbers` [m] are atomic numbers; lengths in Bohr.
    """
    order, bounds = _sub_shells(distances, numbers, neighbours, tolerance)
    vectors = vectors[order]
    x, y, z = vectors[:, 0].copy(), vectors[:, 1].copy(), vectors[:, 2].copy()
    weights = np.ones(len(order))
    inner, outer = bounds[-2], bounds[-1]
    weights[inner:] = (neighbours - inner) / (outer - inner)
    mean, moments, values, axes = np.empty(3), np.empty(6), np.empty(3), np.empty((3, 3))
    covariance(x, y, z, weights, mean, moments)
    principal_axes(moments, values, axes)
    # Below tolerance² there is no spread at all: one atom, or several on one spot.
    spread = max(values[0] + values[1] + values[2], tolerance * tolerance)
    equal = np.array([values[0] - values[1] <= GAP * spread, values[1] - values[2] <= GAP * spread])
    signs = np.zeros(3, dtype=np.int64)
    for axis in range(3):
        signs[axis] = sign_by_skew(x, y, z, weights, mean, axes[axis], spread)
    best, atoms, frame = np.empty((neighbours, 3)), np.empty(neighbours, dtype=np.int64), np.empty((3, 3))
    blur = BLUR * tolerance
    found = False
    for first in first_axes(axes, signs, equal, vectors, bounds, blur):
        for second in second_axes(first, axes, signs, equal, vectors, bounds, blur):
            for third in third_axes(first, second, axes, signs, equal, free):
                frame[0], frame[1], frame[2] = first, second, third
                found |= _larger_row(frame, vectors, bounds, best, atoms, blur, not found)
    return best, order[atoms]

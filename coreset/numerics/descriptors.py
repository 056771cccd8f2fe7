"""Descriptors of atomic neighbourhoods: the M nearest atoms of a point in their own frame (arXiv 2507.09001, Eq. 1).

    D = (x₁, y₁, z₁, …, x_M, y_M, z_M, Z₁, …, Z_M [, d₁, …, d_M])

(xᵢ, yᵢ, zᵢ) are the components, in Bohr, of the vector from the point to its i-th nearest periodic image of an atom, in
the frame of the principal axes of the M images (`frames`); Zᵢ is the atomic number, dᵢ the distance in Bohr. Rows are
ordered by distance. The paper leaves open M, order, centring, signs and handedness; `Descriptor` names our choices.

Where neighbours are tied, eigenvalues equal or an axis without skew, the row is defined by `canonical`, and the point
is counted in `Described.fallback`. With that the descriptor is invariant under rotation, translation, permutation of
the atoms and the choice of cell and images at every point, also in perfect crystals, where most points need it.

No cell is too small or too skewed: points are sorted into blocks, each with the ball around it; by the triangle
inequality all neighbours of all members lie within d_{M+1}(centre) + 2 radius of the centre, and images of the atoms
are listed at least that far out (checked, and repeated with a larger radius where the first guess was too small). The
members of a block share those candidates. A point's features do not depend, to the last bit, on the other points.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numba import njit

from coreset.errors import RequestError
from coreset.numerics.canonical import canonical_row, tied_shell_end
from coreset.numerics.frames import GAP, covariance, principal_axes, sign_by_skew
from coreset.numerics.periodic import blocks, enclose, heights, images, reduced, wrapped

_UNIQUE, _SYMMETRIC, _OPEN = 0, 1, 2
_TOGETHER = 8
"""Consecutive blocks, most of them neighbours, that choose among the same images."""


@dataclass(frozen=True)
class Descriptor:
    """What a descriptor holds. Raises RequestError for settings that mean nothing.

    neighbours: M, the number of nearest atoms. distances: append d₁ … d_M. handedness: "right" frames have
    e₃ = e₁ × e₂ and tell mirror images apart, "free" ones take the sign of e₃ by its skew and do not. tie_tolerance:
    lengths (Bohr) that differ by no more are equal; it must exceed the rounding of the positions.
    """

    neighbours: int = 40
    distances: bool = False
    handedness: Literal["right", "free"] = "right"
    tie_tolerance: float = 1e-5

    def __post_init__(self) -> None:
        """Check the settings."""
        if isinstance(self.neighbours, bool) or not isinstance(self.neighbours, int) or self.neighbours < 1:
            raise RequestError(f"descriptor.neighbours: expected a positive integer, got {self.neighbours!r}")
        if self.handedness not in ("right", "free"):
            raise RequestError(f'descriptor.handedness: expected "right" or "free", got {self.handedness!r}')
        if not 1e-9 <= self.tie_tolerance <= 1e-3:
            raise RequestError(
                f"descriptor.tie_tolerance: expected 1e-9 to 1e-3 Bohr, between rounding and physics, "
                f"got {self.tie_tolerance!r}"
            )

    @property
    def length(self) -> int:
        """Number of features: 4 M, or 5 M with distances."""
        return (5 if self.distances else 4) * self.neighbours


@dataclass(frozen=True)
class Described:
    """Descriptors of points: `features` in the order of Eq. 1, and the points that needed the canonical `fallback`."""

    features: Float32[np.ndarray, "n f"]
    fallback: Bool[np.ndarray, "n"]


@dataclass(frozen=True)
class Crystal:
    """Checked atoms in a reduced cell (rows = lattice vectors), wrapped into it; lengths in Bohr."""

    cell: Float[np.ndarray, "3 3"]
    positions: Float[np.ndarray, "a 3"]
    numbers: Int[np.ndarray, "a"]

    def radius(self, neighbours: int) -> float:
        """Radius (Bohr) of the ball that holds that many atoms at the mean density."""
        volume = abs(float(np.linalg.det(self.cell)))
        return float(np.cbrt(3.0 * neighbours * volume / (4.0 * math.pi * len(self.numbers))))


def crystal(
    cell: Float[np.ndarray, "3 3"], positions: Float[np.ndarray, "a 3"], numbers: Int[np.ndarray, "a"]
) -> Crystal:
    """Check cell, positions and numbers, and bring them into a form that depends little on how they were given.

    Raises RequestError for a cell without volume, no atoms, positions that are not finite, numbers that are not
    positive integers, and shapes that do not fit.
    """
    positions, numbers = np.asarray(positions, dtype=np.float64), np.asarray(numbers)
    if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
        raise RequestError(f"positions: expected one atom or more, shape (atoms, 3), got shape {positions.shape}")
    if not np.isfinite(positions).all():
        atom = int(np.nonzero(~np.isfinite(positions).all(axis=1))[0][0])
        raise RequestError(f"positions: expected finite coordinates, got {positions[atom].tolist()} for atom {atom}")
    if numbers.shape != (len(positions),) or numbers.dtype.kind not in "iu" or numbers.min() < 1:
        raise RequestError(
            f"numbers: expected {len(positions)} positive integers, one per atom, "
            f"got {numbers.dtype} of shape {numbers.shape}"
        )
    small = reduced(cell)
    return Crystal(small, wrapped(positions, small), numbers.astype(np.int64))


def checked_points(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The points as float64 [n, 3]; raises RequestError for another shape and for coordinates that are not finite."""
    points = np.ascontiguousarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise RequestError(f"points: expected shape (n, 3), got {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.nonzero(~np.isfinite(points).all(axis=1))[0][0])
        raise RequestError(f"points: expected finite coordinates, got {points[row].tolist()} in row {row}")
    return points


def describe(
    points: Float[np.ndarray, "n 3"],
    cell: Float[np.ndarray, "3 3"],
    positions: Float[np.ndarray, "a 3"],
    numbers: Int[np.ndarray, "a"],
    descriptor: Descriptor,
) -> Described:
    """Descriptors of points (Cartesian, Bohr) among the periodic images of atoms of atomic `numbers` at `positions`.

    The rows of `cell` are the lattice vectors, in Bohr; points and atoms may lie outside of it. One thread, which
    releases the GIL. Raises RequestError as `crystal` and `checked_points` do, and if the tolerance ties
    all atoms to each other.
    """
    atoms = crystal(cell, positions, numbers)
    inside = wrapped(checked_points(points), atoms.cell)
    features = np.empty((len(inside), descriptor.length), dtype=np.float32)
    status = np.full(len(inside), _OPEN, dtype=np.uint8)
    slack = 16.0 * descriptor.tie_tolerance
    rows = np.arange(len(inside))
    while len(rows):
        _describe(inside, rows, atoms, descriptor, slack, features, status)
        # A tied shell that reached the edge of the candidates: once more for these points, with a wider edge.
        rows = np.nonzero(status == _OPEN)[0]
        if len(rows) and slack > 2.0 * atoms.radius(descriptor.neighbours + 1):
            raise RequestError(
                f"descriptor.tie_tolerance: expected fewer tied atoms; from the point {inside[rows[0]].tolist()} all "
                f"distances to {slack:.2g} Bohr beyond neighbour {descriptor.neighbours} follow each other within "
                f"{descriptor.tie_tolerance} Bohr: check that lengths are in Bohr, or choose a smaller tolerance"
            )
        slack *= 8.0
    return Described(features, status == _SYMMETRIC)


def _describe(
    points: Float[np.ndarray, "n 3"],
    rows: Int[np.ndarray, "k"],
    atoms: Crystal,
    descriptor: Descriptor,
    slack: float,
    features: Float32[np.ndarray, "n f"],
    status: Int[np.ndarray, "n"],
) -> None:
    """Fill the given rows of features and status; candidates reach `slack` (Bohr) beyond the neighbour M + 1."""
    wanted = descriptor.neighbours + 1
    order, bounds = blocks(points[rows], np.linalg.inv(atoms.cell), _block_shape(atoms, wanted, len(rows)))
    order = rows[order]
    radius = 1.2 * atoms.radius(wanted)
    while True:
        around = images(atoms.cell, atoms.positions, radius)
        centres, radii, distances = enclose(points, order, bounds, around.positions, wanted, 1.3 * atoms.radius(wanted))
        reach = distances + 2.0 * radii + slack
        if reach.max() <= radius:
            break
        # Distances to an incomplete list are upper bounds, so the next radius is enough, unless too few were listed.
        radius = 1.000001 * float(reach.max()) if np.isfinite(reach).all() else 2.0 * radius
    _describe_blocks(
        points, order, bounds, centres, distances, reach, around.positions, atoms.numbers[around.atom],
        descriptor.neighbours, descriptor.distances, descriptor.handedness == "free", descriptor.tie_tolerance,
        features, status,
    )  # fmt: skip


def _block_shape(atoms: Crystal, wanted: int, points: int) -> tuple[int, int, int]:
    """Numbers of blocks along the lattice vectors that take the least work for so many points.

    Large blocks share the work of listing candidates; small ones have fewer candidates.
    """
    lengths = np.linalg.norm(atoms.cell, axis=1)
    volume = abs(float(np.linalg.det(atoms.cell)))
    density, radius = len(atoms.numbers) / volume, atoms.radius(wanted)
    listed = len(atoms.numbers) * float(np.prod(1.0 + 2.0 * radius / heights(atoms.cell)))

    def work(edge: float) -> float:
        # Up to a unit of time: a look at every image once per block, a look at every candidate once per point.
        members = max(1.0, points * edge**3 / volume)
        return 2.0 * listed / members + density * 4.2 * (radius + 1.73 * edge) ** 3

    edge = min((radius * factor for factor in np.geomspace(0.05, 2.0, 20)), key=work)
    # More blocks than points help nobody.
    edge = max(edge, float(np.cbrt(volume / (4.0 * points))))
    n1, n2, n3 = (max(1, round(float(length) / edge)) for length in lengths)
    return n1, n2, n3


@njit(cache=True, nogil=True)
def _nearest(
    squares: np.ndarray, count: int, limit: float, wanted: int, home: np.ndarray, start: np.ndarray, order: np.ndarray
) -> int:
    """Write to order[:k] the indices of the k smallest of squares[:count], ascending, equal ones by index; return k.

    k is at least `wanted`, or else the number of squares below `limit`. Buckets linear in d², where the density of
    atoms is nearly even, leave almost nothing to the insertion sort.
    """
    bins = len(start) - 2
    scale = bins * (1.0 - 1e-9) / limit
    start[:] = 0
    for i in range(count):
        home[i] = min(int(squares[i] * scale), bins)
    for i in range(count):
        start[home[i] + 1] += 1
    found = total = 0
    for b in range(bins):
        if total < wanted:
            found += start[b + 1]
            total = found
        start[b + 1] += start[b]
    for i in range(count):
        b = home[i]
        order[start[b]] = i
        start[b] += 1
    for i in range(1, found):
        item = order[i]
        square = squares[item]
        j = i
        while j > 0 and squares[order[j - 1]] > square:
            order[j] = order[j - 1]
            j -= 1
        order[j] = item
    return found


@njit(cache=True, nogil=True)
def _in_box(around: np.ndarray, centres: np.ndarray, reach: np.ndarray, listed: np.ndarray) -> int:
    """Write to listed[:k], ascending, the images around [3, i] in the box that holds all balls; return k.

    A large cell has many images, of which a few consecutive blocks need a small part.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for b in range(len(centres)):
        for axis in range(3):
            low[axis] = min(low[axis], centres[b, axis] - reach[b])
            high[axis] = max(high[axis], centres[b, axis] + reach[b])
    found = 0
    for i in range(around.shape[1]):
        listed[found] = i
        inside = (around[0, i] >= low[0]) & (around[0, i] <= high[0])
        inside &= (around[1, i] >= low[1]) & (around[1, i] <= high[1])
        inside &= (around[2, i] >= low[2]) & (around[2, i] <= high[2])
        found += inside
    return found


@njit(cache=True, nogil=True)
def _describe_blocks(
    points: np.ndarray,
    order: np.ndarray,
    bounds: np.ndarray,
    centres: np.ndarray,
    distances: np.ndarray,
    reach: np.ndarray,
    around: np.ndarray,
    numbers: np.ndarray,
    neighbours: int,
    with_distances: bool,
    free: bool,
    tolerance: float,
    features: np.ndarray,
    status: np.ndarray,
) -> None:
    """Describe the points of each block by the candidates within `reach` of its centre.

    centres [b, 3], distances [b] (of the neighbour M + 1 of the centre) and reach [b] as `enclose` gives them; around
    [3, i] and numbers [i] are the images; features [n, f] and status [n] are written.
    """
    m = neighbours
    size = around.shape[1]
    kinds = np.empty(size, dtype=numbers.dtype)
    cx, cy, cz, squares = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    home, sort = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    start = np.empty(2 * m + 6, dtype=np.int32)
    x, y, z, ones = np.empty(m), np.empty(m), np.empty(m), np.ones(m)
    mean, moments, values, axes = np.empty(3), np.empty(6), np.empty(3), np.empty((3, 3))
    listed, nearby = np.empty(size, dtype=np.int64), 0
    for b in range(len(bounds) - 1):
        if b % _TOGETHER == 0:
            nearby = _in_box(around, centres[b : b + _TOGETHER], reach[b : b + _TOGETHER], listed)
        count = 0
        for i in listed[:nearby]:
            u, v, w = around[0, i] - centres[b, 0], around[1, i] - centres[b, 1], around[2, i] - centres[b, 2]
            if u * u + v * v + w * w <= reach[b] * reach[b]:
                cx[count], cy[count], cz[count], kinds[count] = around[0, i], around[1, i], around[2, i], numbers[i]
                count += 1
        for member in order[bounds[b] : bounds[b + 1]]:
            px, py, pz = points[member, 0], points[member, 1], points[member, 2]
            for i in range(count):
                u, v, w = cx[i] - px, cy[i] - py, cz[i] - pz
                squares[i] = u * u + v * v + w * w
            off = math.sqrt((px - centres[b, 0]) ** 2 + (py - centres[b, 1]) ** 2 + (pz - centres[b, 2]) ** 2)
            limit = (distances[b] + off + 0.5 * tolerance) ** 2
            _nearest(squares, count, limit, m + 1, home, start, sort)
            unique = _untied(squares, sort, m + 1, tolerance)
            if unique:
                for i in range(m):
                    x[i], y[i], z[i] = cx[sort[i]] - px, cy[sort[i]] - py, cz[sort[i]] - pz
                unique = _unique_frame(x, y, z, ones, mean, moments, values, axes, free)
            if unique:
                status[member] = _UNIQUE
                for i in range(m):
                    for axis in range(3):
                        component = x[i] * axes[axis, 0] + y[i] * axes[axis, 1] + z[i] * axes[axis, 2]
                        features[member, 3 * i + axis] = component
                    features[member, 3 * m + i] = kinds[sort[i]]
                    if with_distances:
                        features[member, 4 * m + i] = math.sqrt(squares[sort[i]])
                continue
            # All candidates within this distance of the point are known, so a shell that ends before it is complete.
            known = reach[b] - off - 1e-9
            found = _nearest(squares, count, known * known, count, home, start, sort)
            near = np.sqrt(squares[sort[:found]])
            shell_end = tied_shell_end(near, m, tolerance)
            if near[shell_end - 1] + tolerance >= known:
                status[member] = _OPEN
                continue
            vectors = np.empty((shell_end, 3))
            for i in range(shell_end):
                vectors[i, 0], vectors[i, 1], vectors[i, 2] = cx[sort[i]] - px, cy[sort[i]] - py, cz[sort[i]] - pz
            row, atoms = canonical_row(vectors, near[:shell_end], kinds[sort[:shell_end]], m, free, tolerance)
            status[member] = _SYMMETRIC
            for i in range(m):
                for axis in range(3):
                    features[member, 3 * i + axis] = row[i, axis]
                features[member, 3 * m + i] = kinds[sort[atoms[i]]]
                if with_distances:
                    features[member, 4 * m + i] = near[atoms[i]]


@njit(cache=True, nogil=True)
def _untied(squares: np.ndarray, order: np.ndarray, count: int, tolerance: float) -> bool:
    """Whether the first `count` distances, ascending in that order, all differ by more than the tolerance."""
    closest = np.inf
    for i in range(1, count):
        closest = min(closest, squares[order[i]] - squares[order[i - 1]])
    # a² − b² > 2 a_max t implies a − b > t, so almost no root is taken.
    if closest > 2.0 * tolerance * (math.sqrt(squares[order[count - 1]]) + tolerance):
        return True
    closest = np.inf
    for i in range(1, count):
        closest = min(closest, math.sqrt(squares[order[i]]) - math.sqrt(squares[order[i - 1]]))
    return closest > tolerance


@njit(cache=True, nogil=True)
def _unique_frame(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, ones: np.ndarray, mean: np.ndarray, moments: np.ndarray,
    values: np.ndarray, axes: np.ndarray, free: bool,
) -> bool:  # fmt: skip
    """Write the signed principal axes (rows) of the vectors, or return False where axes or signs are not unique."""
    covariance(x, y, z, ones, mean, moments)
    principal_axes(moments, values, axes)
    spread = values[0] + values[1] + values[2]
    if values[0] - values[1] <= GAP * spread or values[1] - values[2] <= GAP * spread:
        return False
    for axis in range(3 if free else 2):
        sign = sign_by_skew(x, y, z, ones, mean, axes[axis], spread)
        if sign == 0:
            return False
        for component in range(3):
            axes[axis, component] *= sign
    if not free:
        axes[2, 0] = axes[0, 1] * axes[1, 2] - axes[0, 2] * axes[1, 1]
        axes[2, 1] = axes[0, 2] * axes[1, 0] - axes[0, 0] * axes[1, 2]
        axes[2, 2] = axes[0, 0] * axes[1, 1] - axes[0, 1] * axes[1, 0]
    return True

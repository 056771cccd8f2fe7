"""Local frames of point clouds: principal axes, signs by skewness, and what to do when they are not unique.

The PCA frame of neighbours at r₁ … r_M with weights w has as axes the eigenvectors of the centred covariance
C = Σ wᵢ (rᵢ − r̄)(rᵢ − r̄)ᵀ / Σ wᵢ, in descending order of their eigenvalues λ, each pointing where the third central
moment Σ wᵢ ((rᵢ − r̄)·e)³ / Σ wᵢ is positive. Both vary continuously with the atoms except where

- two eigenvalues are equal: relative gap (λ_a − λ_b) / tr C ≤ GAP, or
- an axis has no skew: |third moment| / (tr C)^(3/2) ≤ SKEW.

There the frame is not unique, and `first_axes`, `second_axes` and `third_axes` list a finite set of candidates that
turns with the atoms. The skew depends on the neighbours alone, not on the point, so signs do not flip on the way from
one grid point to the next. Third axes are e₁ × e₂ in a right-handed frame; in a free one the rule of signs holds for
the third axis too, which makes components invariant under reflection.

Everything is compiled scalar code: sums run in the order given, so equal input has equal bits.
"""

import math

import numpy as np
from numba import njit

GAP = 1e-5
"""Relative eigenvalue gap at or below which two principal axes are taken for degenerate."""
SKEW = 1e-5
"""Relative third moment at or below which an axis is taken to have no direction."""
_SWEEPS = 16


@njit(cache=True, nogil=True)
def covariance(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, weights: np.ndarray, mean: np.ndarray, c: np.ndarray
) -> None:
    """Write the weighted mean [3] and the centred covariance C = [xx, yy, zz, xy, xz, yz] of vectors (x, y, z)."""
    total = mx = my = mz = 0.0
    for i in range(len(x)):
        total += weights[i]
        mx += weights[i] * x[i]
        my += weights[i] * y[i]
        mz += weights[i] * z[i]
    mx /= total
    my /= total
    mz /= total
    xx = yy = zz = xy = xz = yz = 0.0
    for i in range(len(x)):
        u, v, w = x[i] - mx, y[i] - my, z[i] - mz
        xx += weights[i] * u * u
        yy += weights[i] * v * v
        zz += weights[i] * w * w
        xy += weights[i] * u * v
        xz += weights[i] * u * w
        yz += weights[i] * v * w
    mean[0], mean[1], mean[2] = mx, my, mz
    c[0], c[1], c[2], c[3], c[4], c[5] = xx / total, yy / total, zz / total, xy / total, xz / total, yz / total


@njit(cache=True, nogil=True)
def _rotation(p: float, q: float, off: float) -> tuple[float, float, float]:
    """Cosine, sine and tangent of the Jacobi rotation that makes [[p, off], [off, q]] diagonal."""
    if off == 0.0:
        return 1.0, 0.0, 0.0
    half = 0.5 * (q - p)
    t = off / (half + math.copysign(math.sqrt(half * half + off * off), half))
    c = 1.0 / math.sqrt(1.0 + t * t)
    return c, t * c, t


@njit(cache=True, nogil=True)
def _closed_form(c: np.ndarray, values: np.ndarray, axes: np.ndarray) -> bool:
    """Eigenvalues and axes as `principal_axes` writes them, three times as fast; False where that would lose digits.

    With q = tr C / 3 and p² = tr (C − q)² / 6, the values are q + 2 p cos(φ + 2πk/3), cos 3φ = det((C − q) / p) / 2
    (Smith, Commun. ACM 4, 168 (1961)); the axis of λ is orthogonal to the rows of C − λ.
    """
    q = (c[0] + c[1] + c[2]) / 3.0
    xx, yy, zz, xy, xz, yz = c[0] - q, c[1] - q, c[2] - q, c[3], c[4], c[5]
    p = math.sqrt((xx * xx + yy * yy + zz * zz + 2.0 * (xy * xy + xz * xz + yz * yz)) / 6.0)
    half = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    half *= 0.5
    # |cos 3φ| near 1 means a small gap, p near 0 two of them; NaN compares False.
    if not (p > 0.03 * q and abs(half) < 0.999 * p * p * p):
        return False
    angle = math.acos(half / (p * p * p)) / 3.0
    high, low = 2.0 * p * math.cos(angle), 2.0 * p * math.cos(angle + 2.0 * math.pi / 3.0)
    values[0], values[1], values[2] = q + high, q - high - low, q + low
    for k in (0, 2):
        shift = high if k == 0 else low
        a, b, d = xx - shift, yy - shift, zz - shift
        # The three products of two rows of C − λ are parallel; the longest has the most digits.
        ux, uy, uz = xy * yz - xz * b, xz * xy - a * yz, a * b - xy * xy
        vx, vy, vz = xy * d - xz * yz, xz * xz - a * d, a * yz - xy * xz
        wx, wy, wz = b * d - yz * yz, yz * xz - xy * d, xy * yz - b * xz
        u, v, w = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, wx * wx + wy * wy + wz * wz
        if v > u:
            ux, uy, uz, u = vx, vy, vz, v
        if w > u:
            ux, uy, uz, u = wx, wy, wz, w
        scale = 1.0 / math.sqrt(u)
        axes[k, 0], axes[k, 1], axes[k, 2] = ux * scale, uy * scale, uz * scale
    axes[1, 0] = axes[2, 1] * axes[0, 2] - axes[2, 2] * axes[0, 1]
    axes[1, 1] = axes[2, 2] * axes[0, 0] - axes[2, 0] * axes[0, 2]
    axes[1, 2] = axes[2, 0] * axes[0, 1] - axes[2, 1] * axes[0, 0]
    return True


@njit(cache=True, nogil=True)
def principal_axes(c: np.ndarray, values: np.ndarray, axes: np.ndarray) -> None:
    """Write the eigenvalues [3], descending, and the unit eigenvectors (rows) [3, 3] of C = [xx, yy, zz, xy, xz, yz].

    A closed form where the eigenvalues are far apart; where they are not, it cancels, and cyclic Jacobi rotations do
    the work to machine precision. The signs of the axes are arbitrary.
    """
    if _closed_form(c, values, axes):
        return
    xx, yy, zz, xy, xz, yz = c[0], c[1], c[2], c[3], c[4], c[5]
    ax, ay, az = 1.0, 0.0, 0.0
    bx, by, bz = 0.0, 1.0, 0.0
    dx, dy, dz = 0.0, 0.0, 1.0
    negligible = 1e-30 * (xx + yy + zz) ** 2
    for _ in range(_SWEEPS):
        if xy * xy + xz * xz + yz * yz <= negligible:
            break
        k, s, t = _rotation(xx, yy, xy)
        xx, yy, xy = xx - t * xy, yy + t * xy, 0.0
        xz, yz = k * xz - s * yz, s * xz + k * yz
        ax, ay, az, bx, by, bz = (
            k * ax - s * bx, k * ay - s * by, k * az - s * bz, s * ax + k * bx, s * ay + k * by, s * az + k * bz,
        )  # fmt: skip
        k, s, t = _rotation(xx, zz, xz)
        xx, zz, xz = xx - t * xz, zz + t * xz, 0.0
        xy, yz = k * xy - s * yz, s * xy + k * yz
        ax, ay, az, dx, dy, dz = (
            k * ax - s * dx, k * ay - s * dy, k * az - s * dz, s * ax + k * dx, s * ay + k * dy, s * az + k * dz,
        )  # fmt: skip
        k, s, t = _rotation(yy, zz, yz)
        yy, zz, yz = yy - t * yz, zz + t * yz, 0.0
        xy, xz = k * xy - s * xz, s * xy + k * xz
        bx, by, bz, dx, dy, dz = (
            k * bx - s * dx, k * by - s * dy, k * bz - s * dz, s * bx + k * dx, s * by + k * dy, s * bz + k * dz,
        )  # fmt: skip
    if xx < yy:
        xx, yy, ax, ay, az, bx, by, bz = yy, xx, bx, by, bz, ax, ay, az
    if yy < zz:
        yy, zz, bx, by, bz, dx, dy, dz = zz, yy, dx, dy, dz, bx, by, bz
    if xx < yy:
        xx, yy, ax, ay, az, bx, by, bz = yy, xx, bx, by, bz, ax, ay, az
    values[0], values[1], values[2] = xx, yy, zz
    axes[0, 0], axes[0, 1], axes[0, 2] = ax, ay, az
    axes[1, 0], axes[1, 1], axes[1, 2] = bx, by, bz
    axes[2, 0], axes[2, 1], axes[2, 2] = dx, dy, dz


@njit(cache=True, nogil=True)
def sign_by_skew(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, weights: np.ndarray, mean: np.ndarray, axis: np.ndarray, spread: float
) -> int:
    """+1 or −1, the sign of the third central moment along `axis` [3]; 0 where it is below SKEW. `spread`: tr C."""
    total = moment = 0.0
    for i in range(len(x)):
        p = (x[i] - mean[0]) * axis[0] + (y[i] - mean[1]) * axis[1] + (z[i] - mean[2]) * axis[2]
        moment += weights[i] * p * p * p
        total += weights[i]
    if abs(moment) <= SKEW * total * spread * math.sqrt(spread):
        return 0
    return 1 if moment > 0.0 else -1


@njit(cache=True, nogil=True)
def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product a × b of vectors [3]."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


@njit(cache=True, nogil=True)
def _signed(axis: np.ndarray, sign: int) -> np.ndarray:
    """The axis with its sign [1, 3], or with both if the sign is 0 [2, 3]."""
    both = np.empty((1 if sign != 0 else 2, 3))
    both[0] = axis if sign >= 0 else -axis
    if sign == 0:
        both[1] = -axis
    return both


@njit(cache=True, nogil=True)
def _towards_atoms(vectors: np.ndarray, shells: np.ndarray, normal: np.ndarray, tolerance: float) -> np.ndarray:
    """Unit vectors [k, 3] orthogonal to `normal` (a unit vector, or 0 for none) towards the first shell off it.

    Of the first shell, vectors[shells[s]:shells[s + 1]], that has an atom farther than `tolerance` from the line along
    `normal`, the atoms farthest from that line. If there is none, every vector lies on the line, each orthogonal
    direction gives the same components, and any one is returned.
    """
    projected = np.empty_like(vectors)
    lengths = np.empty(len(vectors))
    for i in range(len(vectors)):
        along = vectors[i, 0] * normal[0] + vectors[i, 1] * normal[1] + vectors[i, 2] * normal[2]
        for axis in range(3):
            projected[i, axis] = vectors[i, axis] - along * normal[axis]
        lengths[i] = math.sqrt(projected[i, 0] ** 2 + projected[i, 1] ** 2 + projected[i, 2] ** 2)
    for s in range(len(shells) - 1):
        members = lengths[shells[s] : shells[s + 1]]
        longest = members.max()
        if longest > tolerance:
            atoms = shells[s] + np.nonzero(members >= longest - tolerance)[0]
            directions: np.ndarray = projected[atoms] / lengths[atoms].reshape(-1, 1)
            return directions
    smallest = np.argmin(np.abs(normal))
    unit = np.empty((1, 3))
    unit[0] = -normal[smallest] * normal
    unit[0, smallest] += 1.0
    unit /= math.sqrt(unit[0, 0] ** 2 + unit[0, 1] ** 2 + unit[0, 2] ** 2)
    return unit


@njit(cache=True, nogil=True)
def first_axes(
    axes: np.ndarray, signs: np.ndarray, equal: np.ndarray, vectors: np.ndarray, shells: np.ndarray, tolerance: float
) -> np.ndarray:
    """Candidates [k, 3] for e₁, given principal axes (rows), their signs by skew (0: none), and equal = (λ₁=λ₂, λ₂=λ₃).

    `vectors` [m, 3] are the atoms seen from the point, in shells that any symmetry maps onto themselves.
    """
    if not equal[0]:
        return _signed(axes[0], signs[0])
    return _towards_atoms(vectors, shells, np.zeros(3) if equal[1] else axes[2], tolerance)


@njit(cache=True, nogil=True)
def second_axes(
    first: np.ndarray,
    axes: np.ndarray,
    signs: np.ndarray,
    equal: np.ndarray,
    vectors: np.ndarray,
    shells: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Candidates [k, 3] for e₂ where e₁ = `first`; see `first_axes`."""
    if equal[1]:
        return _towards_atoms(vectors, shells, first, tolerance)
    if equal[0]:
        return _signed(cross(axes[2], first), 0)
    return _signed(axes[1], signs[1])


@njit(cache=True, nogil=True)
def third_axes(
    first: np.ndarray, second: np.ndarray, axes: np.ndarray, signs: np.ndarray, equal: np.ndarray, free: bool
) -> np.ndarray:
    """Candidates [k, 3] for e₃: e₁ × e₂ alone, or, in a free frame, the axis with its sign by skew or else both."""
    if not free:
        return cross(first, second).reshape(1, 3)
    return _signed(cross(first, second), 0) if equal[1] else _signed(axes[2], signs[2])

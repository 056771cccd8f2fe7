"""Periodic fields in Fourier space: Sobolev norms, radial spectra, and the same field on another grid.

A field of shape [nx, ny, nz] has its point (i, j, k) at i/nx a₁ + j/ny a₂ + k/nz a₃, with the lattice vectors aᵢ as
rows of `cell`, in Bohr. Its Fourier coefficients are

    f̂(G) = (1/N) Σ_r f(r) exp(−i G·r),        N = nx ny nz,        ∫ f² = Ω Σ_G |f̂(G)|²

with Ω the volume of the cell. A grid cannot tell G from its aliases, G plus any combination of nᵢ bᵢ with bᵢ the
reciprocal vectors (aᵢ·bⱼ = 2π δᵢⱼ). G is here the shortest of them, the minimum image, which in a skewed cell is often
not the one of indices −n/2 … n/2. Terms at the Nyquist index are kept.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Float, Float64
from scipy import fft

from coreset.errors import RequestError
from coreset.numerics.periodic import reduced

_ROUNDING = 1e-9
"""A vector becomes another image only if that is shorter by more than so much, so that ties end the search."""


@dataclass(frozen=True)
class Sobolev:
    """l2² = ∫ f², seminorm² = ∫ |∇f|², norm² = l2² + seminorm².

    For a density's error l2 is in e/Bohr^(3/2), the seminorm in e/Bohr^(5/2), and the norm adds their values in Bohr.
    """

    l2: float
    seminorm: float
    norm: float


@dataclass(frozen=True)
class Spectrum:
    """power[s]: Ω Σ |f̂(G)|² over edges[s] ≤ |G| < edges[s + 1]; they add up to l2².

    `edges`, shape [t], t = s + 1, in Bohr⁻¹, are multiples of one width from 0, so that spectra of different cells line
    up; `power`, shape [s], is in e²/Bohr³ for a density's error.
    """

    edges: Float64[np.ndarray, " t"]
    power: Float64[np.ndarray, " s"]


def wave_numbers(cell: Float[np.ndarray, "3 3"], grid: tuple[int, int, int]) -> Float64[np.ndarray, "nx ny nz"]:
    """|G|² (Bohr⁻²) of each index of the Fourier transform, with the minimum-image G; read-only.

    Raises RequestError for a cell without volume and for a shape that is no grid.
    """
    if len(grid) != 3 or min(grid) < 1:
        raise RequestError(f"grid: expected three positive numbers of points, found {tuple(grid)}.")
    return _wave_numbers(_checked(cell).tobytes(), (grid[0], grid[1], grid[2]), grid[2])


def sobolev(error: Float[np.ndarray, "nx ny nz"], cell: Float[np.ndarray, "3 3"]) -> Sobolev:
    """L² norm, H¹ semi-norm and H¹ norm of a real field: seminorm² = Ω Σ_G |G|² |f̂(G)|².

    Exact for a field whose plane waves the grid can tell apart. Computed in float64. Raises RequestError for a field
    without three axes and for a cell without volume. Source: Pathrudkar et al., arXiv 2507.09001, section V.1.
    """
    power, squares = _power(error, cell)
    l2, seminorm = float(power.sum()), float((squares * power).sum())
    return Sobolev(np.sqrt(l2).item(), np.sqrt(seminorm).item(), np.sqrt(l2 + seminorm).item())


def power_spectrum(
    error: Float[np.ndarray, "nx ny nz"], cell: Float[np.ndarray, "3 3"], width: float = 0.25
) -> Spectrum:
    """How much of ∫ f² is in each shell of |G| of the given width (Bohr⁻¹), up to the last |G| of the grid.

    Raises RequestError as `sobolev` does, and for a width that is not positive.
    """
    if not width > 0:
        raise RequestError(f"width: expected a positive width of the shells in Bohr⁻¹, found {width}.")
    power, squares = _power(error, cell)
    shells = np.floor(np.sqrt(squares) / width).astype(np.int64)
    count = int(shells.max()) + 1
    return Spectrum(np.arange(count + 1) * width, np.bincount(shells.ravel(), power.ravel(), minlength=count))


def resample(field: Float[np.ndarray, "nx ny nz"], grid: tuple[int, int, int]) -> Float64[np.ndarray, "mx my mz"]:
    """The field on another grid of the same cell, by padding or truncating its Fourier transform along each axis.

    The mean, and so the integral, is kept; a field that both grids resolve is reproduced at every new point. An axis'
    Nyquist term is a cosine: a finer axis gets half of it at either sign, a coarser one the sum of both, so a real
    field stays real. A density may dip below zero between its points, or where it is cut off.

    Raises RequestError for a field without three axes and for a shape that is no grid.
    """
    resampled = _field(field)
    if len(grid) != 3 or min(grid) < 1:
        raise RequestError(f"grid: expected three positive numbers of points, found {tuple(grid)}.")
    for axis, (old, new) in enumerate(zip(resampled.shape, grid, strict=True)):
        if new == old:
            continue
        fewer = min(old, new)
        spectrum = np.moveaxis(fft.rfft(resampled, axis=axis), axis, -1)[..., : fewer // 2 + 1]
        if fewer % 2 == 0:
            # irfft takes a term below its own Nyquist index for two, and the real part of the one at it for one.
            spectrum[..., -1] *= 0.5 if new > old else 2.0
        resampled = np.moveaxis(fft.irfft(spectrum, new), -1, axis) * (new / old)
    return np.ascontiguousarray(resampled)


def _power(
    field: Float[np.ndarray, "nx ny nz"], cell: Float[np.ndarray, "3 3"]
) -> tuple[Float64[np.ndarray, "nx ny hz"], Float64[np.ndarray, "nx ny hz"]]:
    """Ω |f̂(G)|² and |G|² of the indices 0 … nz/2 of the last axis; those of the others are added to their mirrors'."""
    field, cell = _field(field), _checked(cell)
    nx, ny, nz = field.shape
    power = np.square(np.abs(fft.rfftn(field) / field.size)) * abs(np.linalg.det(cell))
    power[..., 1 : (nz + 1) // 2] *= 2
    return power, _wave_numbers(cell.tobytes(), (nx, ny, nz), nz // 2 + 1)


@lru_cache(maxsize=4)
def _wave_numbers(cell: bytes, grid: tuple[int, int, int], last: int) -> Float64[np.ndarray, "nx ny last"]:
    """|G|² of the first `last` indices of the last axis; the errors of many networks share a snapshot's cell."""
    reciprocal = 2 * np.pi * np.linalg.inv(np.frombuffer(cell).reshape(3, 3)).T
    index = np.meshgrid(
        *(fft.fftfreq(n, 1 / n)[:end] for n, end in zip(grid, (*grid[:2], last), strict=True)), indexing="ij"
    )
    waves = np.stack(index, axis=-1) @ reciprocal
    squares: Float64[np.ndarray, "nx ny last"] = np.square(_shortest(waves, np.array(grid)[:, None] * reciprocal)).sum(
        -1
    )
    squares.flags.writeable = False
    return squares


def _shortest(
    vectors: Float64[np.ndarray, "nx ny nz 3"], lattice: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "nx ny nz 3"]:
    """The shortest vectors that differ from the given ones by lattice vectors.

    A vector is shortest if no Voronoi-relevant lattice vector v brings it nearer to 0, that is |x·v| ≤ |v|²/2, and
    shortening by one v after the other ends there (the iterative slicer: Sommer, Feder & Shalvi, SIAM J. Discrete
    Math. 23, 715 (2009)). The coordinates of the relevant vectors in a Minkowski-reduced basis are −1, 0 or 1 (Nguyen &
    Stehlé, ACM Trans. Algorithms 5, 46 (2009)).
    """
    basis = reduced(lattice)
    vectors = vectors - np.rint(vectors @ np.linalg.inv(basis)) @ basis
    relevant = [np.array(step) @ basis for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
    moved = True
    while moved:
        moved = False
        for v in relevant:
            multiple = np.rint((1 - _ROUNDING) * (vectors @ v) / (v @ v))
            if multiple.any():
                vectors -= multiple[..., None] * v
                moved = True
    return vectors


def _field(field: Float[np.ndarray, "..."]) -> Float64[np.ndarray, "nx ny nz"]:
    field = np.asarray(field, dtype=np.float64)
    if field.ndim != 3 or not field.size:
        raise RequestError(f"field: expected three axes of grid points, found shape {list(field.shape)}; reshape it.")
    return field


def _checked(cell: Float[np.ndarray, "..."]) -> Float64[np.ndarray, "3 3"]:
    cell = np.ascontiguousarray(cell, dtype=np.float64)
    reduced(cell)  # raises unless these are three vectors that span a volume
    return cell

"""Error of a predicted field: NRMSE of one snapshot, also block by block; NMAE; electrons lost, and given back.

    NRMSE = sqrt( (1/N) Σ_i (ρ^ML_i − ρ^DFT_i)² ) / (max_i ρ^DFT_i − min_i ρ^DFT_i)
    NMAE = Σ_i |ρ^ML_i − ρ^DFT_i| / Σ_i |ρ^DFT_i|

have no unit; range and sum are the reference's. Source: Pathrudkar et al., arXiv 2507.09001, equation 3 for NRMSE,
equation 4 for the rescaled density; NMAE is that of Jørgensen and Bhowmik, npj Comput. Mater. 8, 183 (2022).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from coreset.errors import DataError, RequestError


@dataclass(frozen=True)
class ErrorSums:
    """What NRMSE needs of the points seen so far: their count, Σ (ρ^ML − ρ^DFT)², and the extremes of ρ^DFT."""

    count: int
    squared_error: float
    low: float
    high: float

    @classmethod
    def of(cls, predicted: Float[np.ndarray, "..."], reference: Float[np.ndarray, "..."]) -> "ErrorSums":
        """The sums over one block; both fields have the same shape and unit, and at least one point.

        Raises `RequestError` for shapes that do not match and for no points, `DataError` for a value that is not
        finite.
        """
        reference = np.asarray(reference)
        error = _error(predicted, reference)
        return cls(error.size, float(np.square(error).sum()), float(reference.min()), float(reference.max()))

    def merge(self, other: "ErrorSums") -> "ErrorSums":
        """The sums over the points of both, as if seen at once (to float64 rounding)."""
        return ErrorSums(
            self.count + other.count,
            self.squared_error + other.squared_error,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def rmse(self) -> float:
        """Root mean square error, in the unit of the field."""
        return float(np.sqrt(self.squared_error / self.count))

    @property
    def nrmse(self) -> float:
        """Equation 3. Raises `DataError` for a constant reference, whose range is zero."""
        if self.high == self.low:
            raise DataError(
                f"reference: expected values that differ, found {self.low} at all {self.count} points; NRMSE divides "
                "by their range, so use the rmse instead."
            )
        return self.rmse / (self.high - self.low)


def nrmse(predicted: Float[np.ndarray, "..."], reference: Float[np.ndarray, "..."]) -> float:
    """Equation 3 for whole fields of any equal shape, summed in float64; raises as `ErrorSums.of` and `.nrmse` do."""
    return ErrorSums.of(predicted, reference).nrmse


def nmae(predicted: Float[np.ndarray, "..."], reference: Float[np.ndarray, "..."]) -> float:
    """Σ |ρ^ML − ρ^DFT| / Σ |ρ^DFT| of whole fields of any equal shape, summed in float64.

    Raises as `ErrorSums.of` does, and `DataError` for a reference that is 0 everywhere.
    """
    error = _error(predicted, reference)
    total = float(np.abs(reference).sum(dtype=np.float64))
    if not total:
        raise DataError(
            f"reference: expected some density, found 0 at all {error.size} points; NMAE divides by its sum, so use "
            "the rmse instead."
        )
    return float(np.abs(error).sum()) / total


def electrons_lost(predicted: Float[np.ndarray, "..."], electrons: float, volume: float) -> float:
    """N − (Ω/n) Σ_i ρ^ML_i: how many of the N electrons the prediction lacks; negative where it has too many.

    `predicted` holds the n points (e/Bohr³) of a whole cell of `volume` Ω (Bohr³), not rescaled.
    """
    return electrons - _integral(predicted, volume)


def rescale(predicted: Float[np.ndarray, "..."], electrons: float, volume: float) -> Float64[np.ndarray, "..."]:
    """Equation 4: ρ N / ∫ρ, the prediction (e/Bohr³) made to hold N electrons; ∫ρ = (Ω/n) Σ_i ρ_i, in float64.

    Raises `DataError` for a density whose integral is not a positive number: no factor makes N electrons of it.
    """
    held = _integral(predicted, volume)
    if not (0 < held < np.inf):
        raise DataError(
            f"predicted: expected a density that integrates to something positive, found {held} electrons of "
            f"{electrons}; this is no density, so train the network that gave it again."
        )
    return np.asarray(predicted, dtype=np.float64) * (electrons / held)


def _integral(density: Float[np.ndarray, "..."], volume: float) -> float:
    return volume * float(np.mean(density, dtype=np.float64))


def _error(predicted: Float[np.ndarray, "..."], reference: Float[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """ρ^ML − ρ^DFT in float64, of two fields of one shape that hold at least one point and are finite."""
    predicted, reference = np.asarray(predicted), np.asarray(reference)
    if predicted.shape != reference.shape or not reference.size:
        raise RequestError(
            f"predicted: expected the reference's shape {list(reference.shape)} and at least one point, found "
            f"{list(predicted.shape)}."
        )
    with np.errstate(invalid="ignore"):  # infinity less infinity is reported below
        error: np.ndarray = np.subtract(predicted, reference, dtype=np.float64)
    finite = np.isfinite(error).ravel()  # a finite error has two finite terms
    if not finite.all():
        point = int(finite.argmin())
        raise DataError(
            f"expected finite values, found {predicted.flat[point]} predicted for {reference.flat[point]} at point "
            f"{point}."
        )
    return error

"""Error of a predicted field: NRMSE of one snapshot, also block by block.

    NRMSE = sqrt( (1/N) Σ_i (ρ^ML_i − ρ^DFT_i)² ) / (max_i ρ^DFT_i − min_i ρ^DFT_i)

has no unit; the range is the reference's. Source: Pathrudkar et al., arXiv 2507.09001, equation 3.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

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
        predicted, reference = np.asarray(predicted), np.asarray(reference)
        if predicted.shape != reference.shape or not reference.size:
            raise RequestError(
                f"predicted: expected the reference's shape {list(reference.shape)} and at least one point, found "
                f"{list(predicted.shape)}."
            )
        with np.errstate(invalid="ignore"):  # infinity less infinity is reported below
            error = np.subtract(predicted, reference, dtype=np.float64)
        finite = np.isfinite(error).ravel()  # a finite error has two finite terms
        if not finite.all():
            point = int(finite.argmin())
            raise DataError(
                f"expected finite values, found {predicted.flat[point]} predicted for {reference.flat[point]} at point "
                f"{point}."
            )
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

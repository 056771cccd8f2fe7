"""Error of a predicted field: NRMSE of one snapshot, also block by block; NMAE; electrons lost, and given back.

    NRMSE = sqrt( (1/N) Σ_i (ρ^ML_i − ρ^DFT_i)² ) / (max_i ρ^DFT_i − min_i ρ^DFT_i)
    NMAE = Σ_i |ρ^ML_i − ρ^DFT_i| / Σ_i |ρ^DFT_i|

have no unit; range and sum are the reference's. Source: Pathrudkar et al., arXiv 2507.09001, equation 3 for NRMSE,
equation 4 for the rescaled density; NMAE is that of Jørgensen and Bhowmik, npj Comput. Mater. 8, 183 (2022).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Shaped

from coreset.errors import DataError, RequestError, WorkError


def row_errors(
    predicted: Float[np.ndarray, "n o"], targets: Float[np.ndarray, "n o"], ranges: Float[np.ndarray, " o"]
) -> dict[str, float]:
    """Errors of the rows of a table, each target's divided by its range: `nrmse` and `nmae`, over rows and targets.

    nrmse = sqrt( mean_{i,o} ((f_io − y_io) / range_o)² ), nmae = mean_{i,o} |f_io − y_io| / range_o. The ranges are
    those of the whole table, so that a few rows have an error too. Raises `WorkError` for a prediction that is not
    finite, `DataError` for a target that does not vary.
    """
    if not (ranges > 0).all():
        raise DataError(f"target {int((ranges > 0).argmin())}: expected values that differ, found one everywhere.")
    error = (_finite_predictions(predicted) - targets) / ranges
    return {"nrmse": float(np.sqrt(np.square(error).mean())), "nmae": float(np.abs(error).mean())}


def class_errors(probabilities: Float[np.ndarray, "n k"], classes: Shaped[np.ndarray, " n"]) -> dict[str, float]:
    """Errors of predicted probabilities of classes, over the rows of a table.

    error_rate: share of the rows whose most probable class is wrong; log_loss: mean of −log p of the right class, p
    being no less than 10⁻³⁸; nrmse = sqrt( mean_{i,k} (p_ik − [k = y_i])² ), the root of the Brier score over classes;
    nmae: the mean of |p_ik − [k = y_i]|. Raises `WorkError` for probabilities that are not finite.
    """
    p = _finite_predictions(probabilities)
    rows, right = np.arange(len(p)), classes.astype(np.int64)
    error = p.copy()
    error[rows, right] -= 1.0
    return {
        "nrmse": float(np.sqrt(np.square(error).mean())),
        "nmae": float(np.abs(error).mean()),
        "error_rate": float((p.argmax(1) != right).mean()),
        "log_loss": float(-np.log(np.maximum(p[rows, right], 1e-38)).mean()),
    }


def _finite_predictions(predicted: Float[np.ndarray, "n o"]) -> Float[np.ndarray, "n o"]:
    values = np.asarray(predicted, np.float64)
    if not (finite := np.isfinite(values).all(axis=1)).all():
        raise WorkError(f"predicted: expected finite values, found others in row {int(finite.argmin())}.")
    return values


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

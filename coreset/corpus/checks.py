"""What is demanded of a snapshot before it enters a corpus."""

import math
from dataclasses import dataclass

from coreset.errors import RequestError


@dataclass(frozen=True)
class Checks:
    """What is demanded of a snapshot.

    Attributes:
        electron_tolerance: largest |∫ρ dV - N| / N.
        density_floor: smallest density, e/Bohr³; None is 0 for SPARC's files, and for others a hundredth of the largest
            density below 0, for what is made of plane waves rings.
        wrap: SPARC's files: move atoms that lie outside the cell into it, and count them, instead of raising.
    """

    electron_tolerance: float = 1e-3
    density_floor: float | None = None
    wrap: bool = False

    def __post_init__(self) -> None:
        if not self.electron_tolerance > 0.0:
            raise RequestError(f"electron_tolerance: expected a positive number, found {self.electron_tolerance}")
        if self.density_floor is not None and not math.isfinite(self.density_floor):
            raise RequestError(f"density_floor: expected a finite number, found {self.density_floor}")

"""Figures of the error: how each is called, its unit, and with how many digits it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, log10
from typing import Any


@dataclass(frozen=True)
class Quantity:
    """A figure of the error: its name in sweep.json, in words, its unit, and the factor from JSON to that unit."""

    key: str
    label: str
    unit: str
    factor: float
    signed: bool = False
    """Whether it may be negative, and has no place on a logarithmic axis."""

    @property
    def axis(self) -> str:
        """What an axis says."""
        return f"{self.label}, {self.unit}"

    def text(self, estimate: Mapping[str, Any] | None) -> str:
        """Value ± half of the interval."""
        if estimate is None:
            return ""
        if estimate.get("low") is None:
            return f"{self.factor * estimate['value']:.3g}"
        half = self.factor * (estimate["high"] - estimate["low"]) / 2
        digits = decimals(half)
        return f"{self.factor * estimate['value']:.{digits}f} ± {half:.{digits}f}"

    def pair(self, mine: float, theirs: float, difference: Mapping[str, Any]) -> str:
        """Two values, with the digits that the interval of their difference deserves, and two of the lesser."""
        known = difference.get("low") is not None
        digits = decimals(self.factor * (difference["high"] - difference["low"]) / 2) if known else 3
        digits = max(digits, decimals(self.factor * min(abs(mine), abs(theirs))))
        return self.in_unit(f"{self.factor * mine:.{digits}f} against {self.factor * theirs:.{digits}f}")

    def in_unit(self, text: str) -> str:
        """A number, or what stands for it, with its unit."""
        return f"{text} {'× ' if self.unit.startswith('10') else ''}{self.unit}"

    def within(self, estimate: Mapping[str, Any], sign: str = "") -> str:
        """Value [low, high]; `sign` is + where a positive value shall bear one."""
        if estimate.get("low") is None:
            return f"{self.factor * estimate['value']:.3g}"
        value, low, high = (self.factor * estimate[side] for side in ("value", "low", "high"))
        digits = decimals((high - low) / 2)
        return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


NRMSE = Quantity("nrmse", "NRMSE", "%", 100.0)
ERROR_RATE = Quantity("error_rate", "wrong", "%", 100.0)
NMAE = Quantity("nmae", "NMAE", "%", 100.0)
SEMINORM = Quantity("h1_seminorm", "H¹ semi-norm of the error", "10⁻³ e/Bohr^(5/2)", 1e3)
NORM = Quantity("h1_norm", "H¹ norm of the error", "10⁻³ e/Bohr^(5/2)", 1e3)
LOST = Quantity("electrons_lost", "electrons lost", "electrons", 1.0, signed=True)
ENERGY = Quantity("energy", "energy error", "mHa/atom", 1000.0)
AUC = Quantity("auc", "AUC_pr", "Bohr", 1.0)
QUANTITIES = (NRMSE, SEMINORM, NORM, NMAE, ENERGY, LOST)


def decimals(half: float) -> int:
    """Decimal places that show two digits of half an interval, and of the value as many as that deserves."""
    return min(9, max(0, 1 - floor(log10(half)))) if half > 0 else 3

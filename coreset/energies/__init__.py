"""Energies of given densities: one small interface, three engines behind it."""

from pathlib import Path

from coreset.energies.abinit import Abinit
from coreset.energies.eminus import Eminus
from coreset.energies.engine import CHEMICAL_ACCURACY, Energy, Engine, Settings
from coreset.energies.sparc import Sparc
from coreset.errors import RequestError

__all__ = ["CHEMICAL_ACCURACY", "ENGINES", "Energy", "Engine", "Settings", "engine"]

ENGINES: dict[str, type[Engine]] = {kind.name: kind for kind in (Abinit, Sparc, Eminus)}
"""By the name in a job file; the first is the default."""


def engine(name: str, settings: Settings, pseudopotentials: Path | None) -> Engine:
    """The engine of that name.

    Raises:
        RequestError: there is none.
    """
    if name not in ENGINES:
        raise RequestError(f"energy.engine: expected one of {', '.join(ENGINES)}, found {name!r}")
    return ENGINES[name](settings, pseudopotentials)

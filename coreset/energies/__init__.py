"""Energies of given densities: one small interface, three engines behind it."""

from coreset.energies.abinit import Abinit
from coreset.energies.eminus import Eminus
from coreset.energies.engine import Energy, Engine, Settings
from coreset.energies.sparc import Sparc

__all__ = ["ENGINES", "Energy", "Engine", "Settings"]

ENGINES: dict[str, type[Engine]] = {kind.name: kind for kind in (Abinit, Sparc, Eminus)}
"""By the name in a job file; the first is the default."""

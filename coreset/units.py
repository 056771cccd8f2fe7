"""Units: everything inside coreset is in Hartree atomic units, lengths in Bohr, densities in e/Bohr³, energies in Ha."""

ANGSTROM = 1.0 / 0.529177210903
"""One ångström in Bohr (CODATA 2018)."""

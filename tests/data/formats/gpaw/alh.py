"""AlH in a skewed cell, far from converged: writes GPAW's all-electron density as a cube, alh.cube."""

from ase import Atoms
from ase.io.cube import write_cube
from ase.units import Bohr
from gpaw import GPAW, PW

atoms = Atoms(
    "AlH",
    scaled_positions=[(0.1, 0.2, 0.3), (0.45, 0.5, 0.55)],
    cell=[(3.6, 0, 0), (0.6, 3.8, 0), (0, 0.4, 4.0)],
    pbc=True,
)
atoms.calc = GPAW(mode=PW(250), xc="LDA", kpts=(1, 1, 1), convergence={"density": 1e-3}, symmetry="off")
atoms.get_potential_energy()
density = atoms.calc.get_all_electron_density(gridrefinement=2)
with open("alh.cube", "w") as file:
    write_cube(file, atoms, density * Bohr**3)

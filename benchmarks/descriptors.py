"""Descriptors against numpy with scipy's k-d tree, against SOAP of dscribe, and in cells of 32 and of 1000 atoms."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from ase import Atoms
from dscribe.descriptors import SOAP
from scipy.spatial import cKDTree

from benchmarks.harness import Row, alternately, row
from benchmarks.trained import CORPUS
from coreset.corpus.store import Corpus
from coreset.numerics.descriptors import Descriptor, describe

NEIGHBOURS = (20, 40, 60)
BOHR = 0.529177210903
"""In Å, dscribe's unit."""
SNAPSHOT = "train/al32_T0300_s0_0"


def rows(quick: bool) -> list[Row]:
    """One thread; every function describes random points of the same cells."""
    (snapshot,) = Corpus.open(CORPUS).select(SNAPSHOT)
    points, rounds = (2000, 3) if quick else (20_000, 7)
    inside = np.random.default_rng(0).random((points, 3)) @ snapshot.cell
    made = [_peers(snapshot.cell, snapshot.positions, snapshot.numbers, inside, m, rounds) for m in NEIGHBOURS]
    made += [_cells(snapshot.cell, inside, m, rounds) for m in NEIGHBOURS]
    return [each for rows in made for each in rows]


def _peers(
    cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray, points: np.ndarray, neighbours: int, rounds: int
) -> list[Row]:
    descriptor = Descriptor(neighbours)
    few = points[: len(points) // 20]
    soap, length = _soap(cell, positions, numbers, few, descriptor.length)
    ours, plain, theirs = alternately(
        lambda: describe(points, cell, positions, numbers, descriptor),
        lambda: by_tree(points, cell, positions, numbers, neighbours),
        soap,
        rounds=rounds,
    )
    stage = f"descriptors, M = {neighbours}, {len(numbers)} atoms"
    of_soap = (theirs / len(few)) / (ours / len(points))
    return [
        row(
            stage, "points per second, of numpy + scipy's", plain / ours, at_least=4,
            note=f"{len(points)} random points of {SNAPSHOT}, one thread. numpy + scipy: a k-d tree of the images, "
            "`np.linalg.eigh` of all covariances at once, signs by skew, no treatment of ties.",
        ),
        row(
            stage, f"points per second, of those of a SOAP of {length} features", of_soap, at_least=10,
            note=f"SOAP: dscribe {version('dscribe')}, {len(few)} of the points, float64, the cutoff that "
            "holds M atoms on average, and of the expansions that its programs have the one with the nearest length.",
        ),
        row(stage, "points per second", len(points) / ours, unit="/s"),
    ]  # fmt: skip


def by_tree(
    points: np.ndarray, cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray, neighbours: int
) -> np.ndarray:
    """The descriptor of points in the cell as one would write it with numpy and scipy, shape [n, 4 M]."""
    volume = abs(float(np.linalg.det(cell)))
    # Half as much again as a ball that holds M atoms on average: random points see no M-th atom farther away.
    radius = 1.5 * np.cbrt(3 * neighbours * volume / (4 * np.pi * len(numbers)))
    inverse = np.linalg.inv(cell)
    margin = radius * np.linalg.norm(inverse, axis=0)
    reach = np.ceil(margin).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, 3)
    home = positions @ inverse
    home -= np.floor(home)
    fractions = (shifts[:, None] + home).reshape(-1, 3)
    near = ((fractions > -margin) & (fractions < 1 + margin)).all(1)
    around, kinds = fractions[near] @ cell, np.tile(numbers, len(shifts))[near]
    distances, index = cKDTree(around).query(points, k=neighbours)
    assert distances.max() < radius
    vectors = around[index] - points[:, None]
    centred = vectors - vectors.mean(1, keepdims=True)
    axes = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred / neighbours)[1][:, :, ::-1]
    axes = axes * np.where(((centred @ axes) ** 3).sum(1) < 0, -1.0, 1.0)[:, None]
    axes[:, :, 2] = np.cross(axes[:, :, 0], axes[:, :, 1])
    components = (vectors @ axes).reshape(len(points), -1)
    return np.concatenate((components, kinds[index]), 1, dtype=np.float32)


def _soap(
    cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray, points: np.ndarray, length: int
) -> tuple[Callable[[], object], int]:
    """A function that computes SOAP vectors of nearly that length, and their length, n (n + 1) / 2 (l + 1)."""
    atoms = Atoms(numbers, positions=positions * BOHR, cell=cell * BOHR, pbc=True)
    volume = abs(float(np.linalg.det(cell)))
    cutoff = BOHR * float(np.cbrt(3 * (length // 4) * volume / (4 * np.pi * len(numbers))))
    sizes = {(n, m): n * (n + 1) // 2 * (m + 1) for n in range(4, 13) for m in range(3, 9)}
    n_max, l_max = min(sizes, key=lambda size: (abs(sizes[size] - length), size))
    soap = SOAP(species=sorted(set(numbers.tolist())), periodic=True, r_cut=cutoff, n_max=n_max, l_max=l_max)
    centres = points * BOHR
    return lambda: soap.create(atoms, centers=centres), soap.get_number_of_features()


def _cells(cell: np.ndarray, points: np.ndarray, neighbours: int, rounds: int) -> list[Row]:
    """Per point against a displaced fcc cell of 32 atoms: one of 1372, and a perfect one."""
    descriptor = Descriptor(neighbours)
    constant = float(np.cbrt(abs(np.linalg.det(cell)) / 8))
    cells = [_fcc(2, constant, 0.3), _fcc(7, constant, 0.3), _fcc(2, constant, 0.0)]
    fractions = points @ np.linalg.inv(cell)

    def described(one: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Callable[[], object]:
        return lambda: describe(fractions @ one[0], *one, descriptor)

    small, large, perfect = alternately(*map(described, cells), rounds=rounds)
    atoms = len(cells[1][2])
    note = f"fcc of 32 and of {atoms} atoms, displaced by 0.3 Bohr at random; {len(points)} random points each."
    of_small = "time per point, of that in a displaced cell of 32 atoms"
    stage = f"descriptors, M = {neighbours}"
    return [
        row(f"{stage}, {atoms} atoms", of_small, large / small, at_most=3, note=note),
        row(
            f"{stage}, 32 atoms, perfect fcc", of_small, perfect / small,
            note="In a perfect crystal nearly all points have tied neighbours and take the canonical fallback.",
        ),
    ]  # fmt: skip


def _fcc(repeats: int, constant: float, displacement: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cell, positions (Bohr) and atomic numbers of aluminium, 4 repeats³ atoms."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.stack(np.meshgrid(*[np.arange(repeats)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    positions = constant * (cells + corners).reshape(-1, 3)
    positions += np.random.default_rng(1).normal(scale=displacement, size=positions.shape)
    return repeats * constant * np.eye(3), positions, np.full(len(positions), 13)

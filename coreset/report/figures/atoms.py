"""Atoms and the cell, drawn in planes and in space."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from coreset.corpus.elements import SYMBOLS
from coreset.report.figure import SEQUENCE
from coreset.report.lattice import Plane

NEAR = 0.8
"""Atoms within so many Bohr of a plane are drawn on it."""
EDGE = 0.03
"""Share of a picture along its edges where no atoms are drawn."""
PLAIN_AXES = {axis: {"title": {"text": f"{axis[0]}, Bohr"}, "nticks": 5} for axis in ("xaxis", "yaxis", "zaxis")}


def middle_plane(entry: Mapping[str, Any]) -> tuple[Plane, int]:
    """The plane through the atom that is nearest to the middle of the cell, and that atom."""
    cell, positions = np.array(entry["cell"]), np.array(entry["positions"])
    fractions = (positions @ np.linalg.inv(cell)) % 1.0
    nearest = int(np.argmin(((fractions - 0.5) ** 2).sum(1).round(9)))
    third = Plane(cell, 0.0).axes[2]
    return Plane(cell, float(fractions[nearest, third])), nearest


def on_plane(entry: Mapping[str, Any], plane: Plane) -> Float[np.ndarray, "n 2"]:
    """In-plane coordinates of the atoms, and of their images, that lie near a plane within the cell."""
    cell, positions = np.array(entry["cell"]), np.array(entry["positions"])
    fractions = (positions @ np.linalg.inv(cell)) % 1.0
    first, second, _ = plane.axes
    near = fractions[plane.distances(fractions @ cell) < NEAR]
    images = []
    for i, j in product((-1, 0, 1), repeat=2):
        moved = near.copy()
        moved[:, first] += i
        moved[:, second] += j
        inside = ((moved[:, [first, second]] > -1e-6) & (moved[:, [first, second]] < 1 + 1e-6)).all(1)
        images.append(moved[inside])
    # Along the third vector as high as the plane itself, for in a skewed cell that shifts a point within the plane.
    found = np.concatenate(images)
    third = plane.axes[2]
    found[:, third] -= np.round(found[:, third] - plane.height)
    flat = plane.flat(found @ cell)
    u, v = plane.coordinates(2)
    low, size = np.array([u[0], v[0]]), np.array([u[-1] - u[0], v[-1] - v[0]])
    # A mark on the very edge of a picture would widen its axes.
    return flat[((flat > low + EDGE * size) & (flat < low + (1 - EDGE) * size)).all(1)]


def scaffold(entry: Mapping[str, Any], meta: Mapping[str, str]) -> list[go.Scatter3d]:
    """The edges of the cell and the atoms in it, one trace per element."""
    cell = np.array(entry["cell"])
    positions = ((np.array(entry["positions"]) @ np.linalg.inv(cell)) % 1.0) @ cell
    numbers = np.array(entry["numbers"])
    x: list[float | None] = []
    y: list[float | None] = []
    z: list[float | None] = []
    for axis, others in ((0, (1, 2)), (1, (0, 2)), (2, (0, 1))):
        for i, j in product((0, 1), repeat=2):
            start = i * cell[others[0]] + j * cell[others[1]]
            for line, k in ((x, 0), (y, 1), (z, 2)):
                line.extend([round(start[k], 4), round(start[k] + cell[axis, k], 4), None])
    hidden = {**meta, "csv": "no"}
    found = [
        go.Scatter3d(
            x=x, y=y, z=z, mode="lines", line={"width": 2}, meta=hidden, name="cell", showlegend=False, hoverinfo="skip"
        )
    ]
    for i, number in enumerate(sorted(set(numbers.tolist()))):
        here = positions[numbers == number].round(4)
        symbol = SYMBOLS[number - 1]
        found.append(
            go.Scatter3d(
                x=here[:, 0].tolist(),
                y=here[:, 1].tolist(),
                z=here[:, 2].tolist(),
                mode="markers",
                name=f"{symbol} atoms",
                marker={"size": 6, "color": ATOMS[i % len(ATOMS)], "line": {"width": 1, "color": "#444444"}},
                meta=dict(meta),
                hovertemplate=f"{symbol}<br>%{{x:.2f}}, %{{y:.2f}}, %{{z:.2f}} Bohr<extra></extra>",
            )
        )
    return found


ATOMS = (SEQUENCE[3], SEQUENCE[5], SEQUENCE[4], SEQUENCE[2], SEQUENCE[1], SEQUENCE[6])

"""The descriptors of `descriptors` on a torch device: same definition, same values to 1e-5.

Distances, covariances and frames of a batch of points are computed in float64 by dense tensor operations, so the device
must offer float64. Points with ties, equal eigenvalues or no skew are handed to the compiled routine on the CPU, whose
values are the definition. It was tested on the device "cpu" only, and has never run on a GPU.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from coreset.numerics import descriptors
from coreset.numerics.descriptors import Crystal, Described, Descriptor, checked_points, crystal
from coreset.numerics.frames import GAP, SKEW
from coreset.numerics.periodic import images, wrapped

_PAIRS = 1 << 24
"""Pairs of a point and an image in one batch: some 0.5 GiB of float64 temporaries."""


def describe(
    points: Float[np.ndarray, "n 3"],
    cell: Float[np.ndarray, "3 3"],
    positions: Float[np.ndarray, "a 3"],
    numbers: Int[np.ndarray, "a"],
    descriptor: Descriptor,
    device: torch.device | str = "cpu",
) -> Described:
    """Descriptors of points (Cartesian, Bohr); arguments, result and errors as in `descriptors.describe`."""
    atoms = crystal(cell, positions, numbers)
    inside = wrapped(checked_points(points), atoms.cell)
    features = np.empty((len(inside), descriptor.length), dtype=np.float32)
    fallback = np.zeros(len(inside), dtype=np.bool_)
    radius = 1.2 * atoms.radius(descriptor.neighbours + 1)
    begin = 0
    while begin < len(inside):
        around, kinds = _images(atoms, radius, device)
        if len(around) <= descriptor.neighbours:
            radius *= 2.0
            continue
        end = begin + max(1, _PAIRS // len(around))
        batch = torch.from_numpy(inside[begin:end]).to(device)
        vectors, distances, kind = _neighbours(batch, around, kinds, descriptor.neighbours + 1)
        # Every image within `radius` of the cell is listed; what lies beyond might have been missed.
        farthest = float(distances.max())
        if farthest > radius:
            radius = 1.000001 * farthest
            continue
        rows, unique = _rows(vectors, distances, kind, descriptor)
        features[begin:end] = rows.to(torch.float32).cpu().numpy()
        fallback[begin:end] = (~unique).cpu().numpy()
        begin = end
    if fallback.any():
        features[fallback] = descriptors.describe(inside[fallback], atoms.cell, positions, numbers, descriptor).features
    return Described(features, fallback)


def _images(
    atoms: Crystal, radius: float, device: torch.device | str
) -> tuple[Float64[Tensor, "i 3"], Float64[Tensor, "i"]]:
    """Positions and atomic numbers of all images within `radius` of the cell."""
    listed = images(atoms.cell, atoms.positions, radius)
    kinds = torch.from_numpy(atoms.numbers[listed.atom]).to(device=device, dtype=torch.float64)
    return torch.from_numpy(listed.positions).to(device).T, kinds


def _neighbours(
    points: Float64[Tensor, "n 3"], around: Float64[Tensor, "i 3"], kinds: Float64[Tensor, "i"], wanted: int
) -> tuple[Float64[Tensor, "n k 3"], Float64[Tensor, "n k"], Float64[Tensor, "n k"]]:
    """Vectors, distances and atomic numbers of the nearest images, ascending.

    Squares are summed from differences: |p|² + |q|² − 2 p·q would lose the digits that tell ties from neighbours.
    """
    squares = torch.zeros((len(points), len(around)), dtype=torch.float64, device=points.device)
    for axis in range(3):
        squares += (points[:, axis, None] - around[None, :, axis]).square_()
    nearest, index = torch.topk(squares, wanted, dim=1, largest=False, sorted=True)
    return around[index] - points[:, None], nearest.sqrt(), kinds[index]


def _rows(
    vectors: Float64[Tensor, "n k 3"],
    distances: Float64[Tensor, "n k"],
    kinds: Float64[Tensor, "n k"],
    descriptor: Descriptor,
) -> tuple[Float64[Tensor, "n f"], Bool[Tensor, "n"]]:
    """Features of each point, and whether they are unique; the last of the k = M + 1 neighbours only shows ties."""
    unique = (distances.diff(dim=1) > descriptor.tie_tolerance).all(dim=1)
    vectors, distances, kinds = vectors[:, :-1], distances[:, :-1], kinds[:, :-1]
    centred = vectors - vectors.mean(dim=1, keepdim=True)
    values, columns = torch.linalg.eigh(centred.mT @ centred / descriptor.neighbours)
    values, frames = values.flip(-1), columns.flip(-1)
    spread = values.sum(dim=1)
    unique &= ((values[:, :-1] - values[:, 1:]) > GAP * spread[:, None]).all(dim=1)
    skew = (centred @ frames).pow(3).mean(dim=1)
    signed = skew.abs() > SKEW * spread[:, None] ** 1.5
    frames = frames * torch.where(skew < 0.0, -1.0, 1.0)[:, None, :]
    if descriptor.handedness == "right":
        unique &= signed[:, :2].all(dim=1)
        third = torch.linalg.cross(frames[:, :, 0], frames[:, :, 1], dim=1)
        frames = torch.stack((frames[:, :, 0], frames[:, :, 1], third), dim=2)
    else:
        unique &= signed.all(dim=1)
    parts = [(vectors @ frames).flatten(1), kinds]
    if descriptor.distances:
        parts.append(distances)
    return torch.cat(parts, dim=1), unique

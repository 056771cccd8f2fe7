"""A snapshot: atoms, cell and grid of one electron density, and the digest that identifies its points."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coreset.corpus.cube import LARGEST
from coreset.corpus.elements import SYMBOLS

DIGEST_VERSION = b"coreset-snapshot-1"

_Length = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
_Vector = Annotated[list[_Length], Field(min_length=3, max_length=3)]


class _Stored(BaseModel):
    """What `Snapshot.to_json` writes, and nothing else."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    cell: Annotated[list[_Vector], Field(min_length=3, max_length=3)]
    numbers: list[Annotated[int, Field(ge=1, le=len(SYMBOLS))]]
    positions: list[_Vector]
    grid: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    electrons: float
    energy: float | None
    group: str
    temperature: float | None
    composition: str
    source: dict[str, str]
    wrapped: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is known of one density besides its values. Lengths in Bohr, energy in Ha.

    Attributes:
        name: path-like name, unique in its corpus.
        cell: lattice vectors as rows.
        numbers: atomic numbers.
        positions: Cartesian positions, in the order of the source.
        grid: points along each lattice vector; point (i, j, k) sits at i/nx a1 + j/ny a2 + k/nz a3.
        electrons: number of (valence) electrons, to which the density integrates.
        energy: total free energy of the cell, None where the source states none.
        group: trajectory.
        temperature: K, None where unknown.
        composition: formula, elements in alphabetical order.
        source: SHA-256 of each file that was read, by its name.
        wrapped: number of atoms that lay outside the cell and were moved into it.
        digest: `content_digest` of this snapshot, 64 hexadecimal digits.
    """

    name: str
    cell: Float64[np.ndarray, "3 3"]
    numbers: Int64[np.ndarray, " a"]
    positions: Float64[np.ndarray, "a 3"]
    grid: tuple[int, int, int]
    electrons: float
    energy: float | None
    group: str
    temperature: float | None
    composition: str
    source: Mapping[str, str]
    wrapped: int
    digest: str

    def __post_init__(self) -> None:
        for array in (self.cell, self.numbers, self.positions):
            array.setflags(write=False)

    @property
    def points(self) -> int:
        """Number of grid points."""
        return math.prod(self.grid)

    @property
    def identity(self) -> bytes:
        """The 32 bytes of the digest: with a C-order grid index, the identity of a point."""
        return bytes.fromhex(self.digest)

    @property
    def volume(self) -> float:
        """Volume of the cell, Bohr³."""
        return float(abs(np.linalg.det(self.cell)))

    def to_json(self) -> dict[str, Any]:
        """All fields but the name, as JSON can hold them; floats survive exactly."""
        return {
            "cell": self.cell.tolist(),
            "numbers": self.numbers.tolist(),
            "positions": self.positions.tolist(),
            "grid": list(self.grid),
            "electrons": self.electrons,
            "energy": self.energy,
            "group": self.group,
            "temperature": self.temperature,
            "composition": self.composition,
            "source": dict(sorted(self.source.items())),
            "wrapped": self.wrapped,
            "digest": self.digest,
        }

    @staticmethod
    def from_json(name: str, fields: Any) -> "Snapshot":
        """Inverse of `to_json`. Raises ValueError, naming the key, for anything that `to_json` did not make."""
        try:
            stored = _Stored.model_validate(fields)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
        if len(stored.numbers) != len(stored.positions):
            raise ValueError(f"{len(stored.numbers)} numbers of {len(stored.positions)} atoms")
        if not abs(np.linalg.det(stored.cell)) > 0.0:
            raise ValueError("cell: three vectors without a volume")
        nx, ny, nz = stored.grid
        return Snapshot(
            name=name,
            cell=np.array(stored.cell, dtype=np.float64),
            numbers=np.array(stored.numbers, dtype=np.int64),
            positions=np.array(stored.positions, dtype=np.float64).reshape(-1, 3),
            grid=(nx, ny, nz),
            electrons=stored.electrons,
            energy=stored.energy,
            group=stored.group,
            temperature=stored.temperature,
            composition=stored.composition,
            source=stored.source,
            wrapped=stored.wrapped,
            digest=stored.digest,
        )


def content_digest(
    cell: Float[np.ndarray, "3 3"],
    numbers: Int64[np.ndarray, " a"],
    positions: Float[np.ndarray, "a 3"],
    density: Float32[np.ndarray, "nx ny nz"],
) -> str:
    """SHA-256 of the canonical content, so that it depends neither on the file, its name, nor the order of the atoms.

    The bytes are, little-endian and C order: the version, the cell (float64), the grid (int64), the atoms sorted by
    (Z, x, y, z) as numbers (int64) and then positions (float64), the density (float32). Negative zeros count as zeros.
    """
    return digest_of_planes(cell, numbers, positions, density.shape, density)


def digest_of_planes(
    cell: Float[np.ndarray, "3 3"],
    numbers: Int64[np.ndarray, " a"],
    positions: Float[np.ndarray, "a 3"],
    grid: tuple[int, ...],
    planes: Iterable[np.ndarray],
) -> str:
    """`content_digest` of a density that comes plane by plane, for a large one has no room beside itself."""
    order = np.lexsort((positions[:, 2], positions[:, 1], positions[:, 0], numbers))
    digest = hashlib.sha256(DIGEST_VERSION)
    digest.update((cell + 0.0).astype("<f8").tobytes())
    digest.update(np.array(grid, dtype="<i8").tobytes())
    digest.update(numbers[order].astype("<i8").tobytes())
    digest.update((positions[order] + 0.0).astype("<f8").tobytes())
    for plane in planes:
        digest.update((plane + np.float32(0.0)).astype("<f4").tobytes())
    return digest.hexdigest()

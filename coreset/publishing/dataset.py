"""`coreset.open`: a pruned dataset as torch, Ray, Arrow or pandas objects; descriptors are computed on reading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from coreset.artifacts.manifest import MANIFEST, inside
from coreset.corpus.kept import runs_of
from coreset.errors import DataError, RequestError
from coreset.publishing.package import FORMAT, SNAPSHOTS, Statement

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from coreset.distributed.data import RayDataset


@dataclass(frozen=True)
class Dataset:
    """A pruned dataset: rows of grid points, and the snapshots that they come from."""

    path: Path
    manifest: dict[str, Any]

    def __len__(self) -> int:
        rows: int = self.manifest["rows"]
        return rows

    @property
    def files(self) -> list[Path]:
        """The files of rows, in order."""
        names = [shard["name"] for shard in self.manifest["shards"] if shard["name"].startswith("part-")]
        return [inside(self.path, name) for name in names]

    @cached_property
    def snapshots(self) -> pa.Table:
        """Name, digest, group, atoms, cell, grid, electrons, energy and source of each snapshot."""
        return pq.read_table(inside(self.path, SNAPSHOTS))

    def to_arrow(self, *, descriptor: bool = True) -> pa.Table:
        """All rows: the columns of the files and, as fixed-size lists of float32, `descriptor` (Bohr, then Z)."""
        return pa.concat_tables(self._read(file, descriptor) for file in self.files)

    def to_pandas(self, *, descriptor: bool = True) -> pd.DataFrame:
        """All rows as a data frame."""
        frame: pd.DataFrame = self.to_arrow(descriptor=descriptor).to_pandas()
        return frame

    def to_torch(self) -> torch.utils.data.TensorDataset:
        """Descriptors, shape [n, d], and densities (e/Bohr³), shape [n]: a map-style dataset of (x, ρ)."""
        import torch

        table = self.to_arrow()
        x = _matrix(table.column("descriptor"))
        density = table.column("density").to_numpy()
        return torch.utils.data.TensorDataset(torch.from_numpy(x.copy()), torch.from_numpy(density.copy()))

    def to_ray(self, *, descriptor: bool = True) -> RayDataset:
        """A Ray dataset, a block per file, described where it is needed; a local Ray is started if none runs."""
        from coreset.distributed.data import dataset_on_any_ray

        return dataset_on_any_ray(_Reader(self, descriptor), self.files)

    def _read(self, file: Path, descriptor: bool) -> pa.Table:
        table = pq.read_table(file)
        if not descriptor:
            return table.drop_columns(["descriptor"]) if "descriptor" in table.column_names else table
        if "descriptor" in table.column_names:
            return table
        return table.append_column("descriptor", pa.chunked_array(self._described(table)))

    def _described(self, table: pa.Table) -> Iterator[pa.Array]:
        from coreset.numerics.descriptors import Descriptor, describe
        from coreset.numerics.grids import grid_points

        settings = Descriptor(**self.manifest["descriptor"])
        known = {row["name"]: row for row in self.snapshots.to_pylist()}
        if not table.num_rows:
            yield pa.FixedSizeListArray.from_arrays(pa.array([], pa.float32()), settings.length)
        for name, first, stop in runs_of(table.column("snapshot")):
            rows = table.slice(first, stop - first)
            snapshot = known[name]
            cell = np.array(snapshot["cell"])
            points = grid_points(cell, tuple(snapshot["grid"]), rows.column("index").to_numpy())
            species = np.array(snapshot["species"], np.int64)
            features = describe(points, cell, np.array(snapshot["positions"]), species, settings).features
            yield pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), settings.length)


@dataclass(frozen=True)
class _Reader:
    """Reads one file; picklable, for Ray."""

    dataset: Dataset
    descriptor: bool

    def __call__(self, file: Path) -> pa.Table:
        return self.dataset._read(file, self.descriptor)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    values = column.combine_chunks()
    values = values if isinstance(values, pa.Array) else pa.concat_arrays(values.chunks)
    matrix: np.ndarray = values.flatten().to_numpy().reshape(len(values), -1)
    return matrix


def open_dataset(path: str | Path) -> Dataset:
    """Opens the folder that a run wrote (`DIR/coreset`, or `DIR` itself).

    Raises RequestError if there is no such folder, DataError if its manifest cannot be used.
    """
    folder = Path(path)
    if not (folder / MANIFEST).is_file() and (folder / "coreset" / MANIFEST).is_file():
        folder = folder / "coreset"
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(
            f"{folder}: expected the folder of a coreset, found no {MANIFEST} in it; "
            "give the folder that `coreset run` wrote (runs/<name>/coreset)."
        ) from None
    except ValueError as error:
        raise DataError(f"{folder / MANIFEST}: expected JSON, found a damaged file ({error}); copy it again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise DataError(f"{folder / MANIFEST}: expected a coreset of format {FORMAT!r}, found {found!r}.")
    try:
        Statement.model_validate(manifest)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        raise DataError(
            f"{folder / MANIFEST}: {key}: {problem['msg']}; the manifest is damaged, copy it again."
        ) from None
    return Dataset(folder, manifest)

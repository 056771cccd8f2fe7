"""`coreset.open`: a pruned dataset as torch, Ray, Arrow, pandas or polars objects; described on reading."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from coreset.artifacts.manifest import MANIFEST, checksum, inside
from coreset.atomic import parse_json
from coreset.corpus.kept import runs_of
from coreset.corpus.parquet import read_parquet, rows_schema
from coreset.corpus.snapshot import Snapshot
from coreset.errors import DataError, RequestError, brief
from coreset.publishing.arrays import matrix, values_of
from coreset.publishing.columns import POINTS, describe_column
from coreset.publishing.index import POINTS_INDEX
from coreset.publishing.package import (
    FORMAT,
    PUBLISHED_SNAPSHOTS,
    SNAPSHOTS,
    SNAPSHOTS_SCHEMA,
    Package,
    Statement,
    published_snapshots,
)
from coreset.publishing.subject import Subject, points_subject
from coreset.publishing.tables import TableDataset

if TYPE_CHECKING:
    import pandas as pd
    import polars
    import torch

    from coreset.distributed.data import RayDataset
    from coreset.numerics.descriptors import Descriptor
    from coreset.publishing.stream import Stream


@dataclass(frozen=True)
class Dataset(Package):
    """A pruned dataset: rows of grid points, and the snapshots that they come from.

    Reading raises DataError, naming the file, for one that is missing or damaged. Only `verify` compares every byte
    with the checksums.
    """

    noun: ClassVar[str] = "points"
    index_schema: ClassVar[pa.Schema] = POINTS_INDEX

    @cached_property
    def snapshots(self) -> pa.Table:
        """Name, digest, group, atoms, cell, grid, electrons, energy and source of each snapshot."""
        path = inside(self.path, SNAPSHOTS)
        return self._table(path, SNAPSHOTS_SCHEMA, PUBLISHED_SNAPSHOTS, nullable=("energy", "temperature"))

    @cached_property
    def known(self) -> dict[str, Snapshot]:
        """The snapshots by name. Raises DataError for one that is damaged."""
        known = {}
        for row in self.snapshots.to_pylist():
            name, numbers = row.pop("name"), row.pop("species")
            source = dict(tuple(each.values()) if isinstance(each, dict) else each for each in row.pop("source"))
            try:
                known[name] = Snapshot.from_json(name, {**row, "numbers": numbers, "source": source, "wrapped": 0})
            except ValueError as error:
                told = str(error).replace("numbers", "species", 1)
                raise DataError(f"{self.path / SNAPSHOTS}: {name[:80]}: {told}; copy the file again.") from None
        return known

    @property
    def descriptor(self) -> Descriptor:
        """That of the run that made it."""
        from coreset.numerics.descriptors import Descriptor

        return Descriptor(**self.manifest["descriptor"])

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
        x = matrix(table.column("descriptor"))
        density = table.column("density").to_numpy()
        return torch.utils.data.TensorDataset(torch.from_numpy(x.copy()), torch.from_numpy(density.copy()))

    def to_torch_stream(self, **options: Any) -> Stream:
        """The same pairs as an `IterableDataset` that holds a window of them; see `coreset.publishing.stream.Stream`.

        options: `seed`, `window`, `batch`, `shuffle`, `rank`, `ranks`.
        """
        from coreset.publishing.stream import Stream

        return Stream(self, **options)

    def to_polars(self, *, descriptor: bool = True) -> polars.DataFrame:
        """All rows as a polars data frame. Raises RequestError where polars is not installed."""
        try:
            import polars
        except ImportError:
            raise RequestError("to_polars: expected polars, found none; install it (pip install polars).") from None
        frame = polars.from_arrow(self.to_arrow(descriptor=descriptor))
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_mala(self, folder: str | Path) -> list[Path]:
        """Writes pruned snapshots as MALA reads them, a pair of `.npy` files each; returns those of the descriptors."""
        from coreset.publishing.mala import write_mala

        return write_mala(self, Path(folder))

    def to_ray(self, *, descriptor: bool = True) -> RayDataset:
        """A Ray dataset, a block per file, described where it is needed; a local Ray is started if none runs."""
        from coreset.distributed.data import dataset_on_any_ray

        placed = replace(self, path=self.path.absolute())  # a worker may stand in another folder
        return dataset_on_any_ray(_Reader(placed, descriptor), placed.files)

    def rows(self, file: Path, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None) -> pa.Table:
        """The rows of one of the files as it holds them, or some of their columns, or of some row groups alone."""
        schemas = rows_schema(None), rows_schema(self.descriptor.length)
        return self._table(file, *schemas, nullable=("score", "stratum"), columns=columns, groups=groups)

    def described(self, file: Path) -> pa.Table:
        """The rows of one of the files with their descriptors, stored or not."""
        return self._read(file, True)

    def describe(self, snapshots: pa.ChunkedArray, index: np.ndarray) -> np.ndarray:
        """Descriptors of points of any order, given by the snapshot's name and grid index; shape [n, d], float32.

        Raises DataError for a snapshot that is not there, or an index beyond its grid.
        """
        encoded = snapshots.dictionary_encode().unify_dictionaries().combine_chunks()
        numbers, features = encoded.indices.to_numpy(), np.empty((len(index), self.descriptor.length), np.float32)
        for number, name in enumerate(encoded.dictionary.to_pylist()):
            rows = np.flatnonzero(numbers == number)
            snapshot = self._snapshot(name, self.path)
            if index[rows].min() < 0 or index[rows].max() >= snapshot.points:
                raise DataError(f"{self.path}: {name}: expected grid indices below {snapshot.points}, found others.")
            features[rows] = self._features(snapshot, index[rows])
        return features

    def _table(self, path: Path, *schemas: pa.Schema, **how: Any) -> pa.Table:
        if not path.is_file():
            raise DataError(f"{path}: expected by {MANIFEST}, found no file; copy the folder again.")
        return read_parquet(path, *schemas, **how)

    def runs(self, file: Path, rows: pa.Table) -> Iterator[tuple[Snapshot, pa.Table]]:
        """The rows of each snapshot of a file. Raises DataError where their indices do not ascend within its grid."""
        for name, first, stop in runs_of(rows.column("snapshot")):
            snapshot, some = self._snapshot(name, file), rows.slice(first, stop - first)
            index = some.column("index").to_numpy()
            if (np.diff(index) <= 0).any():
                raise DataError(f"{file}: {name}: expected ascending, distinct grid indices, found others.")
            if index[0] < 0 or index[-1] >= snapshot.points:
                raise DataError(
                    f"{file}: {name}: expected grid indices below {snapshot.points}, found {index[0]} to {index[-1]}."
                )
            yield snapshot, some

    def subject(self) -> Subject:
        return points_subject(self.manifest, self.snapshots.num_rows)

    def beside(self) -> dict[str, pa.Table]:
        return {SNAPSHOTS: published_snapshots(self.snapshots)}

    def indices(self) -> Iterator[pa.Table]:
        columns = [name for name in POINTS_INDEX.names if name != "digest"]
        for file in self.files:
            rows = self.rows(file, columns)
            digests = [pa.repeat(snapshot.digest, len(some)) for snapshot, some in self.runs(file, rows)]
            if digests:
                digest = pa.chunked_array(digests, pa.string())
                named = rows.append_column("digest", digest).select(POINTS_INDEX.names)
                yield named.cast(POINTS_INDEX).combine_chunks()

    def arrays(self) -> Iterator[dict[str, np.ndarray]]:
        names = self.snapshots.column("name").to_pylist()
        for rows in map(self.rows, self.files):
            yield {
                name: values_of(rows.column(name), names if name == "snapshot" else ()) for name in rows.column_names
            }

    def array_attributes(self) -> Mapping[str, Mapping[str, Any]]:
        described = {name: {"description": describe_column(name, POINTS)} for name in POINTS}
        return described | {"snapshot": {"description": f"row of {SNAPSHOTS}, from 0"}}

    def count(self, part: Mapping[str, Any], file: Path) -> int:
        rows = self.rows(file, ["snapshot", "index"])
        runs = [(snapshot.name, some.num_rows) for snapshot, some in self.runs(file, rows)]
        if len(dict(runs)) != len(runs) or dict(runs) != part["figures"].get("rows_by_snapshot"):
            raise DataError(f"{file}: expected the rows by snapshot that {MANIFEST} states, found other counts.")
        return len(rows)

    def expect_each_once(self) -> None:
        # Within a file the indices of a snapshot ascend, as `runs` finds.
        seen: dict[str, str] = {}
        for part in self.parts:
            for name in part["figures"]["rows_by_snapshot"]:
                if name in seen:
                    raise DataError(
                        f"{self.path}: expected each snapshot in one file, found {name} in {seen[name]} and in "
                        f"{part['name']}."
                    )
                seen[name] = part["name"]

    def _snapshot(self, name: str, file: Path) -> Snapshot:
        if name not in self.known:
            raise DataError(f"{file}: expected snapshots of {SNAPSHOTS}, found {name[:80]!r}, which is not there.")
        return self.known[name]

    def _read(self, file: Path, descriptor: bool) -> pa.Table:
        table = self.rows(file)
        if not descriptor:
            return table.drop_columns(["descriptor"]) if "descriptor" in table.column_names else table
        if "descriptor" in table.column_names:
            return table
        return table.append_column("descriptor", pa.chunked_array(self._described(file, table)))

    def _described(self, file: Path, table: pa.Table) -> Iterator[pa.Array]:
        if not table.num_rows:
            yield pa.FixedSizeListArray.from_arrays(pa.array([], pa.float32()), self.descriptor.length)
        for snapshot, rows in self.runs(file, table):
            features = self._features(snapshot, rows.column("index").to_numpy())
            yield pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), self.descriptor.length)

    def _features(self, snapshot: Snapshot, index: np.ndarray) -> np.ndarray:
        from coreset.numerics.descriptors import describe
        from coreset.numerics.grids import grid_points

        points = grid_points(snapshot.cell, snapshot.grid, index)
        try:
            return describe(points, snapshot.cell, snapshot.positions, snapshot.numbers, self.descriptor).features
        except RequestError as error:
            raise DataError(f"{self.path / SNAPSHOTS}: {snapshot.name}: {brief(error)}.") from None


@dataclass(frozen=True)
class _Reader:
    """Reads one file; picklable, for Ray."""

    dataset: Dataset
    descriptor: bool

    def __call__(self, file: Path) -> pa.Table:
        return self.dataset._read(file, self.descriptor)


def open_dataset(path: str | Path) -> Dataset | TableDataset:
    """Opens the folder that a run wrote (`DIR/coreset`, or `DIR` itself).

    Raises RequestError if there is no such folder, DataError if its manifest cannot be used.
    """
    folder = Path(path)
    if not (folder / MANIFEST).is_file() and (folder / "coreset" / MANIFEST).is_file():
        folder = folder / "coreset"
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(
            f"{folder}: expected the folder of a coreset, found no {MANIFEST} in it; "
            "give the folder that `coreset run` wrote (runs/<name>/coreset)."
        ) from None
    except OSError as error:
        raise RequestError(f"{folder / MANIFEST}: cannot be read ({brief(error)}).") from None
    except ValueError as error:
        raise DataError(
            f"{folder / MANIFEST}: expected JSON, found a damaged file ({brief(error)}); copy it again."
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise DataError(f"{folder / MANIFEST}: expected a coreset of format {FORMAT!r}, found {reprlib.repr(found)}.")
    try:
        Statement.model_validate(manifest)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        raise DataError(
            f"{folder / MANIFEST}: {key[:80]}: {problem['msg']}; the manifest is damaged, copy it again."
        ) from None
    if checksum(manifest) != manifest["checksum"]:
        raise DataError(f"{folder / MANIFEST}: its content is not what its checksum says; it was edited.")
    return Dataset(folder, manifest) if "descriptor" in manifest else TableDataset(folder, manifest)

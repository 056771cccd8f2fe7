"""The folder that other people download: rows, atoms, card, and the manifest that is written last."""

from __future__ import annotations

import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from coreset.artifacts.manifest import (
    MANIFEST,
    Artifact,
    checksum,
    inside,
    shard_record,
    verify_files,
    write_manifest,
)
from coreset.atomic import TEMPORARY, canonical_json, parse_json, remove, sync, sync_tree
from coreset.corpus.snapshot import Snapshot

if TYPE_CHECKING:
    from coreset.publishing.subject import Subject

FORMAT = "coreset-1"
SNAPSHOTS = "snapshots.parquet"
CARD = "README.md"
DATA = "data"
"""Folder of the rows in a published coreset, so that `data/*.parquet` is all of them and nothing else."""

SNAPSHOTS_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("digest", pa.string()),
        ("group", pa.string()),
        ("species", pa.list_(pa.int64())),
        ("positions", pa.list_(pa.list_(pa.float64(), 3))),
        ("cell", pa.list_(pa.list_(pa.float64(), 3), 3)),
        ("grid", pa.list_(pa.int64(), 3)),
        ("electrons", pa.float64()),
        ("energy", pa.float64()),
        ("temperature", pa.float64()),
        ("composition", pa.string()),
        ("source", pa.map_(pa.string(), pa.string())),
    ]
)
"""`species` are atomic numbers; lengths in Bohr, energy in Ha, temperature in K; `source`: file names and SHA-256."""

PUBLISHED_SNAPSHOTS = SNAPSHOTS_SCHEMA.set(
    SNAPSHOTS_SCHEMA.get_field_index("source"),
    pa.field("source", pa.list_(pa.struct([("file", pa.string()), ("sha256", pa.string())]))),
)
"""The same in a published coreset: `datasets`, among others, has no type for a map."""


class _Stated(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _File(_Stated):
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Shard(_Stated):
    name: str
    files: Annotated[dict[str, _File], Field(min_length=1)]
    figures: dict[str, Any]


class StatedDescriptor(BaseModel):
    """Settings of `numerics.descriptors.Descriptor`; what is not stated has its default."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    neighbours: Annotated[int, Field(ge=1, le=100_000)] = 40
    distances: bool = False
    handedness: Literal["right", "free"] = "right"
    tie_tolerance: Annotated[float, Field(ge=1e-9, le=1e-3)] = 1e-5


class StatedLayout(_Stated):
    """Fields of `corpus.table_corpus.Layout`."""

    features: Annotated[list[str], Field(min_length=1)]
    targets: Annotated[list[str], Field(min_length=1)]
    task: Literal["regression", "classification"]
    ranges: list[float]
    classes: list[str]


class Statement(_Stated):
    """What a manifest must hold to be read at all."""

    rows: Annotated[int, Field(ge=0)]
    descriptor: StatedDescriptor | None = None
    """Of grid points."""
    layout: StatedLayout | None = None
    """Of a table."""
    checksum: str
    shards: list[_Shard]

    @model_validator(mode="after")
    def _of_one_kind(self) -> Statement:
        if (self.descriptor is None) == (self.layout is None):
            raise ValueError("expected either a descriptor or the layout of a table")
        return self


@dataclass(frozen=True)
class Package(ABC):
    """The folder of a coreset that was opened, of grid points or of a table's rows, and how these two differ."""

    noun: ClassVar[str]
    """What its rows are: points or rows."""
    index_schema: ClassVar[pa.Schema]
    """Columns of its index file."""

    path: Path
    manifest: dict[str, Any]

    def __len__(self) -> int:
        rows: int = self.manifest["rows"]
        return rows

    @property
    def parts(self) -> list[dict[str, Any]]:
        """What the manifest states of the files of rows, in order."""
        return [shard for shard in self.manifest["shards"] if shard["name"].startswith(("part-", f"{DATA}/part-"))]

    @property
    def files(self) -> list[Path]:
        """The files of rows, in order."""
        return [inside(self.path, part["name"]) for part in self.parts]

    @abstractmethod
    def subject(self) -> Subject:
        """What a card says of it."""

    @abstractmethod
    def beside(self) -> dict[str, pa.Table]:
        """The tables that are published beside the rows, by the names of their files."""

    @abstractmethod
    def indices(self) -> Iterator[pa.Table]:
        """Which points of the corpus the rows of each file are, in the columns of the index; of files with rows."""

    @abstractmethod
    def arrays(self) -> Iterator[dict[str, np.ndarray]]:
        """The rows, piece by piece and in order, as arrays by name; see `arrays.values_of` for texts and nulls."""

    @abstractmethod
    def array_attributes(self) -> Mapping[str, Mapping[str, Any]]:
        """What each array is: its `description`, the `texts` that its numbers are of, the `columns` of a matrix."""

    @abstractmethod
    def count(self, part: Mapping[str, Any], file: Path) -> int:
        """The rows of a file, once they are found to be those that the manifest states. Raises DataError."""

    @abstractmethod
    def expect_each_once(self) -> None:
        """Raises DataError where a row stands twice, in one file or in two."""


def write_package(
    destination: Path, extraction: Artifact, snapshots: tuple[Snapshot, ...], recipe: dict[str, Any], card: str
) -> None:
    """Writes the folder beside its place and swaps it in whole; one that holds this content already stays as it is.

    snapshots: those that the rows come from; a table has none.
    """
    stated = {
        "format": FORMAT,
        "digest": extraction.digest,
        "rows": extraction.figures["rows"],
        **recipe,
        "software": extraction.manifest["software"],
        "snapshots": snapshots_digest(snapshots),
    }
    parts = [
        (extraction.path(shard["name"]), {**shard, "name": extraction.path(shard["name"]).name})
        for shard in extraction.shards
    ]
    write_folder(destination, stated, parts, snapshots, card)


def write_folder(
    destination: Path,
    stated: dict[str, Any],
    parts: Sequence[tuple[Path, dict[str, Any]]],
    snapshots: tuple[Snapshot, ...],
    card: str,
) -> None:
    """Writes what the manifest states, with files of rows and their records, as `write_package` does."""
    if _stands(destination, stated):
        return
    fresh = destination.with_name(f"{TEMPORARY}{destination.name}")
    remove(fresh)
    fresh.mkdir(parents=True)
    records = []
    for path, record in parts:
        shutil.copyfile(path, fresh / record["name"])
        records.append({key: record[key] for key in ("name", "files", "figures")})
    (fresh / CARD).write_text(card, encoding="utf-8")
    others: dict[str, dict[str, int]] = {CARD: {}}
    if snapshots:
        pq.write_table(_snapshots_table(snapshots), fresh / SNAPSHOTS, compression="zstd")
        others = {SNAPSHOTS: {"rows": len(snapshots)}, **others}
    for name, figures in others.items():
        records.append(shard_record(name, fresh / name, figures))
    write_manifest(fresh / MANIFEST, {**stated, "shards": records})
    sync_tree(fresh)
    if not destination.is_symlink():  # what it leads to is another's
        (destination / MANIFEST).unlink(missing_ok=True)
    remove(destination)
    os.replace(fresh, destination)
    sync(destination.parent)


def snapshots_digest(snapshots: tuple[Snapshot, ...]) -> str:
    """SHA-256 of all that is known of them."""
    return hashlib.sha256(canonical_json([[each.name, each.to_json()] for each in snapshots])).hexdigest()


def _stands(destination: Path, stated: dict[str, Any]) -> bool:
    """Whether the folder holds this very package, byte for byte; a damaged one is written anew."""
    try:
        manifest = parse_json((destination / MANIFEST).read_bytes())
        whole = manifest.pop("checksum") == checksum(manifest)
        for shard in manifest.pop("shards"):
            for _ in verify_files(destination, shard["files"]):
                pass
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    return bool(whole and manifest == parse_json(canonical_json(stated)))


def published_snapshots(table: pa.Table) -> pa.Table:
    """The snapshots of a coreset as they are published."""
    sources = [[{"file": file, "sha256": digest} for file, digest in row] for row in table.column("source").to_pylist()]
    position = table.schema.get_field_index("source")
    column = pa.array(sources, PUBLISHED_SNAPSHOTS.field("source").type)
    return table.set_column(position, PUBLISHED_SNAPSHOTS.field("source"), column).cast(PUBLISHED_SNAPSHOTS)


def _snapshots_table(snapshots: tuple[Snapshot, ...]) -> pa.Table:
    rows = [
        {
            "name": snapshot.name,
            "digest": snapshot.digest,
            "group": snapshot.group,
            "species": snapshot.numbers.tolist(),
            "positions": snapshot.positions.tolist(),
            "cell": snapshot.cell.tolist(),
            "grid": list(snapshot.grid),
            "electrons": snapshot.electrons,
            "energy": snapshot.energy,
            "temperature": snapshot.temperature,
            "composition": snapshot.composition,
            "source": sorted(snapshot.source.items()),
        }
        for snapshot in snapshots
    ]
    return pa.Table.from_pylist(rows, schema=SNAPSHOTS_SCHEMA)

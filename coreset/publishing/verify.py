"""`coreset verify`: every checksum, every count, and the promises that a row makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from coreset.artifacts.manifest import MANIFEST, checksum, verify_files
from coreset.corpus.kept import runs_of
from coreset.errors import DataError
from coreset.publishing.dataset import Dataset, open_dataset
from coreset.publishing.package import SNAPSHOTS


def verify(path: str | Path) -> Iterator[str]:
    """Yields each file's name once it is found good: size, SHA-256, row counts, and indices ascending within each grid.

    Raises RequestError if the folder holds no coreset; DataError naming the first file that is missing, changed,
    surplus, or holds other rows than the manifest states.
    """
    dataset = open_dataset(path)
    if checksum(dataset.manifest) != dataset.manifest["checksum"]:
        raise DataError(f"{dataset.path / MANIFEST}: its content is not what its checksum says; it was edited.")
    stated = {name for shard in dataset.manifest["shards"] for name in shard["files"]}
    for shard in dataset.manifest["shards"]:
        yield from verify_files(dataset.path, shard["files"])
    surplus = sorted({entry.name for entry in dataset.path.iterdir()} - stated - {MANIFEST})
    if surplus:
        raise DataError(f"{dataset.path}: expected the files of {MANIFEST}, found {surplus[0]} beside them; remove it.")
    _verify_rows(dataset, stated)


def _verify_rows(dataset: Dataset, stated: set[str]) -> None:
    grids = dataset.snapshots.select(["name", "grid"]).to_pylist()
    points = {row["name"]: int(np.prod(row["grid"])) for row in grids}
    shards = [shard for shard in dataset.manifest["shards"] if shard["name"].startswith("part-")]
    total = 0
    for shard, file in zip(shards, dataset.files, strict=True):
        if file.name not in stated:
            raise DataError(f"{dataset.path / MANIFEST}: shard {shard['name']!r} is none of its files; it was edited.")
        rows = pq.read_table(file, columns=["snapshot", "index"])
        runs = runs_of(rows.column("snapshot"))
        found = {name: stop - first for name, first, stop in runs}
        if len(found) != len(runs) or found != shard["figures"].get("rows_by_snapshot"):
            raise DataError(f"{file}: expected the rows by snapshot that {MANIFEST} states, found other counts.")
        for name, first, stop in runs:
            _verify_indices(rows.column("index").slice(first, stop - first).to_numpy(), points.get(name), name, file)
        total += rows.num_rows
    if total != dataset.manifest["rows"]:
        raise DataError(f"{dataset.path}: expected {dataset.manifest['rows']} rows, found {total}.")


def _verify_indices(index: np.ndarray, points: int | None, name: str, file: Path) -> None:
    if points is None:
        raise DataError(f"{file}: expected snapshots of {SNAPSHOTS}, found {name!r}, which is not there.")
    if (np.diff(index) <= 0).any():
        raise DataError(f"{file}: {name}: expected ascending, distinct grid indices, found others.")
    if index[0] < 0 or index[-1] >= points:
        raise DataError(f"{file}: {name}: expected grid indices below {points}, found {index[0]} to {index[-1]}.")

"""`coreset verify`: every checksum, every count, and the promises that a row makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.artifacts.manifest import MANIFEST, verify_files
from coreset.errors import DataError
from coreset.publishing.dataset import Dataset, open_dataset


def verify(path: str | Path) -> Iterator[str]:
    """Yields each file's name once it is found good: size, SHA-256, row counts, and indices ascending within each grid.

    Raises RequestError if the folder holds no coreset; DataError naming the first file that is missing, changed,
    surplus, or holds other rows than the manifest states.
    """
    dataset = open_dataset(path)
    stated = {name for shard in dataset.manifest["shards"] for name in shard["files"]}
    for shard in dataset.manifest["shards"]:
        yield from verify_files(dataset.path, shard["files"])
    surplus = sorted({entry.name for entry in dataset.path.iterdir()} - stated - {MANIFEST})
    if surplus:
        raise DataError(f"{dataset.path}: expected the files of {MANIFEST}, found {surplus[0]} beside them; remove it.")
    _verify_rows(dataset)


def _verify_rows(dataset: Dataset) -> None:
    points = {row["name"]: int(np.prod(row["grid"])) for row in dataset.snapshots.select(["name", "grid"]).to_pylist()}
    total = 0
    for shard, file in zip(
        (shard for shard in dataset.manifest["shards"] if shard["name"].startswith("part-")), dataset.files, strict=True
    ):
        rows = pq.read_table(file, columns=["snapshot", "index"])
        found = {entry["values"]: entry["counts"] for entry in rows.column("snapshot").value_counts().to_pylist()}
        if found != shard["figures"]["rows_by_snapshot"]:
            raise DataError(f"{file}: expected the rows by snapshot that {MANIFEST} states, found other counts.")
        _verify_indices(rows, points, file)
        total += rows.num_rows
    if total != dataset.manifest["rows"]:
        raise DataError(f"{dataset.path}: expected {dataset.manifest['rows']} rows, found {total}.")


def _verify_indices(rows: pa.Table, points: dict[str, int], file: Path) -> None:
    index = rows.column("index").to_numpy()
    names = rows.column("snapshot").combine_chunks().dictionary_encode()
    same = np.diff(names.indices.to_numpy()) == 0
    limits = np.array([points[name] for name in names.dictionary.to_pylist()], np.int64)
    if (np.diff(index)[same] <= 0).any():
        raise DataError(f"{file}: expected ascending, distinct grid indices within a snapshot, found others.")
    if rows.num_rows and ((index < 0) | (index >= limits[names.indices.to_numpy()])).any():
        raise DataError(f"{file}: expected grid indices inside their grids, found one outside.")

"""`coreset verify`: every checksum, every count, and the promises that a row makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coreset.artifacts.manifest import MANIFEST, verify_files
from coreset.errors import DataError
from coreset.publishing.dataset import Dataset, open_dataset
from coreset.publishing.tables import TableDataset


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
    _verify_rows(dataset, stated)


def _verify_rows(dataset: Dataset | TableDataset, stated: set[str]) -> None:
    shards = [shard for shard in dataset.manifest["shards"] if shard["name"].startswith("part-")]
    total = 0
    for shard, file in zip(shards, dataset.files, strict=True):
        if file.name not in stated:
            raise DataError(f"{dataset.path / MANIFEST}: shard {shard['name']!r} is none of its files; it was edited.")
        if isinstance(dataset, Dataset):
            rows = dataset.rows(file, ["snapshot", "index"])
            runs = [(snapshot.name, some.num_rows) for snapshot, some in dataset.runs(file, rows)]
            if len(dict(runs)) != len(runs) or dict(runs) != shard["figures"].get("rows_by_snapshot"):
                raise DataError(f"{file}: expected the rows by snapshot that {MANIFEST} states, found other counts.")
        else:
            rows = dataset.rows(file)
            if rows.num_rows != shard["figures"].get("rows"):
                raise DataError(f"{file}: expected the number of rows that {MANIFEST} states, found {rows.num_rows}.")
        total += rows.num_rows
    if total != dataset.manifest["rows"]:
        raise DataError(f"{dataset.path}: expected {dataset.manifest['rows']} rows, found {total}.")

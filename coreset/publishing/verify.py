"""`coreset verify`: every checksum, every count, and the promises that a row makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from coreset.artifacts.manifest import MANIFEST, inside, verify_files
from coreset.errors import DataError
from coreset.publishing.dataset import open_dataset
from coreset.publishing.index import INDEX, verify_index
from coreset.publishing.package import Package

_OF_A_HUB = frozenset({".gitattributes", ".git", ".cache"})
"""What the clients of hubs lay beside the files of a dataset that they fetch."""


def verify(path: str | Path) -> Iterator[str]:
    """Yields each file's name once it is found good: size, SHA-256, row counts, and no point twice.

    The folder of a run, or one that was published, whose index of points has to be that of its rows, too.

    Raises RequestError if the folder holds no coreset; DataError naming the first file that is missing, changed,
    surplus, or holds other rows than the manifest states.
    """
    dataset = open_dataset(path)
    stated = {name for shard in dataset.manifest["shards"] for name in shard["files"]}
    for shard in dataset.manifest["shards"]:
        yield from verify_files(dataset.path, shard["files"])
    expected = {MANIFEST, *stated, *(str(folder) for name in stated for folder in PurePosixPath(name).parents)}
    surplus = next((name for name in _below(dataset.path) if name not in expected), None)
    if surplus:
        raise DataError(f"{dataset.path}: expected the files of {MANIFEST}, found {surplus} beside them; remove it.")
    _verify_rows(dataset, stated)
    if INDEX in stated:
        verify_index(inside(dataset.path, INDEX), dataset)


def _below(folder: Path) -> Iterator[str]:
    """Every entry, but what a hub's client leaves."""
    for entry in sorted(folder.iterdir()):
        if entry.name not in _OF_A_HUB:
            yield entry.name
            if entry.is_dir() and not entry.is_symlink():
                yield from (below.relative_to(folder).as_posix() for below in sorted(entry.rglob("*")))


def _verify_rows(dataset: Package, stated: set[str]) -> None:
    total = 0
    for part, file in zip(dataset.parts, dataset.files, strict=True):
        if part["name"] not in stated:
            raise DataError(f"{dataset.path / MANIFEST}: shard {part['name']!r} is none of its files; it was edited.")
        total += dataset.count(part, file)
    if total != dataset.manifest["rows"]:
        raise DataError(f"{dataset.path}: expected {dataset.manifest['rows']} rows, found {total}.")
    dataset.expect_each_once()

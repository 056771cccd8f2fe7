"""Zarr arrays whose every chunk is stored."""

from __future__ import annotations

import math
from typing import Any

import fsspec
import zarr

from coreset.errors import DataError, RequestError

_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def expect_chunks(array: zarr.Array[Any], path: str) -> None:
    """Raises DataError where chunks of an array below `path`, a folder or URL, are missing.

    Zarr reads one that is missing as so many fill values: numbers that nobody computed.
    """
    filesystem, root = fsspec.core.url_to_fs(f"{path}/{array.path}" if array.path else path)
    stored = sum(file.rpartition("/")[2] not in _METADATA for file in filesystem.find(root))
    shape = array.shards or array.chunks
    if min(shape) < 1:
        raise RequestError(f"{path}: expected chunks that hold something, found chunks of shape {shape}.")
    expected = math.prod(-(-length // size) for length, size in zip(array.shape, shape, strict=True))
    if stored != expected:
        raise DataError(
            f"{path}: expected {expected} chunks, found {stored}: missing ones would count as values of "
            f"{array.fill_value}; copy it again, or write it with write_empty_chunks."
        )

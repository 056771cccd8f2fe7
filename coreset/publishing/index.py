"""The index file: which points were selected, without the data. With the original corpus it gives the coreset again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coreset.atomic import canonical_json, parse_json
from coreset.corpus.parquet import read_parquet
from coreset.errors import DataError, brief
from coreset.publishing.dataset import Dataset
from coreset.publishing.package import StatedDescriptor

INDEX = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [
        ("digest", pa.string()),
        ("snapshot", pa.string()),
        ("index", pa.int64()),
        ("stratum", pa.int32()),
        ("weight", pa.float64()),
        ("score", pa.float32()),
    ]
)
"""`digest` and `snapshot` are content digest and name of the snapshot, `index` the grid index in C order."""
RECIPE = b"coreset"
"""Key of the file's metadata under which the recipe lies, as JSON."""


def recipe_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says of how the points were chosen, without its files."""
    return {key: value for key, value in manifest.items() if key not in ("shards", "checksum", "published", "date")}


def write_index(path: Path, dataset: Dataset) -> None:
    """Writes the index of a coreset, a row group per file that has rows."""
    schema = INDEX_SCHEMA.with_metadata({RECIPE: canonical_json(recipe_of(dataset.manifest))})
    # The file goes about alone, without a manifest: its pages carry their own checksums.
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for rows in _indices(dataset):
            writer.write_table(rows, row_group_size=len(rows))


def verify_index(path: Path, dataset: Dataset) -> None:
    """Raises DataError where the index names other points than the rows of the dataset, or tells otherwise of them."""
    groups = read_parquet(path, INDEX_SCHEMA, nullable=("score", "stratum"), columns=[]).num_rows
    first = 0
    with pq.ParquetFile(path) as file:
        for number, rows in enumerate(_indices(dataset)):
            if number >= file.num_row_groups or not file.read_row_group(number).cast(INDEX_SCHEMA).equals(rows):
                raise DataError(f"{path}: expected the points of the dataset from row {first} on, found others.")
            first += len(rows)
    if first != groups:
        raise DataError(f"{path}: expected {first} rows, found {groups}.")


def _indices(dataset: Dataset) -> Iterator[pa.Table]:
    """The index of the rows of each file that has any."""
    columns = [name for name in INDEX_SCHEMA.names if name != "digest"]
    for file in dataset.files:
        rows = dataset.rows(file, columns)
        digests = [pa.repeat(snapshot.digest, len(some)) for snapshot, some in dataset.runs(file, rows)]
        if digests:
            digest = pa.chunked_array(digests, pa.string())
            yield rows.append_column("digest", digest).select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA).combine_chunks()


def stated_recipe(path: Path) -> dict[str, Any]:
    """How the points of an index file were chosen, as far as it says so; defaults for a file from elsewhere.

    Raises DataError for a recipe that no coreset has.
    """
    stated = pq.read_schema(path).metadata or {}
    recipe: dict[str, Any] = {"name": path.stem, "descriptor": {}, "select": {"method": "not stated"}}
    recipe |= {"cutoff": "not stated", "job": {"output": {"descriptor": False}}}
    if RECIPE not in stated:
        recipe["descriptor"] = StatedDescriptor().model_dump()
        return recipe
    try:
        found = parse_json(stated[RECIPE])
        if not isinstance(found, dict):
            raise TypeError(f"a {type(found).__name__}")
        kept = {key: found[key] for key in ("name", "job", "descriptor", "select", "cutoff", "points") if key in found}
        recipe |= kept
        recipe["descriptor"] = StatedDescriptor.model_validate(recipe["descriptor"]).model_dump()
        # The descriptor is not stored, whatever the original did: it is computed on reading.
        recipe["job"] = {**recipe["job"], "output": {"descriptor": False}}
        if not isinstance(recipe["name"], str) or not isinstance(recipe["select"], dict):
            raise TypeError("name or select is of another type")
        if not isinstance(recipe.get("points", 0), int):
            raise TypeError("points is no integer")
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: expected the recipe of a coreset, found a damaged one ({brief(error)}).") from None
    return recipe

"""The index file: which points were selected, without the data. With the original corpus it gives the coreset again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from coreset.atomic import canonical_json, parse_json
from coreset.corpus.parquet import read_parquet
from coreset.errors import DataError, brief
from coreset.publishing.package import Package, StatedDescriptor, StatedLayout

INDEX = "index.parquet"
_IMPORTANCE = [("stratum", pa.int32()), ("weight", pa.float64()), ("score", pa.float32())]
POINTS_INDEX = pa.schema([("digest", pa.string()), ("snapshot", pa.string()), ("index", pa.int64()), *_IMPORTANCE])
"""`digest` and `snapshot` are content digest and name of the snapshot, `index` the grid index in C order."""
ROWS_INDEX = pa.schema([("file", pa.string()), ("row", pa.int64()), *_IMPORTANCE])
"""`file` of the table's source, by its name in it, and the row's number in that file, from 0."""
RECIPE = b"coreset"
"""Key of the file's metadata under which the recipe lies, as JSON."""


_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9._ -]{1,200}$")]


class _Networks(BaseModel):
    """`score` of a job that scores by networks."""

    model_config = ConfigDict(strict=True)

    method: Literal["grand"]
    epoch: Annotated[int, Field(ge=1)]
    seeds: Annotated[int, Field(ge=1)]


class _File(BaseModel):
    """`score` of a job that was given a file; where that lies is not said."""

    model_config = ConfigDict(strict=True)

    method: Literal["file"]


class _Scored(BaseModel):
    """As much of a job as a card tells: how its points were scored, if they were."""

    score: Annotated[_Networks | _File, Field(discriminator="method")] | None = None


def _tells_its_scores(job: dict[str, Any]) -> dict[str, Any]:
    _Scored.model_validate(job)
    return job


class _Scores(BaseModel):
    """The file of scores that a job was given."""

    model_config = ConfigDict(strict=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Recipe(BaseModel):
    """What a recipe may state, for a card to repeat."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")] | None = None
    job: Annotated[dict[str, Any], AfterValidator(_tells_its_scores)] | None = None
    descriptor: StatedDescriptor | None = None
    layout: StatedLayout | None = None
    select: dict[_Word, bool | int | float | _Word] | None = None
    cutoff: float | _Word | None = None
    points: Annotated[int, Field(ge=0)] | None = None
    scores: _Scores | None = None


def recipe_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says of how the points were chosen, without its files."""
    return {key: value for key, value in manifest.items() if key not in ("shards", "checksum", "published", "date")}


def write_index(path: Path, dataset: Package) -> None:
    """Writes the index of a coreset, a row group per file that has rows."""
    schema = dataset.index_schema.with_metadata({RECIPE: canonical_json(recipe_of(dataset.manifest))})
    # The file goes about alone, without a manifest: its pages carry their own checksums.
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for rows in dataset.indices():
            writer.write_table(rows, row_group_size=len(rows))


def verify_index(path: Path, dataset: Package) -> None:
    """Raises DataError where the index names other points than the rows of the dataset, or tells otherwise of them."""
    groups = read_parquet(path, dataset.index_schema, nullable=("score", "stratum"), columns=[]).num_rows
    first = 0
    with pq.ParquetFile(path) as file:
        for number, rows in enumerate(dataset.indices()):
            if number >= file.num_row_groups or not file.read_row_group(number).cast(dataset.index_schema).equals(rows):
                raise DataError(f"{path}: expected the dataset's {dataset.noun} from row {first} on, found others.")
            first += len(rows)
    if first != groups:
        raise DataError(f"{path}: expected {first} rows, found {groups}.")


def stated_recipe(path: Path) -> dict[str, Any]:
    """How the points of an index file were chosen, as far as it says so; defaults for a file from elsewhere.

    It has a layout where it is that of a table, and a descriptor where it is not. Raises DataError for a recipe that no
    coreset has.
    """
    stated = (pq.read_schema(path).metadata or {}) if path.suffix not in (".csv", ".npy") else {}
    recipe: dict[str, Any] = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "coreset",
        "job": {"output": {"descriptor": False}},
        "select": {"method": "not stated"},
        "cutoff": "not stated",
    }
    of_points = {"descriptor": StatedDescriptor().model_dump()}
    if RECIPE not in stated:
        return recipe | of_points
    try:
        found = _Recipe.model_validate(parse_json(stated[RECIPE])).model_dump(exclude_none=True)
    except ValueError as error:
        raise DataError(f"{path}: expected the recipe of a coreset, found a damaged one ({brief(error)}).") from None
    # The descriptor is not stored, whatever the original did: it is computed on reading.
    job = {**found.get("job", {}), **recipe["job"]}
    return recipe | ({} if "layout" in found else of_points) | found | {"job": job}

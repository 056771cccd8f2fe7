"""Parquet files that coreset wrote: the columns of their rows, and a reader that refuses by name what is damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.corpus.table_corpus import Layout
from coreset.errors import DataError, brief


def rows_schema(descriptor: int | None) -> pa.Schema:
    """Columns of `part-*.parquet`: lengths in Bohr, density in e/Bohr³; `descriptor` is its length, if it is stored."""
    columns: list[tuple[str, pa.DataType]] = [
        ("snapshot", pa.string()),
        ("index", pa.int64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("z", pa.float64()),
        ("density", pa.float32()),
        ("score", pa.float32()),
        ("stratum", pa.int32()),
        ("weight", pa.float64()),
    ]
    if descriptor is not None:
        columns.append(("descriptor", pa.list_(pa.float32(), descriptor)))
    return pa.schema(columns)


OWN = ("file", "row", "group", "score", "stratum", "weight")
"""Columns of `part-*.parquet` of a table beside those of the table, which have their names."""


def table_schema(layout: Layout) -> pa.Schema:
    """Columns of `part-*.parquet` of a table: where a row stood, its features and targets (a class by its name)."""
    target = pa.dictionary(pa.int32(), pa.string()) if layout.classes else pa.float32()
    features = [(name, pa.float32()) for name in renamed(layout.features)]
    targets = [(name, target) for name in renamed(layout.targets)]
    place = [("file", pa.string()), ("row", pa.int64()), ("group", pa.string())]
    importance = [("score", pa.float32()), ("stratum", pa.int32()), ("weight", pa.float64())]
    return pa.schema([*place, *features, *targets, *importance])


def renamed(names: Sequence[str]) -> list[str]:
    """The names of a table's columns in `part-*.parquet`: those of `OWN`, also with underscores, with one more."""
    return [f"{name}_" if name.rstrip("_") in OWN else name for name in names]


def columns_of(values: np.ndarray, layout: Layout) -> list[pa.Array]:
    """The columns of features and targets, of rows as a corpus holds them, shape [n, d + o]."""
    columns = [pa.array(np.ascontiguousarray(column)) for column in values.T]
    if layout.classes:
        codes = columns[-1].cast(pa.int32())
        columns[-1] = pa.DictionaryArray.from_arrays(codes, pa.array(layout.classes))
    return columns


def read_parquet(
    path: Path,
    *schemas: pa.Schema,
    nullable: Sequence[str],
    columns: Sequence[str] | None = None,
    dictionary: Sequence[str] = (),
    groups: Sequence[int] | None = None,
) -> pa.Table:
    """The columns of a file, which has one of these schemas; all of them, or those named; of some row groups, or all.

    None but those of `nullable` lacks a value; those of `dictionary`, text that repeats, come as dictionaries.

    Raises DataError for a file that is damaged, or holds other columns.
    """
    try:
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow.remove_metadata()
        if not any(found.equals(schema) for schema in schemas):
            raise DataError(f"{path}: expected the columns {_listed(schemas[0])}, found {_listed(found)}.")
        with pq.ParquetFile(path, read_dictionary=list(dictionary)) as file:
            sizes = row_groups(file.metadata)
            which = range(len(sizes)) if groups is None else groups
            table = file.read_row_groups(which, columns=columns, use_threads=False)
            rows = sum(sizes[group] for group in which)
        table.validate(full=True)
        if len(table) != rows:
            raise pa.ArrowInvalid(f"{len(table)} of {rows} rows")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the system, not of the content
        raise DataError(f"{path}: expected a Parquet file, found a damaged one ({brief(error)}).") from None
    for name in table.column_names:
        column = table.column(name)
        if name not in nullable and column.null_count:
            raise DataError(f"{path}: expected a value of {name!r} in every row, found {column.null_count} without.")
    return table


def row_groups(metadata: pq.FileMetaData) -> list[int]:
    """Rows of each row group. Raises ArrowInvalid where they do not add up: a damaged footer has lost some."""
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if sum(sizes) != metadata.num_rows:
        raise pa.ArrowInvalid(f"{sum(sizes)} of {metadata.num_rows} rows in {len(sizes)} row groups")
    return sizes


def batches(
    file: pq.ParquetFile, group: int, most: int, columns: Sequence[str] | None = None, **options: Any
) -> Iterator[pa.RecordBatch]:
    """The rows of a row group, `most` at a time.

    Raises ArrowInvalid where they are fewer than its header says: pyarrow ends early over some damaged pages, and
    says nothing.
    """
    rows = 0
    for batch in file.iter_batches(most, [group], columns, **options):
        rows += batch.num_rows
        yield batch
    if rows != file.metadata.row_group(group).num_rows:
        raise pa.ArrowInvalid(f"{rows} of {file.metadata.row_group(group).num_rows} rows in row group {group}")


def footer(path: Path) -> pq.FileMetaData:
    """What a file says of its columns and row groups. Raises DataError for one that is damaged."""
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DataError(f"{path}: expected a Parquet file, found a damaged one ({brief(error)}).") from None


def _listed(schema: pa.Schema) -> str:
    return brief(", ".join(f"{field.name[:40]} ({field.type})" for field in schema))

"""An index file from anywhere: looked through once, then read row group by row group for what each part needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.corpus.parquet import batches, row_groups
from coreset.errors import CoresetError, DataError, RequestError, brief
from coreset.methods import Selected
from coreset.publishing.dataset import open_dataset
from coreset.publishing.verify import verify

IMPORTANCE = ("stratum", "weight", "score")
_KINDS = {
    "index": pa.int64(),
    "row": pa.int64(),
    "stratum": pa.int32(),
    "weight": pa.float64(),
    "score": pa.float32(),
}
_WORDS = {
    pa.int64(): "whole numbers of 64 bits",
    pa.int32(): "whole numbers of 32 bits",
    pa.float64(): "numbers",
    pa.float32(): "numbers",
    pa.string(): "texts",
}
_PIECE = 2**20
"""Rows of an index file that are looked at together."""


@dataclass(frozen=True)
class Listing:
    """An index file, all of whose rows are of members of a corpus: of its snapshots, or of a table's files.

    groups: the row groups in which each member stands, by its key, so that only these are read for it.
    """

    path: Path
    place: Path
    """The file that was given, of which `path` may be a copy."""
    columns: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    rows: int

    def tables(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of some row groups, in pieces, in the types of the coreset. Raises DataError for damage."""
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                for batch in chain.from_iterable(batches(file, group, _PIECE, list(columns)) for group in groups):
                    table = pa.Table.from_batches([batch])
                    for name in columns:
                        column = self._cast(table.column(name), name)
                        table = table.set_column(table.schema.get_field_index(name), name, column)
                    yield table
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.place}: cannot be read ({brief(error)}); copy it again.") from None

    def _cast(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        kind = _KINDS.get(name, pa.string())
        try:
            return column.cast(kind)
        except pa.ArrowException as error:
            # What was copied well and says something else: a half of a row, a number beyond the type, a text.
            raise DataError(
                f"{self.place}: expected {_WORDS[kind]} in the column {name!r}, found others ({brief(error)}); mend "
                "that column."
            ) from None


def columns_of(path: Path) -> list[str]:
    """The columns of an index file in Parquet. Raises RequestError where there is none."""
    try:
        return list(pq.read_schema(path).names)
    except FileNotFoundError:
        raise RequestError(f"{path}: expected an index file, found nothing there; check the path.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RequestError(
            f"{path}: expected a Parquet file, found one that cannot be read ({brief(error)})."
        ) from None


def look_through(
    path: Path,
    place: Path,
    columns: Sequence[str],
    keys: Sequence[str],
    number: str,
    member_of: Callable[[dict[str, Any]], str],
) -> Listing:
    """Finds the row groups of each member, whose key `member_of` tells from the values of the columns `keys`.

    Raises RequestError for a file without rows, DataError for rows without a member or a number.
    """
    listing = Listing(path, place, tuple(columns), {}, 0)
    found: dict[str, list[int]] = {}
    rows = 0
    try:
        groups_of_file = range(len(row_groups(pq.read_metadata(path))))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{place}: cannot be read ({brief(error)}); copy it again.") from None
    for group in groups_of_file:
        for table in listing.tables([group], [*keys, number]):
            _expect_values(table, place)
            rows += len(table)
            for row in table.group_by(list(keys)).aggregate([]).to_pylist():
                groups = found.setdefault(member_of(row), [group])
                if groups[-1] != group:
                    groups.append(group)
    if not rows:
        raise RequestError(f"{place}: expected rows, found none.")
    return replace(listing, groups={member: tuple(each) for member, each in found.items()}, rows=rows)


def _expect_values(table: pa.Table, path: Path) -> None:
    for name in table.column_names:
        if table.column(name).null_count:
            raise DataError(f"{path}: expected a value of {name!r} in every row, found a row without.")


def selected_of(index: np.ndarray, rows: pa.Table, place: str) -> Selected:
    """What an index says of some points, given by their places. Raises DataError for bad weights or scores."""
    weight = _importance(rows, "weight", place)
    if weight is None:
        weight = np.ones(len(index))
    elif not (np.isfinite(weight) & (weight > 0)).all():
        raise DataError(f"{place}: expected positive, finite weights, found others.")
    score = _importance(rows, "score", place)
    if score is not None and not np.isfinite(score).all():
        wrong = int(np.isfinite(score).argmin())
        named = "row" if "row" in rows.column_names else "index"
        raise DataError(
            f"{place}: expected finite scores, or none at all, found {score[wrong]} at {named} "
            f"{rows.column(named)[wrong]}; mend it, or leave the column out."
        )
    return Selected(index, _importance(rows, "stratum", place), weight, score)


def _importance(rows: pa.Table, name: str, place: str) -> np.ndarray | None:
    """A column without nulls; None where there is none, or where all are null."""
    if name not in rows.column_names or rows.column(name).null_count == len(rows):
        return None
    if rows.column(name).null_count:
        raise DataError(f"{place}: expected {name!r} in all of these rows or in none, found some without.")
    values: np.ndarray = rows.column(name).to_numpy()
    return values


def stands(out: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether the folder holds this very import. Raises RequestError where it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = open_dataset(out).manifest.get("imported")
        for _ in verify(out):
            pass
    except CoresetError:
        found = None
    if found != recipe["imported"]:
        raise RequestError(f"{out}: expected a new folder, or this coreset, found something else; choose another OUT.")
    return True

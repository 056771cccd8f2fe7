"""`coreset import` of a table: the rows that an index file names, from the corpus that the table was ingested into."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from coreset.artifacts.executor import Executor
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.atomic import TEMPORARY, canonical_json, parse_json, sha256_file
from coreset.corpus.kept import batches_of
from coreset.corpus.npy import read_npy_header
from coreset.corpus.parquet import batches, row_groups
from coreset.corpus.split import SnapshotSet
from coreset.corpus.table_corpus import TableCorpus, TableShard, read_rows
from coreset.errors import CoresetError, DataError, RequestError, brief
from coreset.methods import Selected
from coreset.publishing.dataset import open_dataset
from coreset.publishing.index import stated_recipe
from coreset.publishing.package import write_package
from coreset.publishing.tables import table_card
from coreset.stages.listing import IMPORTANCE, Listing, columns_of, look_through, selected_of, stands
from coreset.stages.table_rows import write_table_rows

_PIECE = 2**20
"""Rows of an index file that are copied together."""
_PLAIN = (".csv", ".npy")
"""Index files that are not Parquet."""


@dataclass(frozen=True)
class ImportRows(Stage):
    """The rows that an index file names, read from the corpus."""

    name: ClassVar[str] = "import"
    suffix: ClassVar[str] = ".parquet"

    table: SnapshotSet
    listing: Listing
    index: str
    """SHA-256 of the index file."""

    def parameters(self) -> dict[str, Any]:
        return {"files": [list(file) for file in self.table.files]}

    def inputs(self) -> dict[str, str]:
        return {"table": self.table.digest, "index": self.index}

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.table.snapshots))]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        shards = self.table.snapshots[part.payload.first : part.payload.stop]
        assert self.table.layout is not None
        kept = self.kept([shard for shard in shards if isinstance(shard, TableShard)])
        return write_table_rows(path, self.table.layout, self.table.files, kept)

    def figures(self, shared: Any, records: Any, find: FindShard) -> dict[str, Any]:
        return {"rows": sum(record["figures"]["rows"] for record in records)}

    def kept(self, shards: Sequence[TableShard]) -> Iterator[tuple[TableShard, Selected]]:
        """What is kept of each shard of which anything is. Raises DataError for a row that the index names twice."""
        stood = {shard.name: read_rows(shard, 0, shard.points) for shard in shards}
        listed = self._rows(min(int(rows[0]) for rows in stood.values()), max(int(rows[-1]) for rows in stood.values()))
        if listed is None:
            return
        numbers = listed.column("number").to_numpy()
        for shard in shards:
            rows = stood[shard.name]
            at = np.minimum(np.searchsorted(numbers, rows), len(numbers) - 1)
            kept = np.flatnonzero(numbers[at] == rows)
            if len(kept):
                yield shard, selected_of(kept, listed.take(at[kept]), f"{self.listing.place}: {shard.name}")

    def _rows(self, low: int, high: int) -> pa.Table | None:
        """What the index names of the rows low ≤ number ≤ high of the table, in order, with their numbers, if any."""
        firsts = [first for _, first in self.table.files]
        spans = zip(self.table.files, [*firsts[1:], high + 1], strict=True)
        near = {name: (first, end) for (name, first), end in spans if first <= high and low < end}
        groups = sorted({group for name in near for group in self.listing.groups.get(name, ())})
        pieces = list[pa.Table]()
        for table in self.listing.tables(groups, self.listing.columns) if groups else ():
            for name, (first, end) in near.items():
                of_file = table.filter(pc.equal(table.column("file"), name))
                number = pc.add(of_file.column("row"), first)
                # A row that its file does not have is no row of the next one.
                inside = pc.and_(pc.greater_equal(number, max(low, first)), pc.less(number, min(high + 1, end)))
                pieces.append(of_file.append_column("number", number).filter(inside))
        if not sum(map(len, pieces)):
            return None
        found = pa.concat_tables(pieces).combine_chunks().sort_by("number")
        twice = np.flatnonzero(np.diff(found.column("number").to_numpy()) == 0)
        if len(twice):
            name, row = (found.column(each)[int(twice[0])].as_py() for each in ("file", "row"))
            raise DataError(f"{self.listing.place}: {name}: expected each row once, found {row} twice.")
        return found


def import_rows(index: Path, corpus: TableCorpus, out: Path, executor: Executor) -> int:
    """Writes the rows of a table that an index file names to `out`; see `importing.import_index`.

    index: Parquet, CSV or `.npy`, see `as_parquet`.
    """
    if index.suffix not in _PLAIN:
        columns_of(index)
    elif not index.is_file():
        raise RequestError(f"{index}: expected an index file, found nothing there; check the path.")
    checksum = sha256_file(index)
    recipe = stated_recipe(index) | {"imported": {"index": checksum}}
    recipe.pop("descriptor", None)
    layout = parse_json(canonical_json(asdict(corpus.layout)))
    if recipe.setdefault("layout", layout) != layout:
        raise RequestError(
            f"{index}: expected rows of a table with the columns and ranges of {corpus.path}, found others; ingest the "
            "table that they were selected from, with the same --target and --features."
        )
    if stands(out, recipe):
        return len(open_dataset(out))
    table = SnapshotSet(corpus.path, corpus.snapshots, corpus.layout, corpus.files)
    recipe.setdefault("points", table.points)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=TEMPORARY) as store:
        listing = read_row_listing(as_parquet(index, corpus, Path(store)), index, corpus)
        made = materialize(ImportRows(table, listing, checksum), root=Path(store), executor=executor)
        rows: int = made.figures["rows"]
        if rows != listing.rows:
            raise DataError(
                f"{index}: expected rows of {corpus.path}, found {listing.rows - rows:,} of {listing.rows:,} that it "
                f"does not have, the first {_first_unknown(listing, table)}; give the table that they were selected "
                "from."
            )
        kept = {name for shard in made.shards for name in shard["figures"]["rows_by_snapshot"]}
        groups = {shard.group for shard in corpus.snapshots if shard.name in kept}
        card = table_card(recipe["name"], rows, recipe["points"], len(groups), corpus.layout, recipe)
        write_package(out, made, (), recipe, card)
    return rows


def _first_unknown(listing: Listing, table: SnapshotSet) -> str:
    """The first row of an index that its file does not have; all rows of a file are in the corpus."""
    ends = [*(first for _, first in table.files[1:]), table.points]
    names = [name for name, _ in table.files]
    rows = pa.array([end - first for (_, first), end in zip(table.files, ends, strict=True)], pa.int64())
    groups = sorted({group for groups in listing.groups.values() for group in groups})
    for piece in listing.tables(groups, ["file", "row"]):
        size = rows.take(pc.index_in(piece.column("file"), pa.array(names)))
        row = piece.column("row")
        for wrong in piece.filter(pc.or_(pc.less(row, 0), pc.greater_equal(row, size))).slice(0, 1).to_pylist():
            size = rows[names.index(wrong["file"])]
            return f"{wrong['row']} of {wrong['file']}, which has {size}, from 0 on"
    raise AssertionError("each row that is of no shard lies outside of its file")


def read_row_listing(path: Path, index: Path, corpus: TableCorpus) -> Listing:
    """Looks through an index with `file` and `row`, which `index` is, or was copied from; see `look_through`.

    Raises RequestError for a file that the table does not have.
    """
    files = {name for name, _ in corpus.files}

    def file_of(row: dict[str, Any]) -> str:
        if row["file"] not in files:
            raise RequestError(
                f"{index}: expected rows of {brief(', '.join(sorted(files)))}, found some of {row['file'][:80]!r}; "
                "give the table that they were selected from."
            )
        return str(row["file"])

    columns = [name for name in ("file", "row", *IMPORTANCE) if name in columns_of(path)]
    return look_through(path, index, columns, ["file"], "row", file_of)


def as_parquet(index: Path, corpus: TableCorpus, scratch: Path) -> Path:
    """The index as a Parquet file with `file` and `row`: itself, or a copy.

    A CSV has a line of names; a `.npy` holds numbers of rows. `file` may be left out where the table is one file, and
    `index`, as `coreset select` calls it, is a `row`. Raises RequestError for a file without these columns, or without
    rows, DataError for one that is damaged.
    """
    if index.suffix not in _PLAIN and {"file", "row"} <= set(columns_of(index)):
        return index
    files = [name for name, _ in corpus.files]
    writer = None
    try:
        for piece in _pieces(index):
            table = _placed(piece, files, index)
            writer = writer or pq.ParquetWriter(scratch / "index.parquet", table.schema)
            writer.write_table(table)
    except CoresetError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if index.suffix == ".csv":
            raise DataError(
                f"{index}: expected a line of names, and lines with a value for each name, found others "
                f"({brief(error)}); mend the file."
            ) from None
        raise DataError(f"{index}: cannot be read ({brief(error)}); copy it again.") from None
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise RequestError(f"{index}: expected rows, found none.")
    return scratch / "index.parquet"


def _placed(piece: pa.Table, files: Sequence[str], index: Path) -> pa.Table:
    """Rows of an index with `file` and `row`."""
    names = piece.column_names
    if "index" in names and not {"row", "digest", "snapshot"} & set(names):
        names = ["row" if name == "index" else name for name in names]
    if "row" not in names or ("file" not in names and len(files) > 1):
        wanted = "`row`, and `file`" if len(files) > 1 else "`row`"
        raise RequestError(f"{index}: expected the column {wanted}, found {brief(', '.join(piece.column_names))}.")
    table = piece.rename_columns(names)
    return table if "file" in names else table.append_column("file", pa.repeat(pa.scalar(files[0]), len(table)))


def _pieces(index: Path) -> Iterator[pa.Table]:
    """An index file of any kind, some rows at a time."""
    if index.suffix == ".csv":
        with pyarrow.csv.open_csv(index) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    elif index.suffix == ".npy":
        with index.open("rb") as file:
            header = read_npy_header(file, index.stat().st_size, index)
            if header.dtype.kind not in "iu" or len(header.shape) != 1:
                raise RequestError(
                    f"{index}: expected numbers of rows, found {header.dtype} of shape {list(header.shape)}."
                )
            while content := file.read(_PIECE * header.dtype.itemsize):
                yield pa.table({"row": np.frombuffer(content, header.dtype).astype(np.int64)})
    else:
        with pq.ParquetFile(index, page_checksum_verification=True) as file:
            for group in range(len(row_groups(file.metadata))):
                for batch in batches(file, group, _PIECE):
                    yield pa.Table.from_batches([batch])

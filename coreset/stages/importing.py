"""`coreset import`: the coreset that an index file names, from the original corpus."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coreset.artifacts.executor import Executor
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.atomic import TEMPORARY, sha256_file
from coreset.corpus.kept import batches_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.errors import CoresetError, DataError, RequestError, brief
from coreset.methods import Selected
from coreset.publishing.card import dataset_card
from coreset.publishing.dataset import open_dataset
from coreset.publishing.index import stated_recipe
from coreset.publishing.package import write_package
from coreset.publishing.verify import verify
from coreset.stages.extraction import write_rows

_NAMES = ("digest", "snapshot")
_KINDS = {"index": pa.int64(), "stratum": pa.int32(), "weight": pa.float64(), "score": pa.float32()}
_PIECE = 2**20
"""Rows of an index file that are looked at together."""


@dataclass(frozen=True)
class Listing:
    """An index file whose snapshots were found in a corpus.

    groups: the row groups in which each snapshot stands, by its digest, so that only these are read for it.
    """

    path: Path
    sha256: str
    columns: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    rows: int

    def tables(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of some row groups, in pieces, in the types of the coreset. Raises DataError for damage."""
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(_PIECE, row_groups=list(groups), columns=list(columns)):
                    table = pa.Table.from_batches([batch])
                    for name in columns:
                        kind = _KINDS.get(name, pa.string())
                        column = table.column(name).cast(kind)
                        table = table.set_column(table.schema.get_field_index(name), name, column)
                    yield table
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: cannot be read ({brief(error)}); copy it again.") from None


def read_listing(path: Path, corpus: Corpus) -> Listing:
    """Looks through an index file, and finds its snapshots in the corpus, by digest where there is one, else by name.

    Raises RequestError for a file without the columns, and for a snapshot that the corpus does not have, or has with
    another content; DataError for rows without a value.
    """
    try:
        with pq.ParquetFile(path) as file:
            names, groups = file.schema_arrow.names, file.num_row_groups
    except FileNotFoundError:
        raise RequestError(f"{path}: expected an index file, found nothing there; check the path.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RequestError(
            f"{path}: expected a Parquet file, found one that cannot be read ({brief(error)})."
        ) from None
    keys = [name for name in _NAMES if name in names]
    if not keys or "index" not in names:
        raise RequestError(
            f"{path}: expected the columns `index`, and `digest` or `snapshot`, found {', '.join(names)[:200]}."
        )
    columns = tuple(name for name in (*_NAMES, *_KINDS) if name in names)
    listing = Listing(path, sha256_file(path), columns, {}, 0)
    by_digest = {snapshot.digest: snapshot for snapshot in corpus.snapshots}
    by_name = {snapshot.name: snapshot for snapshot in corpus.snapshots}
    found: dict[str, list[int]] = {}
    rows = 0
    for group in range(groups):
        for table in listing.tables([group], [*keys, "index"]):
            _expect_values(table, path)
            rows += len(table)
            for row in table.group_by(keys).aggregate([]).to_pylist():
                snapshot = _snapshot_of(row, by_digest, by_name, f"{path}", corpus.path)
                if found.setdefault(snapshot.digest, [group])[-1] != group:
                    found[snapshot.digest].append(group)
    if not rows:
        raise RequestError(f"{path}: expected rows, found none.")
    return Listing(path, listing.sha256, columns, {digest: tuple(each) for digest, each in found.items()}, rows)


def _snapshot_of(
    row: Mapping[str, str], by_digest: Mapping[str, Snapshot], by_name: Mapping[str, Snapshot], place: str, corpus: str
) -> Snapshot:
    name, digest = row.get("snapshot", ""), row.get("digest", "")
    found = by_digest.get(digest) if digest else by_name.get(name) or by_digest.get(name)
    if found is not None:
        return found
    other = by_name.get(name)
    if other is not None:
        raise RequestError(
            f"{place}: {name[:80]}: expected the digest that {corpus} states, {other.digest[:16]}…, found "
            f"{digest[:16]}…: the corpus holds another density or other atoms under this name; find the original one."
        )
    raise RequestError(
        f"{place}: expected snapshots of {corpus}, found {(name or digest)[:80]!r}, which it does not have; give the "
        "corpus that the points were selected from."
    )


def _expect_values(table: pa.Table, path: Path) -> None:
    for name in table.column_names:
        if table.column(name).null_count:
            raise DataError(f"{path}: expected a value of {name!r} in every row, found a row without.")


@dataclass(frozen=True)
class Import(Stage):
    """The rows that an index file names, read from the corpus; the density must be what its digest says."""

    name: ClassVar[str] = "import"
    suffix: ClassVar[str] = ".parquet"

    train: SnapshotSet
    listing: Listing

    def parameters(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest, "index": self.listing.sha256}

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.train.snapshots))]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        snapshots = self.train.grids[part.payload.first : part.payload.stop]
        kept = self.kept(snapshots)
        corpus = Corpus.unlisted(self.train.corpus)
        for snapshot in snapshots:
            corpus.verify(snapshot)
        return write_rows(path, self.train.corpus, ((each, kept[each.digest]) for each in snapshots), None)

    def figures(self, shared: Any, records: Any, find: FindShard) -> dict[str, Any]:
        return {"rows": sum(record["figures"]["rows"] for record in records)}

    def kept(self, snapshots: Sequence[Snapshot]) -> dict[str, Selected]:
        """The points of some snapshots, by digest. Raises DataError for rows that name no points of theirs."""
        listing = self.listing
        groups = sorted({group for snapshot in snapshots for group in listing.groups[snapshot.digest]})
        key = "digest" if "digest" in listing.columns else "snapshot"
        values = [
            value for each in snapshots for value in ((each.digest,) if key == "digest" else (each.name, each.digest))
        ]
        wanted = pa.array(values, pa.string())
        pieces = [
            table.filter(pc.is_in(table.column(key), wanted)) for table in listing.tables(groups, listing.columns)
        ]
        rows = pa.concat_tables(pieces)
        found = {}
        for snapshot in snapshots:
            names = pa.array([snapshot.digest] if key == "digest" else [snapshot.name, snapshot.digest])
            mine = rows.filter(pc.is_in(rows.column(key), names)).sort_by("index")
            found[snapshot.digest] = self._selected(snapshot, mine)
        return found

    def _selected(self, snapshot: Snapshot, rows: pa.Table) -> Selected:
        index = rows.column("index").to_numpy()
        place = f"{self.listing.path}: {snapshot.name}"
        if (np.diff(index) <= 0).any():
            twice = int(index[np.flatnonzero(np.diff(index) <= 0)[0]])
            raise DataError(f"{place}: expected each grid index once, found {twice} twice.")
        if index[0] < 0 or index[-1] >= snapshot.points:
            wrong = int(index[0] if index[0] < 0 else index[-1])
            raise DataError(f"{place}: expected grid indices from 0 to {snapshot.points - 1}, found {wrong}.")
        weight = _column(rows, "weight", place)
        if weight is None:
            weight = np.ones(len(index))
        elif not (np.isfinite(weight) & (weight > 0)).all():
            raise DataError(f"{place}: expected positive, finite weights, found others.")
        return Selected(index, _column(rows, "stratum", place), weight, _column(rows, "score", place))


def _column(rows: pa.Table, name: str, place: str) -> np.ndarray | None:
    """A column without nulls; None where there is none, or where all are null."""
    if name not in rows.column_names or rows.column(name).null_count == len(rows):
        return None
    if rows.column(name).null_count:
        raise DataError(f"{place}: expected {name!r} in all rows of a snapshot or in none, found some without.")
    values: np.ndarray = rows.column(name).to_numpy()
    return values


def import_index(index: Path, corpus: Path | str, out: Path, executor: Executor) -> int:
    """Writes the coreset that an index file names to `out`, from the corpus; returns the number of its rows.

    Where the index tells how it was made, so does the coreset. Raises RequestError for an index that does not fit the
    corpus, or where `out` holds anything else; DataError for rows, or a corpus, that are bad.
    """
    opened = Corpus.open(corpus)
    listing = read_listing(index, opened)
    recipe = stated_recipe(index) | {"imported": {"index": listing.sha256}}
    if _stands(out, recipe):
        return len(open_dataset(out))
    train = SnapshotSet(opened.path, tuple(each for each in opened.snapshots if each.digest in listing.groups))
    recipe.setdefault("points", train.points)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=TEMPORARY) as store:
        made = materialize(Import(train, listing), root=Path(store), executor=executor)
        rows: int = made.figures["rows"]
        card = dataset_card(recipe["name"], rows, recipe["points"], len(train.snapshots), recipe)
        write_package(out, made, train.grids, recipe, card)
    return rows


def _stands(out: Path, recipe: Mapping[str, Any]) -> bool:
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

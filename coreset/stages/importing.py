"""`coreset import`: the coreset that an index file names, from the original corpus."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coreset.artifacts.executor import Executor
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.atomic import TEMPORARY, sha256_file
from coreset.corpus.kept import batches_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import TableCorpus, is_table_corpus
from coreset.errors import DataError, RequestError, brief
from coreset.methods import Selected
from coreset.publishing.card import dataset_card
from coreset.publishing.dataset import open_dataset
from coreset.publishing.index import stated_recipe
from coreset.publishing.package import write_package
from coreset.stages.extraction import write_rows
from coreset.stages.listing import IMPORTANCE, Listing, columns_of, look_through, selected_of, stands
from coreset.stages.table_importing import import_rows

_NAMES = ("digest", "snapshot")


def read_listing(path: Path, corpus: Corpus) -> Listing:
    """Looks through an index file, and finds its snapshots in the corpus, by digest where there is one, else by name.

    Raises RequestError for a file without the columns, and for a snapshot that the corpus does not have, or has with
    another content; DataError for rows without a value.
    """
    names = columns_of(path)
    keys = [name for name in _NAMES if name in names]
    if not keys or "index" not in names:
        raise RequestError(
            f"{path}: expected the columns `index`, and `digest` or `snapshot`, found {brief(', '.join(names))}."
        )
    columns = [name for name in (*_NAMES, "index", *IMPORTANCE) if name in names]
    by_digest = {snapshot.digest: snapshot for snapshot in corpus.snapshots}
    by_name = {snapshot.name: snapshot for snapshot in corpus.snapshots}

    def digest_of(row: dict[str, str]) -> str:
        return _snapshot_of(row, by_digest, by_name, f"{path}", corpus.path).digest

    return look_through(path, path, columns, keys, "index", digest_of)


def _snapshot_of(
    row: Mapping[str, str], by_digest: Mapping[str, Snapshot], by_name: Mapping[str, Snapshot], place: str, corpus: str
) -> Snapshot:
    name, digest = row.get("snapshot", ""), row.get("digest", "")
    other = by_name.get(name)
    found = by_digest.get(digest) if digest else other or by_digest.get(name)
    if found is not None and other is not None and found.digest != other.digest:
        raise RequestError(
            f"{place}: {name[:80]}: expected the digest that {corpus} states, {other.digest[:16]}…, found "
            f"{digest[:16]}…, which is that of {found.name[:80]}; mend whichever is wrong, or leave one column out."
        )
    if found is not None:
        return found
    if other is not None:
        raise RequestError(
            f"{place}: {name[:80]}: expected the digest that {corpus} states, {other.digest[:16]}…, found "
            f"{digest[:16]}…: the corpus holds another density or other atoms under this name; find the original one."
        )
    raise RequestError(
        f"{place}: expected snapshots of {corpus}, found {(name or digest)[:80]!r}, which it does not have; give the "
        "corpus that the points were selected from."
    )


@dataclass(frozen=True)
class Import(Stage):
    """The rows that an index file names, read from the corpus; the density must be what its digest says."""

    name: ClassVar[str] = "import"
    suffix: ClassVar[str] = ".parquet"

    train: SnapshotSet
    listing: Listing
    index: str
    """SHA-256 of the index file."""

    def parameters(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest, "index": self.index}

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
        pieces = [_rows_of(snapshots, table) for table in listing.tables(groups, listing.columns)]
        rows = pa.concat_tables(pieces)
        found = {}
        for snapshot in snapshots:
            mine = _rows_of([snapshot], rows).sort_by("index")
            found[snapshot.digest] = self._selected(snapshot, mine)
        return found

    def _selected(self, snapshot: Snapshot, rows: pa.Table) -> Selected:
        index = rows.column("index").to_numpy()
        place = f"{self.listing.place}: {snapshot.name}"
        if (np.diff(index) <= 0).any():
            twice = int(index[np.flatnonzero(np.diff(index) <= 0)[0]])
            raise DataError(f"{place}: expected each grid index once, found {twice} twice.")
        if index[0] < 0 or index[-1] >= snapshot.points:
            wrong = int(index[0] if index[0] < 0 else index[-1])
            raise DataError(f"{place}: expected grid indices from 0 to {snapshot.points - 1}, found {wrong}.")
        return selected_of(index, rows, place)


def _rows_of(snapshots: Sequence[Snapshot], rows: pa.Table) -> pa.Table:
    """The rows of an index that are of these: by digest, or by name where there is none, see `_snapshot_of`."""
    digests = pa.array([each.digest for each in snapshots], pa.string())
    names = pa.concat_arrays([digests, pa.array([each.name for each in snapshots], pa.string())])
    stated = rows.column("digest") if "digest" in rows.column_names else pa.repeat(pa.scalar(""), len(rows))
    theirs = pc.is_in(stated, digests)
    if "snapshot" in rows.column_names:
        by_name = pc.is_in(rows.column("snapshot"), names)
        theirs = pc.or_(theirs, pc.and_(pc.equal(stated, ""), by_name))
    return rows.filter(theirs)


def import_index(index: Path, corpus: Path | str, out: Path, executor: Executor) -> int:
    """Writes the coreset that an index file names to `out`, from the corpus; returns the number of its rows.

    Where the index tells how it was made, so does the coreset. Raises RequestError for an index that does not fit the
    corpus, or where `out` holds anything else; DataError for rows, or a corpus, that are bad.
    """
    if is_table_corpus(str(corpus)):
        return import_rows(index, TableCorpus.open(str(corpus)), out, executor)
    opened = Corpus.open(corpus)
    listing = read_listing(index, opened)
    checksum = sha256_file(index)
    recipe = stated_recipe(index) | {"imported": {"index": checksum}}
    if "layout" in recipe:
        raise RequestError(f"{index}: expected an index of grid points, found that of a table; give the table.")
    if stands(out, recipe):
        return len(open_dataset(out))
    train = SnapshotSet(opened.path, tuple(each for each in opened.snapshots if each.digest in listing.groups))
    recipe.setdefault("points", train.points)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=TEMPORARY) as store:
        made = materialize(Import(train, listing, checksum), root=Path(store), executor=executor)
        rows: int = made.figures["rows"]
        card = dataset_card(recipe["name"], rows, recipe["points"], len(train.snapshots), recipe)
        write_package(out, made, train.grids, recipe, card)
    return rows

"""What a path holds, as a point set: a corpus of grids, the folder of a coreset, or a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coreset.artifacts.manifest import MANIFEST
from coreset.corpus.described_set import DescribedSet
from coreset.corpus.parquet import renamed
from coreset.corpus.point_set import PointSet
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import TableCorpus, is_table_corpus
from coreset.corpus.table_set import TableSet
from coreset.corpus.tables import is_table
from coreset.errors import RequestError
from coreset.numerics.descriptors import Descriptor
from coreset.publishing.dataset import open_dataset
from coreset.publishing.kept_set import KeptSet
from coreset.publishing.tables import TableDataset


@dataclass(frozen=True)
class Columns:
    """Globs on the columns of a table: which are features, all numbers if none; and which are not, in spite of that."""

    features: Sequence[str] = ()
    ignore: Sequence[str] = ()


def open_points(
    path: str, option: str, snapshots: str | None = None, neighbours: int | None = None, columns: Columns | None = None
) -> PointSet:
    """The point set of a path or URL.

    snapshots: a pattern on the names of those wanted of a corpus; neighbours: of the descriptor, 40 if None, or that of
    a coreset. Raises RequestError, naming the option, for what is none of these and for settings that do not apply.
    """
    columns = columns or Columns()
    try:
        found = _opened(path, None if neighbours is None else Descriptor(neighbours), snapshots, columns)
        if snapshots is not None and not isinstance(found, DescribedSet):
            raise RequestError(f"{path}: a pattern of snapshots is for a corpus of grids, found a {found.kind}.")
        if (columns.features or columns.ignore) and not isinstance(found, TableSet):
            raise RequestError(f"{path}: --features and --ignore are for a table, found a {found.kind}.")
    except RequestError as error:
        raise RequestError(f"{option}: {error}") from None
    return found


def _opened(path: str, descriptor: Descriptor | None, snapshots: str | None, columns: Columns) -> PointSet:
    if "://" not in path and any((Path(path) / name).is_file() for name in (MANIFEST, f"coreset/{MANIFEST}")):
        dataset = open_dataset(Path(path).resolve())
        if isinstance(dataset, TableDataset):
            # Published, it has another table beside its rows: the index.
            rows = dataset.files[0].parent if dataset.files else dataset.path
            return TableSet.open(str(rows), renamed(dataset.layout.features))
        return KeptSet.open(dataset.path, descriptor)
    # Resolved, for a worker may stand in another folder.
    place = path if "://" in path else str(Path(path).resolve())
    try:
        corpus = TableCorpus.open(place) if is_table_corpus(place) else Corpus.open(place)
    except RequestError:
        if not is_table(place):
            raise
        return TableSet.open(place, columns.features, columns.ignore)
    layout = corpus.layout if isinstance(corpus, TableCorpus) else None
    chosen = corpus.snapshots if snapshots is None else corpus.select(snapshots)
    return DescribedSet.of(SnapshotSet(corpus.path, chosen, layout), descriptor or Descriptor())


def described_alike(corpus: PointSet, reference: PointSet | None, chosen: bool) -> tuple[PointSet, PointSet | None]:
    """Both with the descriptor of whichever is a coreset, unless one was chosen for both."""
    kept = next((each for each in (corpus, reference) if isinstance(each, KeptSet)), None)
    if chosen or kept is None:
        return corpus, reference

    def alike(points: PointSet | None) -> PointSet | None:
        if isinstance(points, DescribedSet | KeptSet) and isinstance(points.descriptor, Descriptor):
            return replace(points, descriptor=kept.descriptor)
        return points

    first = alike(corpus)
    assert first is not None
    return first, alike(reference)

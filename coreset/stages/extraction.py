"""The pruned dataset: one row per kept point, in Parquet, with all that is needed to train on it elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.corpus.kept import batches_of, column_or_nulls, read_kept
from coreset.corpus.parquet import rows_schema
from coreset.corpus.pieces import pieces_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import Features, SnapshotSet
from coreset.corpus.table_corpus import TableShard
from coreset.methods import Selected
from coreset.numerics.descriptors import Descriptor
from coreset.stages.selection import kept_files
from coreset.stages.table_rows import write_table_rows


@dataclass(frozen=True)
class Extraction(Stage):
    """Columns of the output contract; the rows lie by snapshot, then by grid index."""

    name: ClassVar[str] = "coreset"
    version: ClassVar[int] = 2
    suffix: ClassVar[str] = ".parquet"

    train: SnapshotSet
    selection: Artifact
    descriptor: Features
    with_descriptor: bool

    @property
    def title(self) -> str:
        return "extraction"

    def parameters(self) -> dict[str, Any]:
        files = {"files": [list(file) for file in self.train.files]} if self.train.files else {}
        return {"descriptor": asdict(self.descriptor), "with_descriptor": self.with_descriptor, **files}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest, "selection": self.selection.digest}

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.train.snapshots))]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        files = kept_files(self.selection, self.train)
        snapshots = self.train.snapshots[part.payload.first : part.payload.stop]
        chosen = ((each, read_kept(files[each.digest]).get(each.digest)) for each in snapshots)
        kept = [(snapshot, selected) for snapshot, selected in chosen if selected is not None]
        if self.train.layout is not None:
            shards = ((each, selected) for each, selected in kept if isinstance(each, TableShard))
            return write_table_rows(path, self.train.layout, self.train.files, shards)
        grids = ((each, selected) for each, selected in kept if isinstance(each, Snapshot))
        assert isinstance(self.descriptor, Descriptor)
        return write_rows(path, self.train.corpus, grids, self.descriptor if self.with_descriptor else None)

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        return {"rows": sum(record["figures"]["rows"] for record in records)}


def write_rows(
    path: Path, corpus: str, kept: Iterable[tuple[Snapshot, Selected]], descriptor: Descriptor | None
) -> dict[str, Any]:
    """Writes the rows of some snapshots, with a descriptor if one is given; returns their number, also by snapshot."""
    counts = {}
    with pq.ParquetWriter(
        path, rows_schema(None if descriptor is None else descriptor.length), compression="zstd"
    ) as writer:
        for snapshot, selected in kept:
            for rows in _rows(corpus, snapshot, selected, descriptor):
                writer.write_table(rows)
            counts[snapshot.name] = len(selected.index)
    return {"rows": sum(counts.values()), "rows_by_snapshot": counts}


def _rows(corpus: str, snapshot: Snapshot, selected: Selected, descriptor: Descriptor | None) -> Iterator[pa.Table]:
    """The rows of one snapshot, piece by piece."""
    from coreset.corpus.described import open_corpus

    opened = open_corpus(corpus)
    for piece in pieces_of(snapshot):
        kept = selected.between(piece.first, piece.stop)
        if len(kept.index):
            density = opened.density(snapshot, piece.first, piece.stop)[kept.index - piece.first]
            yield _table(snapshot, kept, density, descriptor)


def _table(snapshot: Snapshot, kept: Selected, density: np.ndarray, descriptor: Descriptor | None) -> pa.Table:
    from coreset.corpus.described import describe_points
    from coreset.numerics.grids import grid_points

    index = kept.index
    points = grid_points(snapshot.cell, snapshot.grid, index)
    columns = [
        pa.repeat(pa.scalar(snapshot.name), len(index)),
        pa.array(index),
        *(pa.array(np.ascontiguousarray(points[:, axis])) for axis in range(3)),
        pa.array(density),
        column_or_nulls(kept.score, len(index), pa.float32()),
        column_or_nulls(kept.stratum, len(index), pa.int32()),
        pa.array(kept.weight),
    ]
    if descriptor is None:
        return pa.table(columns, schema=rows_schema(None))
    features = describe_points(snapshot, index, descriptor).features
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), descriptor.length))
    return pa.table(columns, schema=rows_schema(descriptor.length))

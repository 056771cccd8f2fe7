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
from coreset.corpus.parquet import columns_of, rows_schema, table_schema
from coreset.corpus.pieces import pieces_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import Features, Member, SnapshotSet
from coreset.corpus.table_corpus import TableShard, read_rows, read_values
from coreset.methods import Selected
from coreset.stages.selection import kept_files


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
        return {"descriptor": asdict(self.descriptor), "with_descriptor": self.with_descriptor}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest, "selection": self.selection.digest}

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.train.snapshots))]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        files = kept_files(self.selection, self.train)
        length = self.descriptor.length if self.with_descriptor else None
        counts = {}
        layout = self.train.layout
        schema = rows_schema(length) if layout is None else table_schema(layout)
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for snapshot in self.train.snapshots[part.payload.first : part.payload.stop]:
                selected = read_kept(files[snapshot.digest]).get(snapshot.digest)
                if selected is not None:
                    for rows in self._rows(snapshot, selected):
                        writer.write_table(rows)
                    counts[snapshot.name] = len(selected.index)
        return {"rows": sum(counts.values()), "rows_by_snapshot": counts}

    def _rows(self, snapshot: Member, selected: Selected) -> Iterator[pa.Table]:
        """The rows of one snapshot, piece by piece."""
        from coreset.corpus.described import targets_of

        for piece in pieces_of(snapshot):
            kept = selected.between(piece.first, piece.stop)
            if not len(kept.index):
                continue
            if isinstance(snapshot, Snapshot):
                density = targets_of(self.train, snapshot, piece.first, piece.stop)[kept.index - piece.first]
                yield self._table(snapshot, kept, density)
            else:
                yield self._table_rows(snapshot, kept)

    def _table_rows(self, shard: TableShard, kept: Selected) -> pa.Table:
        assert self.train.layout is not None
        first, stop = int(kept.index[0]), int(kept.index[-1]) + 1
        values = read_values(shard, first, stop)[kept.index - first]
        return pa.table(
            [
                pa.repeat(pa.scalar(shard.file), len(values)),
                pa.array(read_rows(shard, first, stop)[kept.index - first]),
                pa.repeat(pa.scalar(shard.group), len(values)),
                *columns_of(values, self.train.layout),
                column_or_nulls(kept.score, len(values), pa.float32()),
                column_or_nulls(kept.stratum, len(values), pa.int32()),
                pa.array(kept.weight),
            ],
            schema=table_schema(self.train.layout),
        )

    def _table(self, snapshot: Snapshot, kept: Selected, density: np.ndarray) -> pa.Table:
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
        length = None
        if self.with_descriptor:
            features = describe_points(snapshot, index, self.descriptor).features
            length = features.shape[1]
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), length))
        return pa.table(columns, schema=rows_schema(length))

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        return {"rows": sum(record["figures"]["rows"] for record in records)}

"""Scores that the user has already, as the fields that scoring leaves: one per row of a table or point of a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr
from jaxtyping import Float32

from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.corpus.pieces import pieces_of
from coreset.corpus.score_file import ScoreFile, Scores, open_scores
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.table_corpus import TableShard, read_rows
from coreset.errors import DataError
from coreset.stages.scoring import new_field

FIELD = "grand"
"""The field that methods rank by; of a residual, as `loss` has it, a file of scores knows nothing."""


@dataclass(frozen=True)
class GivenScores(Stage):
    """The scores of a file, held as float32. The file enters by its SHA-256; where it lies does not matter."""

    name: ClassVar[str] = "scores"
    suffix: ClassVar[str] = ".zarr"

    train: SnapshotSet
    file: ScoreFile

    @property
    def title(self) -> str:
        return "scores from a file"

    def parameters(self) -> dict[str, Any]:
        firsts = self.file.firsts
        placed = {} if firsts is None else {"firsts": [firsts[snapshot.name] for snapshot in self.train.snapshots]}
        return {"method": "file"} | placed

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest, "file": self.file.sha256}

    def parts(self) -> list[Part]:
        return [Part(shard.name, shard, float(shard.points)) for shard in self.train.snapshots]

    @cached_property
    def _scores(self) -> Scores:
        """Opened once by the process that holds this stage."""
        return open_scores(self.file.path)

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        shard: TableShard | Snapshot = part.payload
        field = new_field(zarr.open_group(path, mode="w", zarr_format=3), FIELD, shard.grid)
        zero = 0
        for piece in pieces_of(shard):
            scores = self._of(shard, piece.first, piece.stop)
            field[piece.planes] = scores.reshape(-1, *shard.grid[1:])
            zero += int(np.count_nonzero(scores == 0))
        return {"points": shard.points, "zero": zero, "device": context.device}

    def _of(self, shard: TableShard | Snapshot, start: int, stop: int) -> Float32[np.ndarray, " n"]:
        """The scores of some rows or points of a shard. Raises DataError for one that is no finite float32."""
        if isinstance(shard, TableShard):
            rows, begin, where = read_rows(shard, start, stop), 0, "row"
        else:
            assert self.file.firsts is not None
            begin, where = self.file.firsts[shard.name], f"{shard.name}, point"
            rows = begin + np.arange(start, stop)
        first, last = int(rows[0]), int(rows[-1])
        found = np.concatenate([np.empty(0), *self._scores.pieces(first, last + 1)])
        if len(found) < last + 1 - first:
            raise DataError(
                f"{self.file.path}: expected a score for {where} {last - begin}, found {first + len(found)} scores; "
                "run again with the file as it was."
            )
        with np.errstate(over="ignore"):
            scores: np.ndarray = found[rows - first].astype(np.float32)
        finite = np.isfinite(scores)
        if not finite.all():
            row = int(rows[finite.argmin()])
            raise DataError(
                f"{self.file.path}: expected finite scores below 3.4e38, found {found[row - first]} for "
                f"{where} {row - begin}; mend the file."
            )
        return scores

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        found = [record["figures"] for record in records]
        zero = sum(each["zero"] for each in found)
        return {
            "points": sum(each["points"] for each in found),
            "zero": [zero],
            "zero_everywhere": zero,
            "fallback": 0,
            "rank_correlation": None,
            "given": self.file.sha256,
        }

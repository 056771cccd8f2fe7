"""`coreset select`: rows of anyone's score file, streamed from file to file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coreset.atomic import replacing
from coreset.corpus.score_file import open_scores
from coreset.errors import RequestError
from coreset.methods.select import ROWS, select_rows
from coreset.numerics.scans import ScoreShard

_SCHEMA = pa.schema([("index", pa.int64()), ("stratum", pa.int32())])


def select_file(scores: Path, destination: Path, **settings: Any) -> dict[str, Any]:
    """Writes Parquet with columns `index` (int64, ascending) and `stratum` (null without strata); returns the figures.

    The file is read once per scan, in pieces. Raises as `open_scores` and `select_rows`; RequestError for a destination
    that is, or lies in, the scores, or is no plain file; DataError for scores that are not finite.
    """
    _expect_writable(destination, scores)
    rule, selected = select_rows(_shards(scores), **settings)
    with replacing(destination) as temporary, _writer(temporary) as writer:
        for piece in selected:
            rows = len(piece.index)
            stratum = pa.nulls(rows, pa.int32()) if piece.stratum is None else pa.array(piece.stratum, pa.int32())
            writer.write_table(pa.table([pa.array(piece.index), stratum], schema=_SCHEMA))
    figures = {"total": rule.total, "keep": rule.keep, "kept": rule.kept, "cut": rule.cut}
    return {**figures, "lo": rule.lo, "hi": rule.hi, "sizes": list(rule.sizes), "budgets": list(rule.budgets)}


def _writer(path: Path) -> pq.ParquetWriter:
    # no two indices are equal: a dictionary of them takes more time and more space than they do
    return pq.ParquetWriter(path, _SCHEMA, compression="zstd", use_dictionary=["stratum"])


def _expect_writable(destination: Path, scores: Path) -> None:
    folder = next(parent for parent in destination.absolute().parents if parent.exists())
    if destination.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RequestError(
            f"--out {destination}: expected a file that can be written, found that it cannot; name another."
        )
    # What is written takes the place of the entry of this name, even of a device, a pipe or a link to elsewhere.
    if os.path.lexists(destination) and not stat.S_ISREG(destination.lstat().st_mode):
        raise RequestError(
            f"--out {destination}: expected a new file, or a plain one to replace, found a link, a device or a pipe, "
            "which would be lost; name a file."
        )
    within = scores.is_dir() and destination.resolve().is_relative_to(scores.resolve())
    if within or (destination.exists() and scores.exists() and destination.samefile(scores)):
        raise RequestError(
            f"--out {destination}: expected another file than the scores, found {'one within ' if within else ''}"
            f"{scores}, which would be lost; name another."
        )


def _shards(path: Path) -> Callable[[], Iterator[ScoreShard]]:
    scores = open_scores(path)

    def shards() -> Iterator[ScoreShard]:
        first = 0
        for values in scores.pieces():
            yield ScoreShard(ROWS, first, values)
            first += len(values)

    return shards

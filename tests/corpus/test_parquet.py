"""Parquet files that are damaged: every flipped bit gives all rows or an error, also where pyarrow gives fewer."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coreset.corpus.parquet import batches, read_parquet, row_groups
from coreset.corpus.score_file import open_scores
from coreset.corpus.tables import open_table
from coreset.errors import CoresetError, DataError

SCHEMA = pa.schema([("score", pa.float64())])
ROWS = 400


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files with one flipped bit, of which pyarrow gives fewer rows than they state, without a word."""
    folder = tmp_path_factory.mktemp("short")
    pq.write_table(pa.table({"score": np.arange(ROWS) % 7.0}, SCHEMA), folder / "good.parquet")
    good, found = (folder / "good.parquet").read_bytes(), []
    for bit in range(8 * 30, 8 * 80):
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        path = folder / f"{bit}.parquet"
        path.write_bytes(content)
        try:
            with pq.ParquetFile(path) as file:
                rows = sum(batch.num_rows for batch in file.iter_batches(1000, [0]))
        except (pa.ArrowException, OSError, ValueError):
            rows = ROWS
        if rows < ROWS:
            found.append(path)
        else:
            path.unlink()
    assert found
    return found


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files with one flipped bit in the footer, whose row groups have not the rows that the file is to have."""
    folder = tmp_path_factory.mktemp("lost")
    pq.write_table(pa.table({"score": np.arange(ROWS) % 7.0}, SCHEMA), folder / "good.parquet", row_group_size=100)
    good, found = (folder / "good.parquet").read_bytes(), []
    size = int.from_bytes(good[-8:-4], "little")
    for bit in range(8 * (len(good) - 8 - size), 8 * (len(good) - 8)):
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        try:
            metadata = pq.read_metadata(pa.BufferReader(bytes(content)))
            rows = sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        except (pa.ArrowException, OSError, ValueError):
            continue
        if rows != metadata.num_rows:
            found.append(folder / f"{bit}.parquet")
            found[-1].write_bytes(content)
    assert found
    return found


def test_row_groups_that_are_lost_are_missed(lost: list[Path]) -> None:
    for path in lost:
        with pytest.raises(pa.ArrowInvalid, match=r"rows in \d+ row groups"):
            row_groups(pq.read_metadata(path))
        with pytest.raises(CoresetError, match=path.name):
            read_parquet(path, SCHEMA, nullable=())
        with pytest.raises(CoresetError, match=path.name):
            open_scores(path)
        with pytest.raises(CoresetError, match=path.name):
            open_table(str(path))


def test_batches_that_end_early_are_told(short: list[Path]) -> None:
    for path in short:
        with pq.ParquetFile(path) as file, pytest.raises(pa.ArrowInvalid, match=f"of {ROWS} rows in row group 0"):
            list(batches(file, 0, 1000))


def test_a_table_that_ends_early_is_refused(short: list[Path]) -> None:
    for path in short:
        with pytest.raises(DataError, match="expected a Parquet file, found a damaged one"):
            read_parquet(path, SCHEMA, nullable=())


def test_scores_that_end_early_are_refused(short: list[Path]) -> None:
    for path in short:
        with pytest.raises(DataError, match="expected scores that can be read, found damaged ones"):
            list(open_scores(path).pieces())

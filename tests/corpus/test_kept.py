"""What a selection keeps survives the file, whatever its shape."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.corpus.kept import BATCH, batches_of, read_kept, write_kept
from coreset.errors import DataError
from coreset.methods import Selected


def selected(rows: int, seed: int, strata: bool, scores: bool = False) -> Selected:
    rng = np.random.default_rng(seed)
    index = np.sort(rng.choice(10 * rows + 1, rows, replace=False)).astype(np.int64) + 2**40
    stratum = rng.integers(0, 100, rows).astype(np.int32) if strata else None
    score = rng.standard_normal(rows, np.float32) if scores else None
    return Selected(index, stratum, rng.uniform(1, 9, rows), score)


@given(st.lists(st.integers(0, 20), max_size=8), st.booleans(), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], strata: bool, scores: bool
) -> None:
    path = tmp_path_factory.mktemp("kept") / "part.parquet"
    # Digests do not ascend with the snapshots.
    made = [(f"{(7 * i + 3) % 11:064x}", selected(rows, i, strata, scores)) for i, rows in enumerate(counts)]
    write_kept(path, made)
    found = read_kept(path)
    assert list(found) == [digest for digest, each in made if len(each.index)]
    for digest, each in made:
        if len(each.index):
            assert np.array_equal(found[digest].index, each.index)
            assert np.array_equal(found[digest].weight, each.weight)
            assert (found[digest].stratum is None) == (each.stratum is None)
            assert each.stratum is None or np.array_equal(found[digest].stratum, each.stratum)
            assert (found[digest].score is None) == (each.score is None)
            assert each.score is None or np.array_equal(found[digest].score, each.score)
    frame = pq.read_table(path).to_pandas()
    assert list(frame.columns) == ["snapshot", "index", "stratum", "weight", "score"]
    assert len(frame) == sum(counts)
    assert frame["stratum"].isna().all() != strata or not sum(counts)


@pytest.mark.parametrize("snapshots", [0, 1, BATCH - 1, BATCH, BATCH + 1, 5 * BATCH + 3])
def test_batches_tile_the_snapshots_in_order(snapshots: int) -> None:
    batches = batches_of(snapshots)
    covered = [number for batch in batches for number in range(batch.first, batch.stop)]
    assert covered == list(range(snapshots))
    assert all(0 < batch.stop - batch.first <= BATCH for batch in batches)
    names = [batch.name for batch in batches]
    assert names == sorted(set(names))


def test_the_same_selection_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_kept(tmp_path / name, [("a" * 64, selected(50, 0, True)), ("b" * 64, selected(50, 1, True))])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def rewritten(path: Path, change: Any) -> None:
    write_kept(path, [("a" * 64, selected(20, 0, True, True)), ("b" * 64, selected(20, 1, True, True))])
    pq.write_table(change(pq.read_table(path)), path)
    read_kept.cache_clear()


def column(name: str, values: Any) -> Any:
    return lambda table: table.set_column(table.column_names.index(name), name, values(table.column(name)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["weight"]), "expected the columns snapshot"),
        (column("index", lambda values: values.cast(pa.float64())), "expected the columns snapshot"),
        (column("index", lambda values: pa.array([None, *values.to_pylist()[1:]])), "a value of 'index' in every row"),
        (
            column("snapshot", lambda values: pa.array([None, *values.to_pylist()[1:]])),
            "a value of 'snapshot' in every",
        ),
        (
            column("index", lambda values: pa.array(values.to_pylist()[::-1])),
            "expected ascending, distinct grid indices",
        ),
        (column("index", lambda values: pa.array([-1, *values.to_pylist()[1:]])), "expected ascending, distinct grid"),
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "expected ascending, distinct grid indices"),
    ],
    ids=range(7),
)
def test_other_columns_and_rows_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    rewritten(tmp_path / "part.parquet", change)
    with pytest.raises(DataError, match=rf"part\.parquet: .*{message}"):
        read_kept(tmp_path / "part.parquet")


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_kept(path, [("a" * 64, selected(20, 0, True))])
    content = path.read_bytes()
    for length in range(0, len(content), 50):
        path.write_bytes(content[:length])
        read_kept.cache_clear()
        with pytest.raises(DataError, match=r"part\.parquet: expected a Parquet file, found a damaged one"):
            read_kept(path)


def test_a_column_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_kept(path, [("a" * 64, selected(20, 0, True))])
    path.write_bytes(path.read_bytes().replace(b"stratum", b"str\xfftum"))
    with pytest.raises(DataError, match=r"part\.parquet: expected"):
        read_kept(path)

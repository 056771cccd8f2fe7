"""A file's scores reach the rows whose numbers they have, whatever files and groups the rows came in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.corpus import score_file
from coreset.corpus.score_file import ScoreFile, open_scores
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.corpus.table_corpus import TableCorpus, read_values
from coreset.corpus.tables import open_table
from coreset.errors import DataError
from coreset.stages.given_scores import GivenScores
from coreset.stages.scoring import read_field
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request

N = 900
# Float32 holds these as they are, and no two are equal.
SCORES = np.random.default_rng(1).permutation(N).astype(np.float64) / 8


@pytest.fixture
def train(tmp_path: Path) -> SnapshotSet:
    """Three files of unlike length; the feature of a row is its number in the whole table."""
    numbers = np.arange(N)
    frame = pd.DataFrame({"number": numbers.astype(np.float64), "y": np.sin(numbers), "group": numbers % 7})
    (tmp_path / "table").mkdir()
    for name, first, stop in (("a", 0, 100), ("b", 100, 650), ("c", 650, N)):
        frame[first:stop].to_parquet(tmp_path / "table" / f"{name}.parquet", row_group_size=90)
    request = Request(("y",), ("number",), group="group")
    ingest_table(open_table(str(tmp_path / "table")), request, tmp_path / "t.zarr", SerialExecutor())
    corpus = TableCorpus.open(str(tmp_path / "t.zarr"))
    return SnapshotSet(corpus.path, corpus.select("train/*"), corpus.layout)


def written(folder: Path, name: str, scores: np.ndarray) -> Path:
    path = folder / name
    if name.endswith(".npy"):
        np.save(path, scores)
    elif name.endswith(".parquet"):
        pd.DataFrame({"score": scores}).to_parquet(path, row_group_size=128)
    else:
        zarr.create_array(path, name="score", data=scores, chunks=(7, *scores.shape[1:]))
    return path


def stage(train: SnapshotSet, path: Path) -> GivenScores:
    return GivenScores(train, ScoreFile.of(path))


@pytest.mark.parametrize("name", ["s.npy", "s.parquet", "s.zarr"])
def test_every_row_has_the_score_of_its_number(
    name: str, train: SnapshotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "PIECE", 70)  # so that ranges begin and end within pieces
    scores = materialize(stage(train, written(tmp_path, name, SCORES)), root=tmp_path, executor=SerialExecutor())
    assert len(train.snapshots) > 3
    for shard in train.snapshots:
        numbers = read_values(shard, 0, shard.points)[:, 0].astype(int)
        np.testing.assert_array_equal(read_field(scores, shard.name, "grand"), SCORES[numbers])
    assert scores.figures["points"] == train.points
    assert scores.figures["zero_everywhere"] == sum(
        int((read_values(shard, 0, shard.points)[:, 0].astype(int) == SCORES.argmin()).sum())
        for shard in train.snapshots
    )


@pytest.fixture
def densities(small_corpus: Corpus, tmp_path: Path) -> tuple[SnapshotSet, ScoreFile, dict[str, np.ndarray]]:
    """All snapshots but the first two, a file with a score for each point of the corpus, and what it says of each."""
    sizes = [snapshot.points for snapshot in small_corpus.snapshots]
    values = np.random.default_rng(3).permutation(sum(sizes)) / 8
    names = [snapshot.name for snapshot in small_corpus.snapshots]
    ends = np.cumsum([0, *sizes])
    file = ScoreFile.of(written(tmp_path, "s.npy", values))
    file = replace(file, firsts=dict(zip(names, ends.tolist(), strict=False)))
    some = SnapshotSet(small_corpus.path, small_corpus.snapshots[2:])
    return some, file, dict(zip(names, np.split(values, ends[1:-1]), strict=True))


def test_every_point_of_a_density_has_the_score_at_its_place(densities: Any, tmp_path: Path) -> None:
    some, file, expected = densities
    scores = materialize(GivenScores(some, file), root=tmp_path, executor=SerialExecutor())
    for snapshot in some.snapshots:
        np.testing.assert_array_equal(read_field(scores, snapshot.name, "grand"), expected[snapshot.name])
    assert scores.figures["points"] == some.points
    # Where the snapshots begin in the file is part of what is computed.
    moved = replace(file, firsts={name: first + 1 for name, first in file.firsts.items()})
    assert GivenScores(some, moved).digest != GivenScores(some, file).digest


def test_a_score_of_a_density_that_no_float32_holds_is_named_by_snapshot_and_point(
    densities: Any, tmp_path: Path
) -> None:
    some, file, _ = densities
    name = some.snapshots[1].name
    values = np.load(file.path)
    values[file.firsts[name] + 7] = np.nan
    np.save(file.path, values)
    with pytest.raises(DataError, match=rf"s\.npy: expected finite scores.* found nan for {name}, point 7; mend"):
        materialize(GivenScores(some, file), root=tmp_path, executor=SerialExecutor())


def test_the_recipe_knows_what_the_file_holds_and_not_where_it_lies(train: SnapshotSet, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    first = stage(train, written(tmp_path, "s.npy", SCORES))
    moved = stage(train, written(tmp_path / "elsewhere", "other.npy", SCORES))
    assert moved.digest == first.digest
    changed = SCORES.copy()
    changed[[0, 1]] = changed[[1, 0]]
    assert stage(train, written(tmp_path, "s.npy", changed)).digest != first.digest
    assert replace(first, train=replace(train, snapshots=train.snapshots[1:])).digest != first.digest
    assert str(tmp_path) not in str(first.recipe())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_score_that_no_float32_holds_is_bad_data_and_the_row_is_named(
    value: float, train: SnapshotSet, tmp_path: Path
) -> None:
    row = int(read_values(train.snapshots[-1], 3, 4)[0, 0])
    scores = SCORES.copy()
    scores[row] = value
    with pytest.raises(DataError, match=rf"s\.npy: expected finite scores.* for row {row};"):
        materialize(stage(train, written(tmp_path, "s.npy", scores)), root=tmp_path, executor=SerialExecutor())


def test_a_file_that_became_shorter_is_bad_data(train: SnapshotSet, tmp_path: Path) -> None:
    made = stage(train, written(tmp_path, "s.parquet", SCORES))
    written(tmp_path, "s.parquet", SCORES[:50])
    with pytest.raises(DataError, match=r"s\.parquet: expected a score for row \d+, found 50 scores"):
        materialize(made, root=tmp_path, executor=SerialExecutor())


@pytest.mark.parametrize("name", ["s.npy", "s.parquet", "s.zarr", "grid.zarr"])
def test_any_range_is_that_of_the_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_file, "PIECE", 37)
    values: Any = SCORES.reshape(30, 5, 6) if name == "grid.zarr" else SCORES
    scores = open_scores(written(tmp_path, name, values))
    assert scores.rows == N
    ends = np.random.default_rng(2).integers(0, N + 1, (40, 2))
    for first, stop in [*np.sort(ends).tolist(), (0, N), (0, 0), (N, N), (127, 129), (128, 256)]:
        found = np.concatenate([np.empty(0), *scores.pieces(first, stop)])
        np.testing.assert_array_equal(found, SCORES[first:stop])

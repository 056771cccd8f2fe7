"""Every stage gives the same figures and rows whether it holds a snapshot whole or piece by piece."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize, materialize_all
from coreset.corpus import pieces
from coreset.session import open_session
from coreset.stages import coverage
from coreset.stages.coverage import minima
from coreset.stages.histogram import ScoreHistogram
from coreset.stages.scoring import FIELDS, read_field


def run(job: Path, out: Path) -> dict[str, Any]:
    """What the stages made of the job on the small corpus."""
    session = open_session(job, out, None, ())
    executor = SerialExecutor()
    pipeline = session.pipeline(lambda stages: materialize_all(stages, root=session.store, executor=executor))
    products = pipeline.run()
    train = session.split.train
    (selection, *_) = products.selections["ccs"]
    assert selection is not None
    shown = ScoreHistogram(products.scores, train, "grand", (("ccs", selection),))
    histogram = materialize(shown, root=session.store, executor=executor)
    rows = [pq.read_table(products.coreset.path(shard["name"])) for shard in products.coreset.shards]
    return {
        "fields": {
            (each.name, field): read_field(products.scores, each.name, field)
            for each in train.snapshots
            for field in FIELDS
        },
        "scored": products.scores.figures,
        "selected": selection.figures,
        "rows": [table.to_pylist() for table in rows],
        "histogram": histogram.figures,
        "distances": [minima(each).tolist() for (each,) in products.coverages.values()],
        "files": {path.parent.parent.parent.name: len(list(path.parent.iterdir())) for path in out.rglob("c/0")},
    }


@pytest.mark.parametrize("most", [20, 60])
def test_pieces_change_nothing(
    most: int, small_job: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job(
        "score: {seeds: 2, epoch: 1}",
        "select: {prune: 0.8, cutoff: 0.1, strata: 10}",
        "coverage: {queries: 100}",
        "evaluation: {methods: [full, random, random-snapshots, ccs], seeds: 1}",
        "output: {descriptor: true}",
    )
    whole = run(job, tmp_path / "whole")
    monkeypatch.setattr(pieces, "PIECE", most)
    monkeypatch.setattr(coverage, "COMPARED_AT_ONCE", 7)
    found = run(job, tmp_path / "pieces")
    for name, values in whole.pop("fields").items():
        assert np.array_equal(found["fields"][name], values), name
    del found["fields"]
    sums = [each.pop("histogram") for each in (whole, found)]
    assert_close(*sums)
    files = [each.pop("files") for each in (whole, found)]
    assert files[0] != files[1]  # scores are stored by piece
    assert found == whole


def assert_close(one: Any, other: Any) -> None:
    """Equal but for the last bits of sums of scores, which are added in another order."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert_close(value, other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for value, counterpart in zip(one, other, strict=True):
            assert_close(value, counterpart)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-12)
    else:
        assert one == other

"""How many queries the pipeline asks where it may choose, and which coresets it estimates."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import is_done, materialize_all
from coreset.artifacts.stage import Stage
from coreset.corpus import kept
from coreset.errors import WorkError
from coreset.numerics import coverage_ivf, query_sampling
from coreset.plan import Ledger, known_cutoff
from coreset.session import open_session
from coreset.stages import coverage as stage_module
from coreset.stages.coverage import Coverage, distances_of, query_sample
from coreset.summary import coverage_figures
from coreset.workflow import Pipeline

METHODS = ("random", "random-snapshots")


@pytest.fixture
def pipeline_at(
    tmp_path: Path, small_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Pipeline]:
    """The small job, whose two validation snapshots of 120 points give 30, 60, 120 or 240 queries."""
    monkeypatch.setattr(stage_module, "FIRST", 30)
    job = small_job("select: {method: random, prune: 0.8}", "evaluation: {methods: [random, random-snapshots]}")

    def make(queries: Any, root: str = "store") -> Pipeline:
        opened = open_session(job, tmp_path / "run", None, (f"coverage.queries={queries}",))
        executor = SerialExecutor()
        return opened.pipeline(lambda stages: materialize_all(stages, root=tmp_path / root, executor=executor))

    return make


def cover(pipeline: Pipeline) -> dict[str, list[Artifact]]:
    drawn = {name: pipeline.materialize([pipeline.selection(name, 0, None, 0.0)]) for name in METHODS}
    return pipeline.cover(drawn, [{name: name for name in METHODS}])


def asked(covered: dict[str, list[Artifact]]) -> int:
    (number,) = {each.figures["queries"] for drawn in covered.values() for each in drawn}
    return int(number)


def watched(pipeline: Pipeline, root: Path) -> tuple[Pipeline, list[tuple[int, bool]]]:
    """The pipeline, and a list of the queries of each coverage that it asks for and whether that stood already."""
    seen: list[tuple[int, bool]] = []

    def materialize(stages: Sequence[Stage]) -> list[Artifact]:
        seen.extend((each.queries, is_done(each, root)) for each in stages if isinstance(each, Coverage))
        return pipeline.materialize(stages)

    return replace(pipeline, materialize=materialize), seen


def test_queries_double_until_values_and_differences_are_known(
    pipeline_at: Callable[..., Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = {queries: cover(pipeline_at(queries, f"of-{queries}")) for queries in (30, 60, 120, 240)}

    def shares(queries: int) -> tuple[float, float]:
        """Half-widths of the values and of the difference, of the mean distance, as large as any."""
        sample = query_sample(pipeline_at(queries).split.validation, queries)
        ours, theirs = (distances_of(every[queries][name])[0] for name in METHODS)
        values = max(sample.half_width(each) / each.mean() for each in (ours, theirs))
        return values, sample.half_width(theirs - ours) / ours.mean()

    value, difference = shares(120)
    assert value < shares(60)[0] < shares(30)[0]
    assert difference < shares(60)[1]
    # No sign decides, so that each limit alone does.
    monkeypatch.setattr(query_sampling, "DIFFERENCE", 1.0)
    monkeypatch.setattr(query_sampling, "VALUE", 1.01 * value)
    found = cover(pipeline_at("auto"))
    assert asked(found) == 120
    for name in METHODS:
        np.testing.assert_array_equal(distances_of(found[name]), distances_of(every[120][name]))
        assert found[name][0].folder.name == every[120][name][0].folder.name
    monkeypatch.setattr(query_sampling, "VALUE", 0.99 * value)
    assert asked(cover(pipeline_at("auto"))) == 240
    monkeypatch.setattr(query_sampling, "VALUE", 10.0)
    assert asked(cover(pipeline_at("auto"))) == 30
    monkeypatch.setattr(query_sampling, "DIFFERENCE", 0.0)
    known = cover(pipeline_at("auto"))
    signs = coverage_figures(pipeline_at("auto"), known)["random-snapshots"]["difference"]
    assert signs["queries"]["enough"]
    assert asked(known) == 240 or abs(signs["value"]) > signs["queries"]["half_width"]


def test_what_was_asked_is_not_measured_again_and_a_plan_tells_it(
    pipeline_at: Callable[..., Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_sampling, "VALUE", 0.0)
    pipeline, seen = watched(pipeline_at("auto"), tmp_path / "store")
    cover(pipeline)
    numbers = [30, 30, 60, 60, 120, 120, 240, 240]
    assert seen == [(number, False) for number in numbers]
    seen.clear()
    cover(pipeline)
    assert seen == [(number, True) for number in numbers]

    def planned(root: str) -> list[tuple[int, bool]]:
        ledger = Ledger(tmp_path / root, pipeline.split.train.points)
        cover(replace(pipeline, materialize=ledger.materialize, decide=known_cutoff))
        return [(stage.queries, done) for stage, done in ledger.entries if isinstance(stage, Coverage)]

    # With nothing to look at, a plan counts what may be asked at most.
    assert planned("nowhere") == [(number, False) for number in numbers]
    monkeypatch.setattr(query_sampling, "VALUE", 10.0)
    monkeypatch.setattr(query_sampling, "DIFFERENCE", 10.0)
    assert planned("store") == [(30, True), (30, True)]


def test_the_summary_says_how_many_were_asked_and_whether_they_were_enough(
    pipeline_at: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    for queries in (100, "auto"):
        pipeline = pipeline_at(queries)
        covered = cover(pipeline)
        told = coverage_figures(pipeline, covered)
        number = asked(covered)
        sample = query_sample(pipeline.split.validation, number)
        for name in METHODS:
            distances = distances_of(covered[name])
            width = sample.half_width(distances[0])
            enough = width <= 0.01 * distances.mean()
            assert told[name]["queries"] == {"asked": number, "half_width": width, "enough": enough}
        apart = distances_of(covered["random-snapshots"]) - distances_of(covered["random"])
        assert told["random-snapshots"]["difference"]["queries"]["half_width"] == sample.half_width(apart[0])
    # Where every point was asked, which is the most there is, nothing is left to know.
    assert number == 240
    assert told["random"]["queries"] == {"asked": 240, "half_width": 0.0, "enough": True}
    few = pipeline_at(3)
    assert coverage_figures(few, cover(few))["random"]["queries"] == {"asked": 3, "half_width": None, "enough": False}


@pytest.fixture
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which a query looks into so few that some miss their nearest point."""

    def cells_of(queries: np.ndarray) -> coverage_ivf.Cells:
        return made(queries, cells=12, looked_into=2, compared=60)

    made = coverage_ivf.cells_of
    monkeypatch.setattr(coverage_ivf, "cells_of", cells_of)


def test_a_large_coreset_is_estimated_and_its_bias_told(
    pipeline_at: Callable[..., Pipeline], few_cells: None, tmp_path: Path
) -> None:
    exact, pipeline = pipeline_at(200), pipeline_at(200, "estimated")
    # 192 points are kept of random points, and 240 of random snapshots.
    settings = pipeline.job.coverage.model_copy(update={"exact_up_to": 200})
    pipeline = replace(pipeline, job=pipeline.job.model_copy(update={"coverage": settings}))
    known, found = cover(exact), cover(pipeline)
    told, true = coverage_figures(pipeline, found), coverage_figures(exact, known)
    assert found["random"][0].folder.name == known["random"][0].folder.name
    assert found["random-snapshots"][0].folder.name != known["random-snapshots"][0].folder.name
    assert told["random"] == true["random"]
    excess = distances_of(found["random-snapshots"]) - distances_of(known["random-snapshots"])
    assert (excess >= 0).all()
    assert excess.mean() > 0
    bias = told["random-snapshots"]["bias"]
    assert bias["low"] <= excess.mean() <= bias["high"]
    assert told["random-snapshots"]["auc"] == pytest.approx(true["random-snapshots"]["auc"] + excess.mean())
    assert "bias" not in true["random-snapshots"]
    (artifact,) = found["random-snapshots"]
    assert artifact.figures["bias"] == {**bias, "recall": artifact.figures["bias"]["recall"]}
    assert artifact.figures["queries"] == len(distances_of([artifact])[0]) == 200
    assert "ivf" in artifact.manifest["recipe"]["parameters"]


def test_shards_of_an_estimate_merge_to_the_bits_of_the_whole(
    pipeline_at: Callable[..., Pipeline], few_cells: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part for each snapshot, and one for all."""
    pipelines = [pipeline_at(200, root) for root in ("whole", "cut")]
    settings = pipelines[0].job.coverage.model_copy(update={"exact_up_to": 0})
    whole, cut = (replace(each, job=each.job.model_copy(update={"coverage": settings})) for each in pipelines)
    one = cover(whole)
    monkeypatch.setattr(kept, "BATCH", 1)
    many = cover(cut)
    for name in METHODS:
        assert (len(one[name][0].shards), len(many[name][0].shards)) == (1, 8)
        np.testing.assert_array_equal(distances_of(one[name]), distances_of(many[name]))
        assert one[name][0].figures == many[name][0].figures


def test_a_query_without_a_point_in_its_cells_ends_the_run_with_the_way_out(
    pipeline_at: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = coverage_ivf.cells_of
    monkeypatch.setattr(coverage_ivf, "cells_of", lambda queries: made(queries, 100, 1, 60))
    pipeline = pipeline_at(200)
    settings = pipeline.job.coverage.model_copy(update={"exact_up_to": 0})
    with pytest.raises(WorkError, match=r"expected every query to meet a point, found \d+ of 200 .*exact_up_to"):
        cover(replace(pipeline, job=pipeline.job.model_copy(update={"coverage": settings})))

"""A request is checked whole before anything is started or written, and told again for `status`."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coreset import energies, session
from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize_all
from coreset.cli import main
from coreset.corpus.store import Corpus
from coreset.errors import RequestError, WorkError
from coreset.folder import RunFolder
from coreset.job_file import job_record
from coreset.session import absolute_output, open_session, package, reopen_session

Picture = Callable[[Path], dict[str, bytes | None]]
JOBS = sorted((Path(__file__).parents[1] / "jobs").glob("*.yaml"))


@pytest.fixture
def job_file(tmp_path: Path, small_corpus: Corpus) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "data.zarr").symlink_to(small_corpus.path)
    path = tmp_path / "jobs" / "small.yaml"
    path.write_text(
        "name: small\n"
        'corpus: {source: data.zarr, test: {bulk: "test/*"}, validation: 0.2}\n'
        "descriptor: {neighbours: 4}\n"
        "network: {hidden: [8]}\n"
        "training: {batch: 64, epochs: 2}\n"
        "score: {seeds: 2, epoch: 1}\n"
        "select: {prune: 0.8, cutoff: 0.1, strata: 10}\n"
        "coverage: {queries: 100}\n"
        "evaluation: {methods: [full, random, ccs], seeds: 2}\n"
    )
    return path


def open_at(job_file: Path, *overrides: str, out: str | None = "run", store: str | None = None) -> session.Session:
    base = job_file.parents[1]
    return open_session(job_file, base / out if out else None, base / store if store else None, overrides)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_job_files_fit_their_corpora(path: Path, tmp_path: Path) -> None:
    opened = open_session(path, tmp_path / "run", None, ())
    assert opened.split.train.points > opened.split.validation.points > 0
    assert all(points.points for points in opened.split.tests.values())
    assert not list(tmp_path.iterdir())


def test_opening_writes_nothing_and_puts_everything_in_its_place(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    before = picture(tmp_path)
    elsewhere = tmp_path / "jobs"
    monkeypatch.chdir(elsewhere)
    default = open_at(job_file, out=None)
    assert default.folder.path == elsewhere / "runs" / "small"
    assert default.store == elsewhere / "runs" / "small" / "artifacts"
    assert open_at(job_file, store="store").store == tmp_path / "store"
    relative = open_session(Path("small.yaml"), Path("out"), Path("store"), ())
    assert (relative.folder.path, relative.store) == (elsewhere / "out", elsewhere / "store")
    assert len(relative.split.train.snapshots) == 8
    assert picture(tmp_path) == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("corpus.source=nowhere.zarr", "no such corpus"),
        ("corpus.source=small.yaml", "expected a corpus, which is a folder, found a file"),
        ("corpus.train=trian/*", r"no snapshot is named 'trian/\*'"),
        ("corpus.test.more=tset/*", r"no snapshot is named 'tset/\*'"),
        ("corpus.validation=0.99", r"corpus\.validation: expected a share that leaves groups on both sides"),
        ("corpus.group=(zzz)", r"corpus\.group: expected '\(zzz\)' to match every snapshot's name"),
        ("corpus.test={bulk: train/a_T0100_0}", "found the content of"),
        (
            "select.strata=1000",
            r"select\.prune: expected to keep at least one point per stratum \(1000\), found 192 of 960",
        ),
        ("select={prune: 0.995, strata: 10}", "at least one point per stratum"),
        (
            "coverage.queries=241",
            r"coverage\.queries: expected at most 240, an equal share of each of the 2 validation snapshots, found 241",
        ),
        ("select.prune=0.99999", "prune: expected to keep at least 1 of 960"),
        (
            "select={prune: 0.5, strata: 1, cutoff: auto, proxy: {cutoffs: [0.6, 0.7]}}",
            r"select\.cutoff: .* 480 .* of 960",
        ),
    ],
)
def test_what_the_corpus_cannot_give_is_a_wrong_request(
    override: str, expected: str, job_file: Path, tmp_path: Path, picture: Picture
) -> None:
    before = picture(tmp_path)
    with pytest.raises(RequestError, match=expected):
        open_at(job_file, override)
    assert picture(tmp_path) == before


def test_a_budget_of_one_point_per_stratum_is_legal(job_file: Path) -> None:
    assert open_at(job_file, "select.strata=192").job.select.strata == 192
    with pytest.raises(RequestError, match="at least one point per stratum"):
        open_at(job_file, "select.strata=193")
    # Without CCS there are no strata to fill.
    open_at(job_file, "select.strata=193", "select.method=random", "evaluation.methods=[random]")


def test_without_pseudopotentials_there_is_no_engine(job_file: Path) -> None:
    assert open_at(job_file).engine is None


@pytest.mark.parametrize("engine", ["abinit", "sparc"])
def test_pseudopotentials_that_are_missing_are_told_by_key_before_anything_is_written(
    engine: str, job_file: Path, tmp_path: Path, picture: Picture
) -> None:
    (tmp_path / "jobs" / "empty").mkdir()
    before = picture(tmp_path)
    for folder in ("nowhere", "empty"):
        with pytest.raises(RequestError, match=rf"small\.yaml: .*{folder}"):
            open_at(job_file, f"energy={{engine: {engine}, pseudopotentials: {folder}}}")
    assert picture(tmp_path) == before


def test_an_engine_is_made_as_the_job_says_and_looks_beside_the_job_file(
    job_file: Path, squares: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(energies.ENGINES, "abinit", squares)
    monkeypatch.chdir(job_file.parent)
    settings = "energy={pseudopotentials: ../jobs/psp, cutoff: 7.5, smearing: 0.01, kpoints: [2, 1, 3]}"
    opened = open_session(Path(job_file.name), None, None, [settings])
    # A worker may stand in another folder.
    assert opened.engine == squares(energies.Settings(7.5, 0.01, (2, 1, 3)), job_file.parent.resolve() / "psp")
    assert opened.pipeline(lambda stages: []).engine == opened.engine


def test_an_engine_is_asked_for_what_will_be_computed_alone(
    sweep_job: Path, tmp_path: Path, squares: Any, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    """The test set `alloy` has magnesium, `bulk` has none."""
    asked: list[set[int]] = []
    required: list[list[str]] = []
    monkeypatch.setitem(energies.ENGINES, "abinit", squares)
    monkeypatch.setattr(squares, "check", lambda self, numbers: asked.append(set(numbers)))
    monkeypatch.setattr(squares, "require", lambda self, snapshots: required.append([s.name for s in snapshots]))
    chosen = ["energy.pseudopotentials=psp", "energy.snapshots=2"]
    opened = open_session(sweep_job, tmp_path / "out", None, [*chosen, "energy.tests=[bulk]"])
    assert asked.pop() == {13}
    assert required.pop() == ["test/t0_T0150_0", "test/t2_T0450_1"]
    computed = opened.pipeline(lambda stages: [*stages]).energies({})  # type: ignore[arg-type]
    assert [s.name for s in computed["bulk"].points.snapshots] == ["test/t0_T0150_0", "test/t2_T0450_1"]
    assert set(computed) == {"bulk"}
    open_session(sweep_job, tmp_path / "out", None, chosen)
    assert asked.pop() == {12, 13}

    def refuse(self: Any, snapshots: Any) -> None:
        raise RequestError("test/t0_T0150_0: expected pseudopotentials with 12 valence electrons")

    monkeypatch.setattr(squares, "require", refuse)
    with pytest.raises(RequestError, match=r"small\.yaml: test/t0_T0150_0: expected pseudopotentials"):
        open_session(sweep_job, tmp_path / "out", None, chosen)
    assert picture(tmp_path) == {}


def test_a_coreset_is_the_same_bytes_whatever_is_measured_beside_it(
    sweep_job: Path, swept: Any, squares: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    monkeypatch.setitem(energies.ENGINES, "abinit", squares)
    products = swept.sweep.pipeline
    executor = SerialExecutor()
    store = tmp_path / "store"
    shutil.copytree(swept.session.store, store)
    made = []
    for number, override in enumerate(("sweep.seeds=9", "energy={pseudopotentials: secret, snapshots: 7}")):
        opened = open_session(sweep_job, tmp_path / str(number), store, [override])
        pipeline = opened.pipeline(lambda stages: materialize_all(stages, root=store, executor=executor))
        package(opened, replace(pipeline, engine=None).run())
        made.append(picture(opened.folder.coreset))
    assert made[0] == made[1]
    assert not any(b"secret" in content for content in made[1].values() if content)
    assert "pseudopotentials" not in job_record(products.job)["energy"]


@pytest.mark.parametrize(("out", "store"), [("out", None), (None, None), (None, "store"), ("/abs", "store")])
def test_relative_places_inside_a_ray_job_are_refused(
    out: str | None, store: str | None, job_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "IN_JOB", True)
    where = None if out is None else Path(out)
    at_fault = "--store" if out == "/abs" else "--out"
    with pytest.raises(RequestError, match=f"{at_fault}: expected an absolute path inside a Ray job, found"):
        open_session(job_file, where, None if store is None else Path(store), ())
    opened = open_session(job_file, tmp_path / "out", tmp_path / "store", ())
    assert opened.store == tmp_path / "store"


def test_outside_a_ray_job_a_relative_output_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_output(Path("a/b"), "--out") == tmp_path / "a" / "b"
    assert absolute_output(tmp_path / "c", "--out") == tmp_path / "c"


def record_of(opened: session.Session) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((opened.folder.path / "run.json").read_bytes())
    return record


def test_a_run_leaves_a_record_from_which_its_session_opens_again(job_file: Path) -> None:
    opened = open_at(job_file, store="store")
    with opened.recorded(SerialExecutor()) as pipeline:
        assert pipeline.job == opened.job
    record = record_of(opened)
    assert (record["name"], record["state"], record["error"]) == ("small", "done", None)
    again = reopen_session(RunFolder(opened.folder.path))
    assert again.job == opened.job
    assert again.store == opened.store
    assert again.split.train.digest == opened.split.train.digest
    assert again.split.validation.digest == opened.split.validation.digest


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (WorkError("scoring: the disk is full; free some."), "failed", "scoring: the disk is full; free some."),
        (ZeroDivisionError("oops"), "failed", "ZeroDivisionError: oops"),
        (KeyboardInterrupt(), "interrupted", None),
        (SystemExit(15), "interrupted", None),
    ],
)
def test_what_ended_a_run_is_recorded(error: BaseException, state: str, told: str | None, job_file: Path) -> None:
    opened = open_at(job_file)
    with pytest.raises(type(error)), opened.recorded(SerialExecutor()):
        raise error
    record = record_of(opened)
    assert (record["state"], record["error"]) == (state, told)
    with opened.recorded(SerialExecutor()):
        pass
    assert record_of(opened)["state"] == "done"


def test_where_the_record_cannot_be_written_the_first_error_is_told(
    job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_at(job_file)

    def full(folder: RunFolder, record: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    error = OSError("the first")
    error.add_note("part 'a' of scoring")

    def fail() -> None:
        monkeypatch.setattr(RunFolder, "write", full)
        raise error

    with pytest.raises(OSError, match="the first"), opened.recorded(SerialExecutor()):
        fail()
    assert record_of(opened)["state"] == "running"
    told = CliRunner().invoke(main, ["status", str(opened.folder.path), "--json"])
    assert told.exit_code == 0, told.output
    status = json.loads(told.stdout)
    assert (status["state"], status["error"], status["where"]) == (
        "failed",
        "OSError: the first",
        "part 'a' of scoring",
    )


def test_a_damaged_record_names_a_way_out_that_works(job_file: Path) -> None:
    opened = open_at(job_file)
    with opened.recorded(SerialExecutor()) as pipeline:
        finished, _ = pipeline.score()
    (opened.folder.path / "run.json").write_bytes(b"")
    with pytest.raises(RequestError) as caught, open_at(job_file).recorded(SerialExecutor()):
        pytest.fail("the run began")
    assert f"run with another --out and --store {opened.store}, which goes on" in str(caught.value)
    again = open_at(job_file, out="again", store=str(opened.store))
    with again.recorded(SerialExecutor()) as pipeline:
        made, _ = pipeline.score()
    assert [each.folder for each in made] == [each.folder for each in finished]


def test_a_path_that_is_no_text_is_a_wrong_request(job_file: Path, tmp_path: Path) -> None:
    for name, place in (("out", "--out"), ("store", "--store")):
        path = tmp_path / os.fsdecode(b"bad\xff") / "run"
        with pytest.raises(RequestError, match=rf"^{place}: expected a path in UTF-8, found b'.*bad.*'; rename"):
            open_session(job_file, path if name == "out" else None, path if name == "store" else None, ())
    moved = tmp_path / os.fsdecode(b"jobs\xff")
    job_file.parent.rename(moved)
    with pytest.raises(RequestError, match=r"^JOB: expected a path in UTF-8"):
        open_session(moved / job_file.name, tmp_path / "run", None, ())
    assert not (tmp_path / "run").exists()


def test_a_run_records_the_stages_that_it_asked_for(job_file: Path) -> None:
    opened = open_at(job_file)
    with opened.recorded(SerialExecutor()) as pipeline:
        models, scores = pipeline.score()
    stages = record_of(opened)["stages"]
    assert [stage["title"] for stage in stages] == ["scoring runs", "scoring runs", "scoring"]
    assert [stage["artifact"] for stage in stages] == [each.folder.name for each in (*models, scores)]
    assert scores.folder.parent == opened.store


def test_a_new_folder_is_marked_as_the_runs_before_anything_else_stands_in_it(job_file: Path) -> None:
    """Also where a shared store holds everything already: what is killed between its coreset and its end runs again."""
    first = open_at(job_file, store="store")
    with first.recorded(SerialExecutor()) as pipeline:
        package(first, pipeline.run())
    second = open_at(job_file, out="again", store="store")
    with second.recorded(SerialExecutor()) as pipeline:
        assert record_of(second)["state"] == "running"
        package(second, pipeline.run())
        second.folder.expect_free_for("small")


def test_a_run_in_another_jobs_folder_or_a_held_one_writes_nothing(
    job_file: Path, tmp_path: Path, picture: Picture
) -> None:
    opened = open_at(job_file)
    RunFolder(opened.folder.path).write({"name": "other"})
    before = picture(tmp_path)
    with pytest.raises(RequestError, match="found that of job 'other'"), opened.recorded(SerialExecutor()):
        pytest.fail("the run began")
    assert picture(tmp_path) == before
    held = open_at(job_file, out="held")
    with held.folder.locked():
        before = picture(tmp_path)
        with pytest.raises(RequestError, match="in use by process"), held.recorded(SerialExecutor()):
            pytest.fail("the run began")
        assert picture(tmp_path) == before


def test_a_file_of_scores_has_one_for_each_point_of_the_corpus(job_file: Path, small_corpus: Corpus) -> None:
    points = sum(snapshot.points for snapshot in small_corpus.snapshots)
    given = "score={method: file, path: scores.npy}"
    np.save(job_file.parent / "scores.npy", np.arange(points + 1.0))
    with pytest.raises(
        RequestError,
        match=rf"score\.path: expected {points:,} scores, one for each grid point of the corpus, its snap.* "
        rf"found {points + 1:,}; give each grid point a score",
    ):
        open_at(job_file, given)
    np.save(job_file.parent / "scores.npy", np.arange(float(points)))
    opened = open_at(job_file, given)
    assert opened.given is not None and opened.given.firsts is not None
    last = small_corpus.snapshots[-1]
    assert opened.given.firsts[small_corpus.snapshots[0].name] == 0
    assert opened.given.firsts[last.name] == points - last.points

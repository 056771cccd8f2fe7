"""The command line: its exit statuses, its one paragraph on stderr, and that it leaves no trace of a wrong request."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from coreset import session
from coreset.artifacts.executor import SerialExecutor
from coreset.cli import command, main
from coreset.corpus import tables
from coreset.corpus.store import Corpus
from coreset.distributed.executor import RayExecutor
from coreset.folder import RunFolder
from coreset.progress import progress_on
from coreset.stages import table_ingestion
from coreset.stages.scoring import Scoring

Picture = Callable[[Path], dict[str, bytes | None]]

JOBS = Path(__file__).parents[1] / "jobs"
DATA = Path(__file__).parent / "data"


def coreset(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing here may start Ray, nor see what `plan --calibrate` stored on this machine."""
    monkeypatch.setattr(RayExecutor, "_start", lambda self: pytest.fail("Ray was started"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-cache"))


@pytest.fixture
def place(tmp_path: Path, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a job on the small corpus."""
    place = tmp_path / "here"
    place.mkdir()
    (place / "data.zarr").symlink_to(small_corpus.path)
    (place / "job.yaml").write_text(
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
    monkeypatch.chdir(place)
    return place


def refused(result: Result, status: int = 2) -> str:
    """The one paragraph of an error."""
    assert result.exit_code == status, (result.exception, result.output)
    assert isinstance(result.exception, SystemExit), result.exception
    told = result.stderr
    assert told.startswith("coreset: ")
    assert told.endswith("\n")
    assert told.count("\n") == 1, told
    assert "Traceback" not in told
    assert result.stdout == ""
    return told


WRONG = [
    (["{verb}", "missing.yaml"], "missing.yaml: expected a job file, found nothing there"),
    (["{verb}", "."], "expected a readable job file"),
    (["{verb}", "job.yaml", "--set", "select.prnue=0.5"], "unknown key; did you mean 'prune'?"),
    (["{verb}", "job.yaml", "--set", "select.prune=much"], "select.prune: expected a valid number, found 'much'"),
    (["{verb}", "job.yaml", "--set", "name="], "name"),
    (["{verb}", "job.yaml", "--set", "nonsense"], "--set nonsense: expected key.path=value"),
    (["{verb}", "job.yaml", "--set", "select.cutoff=0.9"], "select.cutoff: expected at most select.prune"),
    (["{verb}", "job.yaml", "--set", "corpus.source=gone.zarr"], "gone.zarr: no such corpus"),
    (["{verb}", "job.yaml", "--set", "corpus.train=trian/*"], "no snapshot is named 'trian/*'"),
    (["{verb}", "job.yaml", "--set", "corpus.test.more=tset/*"], "no snapshot is named 'tset/*'"),
    (["{verb}", "job.yaml", "--set", "corpus.test.more=train/a_T0100_0"], "found the content of"),
    (["{verb}", "job.yaml", "--set", "corpus.validation=0.95"], "corpus.validation"),
    (["{verb}", "job.yaml", "--set", "corpus.group=(x)"], "corpus.group"),
    (["{verb}", "job.yaml", "--set", "select.strata=999"], "at least one point per stratum (999)"),
    (["{verb}", "job.yaml", "--set", "coverage.queries=9999"], "coverage.queries"),
    (["{verb}", "job.yaml", "--set", "descriptor.tie_tolerance=1"], "descriptor.tie_tolerance"),
    (["{verb}", "job.yaml", "--set", "select.seed=9223372036854775808"], "select.seed"),
    (
        ["{verb}", "job.yaml", "--out", "other"],
        "expected the folder of job 'small' or a new one, found that of job 'other'",
    ),
    (["{verb}", "job.yaml", "--out", "foreign"], "found other files; use another --out"),
    (["{verb}", "job.yaml", "--out", "file"], "found a file; use another --out"),
    (["{verb}", "job.yaml", "--out", "file/below"], "file"),
    (["{verb}", "job.yaml", "--store", "file"], "file"),
    (["{verb}", "job.yaml", "--store", "file/below"], "file"),
]


@pytest.mark.parametrize("verb", ["run", "sweep", "score", "plan"])
@pytest.mark.parametrize(("arguments", "expected"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_job_is_told_before_ray_starts_and_leaves_no_trace(
    verb: str, arguments: list[str], expected: str, place: Path, picture: Picture
) -> None:
    RunFolder(place / "other").write({"name": "other"})
    (place / "foreign").mkdir()
    (place / "foreign" / "thesis.tex").write_text("x")
    (place / "file").write_text("x")
    before = picture(place)
    told = refused(coreset(*(argument.format(verb=verb) for argument in arguments)))
    assert expected in told
    assert picture(place) == before


@pytest.mark.parametrize("verb", ["run", "score"])
def test_a_folder_in_use_is_told_with_its_holder(verb: str, place: Path, picture: Picture) -> None:
    with RunFolder(place / "runs" / "small").locked():
        before = picture(place)
        assert f"in use by process {os.getpid()}" in refused(coreset(verb, "job.yaml"))
        assert picture(place) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "job.yaml"],
        ["run", "job.yaml", "--out", "out"],
        ["run", "job.yaml", "--out", "/nowhere/at/all", "--store", "store"],
        ["score", "job.yaml"],
        ["plan", "job.yaml"],
        ["ingest", "source", "out.zarr"],
        ["select", "scores.npy", "--out", "out.parquet"],
    ],
    ids=" ".join,
)
def test_a_relative_output_inside_a_ray_job_is_refused(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    np.save(place / "scores.npy", np.arange(2000.0))
    shutil.copytree(DATA / "al", place / "source")
    monkeypatch.setattr(session, "IN_JOB", True)
    before = picture(place)
    assert "expected an absolute path inside a Ray job, found" in refused(coreset(*arguments))
    assert picture(place) == before


OTHERS = [
    (["status", "missing"], "missing: expected the folder of a run, found no run.json in it"),
    (["status", "."], "found no run.json in it"),
    (["status", "job.yaml"], "job.yaml"),
    (["verify", "missing"], "expected the folder of a coreset, found no manifest.json in it"),
    (["verify", "job.yaml"], "job.yaml"),
    (["predict", "missing", "train/a"], "missing: expected the folder of a run"),
    (["ingest", "missing", "out.zarr"], "missing"),
    (["ingest", "foreign", "out.zarr"], "foreign"),
    (["ingest", "source", "foreign"], "foreign: expected a new folder or a corpus, found other files"),
    (["ingest", "source", "file"], "file: expected a folder to write the corpus into, found a file"),
    (["ingest", "source", "file/below"], "file"),
    (["ingest", "source", "out.zarr", "--group", "("], "("),
    (["ingest", "source", "out.zarr", "--temperature", "("], "("),
]


@pytest.mark.parametrize(("arguments", "expected"), OTHERS, ids=[" ".join(arguments) for arguments, _ in OTHERS])
def test_the_other_verbs_refuse_what_is_not_theirs(
    arguments: list[str], expected: str, place: Path, picture: Picture
) -> None:
    shutil.copytree(DATA / "al", place / "source")
    (place / "foreign").mkdir()
    (place / "foreign" / "thesis.tex").write_text("x")
    (place / "file").write_text("x")
    before = picture(place)
    assert expected in refused(coreset(*arguments))
    assert picture(place) == before


@pytest.fixture
def table(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of 100 rows in Parquet, with a column of times, and a serial executor to ingest it."""
    monkeypatch.setattr(command, "executor", lambda job: contextlib.nullcontext(SerialExecutor()))
    numbers = np.arange(100.0)
    days = pa.array(range(100), pa.timestamp("ns"))
    pq.write_table(pa.table({"y": numbers, "x": np.sin(numbers), "[day]": days}), place / "t.parquet")
    return place / "t.parquet"


def test_a_table_at_a_url_is_ingested_as_a_file_is(table: Path) -> None:
    url = "memory://tables/t.parquet"
    fsspec.filesystem("memory").pipe("/tables/t.parquet", table.read_bytes())
    digests = []
    for source, destination in ((url, "far.zarr"), ("t.parquet", "near.zarr"), (f"file://{table}", "file.zarr")):
        done = coreset("ingest", source, destination, "--target", "y")
        assert done.exit_code == 0, done.output
        digests.append(done.stdout.rpartition("digest ")[2])
    assert len(set(digests)) == 1
    assert "expected --target COLUMN" in refused(coreset("ingest", url, "out.zarr"))
    fsspec.filesystem("memory").pipe("/raw/a.cube", b"x")
    for raw in ("memory://raw", "memory://raw/a.cube", "memory://raw/none.npy"):
        assert f"{raw}: expected raw files or a corpus in a folder, found a URL" in refused(
            coreset("ingest", raw, "out.zarr")
        )


def test_workers_find_a_table_from_wherever_they_stand(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table.parent / "linked.parquet").symlink_to(table)
    given: list[tables.Table] = []
    monkeypatch.setattr(table_ingestion, "ingest_table", lambda table, *_: given.append(table))
    coreset("ingest", "linked.parquet", "t.zarr", "--target", "y")
    assert [block.file for block in given[0].blocks] == [str(table.parent / "linked.parquet")]


def test_columns_that_a_table_is_ingested_without_are_named(table: Path) -> None:
    done = coreset("ingest", "t.parquet", "t.zarr", "--target", "y")
    assert done.exit_code == 0, done.output
    (note,) = done.stderr.splitlines()
    assert note.endswith("t.parquet: left out, for columns of these types are not read: [day] (timestamp[ns])")
    assert "1 features" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rnu"],
        ["run"],
        ["run", "job.yaml", "--ot", "x"],
        ["select", "a.npy"],
        ["select", "a.npy", "--out", "x", "--strata", "x"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_a_wrong_request(arguments: list[str], place: Path, picture: Picture) -> None:
    before = picture(place)
    result = coreset(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr + result.stdout
    assert picture(place) == before


def test_debug_shows_the_traceback_and_keeps_the_status(place: Path) -> None:
    result = coreset("plan", "missing.yaml", "--debug")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert "in load_job" in result.stderr
    assert result.stderr.rstrip().split("\n")[-1].startswith("coreset: missing.yaml: expected a job file")


def test_text_in_square_brackets_reaches_the_reader(place: Path) -> None:
    assert "corpus.source" in refused(coreset("plan", "job.yaml", "--set", "corpus.source=[bold]x[/bold]"))
    assert "[red]gone[/red].yaml" in refused(coreset("plan", "[red]gone[/red].yaml"))


def test_version_and_help_are_there() -> None:
    assert coreset("--version").output == f"coreset, version {metadata.version('coreset-ray')}\n"
    listing = coreset("--help").output
    for verb in ("run", "plan", "status", "ingest", "score", "select", "predict", "verify"):
        assert re.search(rf"^  {verb} ", listing, re.M)
        assert coreset(verb, "-h").exit_code == 0


def test_the_command_starts_without_torch_and_ray() -> None:
    program = (
        "import sys\nfrom coreset.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "sys.exit(int('torch' in sys.modules or 'ray' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


AL = [
    "--set", 'corpus.train=train/al32_T0[1-3]00_s?_0',
    "--set", 'corpus.test={bulk: "test/al32_T0150_t0"}',
    "--set", "select.cutoff=0.1",
]  # fmt: skip


@pytest.mark.parametrize("job", ["al.yaml", "al-paper.yaml"])
def test_a_plan_of_real_densities_starts_and_writes_nothing(job: str, place: Path, picture: Picture) -> None:
    before = picture(place)
    result = coreset("plan", JOBS / job, *AL, "--set", "corpus.validation=0.2", "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.exception
    figures = json.loads(result.stdout)
    # Six trajectories of which one validates, 36³ points each.
    assert figures["points"] == {"train": 5 * 46656, "validation": 46656, "test.bulk": 46656}
    assert figures["kept"] == round(5 * 46656 * 0.1)
    stages = figures["stages"]
    assert all(row["done"] == 0 for row in stages.values())
    assert {"scoring runs", "scoring", "selection", "evaluation runs", "evaluation", "extraction", "coverage"} <= set(
        stages
    )
    assert figures["seconds"] == pytest.approx(figures["start"] + sum(row["seconds"] for row in stages.values()))
    assert all(row["seconds"] > 0 and row["memory"] > 0 for row in stages.values())
    assert figures["bytes"]["density"] == 4 * 5 * 46656
    assert picture(place) == before


def test_a_plan_counts_parameters_and_work_by_hand(place: Path) -> None:
    figures = json.loads(coreset("plan", "job.yaml", "--json").stdout)
    # 16 features → 8 → 1; 8 training snapshots of 120 points.
    weights = 16 * 8 + 8 * 1
    assert figures["parameters"] == weights + 8 + 1
    stages = figures["stages"]
    # 2 runs of 1 epoch of 960 points; forward and two backward products.
    assert stages["scoring runs"]["flops"] == 6 * weights * 2 * 960
    assert stages["scoring"]["flops"] == 4 * weights * 2 * 960
    # 3 methods × 2 seeds, 2 epochs of ⌈960 / 64⌉ steps of 64 each.
    assert stages["evaluation runs"]["flops"] == 6 * weights * 6 * (2 * 15 * 64)
    assert stages["evaluation"]["flops"] == 2 * weights * 6 * 240
    assert [stages[title]["artifacts"] for title in ("scoring runs", "evaluation runs", "selection")] == [2, 6, 4]


def test_a_plan_for_people_names_its_stages_and_points(place: Path) -> None:
    result = coreset("plan", "job.yaml")
    assert result.exit_code == 0
    for part in (
        "Plan of small",
        "scoring runs",
        "points: train 960, validation 240, test.bulk 240; kept: 192",
        "assumed",
    ):
        assert part in result.stdout


def test_a_plan_with_beta_to_be_chosen_lists_the_proxies(place: Path) -> None:
    with_auto = ["--set", "select.cutoff=auto", "--set", "select.proxy={cutoffs: [0.0, 0.5, 0.9], seeds: 3, steps: 10}"]
    stages = json.loads(coreset("plan", "job.yaml", *with_auto, "--json").stdout)["stages"]
    # β = 0.9 would leave fewer than the 20% to be kept.
    assert stages["proxies for β"]["artifacts"] == 2 * 3


@pytest.fixture
def finished(place: Path) -> Path:
    """A run of the small job's scoring, in this process."""
    opened = session.open_session(place / "job.yaml", place / "run", None, ())
    with opened.recorded(SerialExecutor()) as pipeline:
        pipeline.score()
    return place / "run"


def test_what_is_done_is_planned_and_told_as_done(finished: Path, place: Path, picture: Picture) -> None:
    before = picture(place)
    planned = coreset("plan", "job.yaml", "--out", finished, "--json")
    stages = json.loads(planned.stdout)["stages"]
    assert (stages["scoring runs"]["done"], stages["scoring"]["done"], stages["evaluation runs"]["done"]) == (2, 1, 0)
    assert stages["scoring"]["seconds"] == 0
    told = coreset("status", finished, "--json")
    assert json.loads(told.stdout) == {
        "name": "small",
        "state": "done",
        "error": None,
        "where": "",
        "log": "",
        "stages": [
            {"stage": "scoring runs", "artifacts": 2, "done": 2, "shards": 0},
            {"stage": "scoring", "artifacts": 1, "done": 1, "shards": 0},
        ],
    }
    people = coreset("status", finished)
    assert people.exit_code == 0
    assert "small: done" in people.stdout
    assert "scoring runs" in people.stdout
    assert picture(place) == before


def test_scoring_again_finds_everything_done_and_starts_no_ray(finished: Path, place: Path) -> None:
    again = coreset("score", "job.yaml", "--out", finished, "--json")
    assert again.exit_code == 0, again.exception
    figures = json.loads(again.stdout)
    assert figures["points"] == 960
    assert Path(figures["artifact"]).parent == finished / "artifacts"
    people = coreset("score", "job.yaml", "--out", finished)
    assert "Scores of 960 points" in people.stdout


def test_status_tells_what_failed_and_how_to_go_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, part: Any, *_: Any) -> dict[str, Any]:
        raise RuntimeError("the [disk] is full")

    monkeypatch.setattr(Scoring, "compute", broken)
    opened = session.open_session(place / "job.yaml", place / "run", None, ())
    with pytest.raises(RuntimeError), opened.recorded(SerialExecutor()) as pipeline:
        pipeline.score()
    people = coreset("status", "run")
    assert people.exit_code == 0
    first = opened.split.train.snapshots[0].name
    failed = f"failed: part '{first}' of scoring, scores-"
    for part in ("small: failed", failed, "error: RuntimeError: the [disk] is full", "Run the same command again"):
        assert part in people.stdout
    found = json.loads(coreset("status", "run", "--json").stdout)
    assert found["where"].startswith(f"part '{first}' of scoring")
    line = int(found["log"].removeprefix("log.jsonl, line "))
    event = json.loads((place / "run" / "log.jsonl").read_text().splitlines()[line - 1])
    assert event["event"] == "run fails"
    assert "RuntimeError: the [disk] is full" in event["traceback"]
    assert event["next"].startswith("mend what the error names, then run the same command again")


def test_names_in_brackets_are_printed_as_they_are(finished: Path) -> None:
    record = json.loads((finished / "run.json").read_bytes())
    record["name"], record["stages"][0]["title"] = "x[/bold]", "of [red]:ship:[/blue]"
    (finished / "run.json").write_text(json.dumps(record))
    people = coreset("status", finished)
    assert people.exit_code == 0, people.exception
    assert "x[/bold]: done" in people.stdout and "of [red]:ship:[/blue]" in people.stdout


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_names_a_stage_as_it_is(terminal: bool) -> None:
    page = io.StringIO()
    console = Console(file=page, width=100, force_terminal=terminal, markup=False, emoji=False)
    with progress_on(console).over("of [red]:ship:[/blue]", 1.0):
        pass
    assert "of [red]:ship:[/blue]" in page.getvalue()


@pytest.mark.parametrize("key", ["state", "stages", "where", "log"])
def test_a_record_without_what_status_tells_is_a_wrong_request(key: str, finished: Path) -> None:
    record = json.loads((finished / "run.json").read_bytes())
    del record[key]
    (finished / "run.json").write_text(json.dumps(record))
    refused = coreset("status", finished)
    assert refused.exit_code == 2
    assert f"found one without '{key}'; run again" in refused.stderr


def test_ctrl_c_says_how_to_go_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        raise SystemExit(status)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.os, "_exit", leave)
    monkeypatch.setattr(session, "open_session", interrupted)
    result = coreset("plan", "job.yaml")
    assert statuses == [130]
    assert "interrupted; what was finished is kept, run the same command to go on" in result.stderr

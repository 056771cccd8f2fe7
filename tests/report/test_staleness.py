"""Figures that are not those of the folder's last command are said to be so, on the page and on the terminal."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from coreset.cli import main
from coreset.job_file import job_record, load_job
from coreset.report.evidence import read_evidence
from coreset.report.page import build_page
from coreset.report.staleness import differences, staleness

JOB = Path(__file__).parents[2] / "jobs/al-sweep.yaml"


def record(state: str = "done", *overrides: str) -> dict[str, Any]:
    """What a command leaves in run.json."""
    return {"state": state, "job": load_job(JOB, overrides).model_dump(mode="json")}


def figures() -> dict[str, Any]:
    return {"job": job_record(load_job(JOB)), "command": "coreset sweep jobs/al-sweep.yaml", "date": "2026-11-24"}


def told(folder: Path, found: object) -> str:
    (folder / "run.json").write_text(found if isinstance(found, str) else json.dumps(found))
    return staleness(folder, figures())


def test_nothing_is_said_where_all_is_well(tmp_path: Path) -> None:
    assert staleness(tmp_path, figures()) == ""
    assert told(tmp_path, record()) == ""


@pytest.mark.parametrize(
    "override",
    ["cluster.workers=7", "corpus.source=elsewhere.zarr", "training.cache=1", "energy.pseudopotentials=/some/where"],
)
def test_another_machine_is_no_other_job(override: str, tmp_path: Path) -> None:
    assert told(tmp_path, record("done", override)) == ""


def test_what_tells_of_a_machine_is_what_sweep_json_leaves_out() -> None:
    job = load_job(JOB, ["energy.pseudopotentials=DIR", "cluster.workers=2"])
    assert list(differences(job_record(job), job.model_dump(mode="json"))) == []


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_a_command_that_did_not_finish_is_named(state: str, tmp_path: Path) -> None:
    note = told(tmp_path, record(state))
    assert f"has not finished ({state})" in note
    assert "2026-11-24" in note
    assert "coreset sweep jobs/al-sweep.yaml" in note
    assert note.endswith(".")


def test_another_job_is_told_by_the_keys_that_differ(tmp_path: Path) -> None:
    note = told(tmp_path, record("done", "sweep.seeds=6", "select.prune=0.95"))
    assert "other values of select.prune, sweep.seeds)" in note
    assert "finished" not in note
    overrides = ["sweep.seeds=6", "select.prune=0.95", "corpus.test={bulk: test/*}", "energy.tests=null"]
    note = told(tmp_path, record("failed", *overrides))
    assert "has not finished (failed) and had another job" in note
    assert "corpus.test.defects, corpus.test.large, energy.tests and 2 more" in note


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"state": "done"}'])
def test_a_damaged_record_is_no_record_of_success(content: str, tmp_path: Path) -> None:
    assert "run.json is damaged" in told(tmp_path, content)


def test_the_page_and_the_terminal_say_the_same(sample: Any, tmp_path: Path) -> None:
    sweep = sample.write_sample(tmp_path)
    page = build_page(read_evidence(tmp_path))
    assert 'class="stale"' not in page
    (tmp_path / "run.json").write_text(json.dumps({"state": "interrupted", "job": sweep["job"]}))
    evidence = read_evidence(tmp_path)
    assert "interrupted" in evidence.note
    page = build_page(evidence)
    assert page.index(f'<p class="stale" role="note"><b>Mind:</b> {evidence.note}</p>') < page.index("<h1")
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 0
    assert evidence.note in " ".join(result.stderr.split())
    assert "report.html" in result.stdout

"""What only this machine may know is in nothing that a run leaves: manifest, record, card, figure, page or message."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from coreset import session as sessions
from coreset.artifacts.executor import SerialExecutor
from coreset.atomic import write_json
from coreset.cli import main
from coreset.distributed.executor import RayExecutor
from coreset.errors import WorkError
from coreset.session import open_session, package
from coreset.summary import summarise

MARK = "s3cret-0f1e2d3c"
SECRETS = {
    name: f"{MARK}-{number}"
    for number, name in enumerate(
        ["RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "GITHUB_TOKEN", "SSH_AUTH_SOCK"]
    )
}


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RayExecutor, "_start", lambda self: pytest.fail("Ray was started"))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def place(whole_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole_run / "corpus.zarr", tmp_path / "here" / "corpus.zarr")
    shutil.copy(whole_run / "job.yaml", tmp_path / "here")
    return tmp_path / "here"


def call(*arguments: Any) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.output


def left_below(folder: Path) -> bytes:
    return b"\n".join(
        path.as_posix().encode() + b"\n" + path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )


def test_nothing_that_a_run_leaves_or_says_holds_a_secret_of_the_environment(place: Path) -> None:
    assert MARK.encode() in repr(dict(os.environ)).encode()
    session = open_session(place / "job.yaml", place / "run", None, ())
    with session.recorded(SerialExecutor()) as pipeline:
        products = pipeline.run()
        package(session, products)
        write_json(session.folder.summary, summarise(pipeline, products))
    said = call("report", place / "run") + call("status", place / "run") + call("plan", place / "job.yaml")
    said += call("verify", place / "run" / "coreset") + call("run", place / "job.yaml", "--out", place / "run")
    said += call("predict", place / "run", "test/b_T0300_0")
    left = left_below(place)
    assert (place / "run" / "report.html").is_file() and "Coreset: " in said
    assert MARK.encode() not in left and MARK not in said


def test_what_others_get_names_neither_this_machine_nor_its_folders(whole_run: Path) -> None:
    published = left_below(whole_run / "run" / "coreset").replace(str(whole_run / "run" / "coreset").encode(), b"")
    manifests = b"".join(path.read_bytes() for path in whole_run.rglob("run/artifacts/*/manifest.json"))
    for found in (published, manifests):
        assert str(whole_run).encode() not in found
        assert socket.gethostname().encode() not in found


def test_a_failure_is_recorded_without_the_environment(place: Path) -> None:
    session = open_session(place / "job.yaml", place / "run", None, ())
    with pytest.raises(WorkError), session.recorded(SerialExecutor()):
        raise WorkError("the disk is full")
    record = (place / "run" / "run.json").read_text()
    assert json.loads(record)["error"] == "the disk is full"
    assert MARK not in record


@pytest.mark.parametrize("verb", ["run", "sweep", "score", "plan"])
@pytest.mark.parametrize("source", [f"s3://key:{MARK}@bucket/al.zarr", f"https://example.org/al.zarr?sig={MARK}"])
def test_a_password_in_the_url_of_a_corpus_is_refused_and_neither_said_nor_kept(
    verb: str, source: str, place: Path
) -> None:
    for named in (["--set", f"corpus.source={source}"], []):
        if not named:
            text = (place / "job.yaml").read_text()
            (place / "job.yaml").write_text(text.replace("source: corpus.zarr", f'source: "{source}"'))
        before = sorted(place.rglob("*"))
        result = CliRunner().invoke(main, [verb, str(place / "job.yaml"), "--out", str(place / "run"), *named])
        assert result.exit_code == 2
        assert "corpus.source: expected a URL without password" in result.stderr
        assert MARK not in result.output
        assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "{url}"],
        ["audit", "corpus.zarr", "--against", "{url}"],
        ["extend", "run/coreset", "{url}", "--out", "grown"],
        ["import", "index.parquet", "{url}", "imported"],
        ["import", "index.parquet", "corpus.zarr", "{url}"],
        ["ingest", "{url}", "new.zarr", "--target", "y"],
        ["ingest", "raw", "{url}"],
        ["init", "{url}"],
        ["publish", "run", "{url}"],
        ["run", "job.yaml", "--out", "{url}"],
        ["run", "job.yaml", "--store", "{url}"],
        ["select", "{url}", "--out", "kept.parquet"],
    ],
)
@pytest.mark.parametrize("url", ["s3://key:half/{}@bucket/x.parquet", "https://{}@example.org/x.parquet"])
def test_no_verb_takes_a_url_with_a_secret(
    words: list[str], url: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    result = CliRunner().invoke(main, [word.format(url=url.format(MARK)) for word in words])
    assert result.exit_code == 2
    assert "expected a URL without password" in result.stderr
    assert MARK not in result.output and sorted(place.rglob("*")) == before


def test_a_record_with_such_a_url_is_not_read_again(whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_run / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_bytes())
    record["job"]["corpus"]["source"] = f"s3://key:{MARK}@bucket/al.zarr"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(sessions.RequestError) as caught:
        sessions.reopen_session(sessions.RunFolder(tmp_path / "run"))
    assert MARK not in str(caught.value)

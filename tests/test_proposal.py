"""`coreset init`: the job that it guesses can be planned as it stands, and what cannot be guessed is asked for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from coreset.artifacts.executor import SerialExecutor
from coreset.cli import main
from coreset.corpus.store import Corpus
from coreset.corpus.tables import open_table
from coreset.job_file import load_job
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request

ROOT = Path(__file__).parents[1]


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


def planned(job: Path) -> Result:
    return CliRunner().invoke(main, ["plan", str(job), "--out", str(job.with_suffix(""))])


@pytest.mark.parametrize("corpus", ["al", "water", "crfeconi"])
def test_the_job_of_a_shipped_corpus_can_be_planned(corpus: str, tmp_path: Path) -> None:
    result = init(ROOT / f"jobs/data/{corpus}.zarr", "--out", tmp_path / "job.yaml")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "job.yaml").read_text()
    for line in result.stdout.splitlines()[:-1]:
        assert line[3:] in text, "what is said stands beside the key"
    assert planned(tmp_path / "job.yaml").exit_code == 0
    job = load_job(tmp_path / "job.yaml")
    assert job.name == corpus
    assert "test" in job.corpus.test and job.network.output == "relu"


def test_the_job_of_a_small_corpus_can_be_planned(small_corpus: Corpus, tmp_path: Path) -> None:
    result = init(small_corpus.path, "--out", tmp_path / "job.yaml", "--name", "mine")
    assert result.exit_code == 0, result.output
    assert planned(tmp_path / "job.yaml").exit_code == 0
    assert load_job(tmp_path / "job.yaml").name == "mine"


@pytest.mark.parametrize("rows", [60, 5000])
def test_the_job_of_a_table_can_be_planned(rows: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows), "kind": rng.choice(["x", "y"], rows)})
    frame.to_parquet(tmp_path / "t.parquet")
    ingest_table(open_table(str(tmp_path / "t.parquet")), Request(("kind",)), tmp_path / "t.zarr", SerialExecutor())
    result = init(tmp_path / "t.zarr", "--out", tmp_path / "deep/job.yaml")
    assert result.exit_code == 0, result.output
    assert planned(tmp_path / "deep/job.yaml").exit_code == 0, planned(tmp_path / "deep/job.yaml").output
    assert load_job(tmp_path / "deep/job.yaml").network.output == "linear"


def test_what_is_no_corpus_is_told_how_to_become_one(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.zeros((3, 2)))
    (tmp_path / "raw").mkdir()
    for source, found in [
        ("t.npy", f"coreset ingest {tmp_path}/t.npy t.zarr --target COLUMN"),
        ("raw", f"coreset ingest {tmp_path}/raw raw.zarr"),
        ("nothing", "nothing"),
    ]:
        result = init(tmp_path / source, "--out", tmp_path / "job.yaml")
        assert result.exit_code == 2
        assert found in result.stderr
        assert not (tmp_path / "job.yaml").exists()


def test_names_that_do_not_say_what_tests_are_asked_for(small_made: list, write_corpus, tmp_path: Path) -> None:
    write_corpus(tmp_path / "c.zarr", [each for each in small_made if each[0].name.startswith("train/")])
    result = init(tmp_path / "c.zarr", "--out", tmp_path / "job.yaml")
    assert result.exit_code == 2
    assert "expected names below train/ and below another folder, which tests, found train" in result.stderr


def test_a_job_file_that_stands_is_kept(small_corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("mine")
    result = init(small_corpus.path, "--out", tmp_path / "job.yaml")
    assert result.exit_code == 2
    assert (tmp_path / "job.yaml").read_text() == "mine"

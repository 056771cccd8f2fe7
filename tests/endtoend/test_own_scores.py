"""Scores of one's own for densities: they select, no network is trained to score, and no text speaks of one."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from click.testing import CliRunner

import coreset
from coreset.cli import main
from coreset.corpus.store import Corpus
from coreset.report.evidence import read_evidence
from coreset.report.page import build_page

JOB = """\
name: own
corpus: {source: corpus.zarr, test: {bulk: "test/*"}, validation: 0.2}
descriptor: {neighbours: 4}
network: {hidden: [8]}
training: {batch: 64}
score: {method: file, path: scores.npy}
select: {method: grand, prune: 0.8, cutoff: 0.1}
coverage: {queries: 100}
evaluation: {methods: [random, grand, ccs], seeds: 1, steps: 20}
"""


def test_scores_of_ones_own_select_points_of_densities(
    small_corpus: Corpus, finish_run: Callable[[Path], Any], tmp_path: Path
) -> None:
    shutil.copytree(small_corpus.path, tmp_path / "corpus.zarr")
    sizes = [snapshot.points for snapshot in small_corpus.snapshots]
    values = np.random.default_rng(5).permutation(sum(sizes)) / 2.0
    np.save(tmp_path / "scores.npy", values)
    names = [snapshot.name for snapshot in small_corpus.snapshots]
    expected = dict(zip(names, np.split(values, np.cumsum(sizes)[:-1]), strict=True))
    (tmp_path / "job.yaml").write_text(JOB)
    session = finish_run(tmp_path)
    rows = coreset.open(tmp_path / "run").to_pandas()
    assert rows["score"].tolist() == [
        expected[name][index] for name, index in zip(rows["snapshot"], rows["index"], strict=True)
    ]
    # The highest of the training points.
    ours = np.concatenate([expected[snapshot.name] for snapshot in session.split.train.snapshots])
    assert sorted(rows["score"]) == np.sort(ours)[-len(rows) :].tolist()
    trained = [json.loads(path.read_bytes()) for path in (tmp_path / "run/artifacts").glob("training-*/manifest.json")]
    assert {each["recipe"]["parameters"]["seed"] for each in trained} == {"evaluation 0"}
    page = re.sub(r"<script\b.*?</script>", "", build_page(read_evidence(tmp_path / "run")), flags=re.DOTALL)
    assert "GraNd" not in page
    assert "highest scores" in page
    published = CliRunner().invoke(main, ["publish", str(tmp_path / "run"), str(tmp_path / "public")])
    assert published.exit_code == 0, published.output
    sha256 = hashlib.sha256((tmp_path / "scores.npy").read_bytes()).hexdigest()
    card = (tmp_path / "public/README.md").read_text()
    line = f"- score: one of each point, higher for harder, from a file of SHA-256 {sha256}"
    assert line in card
    # Nor is that forgotten by what is made of the index alone.
    for verb in (["import", "public/index.parquet", "corpus.zarr", "again"], ["publish", "again", "public-again"]):
        done = CliRunner().invoke(main, [verb[0], *(str(tmp_path / name) for name in verb[1:])])
        assert done.exit_code == 0, done.output
    assert line in (tmp_path / "public-again/README.md").read_text()
    jobs = [yaml.safe_load((tmp_path / name / "job.yaml").read_text()) for name in ("public", "public-again")]
    assert jobs[0]["score"] == jobs[1]["score"] == {"method": "file", "path": "scores.parquet"}

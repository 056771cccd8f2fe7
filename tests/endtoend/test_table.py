"""A table from its file to its coreset: regression of several targets, and classes; each figure against an oracle."""

import hashlib
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from sklearn.datasets import load_digits

import coreset
from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.cli import command, main
from coreset.corpus.table_corpus import TableCorpus, read_rows
from coreset.corpus.tables import open_table
from coreset.job_file import load_job
from coreset.learning.network import load
from coreset.methods.budget import keep
from coreset.numerics.keys import keys_at, stream
from coreset.publishing.verify import verify
from coreset.report.evidence import read_evidence
from coreset.report.page import build_page
from coreset.session import open_session, package
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request
from coreset.summary import summarise

JOB: dict[str, Any] = {
    "name": "table",
    "corpus": {"source": "table.zarr", "test": {"held-out": "test/*"}, "validation": 0.2},
    "network": {"hidden": [32, 32]},
    "training": {"batch": 64, "epochs": 8, "learning_rate": 3.0e-3},
    "score": {"epoch": 2, "seeds": 2},
    "select": {"prune": 0.8, "strata": 10, "cutoff": 0.1},
    "coverage": {"queries": 100, "scaling": "standard"},
    "evaluation": {"methods": ["full", "random", "grand", "ccs"], "seeds": 2},
}


def run(folder: Path, source: Path, request: Request, **sections: Any) -> tuple[Path, dict[str, Any]]:
    """Ingests and runs without Ray; returns the run's folder and its summary."""
    ingest_table(open_table(str(source)), request, folder / "table.zarr", SerialExecutor())
    (folder / "job.yaml").write_text(yaml.safe_dump({**JOB, **sections}))
    session = open_session(folder / "job.yaml", folder / "run", None, ())
    with session.recorded(SerialExecutor()) as pipeline:
        products = pipeline.run()
        package(session, products)
        return folder / "run", summarise(pipeline, products)


def artifacts(run_folder: Path, name: str) -> list[Artifact]:
    return [Artifact(path) for path in sorted((run_folder / "artifacts").glob(f"{name}-*"))]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    bunch = load_digits()
    frame = pd.DataFrame(bunch.data, columns=[f"pixel {i}" for i in range(64)])
    frame["digit"] = [f"digit {target}" for target in bunch.target]
    frame["scan"] = np.arange(len(frame)) // 100
    frame.to_parquet(folder / "digits.parquet", row_group_size=500)
    return folder


@pytest.fixture(scope="module")
def classified(digits: Path) -> tuple[Path, dict[str, Any]]:
    return run(digits, digits / "digits.parquet", Request(("digit",), ("pixel*",), group="scan"))


def test_classes_are_learnt_and_pruned(digits: Path, classified: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = classified
    frame = pd.read_parquet(digits / "digits.parquet")
    found = coreset.open(folder)
    rows = found.to_pandas()
    assert len(rows) == len(found) == keep(summary["corpus"]["train"]["points"], 0.8)
    source = frame.iloc[rows["row"]]
    for name in ("pixel 0", "pixel 20", "pixel 63"):
        np.testing.assert_array_equal(rows[name], source[name].astype(np.float32))
    assert rows["digit"].tolist() == source["digit"].tolist()
    assert rows["group"].tolist() == source["scan"].astype(str).tolist()
    assert not rows["row"].duplicated().any()
    x, y = found.to_torch()[:]
    assert x.shape == (len(rows), 64) and [f"digit {number}" for number in y.tolist()] == rows["digit"].tolist()
    assert len(list(verify(folder / "coreset"))) == 2
    figures = summary["evaluation"]["held-out"]["full"]["figures"]
    assert figures["error_rate"]["value"] < 0.15  # by guessing: 0.9
    assert set(figures) == {"nrmse", "nmae", "error_rate", "log_loss"}


def test_the_coreset_does_not_depend_on_how_the_table_is_cut(
    digits: Path, classified: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    frame = pd.read_parquet(digits / "digits.parquet")
    firsts = [0, 130, 700]
    (tmp_path / "cut").mkdir()
    for name, first, stop in zip("abc", firsts, [*firsts[1:], len(frame)], strict=True):
        frame[first:stop].to_parquet(tmp_path / "cut" / f"{name}.parquet", row_group_size=61)
    folder, summary = run(tmp_path, tmp_path / "cut", Request(("digit",), ("pixel*",), group="scan"))
    rows, expected = (coreset.open(each).to_pandas() for each in (folder, classified[0]))
    first = rows.pop("file").astype(str).str[0].map(dict(zip("abc", firsts, strict=True)))
    assert (rows.pop("row") + first).tolist() == expected.pop("row").tolist()
    pd.testing.assert_frame_equal(rows, expected.drop(columns="file"))
    assert summary["evaluation"] == classified[1]["evaluation"]


def test_rows_are_drawn_by_the_keys_of_their_numbers(digits: Path, tmp_path: Path) -> None:
    select = {"method": "random", "prune": 0.8, "seed": 3}
    folder, _ = run(tmp_path, digits / "digits.parquet", Request(("digit",), ("pixel*",), group="scan"), select=select)
    train = open_session(tmp_path / "job.yaml", folder, None, ()).split.train
    numbers = np.concatenate([read_rows(shard, 0, shard.points) for shard in train.snapshots])
    smallest = numbers[np.argsort(keys_at(stream(3, b"rows"), numbers))[: keep(len(numbers), 0.8)]]
    assert sorted(coreset.open(folder).to_pandas()["row"]) == sorted(smallest.tolist())


def test_whole_groups_are_drawn_where_whole_snapshots_are(digits: Path, tmp_path: Path) -> None:
    select = {"method": "random-snapshots", "prune": 0.8, "seed": 3}
    request = Request(("digit",), ("pixel*",), group="scan")
    folder, _ = run(tmp_path, digits / "digits.parquet", request, select=select)
    kept = coreset.open(folder).to_pandas().groupby("group").size()
    whole = pd.read_parquet(digits / "digits.parquet").groupby("scan").size()
    assert {name: int(whole[int(name)]) for name in kept.index} == kept.to_dict()
    train = open_session(tmp_path / "job.yaml", folder, None, ()).split.train
    assert len(kept) == keep(len(train.groups), 0.8)


def test_the_score_of_a_row_is_the_mean_norm_over_the_networks(digits: Path, classified: Any) -> None:
    folder, _ = classified
    (scores,) = artifacts(folder, "scores")
    networks = [
        load(each.path("model"))[0].network.double()
        for each in artifacts(folder, "training")
        if str(each.manifest["recipe"]["parameters"]["seed"]).startswith("score")
    ]
    assert len(networks) == 2 == len(scores.figures["zero"])
    frame = pd.read_parquet(digits / "digits.parquet")
    for _, row in coreset.open(folder).to_pandas().iloc[::40].iterrows():
        x = torch.tensor(frame.iloc[row["row"], :64].to_numpy(np.float64))
        label = torch.tensor(int(row["digit"].split()[1]))
        norms = []
        for network in networks:
            loss = torch.nn.functional.cross_entropy(network(x[None]), label[None])
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            norms.append(float(sum(each.square().sum() for each in gradients)) ** 0.5)
        assert row["score"] == pytest.approx(np.mean(norms), rel=1e-4, abs=1e-6)


def test_the_report_of_a_run_speaks_of_its_rows(classified: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = classified
    (folder / "summary.json").write_text(json.dumps(summary))
    page = build_page(read_evidence(folder))
    text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    trained = summary["corpus"]["train"]
    assert f"has {trained['points']:,} training rows of {trained['groups']} groups. Each row has 64 features" in text
    assert "“digit” is to be learnt: one of 10 classes" in text
    assert "each divided by its standard deviation" in text
    wrong = 100 * summary["evaluation"]["held-out"]["ccs"]["figures"]["error_rate"]["value"]
    assert f"error rate: {wrong:.3g}%" in text
    assert re.findall("(?i)densit|snapshot|trajector|bohr|atom|energ|descriptor", text) == []


def test_a_sweep_has_the_figures_of_the_run_and_those_of_other_rates(
    digits: Path, classified: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, summary = classified
    monkeypatch.setattr(command, "executor", lambda *asked: nullcontext(SerialExecutor()))
    swept = {"rates": [0.8, 0.9], "methods": ["random", "grand", "ccs"], "seeds": 2, "redraw_scores": False}
    (digits / "sweep.yaml").write_text(yaml.safe_dump({**JOB, "sweep": swept}))
    words = [str(digits / "sweep.yaml"), "--store", str(folder / "artifacts"), "--out", str(tmp_path / "sweep")]
    for verb in (["plan", "--sweep"], ["sweep"]):
        result = CliRunner().invoke(main, [*verb, *words])
        assert result.exit_code == 0, result.output
    sweep = json.loads((tmp_path / "sweep/sweep.json").read_bytes())
    cells = {(cell["method"], cell["rate"]): cell for cell in sweep["cells"]}
    for method, evaluated in summary["evaluation"]["held-out"].items():
        figures = cells[method, 0.0 if method == "full" else 0.8]["tests"]["held-out"]["figures"]
        assert figures == json.loads(json.dumps(evaluated["figures"]))
    points = summary["corpus"]["train"]["points"]
    assert cells["ccs", 0.9]["kept"] == [keep(points, 0.9)] * 2
    histogram = sweep["scores"]["histogram"]
    assert sum(histogram["linear"]["all"]) == histogram["all"]["points"] == points
    assert "distance" not in histogram
    assert sweep["fields"] == []
    # Six operations per weight, row and step.
    assert cells["full", 0.0]["training"]["flops"][0] == 6 * (64 * 32 + 32 * 32 + 320) * 64 * summary["steps"]
    page = build_page(read_evidence(tmp_path / "sweep"))
    plots = set(re.findall(r'<figure class="item plot" id="([^"]+)"', page))
    assert {"pruning-classes", "score-histogram", "strata-ccs", "coverage-auc", "training-time"} <= plots
    text = re.sub(r"<(script|style|pre)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert re.findall("(?i)densit|snapshot|trajector|bohr|atom|energ|descriptor|defect", text) == []
    assert "are of data of another kind" in text


def test_within_groups_each_keeps_its_share(digits: Path, tmp_path: Path) -> None:
    select = {**JOB["select"], "within": "group"}
    folder, _ = run(tmp_path, digits / "digits.parquet", Request(("digit",), ("pixel*",), group="scan"), select=select)
    kept = coreset.open(folder).to_pandas().groupby("group").size()
    whole = pd.read_parquet(digits / "digits.parquet").groupby("scan").size()
    assert len(kept) > 5
    assert {name: keep(int(whole[int(name)]), 0.8) for name in kept.index} == kept.to_dict()


def test_errors_of_several_targets_are_those_of_the_networks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 3)).astype(np.float32)
    y = np.stack([np.sin(2 * x[:, 0]) + x[:, 1], 50 * x[:, 2] ** 2 - 100], axis=1).astype(np.float32)
    np.save(tmp_path / "t.npy", np.hstack([x, y]))
    folder, summary = run(tmp_path, tmp_path / "t.npy", Request(("3", "4")))
    assert summary["evaluation"]["held-out"]["full"]["figures"]["nrmse"]["value"] < 0.1
    rows = coreset.open(folder).to_pandas()
    np.testing.assert_array_equal(rows[["0", "1", "2", "3", "4"]], np.hstack([x, y])[rows["row"]])
    # The first network on the full table, applied to the first test shard by itself.
    evaluation = next(each for each in artifacts(folder, "evaluation") if each.shards[0]["name"].startswith("test/"))
    names = evaluation.manifest["recipe"]["inputs"]
    model = next(each for each in artifacts(folder, "training") if each.digest == names["model-0000"])
    network, _ = load(model.path("model"))
    from coreset.corpus.table_corpus import TableCorpus, read_values

    corpus = TableCorpus.open(str(tmp_path / "table.zarr"))
    (shard,) = corpus.select(evaluation.shards[0]["name"])
    values = read_values(shard, 0, shard.points)
    predicted = network.predict(torch.from_numpy(values[:, :3])).numpy()
    error = (predicted - values[:, 3:]) / np.ptp(y, axis=0)
    assert evaluation.shards[0]["figures"]["nrmse"][0] == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-4)


def test_scores_of_ones_own_select_and_nothing_is_trained_to_score(digits: Path, tmp_path: Path) -> None:
    scores = np.random.default_rng(5).permutation(len(pd.read_parquet(digits / "digits.parquet"))) / 2.0
    pd.DataFrame({"score": scores}).to_parquet(tmp_path / "scores.parquet", row_group_size=400)
    request = Request(("digit",), ("pixel*",), group="scan")
    evaluation = {"methods": ["random", "grand", "ccs"], "seeds": 1}
    own: dict[str, Any] = {"score": {"method": "file", "path": "scores.parquet"}, "evaluation": evaluation}
    own["select"] = {**JOB["select"], "method": "grand"}
    folder, summary = run(tmp_path, digits / "digits.parquet", request, **own)
    rows = coreset.open(folder).to_pandas()
    np.testing.assert_array_equal(rows["score"], scores[rows["row"]].astype(np.float32))
    # The highest of the training rows: no other training row has a score between them.
    corpus = TableCorpus.open(str(tmp_path / "table.zarr"))
    session = open_session(tmp_path / "job.yaml", folder, None, ())
    numbers = np.concatenate([read_rows(shard, 0, shard.points) for shard in session.split.train.snapshots])
    assert len(numbers) < sum(shard.points for shard in corpus.snapshots)
    assert sorted(rows["row"]) == sorted(numbers[np.argsort(scores[numbers])[-len(rows) :]])
    trained = {str(each.manifest["recipe"]["parameters"]["seed"]) for each in artifacts(folder, "training")}
    assert trained == {"evaluation 0"}
    sha256 = hashlib.sha256((tmp_path / "scores.parquet").read_bytes()).hexdigest()
    manifest = json.loads((folder / "coreset/manifest.json").read_bytes())
    assert manifest["scores"] == {"sha256": sha256}
    assert "scores.parquet" not in json.dumps(manifest)
    (folder / "summary.json").write_text(json.dumps(summary))
    page = build_page(read_evidence(folder))
    assert "highest scores" in page
    assert sha256 in page
    assert "GraNd" not in re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    plan = CliRunner().invoke(main, ["plan", str(tmp_path / "job.yaml"), "--out", str(folder)])
    assert re.search("scores from a file +│ +1 │ +0", plan.output), plan.output
    public = tmp_path / "public"
    published = CliRunner().invoke(main, ["publish", str(folder), str(public)])
    assert published.exit_code == 0, published.output
    card = (public / "README.md").read_text()
    assert "took the score of every row of the training set" in card
    assert f"- score: one of each row, higher for harder, from a file of SHA-256 {sha256}" in card
    job = (public / "job.yaml").read_text()
    assert f"score.path is where you keep the scores, of SHA-256 {sha256}" in job
    assert load_job(public / "job.yaml").score.path == "scores.parquet"


def test_scores_that_do_not_fit_are_refused_before_anything_starts(digits: Path, classified: Any) -> None:
    rows = len(pd.read_parquet(digits / "digits.parquet"))
    for name, count in (("right", rows), ("short", rows - 1)):
        np.save(digits / f"{name}.npy", np.arange(count, dtype=np.float64))
    job, given = str(digits / "job.yaml"), ["--set", "score={method: file, path: right.npy}"]
    none = "--set", "score={method: file, path: none.npy}"
    for verb, sets, found in [
        ("run", ["--set", "score={method: file, path: short.npy}"], f"expected {rows:,} scores.*found {rows - 1:,}"),
        ("plan", none, "score.path: .*none.npy: expected a file of scores, found nothing there"),
        ("run", ["--set", "score.method=file"], "expected a path with method: file"),
        ("run", ["--set", "score.path=right.npy"], "expected a path with method: file and with no other"),
        ("run", [*given, "--set", "score.epoch=3"], "expected no networks beside a file of scores, found epoch"),
        ("run", [*given, "--set", "evaluation.methods=[loss, ccs]"], "expected no method loss"),
        ("sweep", given, "score.method: `coreset sweep` redraws scores"),
    ]:
        result = CliRunner().invoke(main, [verb, job, *sets])
        assert result.exit_code == 2, result.output
        assert re.search(found, result.stderr), result.stderr


def test_what_densities_alone_have_is_refused(digits: Path, classified: Any) -> None:
    job = str(digits / "job.yaml")
    for arguments, found in [
        (["run", job, "--set", "network.output=relu"], "network.output: expected linear"),
        (["run", job, "--set", "select.within=temperature"], "the rows of a table have no temperature"),
        (["run", job, "--set", "energy.pseudopotentials=here"], "expected electron densities, found a table"),
        (["ingest", str(digits / "digits.parquet"), str(digits / "new")], "expected --target COLUMN"),
    ]:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, result.output
        assert found in result.stderr
    assert CliRunner().invoke(main, ["plan", job]).exit_code == 0


@pytest.mark.ray
def test_ray_gives_the_same_bytes_through_the_command_line(place: Any, digits: Path, classified: Any) -> None:
    (digits / "again.yaml").write_text(yaml.safe_dump({**JOB, "corpus": {**JOB["corpus"], "source": "again.zarr"}}))
    source, corpus = str(digits / "digits.parquet"), str(digits / "again.zarr")
    done = place.call("ingest", source, corpus, "--target", "digit", "--features", "pixel*", "--group", "scan")
    assert done.returncode == 0, done.stderr
    done = place.call("run", str(digits / "again.yaml"), "--out", str(digits / "again"), "--set", "cluster.workers=2")
    assert done.returncode == 0, done.stderr
    folder, _ = classified
    ours, theirs = ((each / "coreset/manifest.json").read_bytes() for each in (folder, digits / "again"))
    assert json.loads(ours)["shards"][0] == json.loads(theirs)["shards"][0]
    assert json.loads(ours)["digest"] == json.loads(theirs)["digest"]
    index, again = str(digits / "public/index.parquet"), digits / "imported"
    for arguments in (
        ("publish", str(digits / "again"), str(digits / "public")),
        ("import", index, corpus, str(again)),
    ):
        done = place.call(*arguments)
        assert done.returncode == 0, done.stderr
    assert coreset.open(again).to_arrow().equals(coreset.open(folder).to_arrow())

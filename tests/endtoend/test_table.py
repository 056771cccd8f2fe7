"""A table from its file to its coreset: regression of several targets, and classes; each figure against an oracle."""

import json
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
from coreset.cli import main
from coreset.corpus.tables import open_table
from coreset.learning.network import load
from coreset.methods.budget import keep
from coreset.publishing.verify import verify
from coreset.session import open_session, package
from coreset.stages.table_ingestion import Request, ingest_table
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


def test_what_densities_alone_have_is_refused(digits: Path, classified: Any) -> None:
    job = str(digits / "job.yaml")
    for arguments, found in [
        (["sweep", job], "expects electron densities, found a table"),
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

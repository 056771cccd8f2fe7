"""A user's own network: run only where it may be, scored row by row whatever it is, and never from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from torch import nn

from coreset.artifacts.executor import SerialExecutor
from coreset.cli import main
from coreset.corpus.table_corpus import TableCorpus, read_values
from coreset.corpus.tables import open_table
from coreset.errors import DataError, RequestError, WorkError
from coreset.learning.code import check_code, code_of
from coreset.learning.network import load
from coreset.numerics.gradient_norms import gradient_norms_and_residuals, has_closed_form
from coreset.numerics.per_sample import per_sample_norms_and_residuals
from coreset.session import open_session, package
from coreset.stages.scoring import read_field
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request

SOURCE = """
import torch
from pathlib import Path
from torch import nn

Path(__file__).with_name("ran").touch()


class Plain(nn.Sequential):
    def __init__(self, inputs, outputs, width):
        super().__init__(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return self.last(self.norm(hidden) + hidden)


class Normalised(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(nn.Linear(inputs, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))


class Mixing(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.layer(x - x.mean(0))


class Short(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, 7)

    def forward(self, x):
        return self.layer(x)


class Nothing:
    def __init__(self, inputs, outputs):
        pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(SOURCE)
    return tmp_path


def table_job(folder: Path, **network: Any) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    np.save(folder / "t.npy", np.column_stack([x, np.sin(x[:, 0]) + x[:, 1]]))
    ingest_table(open_table(str(folder / "t.npy")), Request(("2",)), folder / "t.zarr", SerialExecutor())
    job = {
        "name": "own",
        "corpus": {"source": "t.zarr", "test": {"held-out": "test/*"}, "validation": 0.2},
        "network": network,
        "training": {"batch": 32, "epochs": 6, "learning_rate": 1e-2},
        "score": {"epoch": 2, "seeds": 2},
        "select": {"prune": 0.8, "strata": 5, "cutoff": 0.0},
        "coverage": {"queries": 20},
        "evaluation": {"methods": ["full", "ccs"], "seeds": 1},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder / "job.yaml"


def test_code_runs_only_where_it_may(folder: Path) -> None:
    job = table_job(folder, code="nets.py:Plain", arguments={"width": 8})
    result = CliRunner().invoke(main, ["plan", str(job)])
    assert result.exit_code == 2
    assert "give --allow-code" in result.stderr
    assert not (folder / "ran").exists()
    result = CliRunner().invoke(main, ["plan", str(job), "--allow-code", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["parameters"] == 2 * 8 + 8 + 8 + 1
    assert (folder / "ran").exists()


@pytest.mark.parametrize(("name", "closed"), [("Plain", True), ("Residual", False)])
def test_a_run_scores_by_the_gradient_of_the_users_network(folder: Path, name: str, closed: bool) -> None:
    job = table_job(folder, code=f"nets.py:{name}", arguments={"width": 8})
    session = open_session(job, folder / "run", None, (), allow_code=True)
    with session.recorded(SerialExecutor()) as pipeline:
        products = pipeline.run()
        package(session, products)
    models = [load(each.path("model"), session.code)[0] for each in products.score_models]
    assert {has_closed_form(each.network.eval()) for each in models} == {closed}
    corpus = TableCorpus.open(str(folder / "t.zarr"))
    shard = session.split.train.snapshots[0]
    values = read_values(corpus.select(shard.name)[0], 0, shard.points)
    expected = []
    for model in models:
        x, y = torch.from_numpy(values[:, :2]), model.target(torch.from_numpy(values[:, 2]))
        for row, target in zip(x, y, strict=True):
            loss = (model.network(row[None])[0, 0] - target) ** 2
            gradients = torch.autograd.grad(loss, list(model.network.parameters()))
            expected.append(float(torch.sqrt(sum(each.square().sum() for each in gradients))))
    mean = np.reshape(expected, (2, -1)).mean(0)
    np.testing.assert_allclose(read_field(products.scores, shard.name, "grand"), mean, rtol=1e-3, atol=1e-4)
    with pytest.raises(DataError, match="a user's own network is read by the run that made it"):
        load(products.score_models[0].path("model"))
    recipe = products.score_models[0].manifest["recipe"]["parameters"]["network"]
    assert recipe["code"]["class"] == f"nets.py:{name}"
    assert str(folder) not in json.dumps(recipe)


def test_a_changed_file_is_another_network(folder: Path) -> None:
    before = code_of("nets.py:Plain", {"width": 3}, folder)
    (folder / "nets.py").write_text(SOURCE.replace("nn.Tanh", "nn.GELU"))
    after = code_of("nets.py:Plain", {"width": 3}, folder)
    assert before.stated != after.stated
    with pytest.raises(WorkError, match="was changed while the run went"):
        before.make(2, 1, 0)
    one, same, other = (after.make(2, 1, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("nets.py:Normalised", r"1 \(BatchNorm1d\) mixes the rows of a batch"),
        ("nets.py:Mixing", "expected outputs that depend on their row alone"),
        ("nets.py:Short", r"expected outputs of shape \[8, 2\], found \[8, 7\]"),
        ("nets.py:Nothing", "expected a torch.nn.Module with parameters, found Nothing"),
        ("nets.py:Plain", "expected to be called with inputs=3, outputs=2 and network.arguments, found TypeError"),
        ("nets.py:Missing", "expected to import .*Missing', found AttributeError"),
        ("missing.py:Net", "expected to import .*found FileNotFoundError"),
        ("nowhere.at.all:Net", "expected to import .*found ModuleNotFoundError"),
        ("nets.py", "expected a class as package.module:Name or file.py:Name"),
    ],
)
def test_what_is_no_such_network_is_refused(folder: Path, reference: str, found: str) -> None:
    with pytest.raises(RequestError, match=found):
        check_code(code_of(reference, {}, folder), 3, 2)


def test_a_precision_that_only_the_closed_form_has_is_refused_elsewhere(folder: Path) -> None:
    check_code(code_of("nets.py:Plain", {"width": 4}, folder), 3, 2, "bfloat16")
    with pytest.raises(RequestError, match=r"score.precision: expected float32 .* found bfloat16"):
        check_code(code_of("nets.py:Residual", {"width": 4}, folder), 3, 2, "bfloat16")


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_both_ways_to_a_norm_agree(loss: Any) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 9), nn.GELU(), nn.Linear(9, 3))
    x = torch.randn(200, 4)
    y = torch.randn(200, 3) if loss == "squared" else torch.randint(3, (200,))
    for one, other in zip(
        gradient_norms_and_residuals(network, x, y.float(), loss=loss),
        per_sample_norms_and_residuals(network, x, y.float(), loss),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="row 3"):
        per_sample_norms_and_residuals(network, torch.where(torch.arange(200)[:, None] == 3, torch.nan, x), y, loss)


def test_code_beside_layers_is_refused(folder: Path) -> None:
    job = table_job(folder, code="nets.py:Plain", hidden=[4])
    with pytest.raises(RequestError, match="expected either code, a network of your own, or its layers"):
        open_session(job, folder / "run", None, (), allow_code=True)

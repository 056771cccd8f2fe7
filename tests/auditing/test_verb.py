"""`coreset audit` on the command line: what it prints and writes, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from coreset import cli
from coreset.cli import command
from coreset.distributed.executor import RayExecutor


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(RayExecutor, "_start", lambda self: pytest.fail("Ray was started"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3)).astype(np.float32)
    columns: dict[str, Any] = {f"x{i}": rows[:, i] for i in range(3)}
    pq.write_table(pa.table({**columns, "y": rng.random(300), "name": ["a"] * 300}), "rows.parquet")
    np.save("wanted.npy", rng.normal(size=(50, 3)).astype(np.float32))
    pq.write_table(pa.table({name: column[:40] for name, column in columns.items()}), "few.parquet")


def audit(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["audit", *arguments])


def test_prints_a_paragraph_and_where_the_rest_is() -> None:
    made = audit("rows.parquet", "--ignore", "y")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("“rows” has 300 points of 1 file. Each of its points, looking at all others, finds")
    assert made.stdout.endswith("Figures: runs/audit-rows/audit.json\nPage:    runs/audit-rows/audit.html\n")
    figures = json.loads(Path("runs/audit-rows/audit.json").read_bytes())
    assert figures["corpus"]["features"] == 3
    assert figures["command"] == "coreset audit rows.parquet --ignore y"


def test_json_is_all_that_json_prints() -> None:
    asked = ("--against", "few.parquet", "--queries", "auto")
    made = audit("rows.parquet", "--features", "x*", *asked, "--out", "out", "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout) == json.loads(Path("out/audit.json").read_bytes())
    assert json.loads(made.stdout)["coverage"]["auc"] == 0  # they are rows of it
    assert json.loads(made.stdout)["coverage"]["queries"] == 40


def test_what_ray_prints_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    with command.executor(None):
        print("(raylet) a worker was killed")
    assert capsys.readouterr() == ("", "(raylet) a worker was killed\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rows.parquet", "--features", "z*"), "CORPUS: .*expected a column 'z[*]', found x0"),
        (("rows.parquet", "--features", "name"), "CORPUS: .*expected column 'name' of kind number, found text"),
        (("rows.parquet", "--against", "wanted.npy"), "--against: expected points of the same 4 features"),
        (("rows.parquet", "--snapshots", "a*"), "CORPUS: .*pattern of snapshots is for a corpus"),
        (("rows.parquet", "--network", "none.safetensors"), "--network: expected a checkpoint"),
        (("nowhere",), "CORPUS: .*nowhere: no such corpus"),
        (("rows.parquet", "--queries", "1"), "--queries"),
        (("rows.parquet", "--out", "wanted.npy"), "--out: expected a folder, found the file"),
    ],
)
def test_a_wrong_request_is_refused_with_status_2_and_leaves_nothing(arguments: tuple[str, ...], told: str) -> None:
    before = sorted(Path.cwd().rglob("*"))
    made = audit(*arguments)
    assert made.exit_code == 2, made.output
    assert re.search(told, " ".join(made.stderr.split())), made.stderr
    assert sorted(Path.cwd().rglob("*")) == before

"""Two processes that train one network do what one process does, and both say the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from coreset.learning.network import load

CASES = ["plain", "streamed", "chosen", "steps", "dead", "slowed", "lonely", "lonely and streamed"]


def run(folder: Path, size: int) -> list[dict[str, Any]]:
    """What each rank told of each training."""
    folder.mkdir()
    script = str(Path(__file__).with_name("ranks.py"))
    ranks = [subprocess.Popen([sys.executable, script, str(rank), str(size), str(folder)]) for rank in range(size)]
    assert [rank.wait() for rank in ranks] == [0] * size
    return [json.loads((folder / f"told {rank}").read_text()) for rank in range(size)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("team")


@pytest.fixture(scope="module")
def alone(root: Path) -> dict[str, Any]:
    return run(root / "alone", 1)[0]


@pytest.fixture(scope="module")
def together(root: Path) -> list[dict[str, Any]]:
    return run(root / "together", 2)


def weights(path: Path) -> torch.Tensor:
    return torch.cat([parameter.detach().ravel() for parameter in load(path)[0].network.parameters()])


def test_all_ranks_tell_and_hold_the_same(together: list[dict[str, Any]], root: Path) -> None:
    assert together[0] == together[1]
    for name in CASES:
        assert (root / "together" / f"{name} 0").read_bytes() == (root / "together" / f"{name} 1").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_the_network_is_that_of_one_process(
    name: str, alone: dict[str, Any], together: list[dict[str, Any]], root: Path
) -> None:
    found, expected = together[0][name], alone[name]
    for exact in ("steps", "redrawn", "slowed_to", "kept_step"):
        assert found[exact] == expected[exact]
    for close in ("loss", "dead"):
        assert found[close] == pytest.approx(expected[close], rel=1e-4)
    assert [step for step, _ in found["validation"]] == [step for step, _ in expected["validation"]]
    assert [error for _, error in found["validation"]] == pytest.approx(
        [error for _, error in expected["validation"]], rel=1e-3
    )
    one, other = weights(root / "together" / f"{name} 0"), weights(root / "alone" / f"{name} 0")
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_cases_are_what_they_are_called(alone: dict[str, Any]) -> None:
    assert alone["dead"]["redrawn"] == 1
    assert [name for name in CASES if alone[name]["slowed_to"] is not None] == ["slowed"]
    assert alone["slowed"]["slowed_to"] == pytest.approx(3e-4)
    assert len(alone["chosen"]["validation"]) >= 7
    # Windows of 300, 300, 300 and 103 points in batches of 64: each ends with a short one.
    assert alone["plain"]["steps"] == 2 * (5 + 5 + 5 + 2)


def test_all_ranks_say_that_a_training_diverged(together: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    for told in (*together, alone):
        assert "lower training.learning_rate" in told["diverged"]["error"]


def test_the_same_ranks_again_give_the_same_bytes(together: list[dict[str, Any]], root: Path) -> None:
    assert run(root / "again", 2) == together
    for name in CASES:
        assert (root / "again" / f"{name} 0").read_bytes() == (root / "together" / f"{name} 0").read_bytes()

"""The fast part of the crash matrix, of which `make chaos` is the whole. What forks is a process of its own."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def call(script: str, *arguments: str, **environment: str) -> str:
    given = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), **environment}
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_death_at_any_point_of_writing_is_survived_with_and_without_power(tmp_path: Path) -> None:
    told = re.search(r"^(\d+) points", call("every_point.py", str(tmp_path)), re.M)
    assert told
    assert int(told[1]) > 100


def test_a_whole_run_survives_ten_kills() -> None:
    told = call("", "--seed", "0", "--serial", "10", "--ray", "0")
    kills, failed = re.search(r"^serial: (\d+) kills .*; (\d+) chains failed$", told, re.M).groups()  # type: ignore[union-attr]
    assert int(kills) >= 10
    assert failed == "0"


@pytest.mark.ray
def test_an_actor_with_a_gpu_dies_and_its_part_is_made_again(tmp_path: Path) -> None:
    # Short, for Ray's sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="gpu-", dir="/tmp", ignore_cleanup_errors=True) as own:
        call("gpu_actor.py", str(tmp_path), "2", RAY_TMPDIR=own)

"""A corpus of a few thousand points, a job on it, and one finished run of that job on a local Ray."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from coreset.artifacts.executor import SerialExecutor
from coreset.session import open_session, package

COMMAND = [str(Path(sys.executable).with_name("coreset"))]

JOB: dict[str, Any] = {
    "name": "small",
    "corpus": {"source": "small.zarr", "train": "train/*", "validation": 0.2, "test": {"bulk": "test/*"}},
    "descriptor": {"neighbours": 6, "distances": True},
    "network": {"hidden": [16, 16]},
    "training": {"batch": 256, "window": 4096, "epochs": 1, "schedule": "cosine"},
    "score": {"epoch": 2, "seeds": 3},
    "select": {"prune": 0.9, "strata": 20, "proxy": {"cutoffs": [0.0, 0.3], "seeds": 1, "steps": 30}},
    "coverage": {"queries": 300},
    "evaluation": {"seeds": 2, "steps": 60},
}
SNAPSHOTS = [f"train/s{i // 2}_T{100 + 100 * (i // 4):04d}_{i % 2}" for i in range(10)]
SNAPSHOTS += [f"test/t{i}_T0150" for i in range(4)]


@dataclass(frozen=True)
class Place:
    """A folder that holds the corpus and the job file."""

    path: Path

    @property
    def job(self) -> Path:
        return self.path / "small.yaml"

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """The command line in a process of its own."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.path,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """The command line, to its end."""
        process = self.start(*arguments, env=env)
        output, errors = process.communicate(timeout=400)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def serial(self, out: Path) -> Path:
        """The whole job in this process, without Ray; returns its folder."""
        session = open_session(self.job, out, None, ())
        with session.recorded(SerialExecutor()) as pipeline:
            package(session, pipeline.run())
        return out


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, write_gaussians: Callable[..., None]) -> Place:
    path = tmp_path_factory.mktemp("small")
    write_gaussians(path / "small.zarr", SNAPSHOTS)
    (path / "small.yaml").write_text(yaml.safe_dump(JOB))
    return Place(path)


@pytest.fixture(scope="session")
def finished(place: Place) -> Path:
    """The folder of a run that ended well, on a local Ray with two workers."""
    done = place.call("run", "small.yaml", "--set", "cluster.workers=2")
    assert done.returncode == 0, done.stderr
    (place.path / "stdout.txt").write_text(done.stdout)
    return place.path / "runs" / "small"


@pytest.fixture(scope="session")
def serial(place: Place) -> Path:
    """The folder of the same job, run without Ray."""
    return place.serial(place.path / "serial")

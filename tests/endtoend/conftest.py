"""A corpus of a few thousand points, a job on it, and one finished run of that job on a local Ray."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from coreset.artifacts.executor import SerialExecutor
from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.store import finish, write_snapshot
from coreset.numerics.grids import grid_points
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


def write_corpus(path: Path, train: int = 10, test: int = 4, points: int = 14) -> None:
    """Sums of Gaussians on the atoms of skewed cells: smooth, positive, and a function of the neighbourhood."""
    rng = np.random.default_rng(7)
    names = [f"train/s{i // 2}_T{100 + 100 * (i // 4):04d}_{i % 2}" for i in range(train)]
    names += [f"test/t{i}_T0150" for i in range(test)]
    for name in names:
        cell = np.diag([7.0, 7.5, 8.0]) + rng.normal(0, 0.3, (3, 3))
        fractions = (np.indices((2, 2, 1)).reshape(3, -1).T / [2, 2, 1] + rng.normal(0, 0.04, (4, 3))) % 1
        positions = fractions @ cell
        grid = (points, points, points)
        at = grid_points(cell, grid, np.arange(points**3))
        shifts = np.indices((3, 3, 3)).reshape(3, -1).T - 1
        density = np.full(points**3, 1e-3)
        for position in positions:
            for shift in shifts:
                density += np.exp(-((at - position - shift @ cell) ** 2).sum(1) / 2.0)
        field = density.astype(np.float32).reshape(grid)
        numbers = np.full(4, 13)
        group, temperature = (
            name.rpartition("_")[0] if name.startswith("train") else name,
            float(name[9:13].strip("_T")),
        )
        write_snapshot(
            path,
            Snapshot(
                name=name,
                cell=cell,
                numbers=numbers,
                positions=positions,
                grid=grid,
                electrons=float(field.mean() * abs(np.linalg.det(cell))),
                energy=None,
                group=group,
                temperature=temperature,
                composition="Al4",
                source={},
                wrapped=0,
                digest=content_digest(cell, numbers, positions, field),
            ),
            field,
        )
    finish(path, names)


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
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    path = tmp_path_factory.mktemp("small")
    write_corpus(path / "small.zarr")
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

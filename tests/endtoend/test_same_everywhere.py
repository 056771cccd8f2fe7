"""One coreset, byte for byte: on any number of workers, from any layout of the corpus, in any order of its files."""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.corpus.naming import Naming
from coreset.corpus.sparc import Checks
from coreset.stages.ingestion import ingest, open_source

PLANE = 14 * 14
"""Points of a plane of the grid, of which a slab has at least one."""


def manifest(out: Path) -> bytes:
    return (out / "coreset" / "manifest.json").read_bytes()


@pytest.mark.parametrize("planes", [14, 2, 1])
def test_the_layout_of_the_corpus_and_the_order_of_its_files_change_nothing(
    planes: int, place: Any, serial: Path, tmp_path: Path
) -> None:
    source = open_source(place.path / "small.zarr", Checks(), Naming())
    shuffled = random.Random(planes).sample(list(source.items), len(source.items))
    ingest(replace(source, items=shuffled), tmp_path / "small.zarr", SerialExecutor(), inner=planes * PLANE)
    shutil.copyfile(place.job, tmp_path / place.job.name)
    assert manifest(replace(place, path=tmp_path).serial(tmp_path / "run")) == manifest(serial)


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_nothing(workers: int, place: Any, serial: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = place.call("run", "small.yaml", "--out", str(out), "--set", f"cluster.workers={workers}")
    assert done.returncode == 0, done.stderr
    assert manifest(out) == manifest(serial)
    ours, theirs = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.safetensors")}
        for folder in (out / "artifacts", serial / "artifacts")
    )
    assert ours == theirs

"""A job of seconds on a corpus of a few thousand points, and what must be true of its folder in the end."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

JOB: dict[str, Any] = {
    "name": "chaos",
    "corpus": {"source": "small.zarr", "train": "train/*", "validation": 0.2, "test": {"bulk": "test/*"}},
    "descriptor": {"neighbours": 6, "distances": True},
    "network": {"hidden": [8, 8]},
    "training": {"batch": 128, "window": 2048, "epochs": 1, "schedule": "cosine"},
    "score": {"epoch": 1, "seeds": 2},
    "select": {"prune": 0.9, "strata": 10, "proxy": {"cutoffs": [0.0, 0.3], "seeds": 1, "steps": 10}},
    "coverage": {"queries": 100},
    "evaluation": {"methods": ["full", "random", "ccs"], "seeds": 1, "steps": 20},
}
SNAPSHOTS = [f"train/s{i // 2}_T{100 + 100 * (i // 4):04d}_{i % 2}" for i in range(10)] + [
    "test/t0_T0150",
    "test/t1_T0150",
]
LONGER = ("score.epoch=8", "score.seeds=3", "evaluation.seeds=2", "evaluation.steps=1500")
"""Overrides under which trainings take long enough to be hit."""
JOB_FILE = "chaos.yaml"
_OWN = frozenset({".lock", "log.jsonl", "run.json", "timings.json"})
"""Files that may differ: who held the folder, where it lies, and how long it took."""


def write_job(folder: Path) -> None:
    """The corpus and the job file."""
    import numpy as np

    from coreset.corpus.store import finish, write_snapshot

    spec = importlib.util.spec_from_file_location("small_corpora", Path(__file__).parents[1] / "conftest.py")
    assert spec and spec.loader
    corpora = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpora)
    rng = np.random.default_rng(7)
    for name in SNAPSHOTS:
        write_snapshot(folder / "small.zarr", *corpora._gaussian(name, rng, 9))
    finish(folder / "small.zarr", SNAPSHOTS)
    (folder / JOB_FILE).write_text(yaml.safe_dump(JOB, sort_keys=False))


def run(job: Path, out: Path, overrides: tuple[str, ...] = ()) -> None:
    """What `coreset run` does, in this process."""
    from coreset.artifacts.executor import SerialExecutor
    from coreset.atomic import write_json
    from coreset.session import open_session, package
    from coreset.summary import summarise

    session = open_session(job, out, None, overrides)
    with session.recorded(SerialExecutor()) as pipeline:
        products = pipeline.run()
        package(session, products)
        write_json(session.folder.summary, summarise(pipeline, products))


@dataclass(frozen=True)
class Reference:
    """The folder of an undisturbed run."""

    folder: Path

    @property
    def shards(self) -> int:
        """Names that come to stand in the artifacts."""
        return len(names_in(self.folder / "artifacts"))

    def faults(self, folder: Path) -> list[str]:
        """How the folder of a run that was killed and run again differs from this one; empty where all is well."""
        ours, theirs = _files(folder), _files(self.folder)
        found = [f"{name}: is missing" for name in sorted(theirs - ours)]
        found += [f"{name}: is left over" for name in sorted(ours - theirs)]
        found += [
            f"{name}: has other bytes"
            for name in sorted(ours & theirs)
            if Path(name).name not in _OWN and (folder / name).read_bytes() != (self.folder / name).read_bytes()
        ]
        # Folders too, which may be empty.
        left = [path for path in folder.rglob("*") if path.name.startswith(".tmp-") or path.name == ".records"]
        found += [f"{path.relative_to(folder)}: is left over" for path in left]
        if not found and (state := json.loads((folder / "run.json").read_bytes())["state"]) != "done":
            found.append(f"run.json: is {state}")
        return found


def names_in(store: Path) -> set[str]:
    """Everything that stands under its final name in the artifacts of a store."""
    return {
        f"{artifact.name}/{entry.name}"
        for artifact in _entries(store)
        for entry in _entries(Path(artifact.path))
        if not entry.name.startswith(".")
    }


def finished(store: Path) -> dict[str, tuple[int, int]]:
    """Shards that no later run may make again, with the marks by which one that was made again is known."""
    found = {}
    for artifact in _entries(store):
        entries = {entry.name: entry.stat() for entry in _entries(Path(artifact.path))}
        records = [Path(entry.name).stem for entry in _entries(Path(artifact.path) / ".records")]
        for name, state in entries.items():
            whole = "manifest.json" in entries or any(name == each or name.startswith(f"{each}.") for each in records)
            if whole and not name.startswith("."):
                found[f"{artifact.name}/{name}"] = (state.st_ino, state.st_mtime_ns)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

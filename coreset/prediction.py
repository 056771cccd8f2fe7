"""`coreset predict`: the density that a run's network predicts, and its error, as cube files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coreset.artifacts.manifest import Artifact
from coreset.corpus.checks import Checks
from coreset.corpus.cube import write_cube
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.sparc import list_snapshots, read_snapshot
from coreset.corpus.store import Corpus
from coreset.errors import RequestError, WorkError
from coreset.folder import RunFolder
from coreset.learning.network import load
from coreset.numerics.metrics import nrmse
from coreset.plan import Ledger, known_cutoff
from coreset.session import absolute_output, reopen_session
from coreset.stages.evaluation import predict
from coreset.stages.training import Training
from coreset.workflow import Pipeline


def predict_snapshots(
    directory: Path, snapshots: Sequence[str], method: str | None, run: int, out: Path | None
) -> list[dict[str, Any]]:
    """Writes `<name>.density.cube` and `<name>.error.cube` (prediction − reference), in e/Bohr³, of each snapshot.

    Raises RequestError for a folder that holds no finished run, a method or a run that it did not train, and a snapshot
    that is neither a name in the corpus nor a SPARC snapshot.
    """
    session = reopen_session(RunFolder(directory))
    corpus = Corpus.open(session.split.train.corpus)
    sources = [_find(name, corpus) for name in snapshots]
    names = [snapshot.name for snapshot, _ in sources]
    if len(set(names)) < len(names):
        raise RequestError(
            f"SNAPSHOT: expected snapshots of different names, found {max(names, key=names.count)!r} twice."
        )
    destination = absolute_output(out or directory / "predictions", "--out")
    ledger = Ledger(session.store, session.split.train.points)
    pipeline = Pipeline(session.job, session.split, ledger.materialize, decide=known_cutoff)
    model, _ = load(_model(pipeline, ledger, method, run, directory).path("model"))
    figures = []
    for snapshot, density in sources:
        predicted = predict([model], snapshot, pipeline.descriptor)[0].reshape(snapshot.grid)
        stem = snapshot.name.replace("/", "__")
        files = []
        for what, values in (("density", predicted), ("error", predicted - density)):
            path = destination / f"{stem}.{what}.cube"
            comment = f"{snapshot.name}: {what} predicted by coreset, e/Bohr^3"
            write_cube(path, snapshot.cell, snapshot.numbers, snapshot.positions, values.astype(np.float64), comment)
            files.append(str(path))
        figures.append({"snapshot": snapshot.name, "nrmse": nrmse(predicted.ravel(), density.ravel()), "files": files})
    return figures


def _model(pipeline: Pipeline, ledger: Ledger, method: str | None, run: int, directory: Path) -> Artifact:
    chosen = method or pipeline.job.select.method
    if chosen not in pipeline.methods:
        raise RequestError(f"--method: expected one of {', '.join(pipeline.methods)}, found {chosen!r}.")
    if not 0 <= run < pipeline.job.evaluation.seeds:
        raise RequestError(f"--seed: expected a run from 0 to {pipeline.job.evaluation.seeds - 1}, found {run}.")
    model = pipeline.run().models[chosen][run]
    trained = any(
        isinstance(stage, Training) and stage.digest == model.digest for stage, done in ledger.entries if done
    )
    if not trained:
        raise WorkError(
            f"{directory}: expected a finished run, found that its networks are not trained; run it to the end."
        )
    return model


def _find(name: str, corpus: Corpus) -> tuple[Snapshot, np.ndarray]:
    for snapshot in corpus.snapshots:
        if snapshot.name == name:
            return snapshot, corpus.density(snapshot).reshape(snapshot.grid)
    if not Path(name).exists():
        raise RequestError(
            f"SNAPSHOT: expected the name of a snapshot in {corpus.path}, such as {corpus.snapshots[0].name!r}, "
            f"or the folder of a SPARC snapshot, found {name!r}."
        )
    found = list_snapshots(Path(name))
    if len(found) != 1:
        raise RequestError(f"{name}: expected the folder of one SPARC snapshot, found {len(found)} densities in it.")
    return read_snapshot(found[0], Checks(wrap=True))

"""Networks that were trained a little on a corpus that is shipped, for benchmarks that need scores with a meaning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.harness import ROOT
from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize_all
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.job_file import load_job
from coreset.stages.scoring import Scoring
from coreset.stages.training import Length, Training

CORPUS = ROOT / "jobs" / "data" / "al.zarr"
JOB = ROOT / "jobs" / "al.yaml"


def scorings(
    folder: Path, hidden: tuple[int, ...], models: int, snapshots: int, quick: bool, **length: int
) -> list[Scoring]:
    """Scoring of aluminium by so many networks together, then by each of them alone; trainings are kept in `folder`.

    Descriptor and training are those of jobs/al.yaml. The snapshots are spread over the trajectories.
    """
    job = load_job(JOB)
    found = Corpus.open(CORPUS).select(job.corpus.train)
    points = SnapshotSet(str(CORPUS), found[:: len(found) // snapshots][:snapshots])
    descriptor = job.descriptor.resolve()
    network = {**job.network.model_dump(), "hidden": (8,) * len(hidden) if quick else hidden}
    wanted = ("learning_rate", "weight_decay", "schedule", "batch", "window", "average", "checks", "keep")
    settings = {**job.training.model_dump(include=set(wanted)), "schedule": "constant"}
    runs = [
        Training(points, descriptor, network, settings, Length(**length), f"score {run}", points)
        for run in range(models)
    ]
    made = tuple(materialize_all(runs, root=folder, executor=SerialExecutor()))
    together = Scoring(points, descriptor, made)
    return [together, *(replace(together, models=(model,)) for model in made)]

"""An energy is one Ray task, and what it writes is what the serial executor writes."""

from pathlib import Path

import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize_all
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.distributed.executor import RayExecutor
from coreset.energies import Settings
from coreset.energies.eminus import Eminus
from coreset.numerics.descriptors import Descriptor
from coreset.stages.energy import HarrisFoulkes


@pytest.mark.ray
def test_energies_run_as_tasks(small_corpus: Corpus, ray_executor: RayExecutor, tmp_path: Path) -> None:
    points = SnapshotSet(str(small_corpus.path), small_corpus.select("test/*"))
    engine = Eminus(Settings(cutoff=3.0, smearing=0.005))
    stages = [
        HarrisFoulkes(SnapshotSet(points.corpus, (snapshot,)), engine, Descriptor(neighbours=4))
        for snapshot in points.snapshots
    ]
    assert [stage.place for stage in stages] == ["task"] * 2
    remote = materialize_all(stages, root=tmp_path / "ray", executor=ray_executor)
    serial = materialize_all(stages, root=tmp_path / "serial", executor=SerialExecutor())
    for one, other in zip(remote, serial, strict=True):
        assert one.shards == other.shards  # sizes and SHA-256 of the files, and figures
        assert sorted(path.name for path in one.folder.iterdir()) == sorted(
            path.name for path in other.folder.iterdir()
        )
    energies = [made.shards[0]["figures"]["free_energy"] for made in remote]
    assert energies[0] != energies[1]

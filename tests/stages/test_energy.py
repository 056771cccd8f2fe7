"""Energies with an engine that is a formula, cutoff · ∫ρ² dV, so that every ΔE is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coreset.artifacts.executor import SerialContext, SerialExecutor
from coreset.artifacts.manifest import Artifact, shard_record, write_manifest
from coreset.artifacts.materialize import materialize
from coreset.atomic import TEMPORARY
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.energies.engine import Energy, Engine, Settings
from coreset.errors import DataError, RequestError, WorkError
from coreset.learning.network import Architecture, Normalisation, build, load
from coreset.numerics.descriptors import Descriptor
from coreset.stages.energy import HarrisFoulkes, energy_differences, spread_evenly
from coreset.stages.evaluation import predict

DESCRIPTOR = Descriptor(neighbours=4)
SETTINGS = Settings(cutoff=3.0, smearing=0.002)


@dataclass(frozen=True)
class Recorded(Engine):
    """Notes every density that it is given, and the folder that it may use."""

    name: ClassVar[str] = "recorded"
    seen: ClassVar[list[tuple[str, np.ndarray, Path]]] = []
    broken: ClassVar[set[str]] = set()

    def check(self, numbers: Any) -> None:
        pass

    def require(self, snapshots: Any) -> None:
        pass

    def identity(self, numbers: Any) -> dict[str, Any]:
        return {"engine": self.name}

    def harris_foulkes(self, snapshot: Snapshot, density: np.ndarray, scratch: Path) -> Energy:
        (scratch / "wavefunctions").write_text("large")
        if snapshot.name in self.broken:
            raise WorkError(f"{snapshot.name}: did not converge")
        self.seen.append((snapshot.name, density, scratch))
        return Energy(-1.0)

    def self_consistent(self, snapshot: Snapshot, scratch: Path) -> Any:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorded, "seen", [])
    monkeypatch.setattr(Recorded, "broken", set())


@pytest.fixture(scope="module")
def points(small_corpus: Corpus) -> SnapshotSet:
    return SnapshotSet(str(small_corpus.path), small_corpus.select("train/*")[:3])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An untrained network of positive output."""
    d = DESCRIPTOR.length
    unit = Normalisation(torch.full((d,), 0.5), torch.full((d,), 2.0), target_mean=0.5, target_scale=0.3)
    folder = tmp_path_factory.mktemp("network")
    build(Architecture(d, (8, 8), "gelu", "linear"), unit, "a").save(folder / "model.safetensors", {})
    shard = shard_record("model", folder / "model.safetensors", {})
    write_manifest(folder / "manifest.json", {"digest": "a" * 64, "shards": [shard], "figures": {}})
    return Artifact(folder)


def made(stage: HarrisFoulkes, root: Path) -> Artifact:
    return materialize(stage, root=root, executor=SerialExecutor())


def test_delta_e_is_that_of_the_rescaled_densities(
    points: SnapshotSet, network: Artifact, squares: Callable[..., Engine], small_made: Any, tmp_path: Path
) -> None:
    engine = squares(SETTINGS)
    of_model = made(HarrisFoulkes(points, engine, DESCRIPTOR, network), tmp_path)
    of_reference = made(HarrisFoulkes(points, engine, DESCRIPTOR), tmp_path)
    densities = {snapshot.name: density for snapshot, density in small_made}
    expected = []
    for snapshot, a, b in zip(points.snapshots, of_model.shards, of_reference.shards, strict=True):
        volume = abs(np.linalg.det(snapshot.cell))
        predicted = predict([load(network.path("model"))[0]], snapshot, DESCRIPTOR)[0]
        energies = []
        for density, shard in ((predicted, a), (densities[snapshot.name], b)):
            electrons = density.ravel().astype(np.float64) / density.mean(dtype=np.float64) * snapshot.electrons
            # ∫ρ² of a density that holds N electrons: ρ = N n / V with the mean of n equal to 1.
            energy = SETTINGS.cutoff * np.mean(electrons**2) / volume
            assert shard["figures"] == {"free_energy": pytest.approx(energy, rel=1e-10), "atoms": 5}
            energies.append(energy)
        assert energies[0] != pytest.approx(energies[1], rel=1e-3)
        expected.append((energies[0] - energies[1]) / 5)
    assert energy_differences([of_model], [of_reference]) == pytest.approx(expected, rel=1e-8)


def test_an_energy_difference_is_per_atom_and_keeps_its_sign(tmp_path: Path) -> None:
    def artifact(name: str, *energies: float) -> Artifact:
        (tmp_path / name).mkdir()
        figures = [{"free_energy": e, "atoms": atoms} for e, atoms in zip(energies, (4, 8), strict=True)]
        shards = [{"name": f"s{i}", "files": {f"{i}.json": {}}, "figures": each} for i, each in enumerate(figures)]
        write_manifest(tmp_path / name / "manifest.json", {"shards": shards})
        return Artifact(tmp_path / name)

    one, other = artifact("a", -10.0, -20.0), artifact("b", -12.0, -16.0)
    assert energy_differences([one], [other]).tolist() == [0.5, -0.5]
    assert energy_differences([one, other], [other, one]).tolist() == [0.5, -0.5, -0.5, 0.5]


def test_the_engine_is_given_electrons_on_the_grid_and_a_folder_that_goes(
    points: SnapshotSet, network: Artifact, tmp_path: Path
) -> None:
    artifact = made(HarrisFoulkes(points, Recorded(SETTINGS), DESCRIPTOR, network), tmp_path)
    assert [name for name, _, _ in Recorded.seen] == [snapshot.name for snapshot in points.snapshots]
    for snapshot, (_, density, scratch) in zip(points.snapshots, Recorded.seen, strict=True):
        assert density.dtype == np.float64
        assert density.shape == snapshot.grid
        volume = abs(np.linalg.det(snapshot.cell))
        assert density.mean() * volume == pytest.approx(snapshot.electrons, rel=1e-12)
        assert not scratch.exists()
        # Where it is swept after a worker that was killed; see tests/artifacts.
        assert scratch.parent == artifact.folder
        assert scratch.name.startswith(TEMPORARY)
    assert len({scratch for _, _, scratch in Recorded.seen}) == 3


def test_what_was_computed_before_a_failure_is_not_computed_again(
    points: SnapshotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [snapshot.name for snapshot in points.snapshots]
    stage = HarrisFoulkes(points, Recorded(SETTINGS), DESCRIPTOR)
    monkeypatch.setattr(Recorded, "broken", {names[1]})
    with pytest.raises(WorkError, match="did not converge"):
        made(stage, tmp_path)
    monkeypatch.setattr(Recorded, "broken", set())
    made(stage, tmp_path)
    made(stage, tmp_path)
    assert [name for name, _, _ in Recorded.seen] == names


def test_a_run_that_was_overtaken_by_another_one_in_the_same_store_is_done(
    points: SnapshotSet, squares: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finishes the artifact, and with it sweeps our scratch, of which the engine fails."""
    stage = HarrisFoulkes(points, squares(SETTINGS), DESCRIPTOR)
    compute, overtaken = squares.harris_foulkes, False

    def overtake(self: Engine, snapshot: Snapshot, density: np.ndarray, scratch: Path) -> Energy:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            made(stage, tmp_path)
            assert not scratch.exists()
            raise WorkError(f"{snapshot.name}: no scratch")
        return compute(self, snapshot, density, scratch)

    monkeypatch.setattr(squares, "harris_foulkes", overtake)
    assert len(made(stage, tmp_path).shards) == 3


def _identify(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    stated = {"engine": "recorded", "version": "9.6.2", "settings": {"cutoff": 3.0}, "pseudopotentials": {"H": "1a"}}
    monkeypatch.setattr(Recorded, "identity", lambda self, numbers: {**stated, **changed})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": "9.8"}, r"version 9\.8 instead of 9\.6\.2;"),
        ({"pseudopotentials": {"H": "2b"}}, r"pseudopotentials\.H 2b instead of 1a;"),
        (
            {"version": "9.8", "pseudopotentials": {"H": "1a", "O": "3c"}},
            r"pseudopotentials\.O 3c instead of None, version 9\.8 instead of 9\.6\.2;",
        ),
    ],
)
def test_a_worker_with_another_engine_than_the_digest_states_computes_nothing(
    changed: dict[str, Any], told: str, points: SnapshotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _identify(monkeypatch)
    stage = HarrisFoulkes(points, Recorded(SETTINGS), DESCRIPTOR)
    digest, (part, *_) = stage.digest, stage.parts()
    stage.compute(part, None, tmp_path / "same.json", SerialContext(print))
    _identify(monkeypatch, **changed)
    for worker in (stage, replace(stage)):  # with and without what it knew when it travelled
        with pytest.raises(
            WorkError, match=rf"^{points.snapshots[0].name}: on the machine .* expected .* found {told}"
        ):
            worker.compute(part, None, tmp_path / "other.json", SerialContext(print))
    assert [path.name for path in tmp_path.iterdir()] == ["same.json"]
    assert len(Recorded.seen) == 1
    assert replace(stage).digest != digest


def test_a_worker_without_the_engine_is_failed_work(
    points: SnapshotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = HarrisFoulkes(points, Recorded(SETTINGS), DESCRIPTOR)
    part, *_ = stage.parts()

    def missing(self: Engine, numbers: Any) -> dict[str, Any]:
        raise RequestError("energy.engine: expected the program abinit on the path, found none; install it")

    monkeypatch.setattr(Recorded, "identity", missing)
    with pytest.raises(WorkError, match=r"^train/a_.*: on the machine .*: energy\.engine: expected the program"):
        stage.compute(part, None, tmp_path / "shard.json", SerialContext(print))


def test_a_density_that_is_none_is_told_by_snapshot_and_network(
    points: SnapshotSet, network: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = points.snapshots[0].name
    stage = HarrisFoulkes(points, Recorded(SETTINGS), DESCRIPTOR, network)
    monkeypatch.setattr(HarrisFoulkes, "_density", lambda self, snapshot: np.zeros(snapshot.points))
    with pytest.raises(DataError, match=rf"^{name}: network {network.folder.name}: .*found 0\.0 electrons of 15"):
        made(stage, tmp_path)
    with pytest.raises(DataError, match=rf"^{name}: reference density: .*found 0\.0 electrons of 15"):
        made(replace(stage, model=None), tmp_path)


def test_the_digest_knows_engine_and_contents_and_no_path(
    points: SnapshotSet, network: Artifact, squares: Callable[..., Engine], tmp_path: Path
) -> None:
    for folder, content in (("one", "ONCV"), ("two", "ONCV"), ("other", "GTH")):
        (tmp_path / folder).mkdir()
        for number in (1, 8):
            (tmp_path / folder / f"{number}.psp8").write_text(f"{content} {number}")
    stage = HarrisFoulkes(points, squares(SETTINGS, tmp_path / "one"), DESCRIPTOR, network)
    assert replace(stage, engine=squares(SETTINGS, tmp_path / "two")).digest == stage.digest
    assert replace(stage, points=replace(points, corpus="elsewhere")).digest == stage.digest
    settings = [replace(SETTINGS, **change) for change in ({"cutoff": 4.0}, {"smearing": 0.1}, {"kpoints": (2, 2, 2)})]
    others = [
        replace(stage, engine=squares(SETTINGS, tmp_path / "other")),
        *(replace(stage, engine=squares(changed, tmp_path / "one")) for changed in settings),
        replace(stage, engine=Recorded(SETTINGS)),
        replace(stage, descriptor=Descriptor(neighbours=5)),
        replace(stage, model=None),
    ]
    assert len({stage.digest, *(other.digest for other in others)}) == 8


def test_the_digest_knows_the_electrons(points: SnapshotSet, squares: Callable[..., Engine]) -> None:
    """They decide the rescaled density, and the content digest of a snapshot does not know them."""
    stage = HarrisFoulkes(points, squares(SETTINGS), DESCRIPTOR)
    first, *others = points.snapshots
    changed = replace(points, snapshots=(replace(first, electrons=first.electrons + 1), *others))
    assert changed.digest == points.digest
    assert replace(stage, points=changed).digest != stage.digest


def test_the_energy_of_a_reference_does_not_depend_on_how_networks_see_it(
    points: SnapshotSet, squares: Callable[..., Engine]
) -> None:
    stage = HarrisFoulkes(points, squares(SETTINGS), DESCRIPTOR)
    assert replace(stage, descriptor=Descriptor(neighbours=5)).digest == stage.digest


@given(st.integers(1, 40), st.integers(1, 40))
def test_an_even_spread_has_so_many_different_snapshots_in_order(count: int, wanted: int) -> None:
    points = SnapshotSet("c", tuple(range(count)))  # type: ignore[arg-type]
    chosen = list(spread_evenly(points, wanted).snapshots)
    assert len(chosen) == min(count, wanted)
    assert chosen == sorted(set(chosen))
    if len(chosen) > 1:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        steps = np.diff(chosen)
        assert steps.max() - steps.min() <= 1

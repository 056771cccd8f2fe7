"""Two small corpora, an engine whose energy is a formula, one finished sweep, and a picture of a folder."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import yaml
from hypothesis import settings

from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.store import Corpus, finish, write_snapshot
from coreset.energies.engine import Energy, Engine, Settings
from coreset.numerics.grids import grid_points

if TYPE_CHECKING:
    from coreset.artifacts.executor import SerialExecutor
    from coreset.distributed.executor import RayExecutor
    from coreset.session import Session
    from coreset.sweep import Sweep, SweepProducts

# A shared machine may stall for longer than any deadline; what lands is judged by the same examples every time.
settings.register_profile("coreset", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("coreset")

Made = tuple[Snapshot, np.ndarray]


@pytest.hookimpl(tryfirst=True)  # xdist looks for the marks in a hook of the same name, which is registered later
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What goes to one worker of xdist: a file, or the folders whose tests share a run, or the names of hosts."""
    for item in items:
        folder = item.path.parent.relative_to(Path(__file__).parent)
        whole = folder.parts[:1] in (("cluster",), ("endtoend",))
        item.add_marker(pytest.mark.xdist_group(folder.parts[0] if whole else item.path.name + str(folder)))


@pytest.fixture(scope="session")
def ray_executor() -> "Iterator[RayExecutor]":
    """The one local Ray of this process; it begins with the first test that maps something."""
    from coreset.distributed.executor import RayExecutor

    with RayExecutor(address="local", workers=2) as executor:
        yield executor


@pytest.fixture
def ray_as_found() -> Iterator[None]:
    """For a test in which something else may start Ray: that one is ended, and the one of others goes on."""
    import ray

    running = ray.is_initialized()
    yield
    if not running:
        ray.shutdown()


def _snapshot(
    name: str,
    seed: int = 0,
    *,
    group: str | None = None,
    temperature: float | None = 300.0,
    composition: str = "HO",
    grid: tuple[int, int, int] = (6, 5, 4),
) -> Made:
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0.0, 0.0], [1.5, 5.5, 0.0], [-0.7, 0.9, 7.0]])
    positions = rng.uniform(size=(5, 3)) @ cell
    numbers = np.array([8, 1, 1, 8, 1])
    density = rng.uniform(0.1, 1.0, grid).astype(np.float32)
    snapshot = Snapshot(
        name=name,
        cell=cell,
        numbers=numbers,
        positions=positions,
        grid=grid,
        electrons=15.0,
        energy=-1.5 - seed,
        group=group if group is not None else name.rpartition("_")[0],
        temperature=temperature,
        composition=composition,
        source={"x.dens": f"{seed:064x}"},
        wrapped=0,
        digest=content_digest(cell, numbers, positions, density),
    )
    return snapshot, density


@pytest.fixture(scope="session")
def make_snapshot() -> Callable[..., Made]:
    return _snapshot


@pytest.fixture(scope="session")
def write_corpus() -> Callable[[Path, Sequence[Made]], Corpus]:
    def write(path: Path, made: Sequence[Made]) -> Corpus:
        for snapshot, density in made:
            write_snapshot(path, snapshot, density, inner=40)
        finish(path, [snapshot.name for snapshot, _ in made])
        return Corpus.open(path)

    return write


@pytest.fixture(scope="session")
def small_made() -> list[Made]:
    """Five trajectories of two frames for training, at five temperatures, and one for the test."""
    train = [
        _snapshot(f"train/a_T{100 * (i + 1):04d}_{frame}", 2 * i + frame, temperature=100.0 * (i + 1))
        for i in range(5)
        for frame in range(2)
    ]
    return [_snapshot(f"test/b_T0300_{frame}", 100 + frame) for frame in range(2)] + train


@pytest.fixture(scope="session")
def small_corpus(
    tmp_path_factory: pytest.TempPathFactory,
    write_corpus: Callable[[Path, Sequence[Made]], Corpus],
    small_made: list[Made],
) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "small.zarr", small_made)


@pytest.fixture
def small_job(tmp_path: Path, small_corpus: Corpus) -> Callable[..., Path]:
    """Writes a job with these sections (YAML) on 8 training, 2 validation and 2 test snapshots of 120 points."""

    def write(*sections: str) -> Path:
        lines = [
            "name: small",
            f'corpus: {{source: "{small_corpus.path}", test: {{bulk: "test/*"}}, validation: 0.2}}',
            "descriptor: {neighbours: 4}",
            "network: {hidden: [8]}",
            "training: {batch: 64, epochs: 2}",
            *sections,
        ]
        path = tmp_path / "job.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture(scope="session")
def picture() -> Callable[[Path], dict[str, bytes | None]]:
    """Every entry below a folder: the bytes of files, None for folders."""

    def look(root: Path) -> dict[str, bytes | None]:
        return {
            path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
            for path in sorted(root.rglob("*"))
        }

    return look


def _gaussian(name: str, rng: np.random.Generator, points: int) -> Made:
    cell = np.diag([7.0, 7.5, 8.0]) + rng.normal(0, 0.3, (3, 3))
    fractions = (np.indices((2, 2, 1)).reshape(3, -1).T / [2, 2, 1] + rng.normal(0, 0.04, (4, 3))) % 1
    positions = fractions @ cell
    grid = (points, points, points)
    at = grid_points(cell, grid, np.arange(points**3))
    # Names that begin with mg have two atoms of magnesium, with wider Gaussians.
    alloy = name.partition("/")[2].startswith("mg")
    numbers = np.array([12, 12, 13, 13]) if alloy else np.full(4, 13)
    density = np.full(points**3, 1e-3)
    for number, position in zip(numbers, positions, strict=True):
        width = 2.0 if number == 13 else 3.0
        for shift in np.indices((3, 3, 3)).reshape(3, -1).T - 1:
            density += np.exp(-((at - position - shift @ cell) ** 2).sum(1) / width)
    field = density.astype(np.float32).reshape(grid)
    temperature = re.search(r"_T(\d+)", name)
    assert temperature
    frame = re.fullmatch(r"(.*_T\d+)_\d+", name)
    snapshot = Snapshot(
        name=name,
        cell=cell,
        numbers=numbers,
        positions=positions,
        grid=grid,
        electrons=float(field.mean() * abs(np.linalg.det(cell))),
        energy=None,
        group=frame[1] if frame else name,
        temperature=float(temperature[1]),
        composition="Al2Mg2" if alloy else "Al4",
        source={},
        wrapped=0,
        digest=content_digest(cell, numbers, positions, field),
    )
    return snapshot, field


@pytest.fixture(scope="session")
def write_gaussians() -> Callable[..., None]:
    """Sums of Gaussians on the atoms of skewed cells: smooth, positive, and a function of the neighbourhood."""

    def write(path: Path, names: Sequence[str], points: int = 14, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        for name in names:
            write_snapshot(path, *_gaussian(name, rng, points))
        finish(path, names)

    return write


@dataclass(frozen=True)
class Squares(Engine):
    """An energy that is a formula: cutoff · ∫ρ² dV. Its pseudopotentials are any bytes in files `<number>.psp8`."""

    name: ClassVar[str] = "squares"

    def check(self, numbers: Iterable[int]) -> None:
        pass

    def require(self, snapshots: Iterable[Snapshot]) -> None:
        pass

    def identity(self, numbers: Iterable[int]) -> dict[str, Any]:
        folder, stated = self.pseudopotentials, {}
        if folder is not None:
            stated = {
                str(number): hashlib.sha256((folder / f"{number}.psp8").read_bytes()).hexdigest() for number in numbers
            }
        return {"engine": self.name, "settings": asdict(self.settings), "pseudopotentials": stated}

    def harris_foulkes(self, snapshot: Snapshot, density: np.ndarray, scratch: Path) -> Energy:
        assert density.shape == snapshot.grid
        assert scratch.is_dir() and not list(scratch.iterdir())
        volume = float(abs(np.linalg.det(snapshot.cell)))
        return Energy(self.settings.cutoff * float(np.square(density).mean()) * volume)

    def self_consistent(self, snapshot: Snapshot, scratch: Path) -> tuple[float, np.ndarray]:
        raise NotImplementedError


ENGINE = Squares(Settings(cutoff=2.0, smearing=0.002))


@pytest.fixture(scope="session")
def squares() -> type[Squares]:
    return Squares


SWEEP: dict[str, Any] = {
    "name": "small-sweep",
    "corpus": {
        "source": "gaussians.zarr",
        "validation": 0.4,
        "test": {"bulk": "test/*", "alloy": "alloy/*"},
    },
    "descriptor": {"neighbours": 6, "distances": True},
    "network": {"hidden": [8, 8]},
    "training": {
        "batch": 128,
        "window": 8192,
        "epochs": 1,
        "learning_rate": 5e-3,
        "schedule": "cosine",
        "average": 0.8,
        "checks": 4,
    },
    "score": {"epoch": 1, "seeds": 2},
    "select": {"prune": 0.9, "strata": 10, "proxy": {"cutoffs": [0.0, 0.3], "seeds": 2, "steps": 10}},
    "coverage": {"queries": 100},
    "evaluation": {"methods": ["full", "random", "ccs"], "seeds": 2, "steps": 40},
    "sweep": {
        "rates": [0.5, 0.9],
        "methods": ["random", "grand", "ccs", "cut-random"],
        "seeds": 2,
        "protocols": ["steps", "epochs"],
        "epochs": {"epochs": 2, "rates": [0.9], "methods": ["random", "ccs"]},
        "studies": {
            "rates": [0.9],
            "seeds": 3,
            "cutoffs": [0.0, 0.3],
            "strata": [5],
            "score_epochs": [2],
            "score_runs": [1, 3],
        },
        "noise": {
            "rate": 0.9,
            "seeds": 3,
            "recipes": {"plain": {"schedule": "constant", "average": 0.0}, "best": {"keep": "best"}},
        },
    },
    "energy": {"methods": ["full", "random", "ccs"], "rates": [0.9], "snapshots": 3, "seeds": 1},
}
_TRAIN = [f"train/s{group}_T{100 * (group + 1):04d}_{frame}" for group in range(5) for frame in range(2)]
_BULK = ["test/t0_T0150_0", "test/t0_T0150_1", "test/t1_T0150_0", "test/t2_T0450_0", "test/t2_T0450_1"]
_ALLOY = ["alloy/al_T0150", "alloy/mg_T0150"]


@dataclass(frozen=True)
class Swept:
    """A finished sweep."""

    session: "Session"
    sweep: "Sweep"
    products: "SweepProducts"
    figures: dict[str, Any]

    def figure(self, cell: str) -> dict[str, Any]:
        """What `sweep.json` says of the cell of this id."""
        (found,) = (each for each in self.figures["cells"] if each["id"] == cell)
        return dict(found)


def _sweep(
    job: Path,
    out: Path,
    *overrides: str,
    store: Path | None = None,
    executor: "SerialExecutor | None" = None,
    engine: Engine | None = ENGINE,
) -> Swept:
    # Here, for most tests need neither them nor torch.
    from coreset.artifacts.executor import SerialExecutor
    from coreset.artifacts.materialize import materialize_all
    from coreset.atomic import write_json
    from coreset.session import open_session
    from coreset.sweep import Sweep
    from coreset.sweep_summary import summarise_sweep

    opened = replace(open_session(job, out, store, overrides), engine=engine)
    runner = executor or SerialExecutor()
    sweep = Sweep(opened.pipeline(lambda stages: materialize_all(stages, root=opened.store, executor=runner)))
    with pytest.MonkeyPatch.context() as patched:
        # Thousands of small files: what a power failure would leave is looked at in tests/artifacts.
        patched.setattr(os, "fsync", lambda descriptor: None)
        products = sweep.run()
        figures = summarise_sweep(sweep, products, out, "coreset sweep small.yaml")
        write_json(opened.folder.sweep, figures)
    return Swept(opened, sweep, products, figures)


@pytest.fixture(scope="session")
def run_sweep() -> Callable[..., Swept]:
    """A whole sweep in this process, with energies that are a formula."""
    return _sweep


@pytest.fixture(scope="session")
def sweep_job(tmp_path_factory: pytest.TempPathFactory, write_gaussians: Callable[..., None]) -> Path:
    """A job file beside its corpus: six snapshots of three trajectories train, and two more trajectories validate."""
    path = tmp_path_factory.mktemp("sweep")
    write_gaussians(path / "gaussians.zarr", [*_TRAIN, *_BULK, *_ALLOY], points=10)
    (path / "small.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    return path / "small.yaml"


@pytest.fixture(scope="session")
def swept(sweep_job: Path) -> Swept:
    return _sweep(sweep_job, sweep_job.parent / "out")


SMALL_JOB = """\
name: small
corpus: {source: corpus.zarr, test: {bulk: "test/*"}, validation: 0.2}
descriptor: {neighbours: 4}
network: {hidden: [8]}
training: {batch: 64, epochs: 2}
score: {seeds: 2, epoch: 1}
select: {prune: 0.8, cutoff: 0.1, strata: 10}
coverage: {queries: 100}
evaluation: {methods: [full, random, ccs], seeds: 2}
"""


@pytest.fixture(scope="session")
def finish_run() -> Callable[[Path], Any]:
    """Runs `job.yaml` of a folder into its `run`, in this process, packaged and summarised; returns the session."""
    from coreset.artifacts.executor import SerialExecutor
    from coreset.atomic import write_json
    from coreset.session import open_session, package
    from coreset.summary import summarise

    def finish(place: Path) -> Any:
        session = open_session(place / "job.yaml", place / "run", None, ())
        with session.recorded(SerialExecutor()) as pipeline:
            products = pipeline.run()
            package(session, products)
            write_json(session.folder.summary, summarise(pipeline, products))
        return session

    return finish


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory, small_corpus: Any, finish_run: Callable[[Path], Any]) -> Path:
    """A folder with a finished run of a small job, in this process: `job.yaml`, `corpus.zarr` and `run`."""
    place = tmp_path_factory.mktemp("whole")
    shutil.copytree(small_corpus.path, place / "corpus.zarr")
    (place / "job.yaml").write_text(SMALL_JOB)
    finish_run(place)
    return place

"""A small corpus whose every number is known, and a picture of a folder."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.store import Corpus, finish, write_snapshot

# A shared machine may stall for longer than any deadline; what lands is judged by the same examples every time.
settings.register_profile("coreset", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("coreset")

Made = tuple[Snapshot, np.ndarray]


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


@pytest.fixture(scope="session")
def picture() -> Callable[[Path], dict[str, bytes | None]]:
    """Every entry below a folder: the bytes of files, None for folders."""

    def look(root: Path) -> dict[str, bytes | None]:
        return {
            path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
            for path in sorted(root.rglob("*"))
        }

    return look

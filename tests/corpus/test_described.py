"""What training reads of a slab: the descriptors and densities of its own points, in their order."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from coreset.corpus.described import SlabReader, describe_points, features_table
from coreset.corpus.kept import write_kept
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.learning.feed import table_arrays
from coreset.learning.slabs import Slab, slabs_of
from coreset.methods import Selected
from coreset.numerics.descriptors import Descriptor, describe

DESCRIPTOR = Descriptor(neighbours=6, distances=True)


@pytest.fixture(scope="module")
def points(small_corpus: Corpus) -> SnapshotSet:
    return SnapshotSet(small_corpus.path, small_corpus.select("train/*"))


@pytest.fixture(scope="module")
def densities(small_made: list[Any]) -> dict[str, np.ndarray]:
    return {snapshot.digest: density.ravel() for snapshot, density in small_made}


def expected_features(snapshot: Any, index: np.ndarray) -> np.ndarray:
    """Grid points one by one, from i/nx a1 + j/ny a2 + k/nz a3."""
    nx, ny, nz = snapshot.grid
    places = [
        i / nx * snapshot.cell[0] + j / ny * snapshot.cell[1] + k / nz * snapshot.cell[2]
        for i in range(nx)
        for j in range(ny)
        for k in range(nz)
    ]
    return describe(np.array(places)[index], snapshot.cell, snapshot.positions, snapshot.numbers, DESCRIPTOR).features


def test_a_slab_is_read_with_its_descriptors_and_densities(points: SnapshotSet, densities: dict[str, Any]) -> None:
    reader = SlabReader(points, DESCRIPTOR)
    for snapshot in (points.snapshots[0], points.snapshots[-1]):
        for start, stop in ((0, snapshot.points), (7, 8), (33, 90)):
            slab = Slab(snapshot.name, snapshot.digest, start, stop, stop - start)
            x, y = table_arrays(reader(slab))
            index = np.arange(start, stop)
            assert x.dtype == y.dtype == np.float32
            assert x.shape == (stop - start, DESCRIPTOR.length)
            np.testing.assert_allclose(x, expected_features(snapshot, index), rtol=1e-6, atol=1e-6)
            assert np.array_equal(y, densities[snapshot.digest][start:stop])


def test_the_nearest_distance_of_a_descriptor_is_the_nearest_image(points: SnapshotSet) -> None:
    snapshot = points.snapshots[0]
    index = np.array([0, 17, 119])
    features = describe_points(snapshot, index, DESCRIPTOR).features
    shifts = np.stack(np.meshgrid(*[range(-3, 4)] * 3), -1).reshape(-1, 3) @ snapshot.cell
    images = (snapshot.positions[None] + shifts[:, None]).reshape(-1, 3)
    fractions = np.stack(np.unravel_index(index, snapshot.grid), -1) / np.array(snapshot.grid)
    distances = np.linalg.norm(images[None] - (fractions @ snapshot.cell)[:, None], axis=2)
    np.testing.assert_allclose(features[:, -6:], np.sort(distances, 1)[:, :6], rtol=1e-6)


def test_with_a_selection_only_the_kept_points_are_read(
    points: SnapshotSet, densities: dict[str, Any], tmp_path: Path
) -> None:
    one, two = points.snapshots[:2]
    index = np.array([0, 5, 41, 42, 119])
    write_kept(tmp_path / "kept.parquet", [(one.digest, Selected(index, None, np.ones(5)))])
    reader = SlabReader(points, DESCRIPTOR, {each.digest: tmp_path / "kept.parquet" for each in (one, two)})
    for start, stop in ((0, 120), (5, 42), (6, 41), (43, 120)):
        inside = index[(index >= start) & (index < stop)]
        slab = Slab(one.name, one.digest, start, stop, len(inside))
        assert np.array_equal(reader.indices(slab), inside)
        x, y = table_arrays(reader(slab))
        np.testing.assert_allclose(x, expected_features(one, inside), rtol=1e-6, atol=1e-6)
        assert np.array_equal(y, densities[one.digest][inside])


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_the_shares_of_all_ranks_are_the_slab(ranks: int, kept: bool, points: SnapshotSet, tmp_path: Path) -> None:
    snapshot = points.snapshots[0]
    files = {snapshot.digest: tmp_path / "kept.parquet"} if kept else None
    if files:
        index = np.array([0, 5, 41, 42, 119])
        write_kept(files[snapshot.digest], [(snapshot.digest, Selected(index, None, np.ones(5)))])
    slab = Slab(snapshot.name, snapshot.digest, 5, 120, 4 if kept else 115)
    x, y = table_arrays(SlabReader(points, DESCRIPTOR, files)(slab))
    for rank in range(ranks):
        if rank >= slab.rows:
            continue  # nobody asks for it
        mine = table_arrays(SlabReader(points, DESCRIPTOR, files, (rank, ranks))(slab))
        assert np.array_equal(mine[0], x[rank::ranks])
        assert np.array_equal(mine[1], y[rank::ranks])


def test_slabs_of_any_cut_give_the_same_bytes_also_after_a_journey(points: SnapshotSet) -> None:
    snapshot = points.snapshots[3]
    reader = pickle.loads(pickle.dumps(SlabReader(points, DESCRIPTOR)))
    (whole,) = slabs_of(snapshot.name, snapshot.digest, snapshot.points)
    x, y = table_arrays(reader(whole))
    pieces = [
        table_arrays(SlabReader(points, DESCRIPTOR)(Slab(snapshot.name, snapshot.digest, first, first + 30, 30)))
        for first in range(0, 120, 30)
    ]
    assert np.array_equal(np.concatenate([piece[0] for piece in pieces]), x)
    assert np.array_equal(np.concatenate([piece[1] for piece in pieces]), y)


def test_a_table_holds_one_list_of_features_per_point() -> None:
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    table = features_table(features, np.arange(4, dtype=np.float32))
    assert table.column("features").to_pylist() == features.tolist()
    assert table.column("density").to_pylist() == [0.0, 1.0, 2.0, 3.0]
    assert table.column("features").type.list_size == 3


def test_slabs_together_are_the_slabs_one_after_another(small_corpus: Corpus) -> None:
    points = SnapshotSet(small_corpus.path, small_corpus.select("train/*"))
    slabs = [slab for each in points.snapshots[:3] for slab in slabs_of(each.name, each.digest, each.points)]
    reader = SlabReader(points, Descriptor(neighbours=4))
    assert reader.together(slabs).equals(pa.concat_tables([reader(slab) for slab in slabs]))

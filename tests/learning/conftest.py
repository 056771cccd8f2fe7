"""Points whose features name them, and readers that hand them out in tables of any cut."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest

from coreset.learning.feed import Read
from coreset.learning.slabs import Slab

LENGTH = 3


def _slabs(rows: Sequence[int]) -> list[Slab]:
    """Slabs of so many rows each; two neighbours share a snapshot."""
    return [
        Slab(f"s{number // 2}", f"{number // 2:064x}", 1000 * (number % 2), 1000 * (number % 2) + 1000, count)
        for number, count in enumerate(rows)
    ]


def _points(slab: Slab) -> tuple[np.ndarray, np.ndarray]:
    """Features (number, a constant, something random) and densities of a slab's points."""
    number = int(slab.digest, 16) * 2000 + slab.start + np.arange(slab.rows)
    rng = np.random.default_rng(int(number[0]) if slab.rows else 0)
    features = np.column_stack([number, np.full(slab.rows, 0.1), rng.normal(3.0, 20.0, slab.rows)])
    return features.astype(np.float32), (1.0 + np.sin(number)).astype(np.float32)


def _table(features: np.ndarray, density: np.ndarray) -> pa.Table:
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    return pa.table({"features": column, "density": pa.array(density)})


def _reader(seed: int | None = None, lose: int = 0) -> Read:
    """Yields one table per slab or, with a seed, tables of random borders; the last `lose` rows get lost."""

    def read(slabs: Sequence[Slab]) -> Iterator[pa.Table]:
        tables = [_table(*_points(slab)) for slab in slabs]
        whole = pa.concat_tables(tables)
        if seed is None and not lose:
            yield from tables
            return
        whole = whole.slice(0, len(whole) - lose)
        rng = np.random.default_rng(seed)
        borders = np.sort(rng.integers(0, len(whole) + 1, rng.integers(0, 9))).tolist() if seed is not None else []
        for first, stop in zip([0, *borders], [*borders, len(whole)], strict=True):
            yield whole.slice(first, stop - first)

    return read


@pytest.fixture(scope="session")
def slabs_with() -> Callable[[Sequence[int]], list[Slab]]:
    return _slabs


@pytest.fixture(scope="session")
def points_of() -> Callable[[Slab], tuple[np.ndarray, np.ndarray]]:
    return _points


@pytest.fixture(scope="session")
def reader() -> Callable[..., Read]:
    return _reader


@pytest.fixture(scope="session")
def table_with() -> Callable[[np.ndarray, np.ndarray], pa.Table]:
    return _table

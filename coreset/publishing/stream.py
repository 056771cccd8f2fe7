"""A coreset as a torch `IterableDataset`: shuffled, in bounded memory, each row once per epoch.

The unit is a row group of a file. Units come in the order of a hash of (seed, epoch, unit); a worker of a `DataLoader`
takes every n-th of them. Rows wait in a window without their descriptors, which are computed as the shuffled rows leave
it: so a window of many rows takes little memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from coreset.corpus.parquet import footer
from coreset.errors import RequestError
from coreset.publishing.arrays import matrix
from coreset.publishing.dataset import Dataset

_AT_A_TIME = 1024
"""Rows that are described together where no batches are asked for."""


class Stream(IterableDataset):
    """Pairs of descriptor, shape [d], and density (e/Bohr³), or batches of them.

    The order is a function of (seed, epoch) and of the number of workers; the rows of an epoch are the same for any
    number of either. `set_epoch` is heard by workers that persist, too.

    Args:
        dataset: what `coreset.open` returns.
        seed: of the order.
        window: rows that are shuffled together.
        batch: rows of a batch, for `DataLoader(stream, batch_size=None)`; None gives single rows. The last batch of a
            window may be short.
        shuffle: without it, the rows come in the order of the files.
        rank: which of `ranks` processes this is, such as of `torch.distributed`; each has its own rows.
        ranks: how many these are.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        seed: int = 0,
        window: int = 262_144,
        batch: int | None = None,
        shuffle: bool = True,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        super().__init__()
        if window < 1 or (batch is not None and batch < 1) or not 0 <= rank < ranks:
            raise RequestError(
                f"to_torch_stream: expected window ≥ 1, batch ≥ 1 and 0 ≤ rank < ranks, found window={window}, "
                f"batch={batch}, rank={rank}, ranks={ranks}."
            )
        self._dataset = dataset
        stored = any("descriptor" in footer(file).schema.to_arrow_schema().names for file in dataset.files[:1])
        self._columns = ["density", "descriptor"] if stored else ["snapshot", "index", "density"]
        self._seed, self._window, self._batch, self._shuffle = seed, window, batch, shuffle
        self._rank, self._ranks = rank, ranks
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration; each has an order of its own."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, density in self._batches():
            if self._batch is not None:
                yield x, density
            else:
                yield from zip(x, density, strict=True)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch = int(self._epoch)
        for number, rows in enumerate(self._windows(epoch)):
            order = self._permutation(len(rows), epoch, number) if self._shuffle else np.arange(len(rows))
            size = self._batch or _AT_A_TIME
            for first in range(0, len(rows), size):
                yield self._tensors(rows.take(order[first : first + size]))

    def _units(self, epoch: int) -> list[tuple[Path, int]]:
        """The row groups of this worker, in order."""
        units = [(file, group) for file in self._dataset.files for group in range(footer(file).num_row_groups)]
        if self._shuffle:
            units.sort(key=lambda unit: self._hash(f"{epoch}\0{unit[0].name}\0{unit[1]}"))
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        return units[self._rank * workers + number :: self._ranks * workers]

    def _windows(self, epoch: int) -> Iterator[pa.Table]:
        held: list[pa.Table] = []
        for file, group in self._units(epoch):
            held.append(self._dataset.rows(file, self._columns, [group]))
            while sum(map(len, held)) >= self._window:
                together = pa.concat_tables(held)
                yield together.slice(0, self._window).combine_chunks()
                held = [together.slice(self._window)]
        left = pa.concat_tables(held) if held else None
        if left is not None and len(left):
            yield left.combine_chunks()

    def _tensors(self, rows: pa.Table) -> tuple[Tensor, Tensor]:
        if "descriptor" in self._columns:
            x = matrix(rows.column("descriptor")).copy()
        else:
            x = self._dataset.describe(rows.column("snapshot"), rows.column("index").to_numpy())
        return torch.from_numpy(x), torch.from_numpy(rows.column("density").to_numpy().copy())

    def _permutation(self, rows: int, epoch: int, window: int) -> np.ndarray:
        worker = get_worker_info()
        share = f"{self._rank}/{self._ranks}/{worker.id if worker else 0}/{worker.num_workers if worker else 1}"
        key = int.from_bytes(self._hash(f"window\0{epoch}\0{share}\0{window}")[:16], "little")
        return np.random.Generator(np.random.Philox(key=key)).permutation(rows)

    def _hash(self, what: str) -> bytes:
        return hashlib.sha256(f"{self._seed}\0{what}".encode()).digest()

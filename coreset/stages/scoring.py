"""Importance scores: every snapshot is read and described once for all K networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Place, Stage
from coreset.corpus.pieces import Piece, pieces_of, planes_of
from coreset.corpus.split import Features, Member, SnapshotSet
from coreset.numerics.descriptors import Described
from coreset.stages.evaluation import naming, network_of

if TYPE_CHECKING:
    from coreset.learning.code import Code

T = TypeVar("T")

FIELDS = ("grand", "grand_std", "loss", "loss_std")
"""Fields on the grid: mean and standard deviation over the K runs of the gradient's norm, and of |residual|."""

_BLOCK = 3072
"""Rows per matrix product: fixed, so that the bits of a score do not depend on how the grid was cut."""
_CHUNK = 16 * _BLOCK
_SAMPLE = 65_536
"""Points whose scores by run are kept, to measure the rank correlation between runs."""


@dataclass(frozen=True)
class Scoring(Stage):
    """GraNd: E ‖∇_w Σ_o (f_o(x) − y_o)²‖₂ over the K runs, with y the scaled density (paper, IV.2.2)."""

    name: ClassVar[str] = "scores"
    version: ClassVar[int] = 2
    place: ClassVar[Place] = "actor"
    suffix: ClassVar[str] = ".zarr"

    train: SnapshotSet
    descriptor: Features
    models: tuple[Artifact, ...]
    precision: Literal["float32", "bfloat16", "tf32"] = "float32"
    code: Code | None = None
    """What may be run, where the models are a user's own network."""

    @property
    def title(self) -> str:
        return "scoring"

    def parameters(self) -> dict[str, Any]:
        rounded = {} if self.precision == "float32" else {"precision": self.precision}
        return {"method": "grand", "descriptor": asdict(self.descriptor), "block": _BLOCK, **rounded}

    def inputs(self) -> dict[str, str]:
        models = {f"model-{run:02d}": model.digest for run, model in enumerate(self.models)}
        return {"train": self.train.digest, **models}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, snapshot, float(snapshot.points)) for snapshot in self.train.snapshots]

    @cached_property
    def _networks(self) -> list[Any]:
        """Loaded once by the process that holds this stage."""
        from coreset.learning.network import load

        return [load(model.path("model"), self.code)[0] for model in self.models]

    @cached_property
    def _closed(self) -> bool:
        from coreset.numerics.gradient_norms import has_closed_form

        return self.code is None or has_closed_form(self._networks[0].network.eval())

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        snapshot: Member = part.payload
        group = zarr.open_group(path, mode="w", zarr_format=3)
        fields = {name: new_field(group, name, snapshot.grid) for name in FIELDS}
        sample = np.linspace(0, snapshot.points - 1, max(2, self._sampled(snapshot))).astype(np.int64)
        sampled, zero = [], np.zeros(len(self.models), np.int64)
        zero_everywhere = fallback = 0
        for piece in pieces_of(snapshot):
            norms, residuals, fallen = self._score(snapshot, piece, context.device)
            found = (norms.mean(0), norms.std(0), residuals.mean(0), residuals.std(0))
            for name, values in zip(FIELDS, found, strict=True):
                fields[name][piece.planes] = values.astype(np.float32).reshape(-1, *snapshot.grid[1:])
            first, stop = np.searchsorted(sample, [piece.first, piece.stop])
            sampled.append(norms[:, sample[first:stop] - piece.first].astype(np.float32))
            zero += (norms == 0).sum(1)
            zero_everywhere += int((norms == 0).all(0).sum())
            fallback += fallen
        group.create_array("sample", data=np.concatenate(sampled, axis=1))
        return {
            "points": snapshot.points,
            "zero": zero.tolist(),
            "zero_everywhere": zero_everywhere,
            "fallback": fallback,
            "device": context.device,
        }

    def _score(self, snapshot: Member, piece: Piece, device: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Gradient norms and |residuals|, shape [K, points] each, and how many points needed the fallback.

        Raises WorkError, naming snapshot and network, for a norm that is not finite.
        """
        import torch

        from coreset.corpus.described import targets_of
        from coreset.numerics.gradient_norms import gradient_norms_and_residuals
        from coreset.numerics.per_sample import per_sample_norms_and_residuals

        torch.set_num_threads(1)
        density = targets_of(self.train, snapshot, piece.first, piece.stop)
        norms = np.empty((len(self.models), piece.points))
        residuals = np.empty_like(norms)
        fallback = 0
        chunks = self._chunks(snapshot, piece, device)
        # On a CPU all cores are busy with parts of their own; a GPU would wait for the host.
        for rows, described in chunks if device == "cpu" else _one_ahead(chunks):
            fallback += int(described.fallback.sum())
            x, y = torch.from_numpy(described.features).to(device), torch.from_numpy(density[rows]).to(device)
            for run, model in enumerate(self._networks):
                model.network.to(device)
                with naming(f"{snapshot.name}, from point {piece.first + rows[0]} on: {network_of(self.models[run])}"):
                    loss, target = model.architecture.loss, model.target(y)
                    if self._closed:
                        found = gradient_norms_and_residuals(model.network, x, target, _BLOCK, self.precision, loss)
                    else:
                        found = per_sample_norms_and_residuals(model.network, x, target, loss)
                norms[run, rows], residuals[run, rows] = (values.cpu().numpy() for values in found)
        return norms, residuals, fallback

    def _chunks(self, snapshot: Member, piece: Piece, device: str) -> Iterator[tuple[np.ndarray, Described]]:
        """Rows of a piece and their descriptors, chunk by chunk: once for all networks."""
        from coreset.corpus.described import describe_points

        for start in range(0, piece.points, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, piece.points))
            yield rows, describe_points(snapshot, piece.first + rows, self.descriptor, device)

    def _sampled(self, snapshot: Member) -> int:
        return min(snapshot.points, _SAMPLE * snapshot.points // self.train.points)

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        found = list(records)
        zero = np.sum([record["figures"]["zero"] for record in found], axis=0)
        points = sum(record["figures"]["points"] for record in found)
        return {
            "points": points,
            "zero": zero.tolist(),
            "zero_everywhere": sum(record["figures"]["zero_everywhere"] for record in found),
            "fallback": sum(record["figures"]["fallback"] for record in found),
            "rank_correlation": _rank_correlation([find(record, "sample") for record in found]),
        }


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; a thread makes the next one while the caller works on this one."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def _rank_correlation(shards: Iterable[Path]) -> float | None:
    """Mean Spearman correlation over pairs of runs, on the sampled points; None with fewer than two runs that vary."""
    from scipy.stats import rankdata

    sample = np.concatenate([_array(shard, "sample") for shard in shards], axis=1)
    # A run that died with its last step has one score, 0, and no ranks.
    ranks = [rankdata(run) for run in sample if np.ptp(run) > 0]
    if len(ranks) < 2:
        return None
    correlation = np.corrcoef(np.array(ranks))
    return float(correlation[np.triu_indices(len(ranks), 1)].mean())


def _array(shard: Path, name: str, planes: slice = slice(None)) -> np.ndarray:
    return np.asarray(zarr.open_array(shard / name, mode="r", zarr_format=3)[planes])


def new_field(group: zarr.Group, name: str, grid: tuple[int, int, int]) -> zarr.Array[Any]:
    """A float32 array of the grid's shape, of one chunk per piece of the snapshot."""
    return group.create_array(
        name,
        shape=grid,
        dtype="float32",
        chunks=(planes_of(grid), *grid[1:]),
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()],
        dimension_names=("x", "y", "z"),
        # A chunk that is left out, for all of it is zero, could not be told from one that was lost.
        config={"write_empty_chunks": True},
    )


def read_field(scores: Artifact, snapshot: str, field: str, planes: slice = slice(None)) -> np.ndarray:
    """One field of one snapshot, or of some planes of its grid, in C order, shape [points], float32."""
    return _array(scores.path(snapshot), field, planes).ravel()

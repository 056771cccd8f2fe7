"""Selection from plain scores: an array in memory or in a file, or pieces of any stream of rows."""

import inspect
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import ArrayLike

from coreset.errors import DataError, RequestError, WorkError
from coreset.methods import method as method_named
from coreset.methods.budget import Rate
from coreset.methods.rule import Rule, Selected
from coreset.numerics.scans import ScoreShard, Shards, joined, serial_scan

ROWS = b"rows"
"""Identity of the rows of a plain table; the index is the global row."""
PIECE = 1 << 20
"""Rows read at once: 8 MB of float64."""
EXACT = 1 << 53
"""Largest magnitude up to which float64 holds every integer."""


def select(
    scores: ArrayLike,
    method: str = "ccs",
    prune: Rate = 0.9,
    cutoff: float = 0.0,
    strata: int = 100,
    seed: int = 0,
    redistribute: bool = True,
) -> Int64[np.ndarray, " kept"]:
    """Select rows by their scores (higher = harder), and return their indices, ascending.

    float32 and float64 are taken as they are, integers as float64. An array in a file (`np.load(…, mmap_mode="r")`) is
    read in pieces, several times, so memory is that of one piece and of the result.

    Raises:
        RequestError: a parameter or the kind of `scores` is wrong, or a parameter that the method does not take has
            another value than its default.
        DataError: a score is NaN or infinite, or masked.
    """
    rows = _checked(np.asanyarray(scores))
    _, pieces = select_rows(partial(_pieces, rows), method, prune, cutoff, strata, seed, redistribute)
    return np.concatenate([piece.index for piece in pieces])


def select_rows(
    shards: Shards,
    method: str = "ccs",
    prune: Rate = 0.9,
    cutoff: float = 0.0,
    strata: int = 100,
    seed: int = 0,
    redistribute: bool = True,
) -> tuple[Rule, Iterator[Selected]]:
    """Select from shards of rows (identity `ROWS`, ascending, without gaps): the rule, and what it keeps by pieces.

    `shards` is called once per scan and once more while the pieces are read; they come in ascending order.

    Raises:
        RequestError, DataError: as `select`, before the first piece.
    """
    chosen = method_named(method)
    if chosen.name == "random-snapshots":
        raise RequestError("method: random-snapshots needs snapshots, and rows have none; take random.")
    given = {"prune": prune, "cutoff": cutoff, "strata": strata, "seed": seed, "redistribute": redistribute}
    chosen.check(name for name, value in given.items() if value != _DEFAULTS[name])
    rule = chosen.rule(serial_scan(joined(shards, PIECE)), **{name: given[name] for name in chosen.parameters})
    return rule, _apply(rule, shards())


_DEFAULTS: dict[str, Any] = {name: each.default for name, each in inspect.signature(select_rows).parameters.items()}


def _apply(rule: Rule, shards: Iterable[ScoreShard]) -> Iterator[Selected]:
    row = 0
    for shard in shards:
        if shard.first != row:
            raise WorkError(f"scores: expected a piece from row {row} on, found one from {shard.first}; read in order.")
        row += shard.scores.size
        yield rule.apply(shard)


def _checked(rows: np.ndarray) -> np.ndarray:
    if rows.ndim != 1 or rows.size == 0:
        raise RequestError(f"scores: expected one dimension, not empty, found shape {rows.shape}; flatten them first.")
    if rows.dtype.kind not in "iuf" or rows.dtype.itemsize > 8:
        raise RequestError(f"scores: expected float32, float64 or integers, found {rows.dtype}; convert them first.")
    if np.ma.is_masked(rows):
        # What lies under a mask is any number, and would be taken for a score.
        row = int(np.ma.getmaskarray(rows).argmax())
        raise DataError(f"scores: expected a score in every row, found row {row} masked; fill or leave out such rows.")
    return np.asarray(rows)


def _pieces(rows: np.ndarray) -> Iterator[ScoreShard]:
    for first in range(0, rows.size, PIECE):
        piece = rows[first : first + PIECE]
        if rows.dtype.kind in "iu" and (int(piece.max()) > EXACT or int(piece.min()) < -EXACT):
            raise RequestError("scores: expected integers up to 2**53, found larger; convert them to floats yourself.")
        kind = np.float32 if rows.dtype.kind == "f" and rows.dtype.itemsize <= 4 else np.float64
        yield ScoreShard(ROWS, first, piece.astype(kind, copy=False))

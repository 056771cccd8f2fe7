"""Scores in shards, and what a scan over them is: a function of each shard, merged in any order.

Everything that selection needs adds up over shards (counts, histograms, a few candidates), so nothing is sorted,
nothing is moved, and the result cannot depend on how the scores were cut, on the order of the shards or on that of
merging.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64, UInt64

from coreset.errors import RequestError
from coreset.numerics.keys import keys_at

T = TypeVar("T")
_KINDS = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


@dataclass(frozen=True, eq=False)
class ScoreShard:
    """Scores of the points (identity, first), (identity, first + 1), …; higher = harder.

    The identity is the digest of a snapshot, or b"rows" for tables. Rows of a table that do not follow on each other
    have `numbers`, and are the points (identity, number); `first` is then the place of the first in its shard alone.
    Scores are float32 or float64, and are held as a read-only view.

    Raises:
        RequestError: scores of another kind or shape, or a negative `first`.
    """

    identity: bytes
    first: int
    scores: Float[np.ndarray, " n"]
    numbers: Int64[np.ndarray, " n"] | None = None
    whole: bytes | None = None
    """What is drawn whole where whole snapshots are: of a table's rows their group. None: the identity."""

    def __post_init__(self) -> None:
        """Check, and hold every shard as one kind of array, so that the kernels are compiled once."""
        if self.scores.ndim != 1 or self.scores.dtype not in _KINDS:
            found = f"{self.scores.ndim} dimensions of {self.scores.dtype}"
            raise RequestError(f"scores: expected one dimension of float32 or float64, found {found}; convert them.")
        if self.first < 0:
            raise RequestError(f"first: expected the index of a shard's first point, 0 or more, found {self.first}.")
        view = np.ascontiguousarray(self.scores)[:]
        view.setflags(write=False)
        object.__setattr__(self, "scores", view)

    def number(self, at: int) -> int:
        """The number of the point at a position of the shard."""
        return self.first + at if self.numbers is None else int(self.numbers[at])

    def keys_at(self, start: np.uint64, at: Int64[np.ndarray, " m"]) -> UInt64[np.ndarray, " m"]:
        """The keys of the points at some positions of the shard, in the stream `start`."""
        return keys_at(start, self.first + at if self.numbers is None else self.numbers[at])


@runtime_checkable
class Scan(Protocol):
    """scan(function, merge): map `function` over all shards and merge the partial results, in any order."""

    def __call__(self, function: Callable[[ScoreShard], T], merge: Callable[[T, T], T]) -> T:
        """Return the merge of function(shard) over all shards; both must be picklable and free of side effects."""
        ...


Shards = Callable[[], Iterable[ScoreShard]]
"""Gives all shards anew each time it is called, so that a file is read piece by piece in each scan."""


def serial_scan(shards: Shards) -> Scan:
    """Scan in this process, one shard at a time; at most log2(shards) + 1 partial results are held at once.

    Raises:
        RequestError: there is no shard.
    """

    def scan(function: Callable[[ScoreShard], T], merge: Callable[[T, T], T]) -> T:
        pending: list[tuple[int, T]] = []  # (shards merged, partial): sizes are falling powers of two
        for shard in shards():
            size, partial = 1, function(shard)
            while pending and pending[-1][0] == size:
                partial = merge(pending.pop()[1], partial)
                size *= 2
            pending.append((size, partial))
        if not pending:
            raise RequestError("scores: expected at least one shard, found none; name the scores to select from.")
        return reduce(merge, [partial for _, partial in pending])

    return scan


def joined(shards: Shards, most: int) -> Shards:
    """The same points in shards of at most `most`, small ones that follow on each other copied into one.

    A scan takes some microseconds a shard, and a table from each: too much where a shard holds some thousand points.
    """

    def larger() -> Iterator[ScoreShard]:
        held: list[ScoreShard] = []
        size = 0
        for shard in shards():
            if held and not (size + shard.scores.size <= most and _follows(held[0], size, shard)):
                yield _join(held)
                held, size = [], 0
            held.append(shard)
            size += shard.scores.size
        if held:
            yield _join(held)

    return larger


def _follows(head: ScoreShard, size: int, shard: ScoreShard) -> bool:
    same = shard.identity == head.identity and shard.scores.dtype == head.scores.dtype and shard.numbers is None
    return same and shard.first == head.first + size


def _join(held: list[ScoreShard]) -> ScoreShard:
    if len(held) == 1:
        return held[0]
    return ScoreShard(held[0].identity, held[0].first, np.concatenate([shard.scores for shard in held]))


def points(scan: Scan) -> int:
    """Return the number of points N."""
    return scan(_size, _add)


def _size(shard: ScoreShard) -> int:
    return int(shard.scores.size)


def _add(a: int, b: int) -> int:
    return a + b

"""What a selection comes to: a small rule that tells of each shard alone which of its points are kept."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from coreset.errors import DataError
from coreset.numerics.draw import Draw, Thresholds
from coreset.numerics.high_end import HighEnd
from coreset.numerics.keys import KEY_VERSION, SNAPSHOTS, stream
from coreset.numerics.scans import ScoreShard
from coreset.numerics.strata import Strata


@dataclass(frozen=True, eq=False)
class Selected:
    """The points of one shard that are kept."""

    index: Int64[np.ndarray, " n"]
    """Ascending, counted like the shard's `first`."""
    stratum: Int32[np.ndarray, " n"] | None
    """None where the method has no strata."""
    weight: Float64[np.ndarray, " n"]
    """Population of the stratum / points drawn from it: the inverse inclusion probability; 1 without strata."""
    score: Float32[np.ndarray, " n"] | None = None
    """What the method ranked, where it is kept with the points."""

    def between(self, first: int, stop: int) -> "Selected":
        """Return those with first ≤ index < stop."""
        rows = slice(*np.searchsorted(self.index, [first, stop]))
        fields = (self.index, self.stratum, self.weight, self.score)
        return Selected(*(None if each is None else each[rows] for each in fields))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Grouping:
    """The stratum of each point: of all points, of the high end alone, or of the rest without it; −1 outside."""

    part: Literal["all", "high", "rest"] = "all"
    high: HighEnd | None = None
    strata: Strata | None = None

    def __call__(self, shard: ScoreShard) -> Int32[np.ndarray, " n"]:
        """Return the stratum of each point of a shard; 0 where there are no strata."""
        if self.high is None:
            return np.zeros(shard.scores.size, dtype=np.int32)
        if self.part == "high":
            return self.high.contains(shard).astype(np.int32) - np.int32(1)
        if self.strata is None:
            return -self.high.contains(shard).astype(np.int32)
        strata = self.strata.of(shard.scores)
        strata[self.high.tied(shard)] = -1
        return strata


@dataclass(frozen=True)
class Rule:
    """A selection of `kept` of `total` points, where `keep` were asked for.

    A point is kept where its snapshot is drawn (`snapshots`, None: all are), `groups` gives it a stratum, and the draw
    of that stratum takes its key. The size is O(strata), whatever the number of points.
    """

    method: str
    total: int
    keep: int
    kept: int
    draws: tuple[Draw, ...]
    seed: int = 0
    groups: Grouping = field(default_factory=Grouping)
    snapshots: Draw | None = None

    @property
    def cut(self) -> int:
        """Number of highest scores that were cut off."""
        return self.groups.high.count if self.groups.high is not None and self.groups.part == "rest" else 0

    @property
    def lo(self) -> float | None:
        """Lower end of the strata, in units of the score; None without strata."""
        return self.groups.strata.lo if self.groups.strata is not None else None

    @property
    def hi(self) -> float | None:
        """Upper end of the strata, in units of the score; None without strata."""
        return self.groups.strata.hi if self.groups.strata is not None else None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of points in each stratum, after the cut; empty without strata."""
        return tuple(each.population for each in self.draws) if self.groups.strata is not None else ()

    @property
    def budgets(self) -> tuple[int, ...]:
        """Number of points drawn from each stratum; empty without strata."""
        return tuple(each.taken for each in self.draws) if self.groups.strata is not None else ()

    def apply(self, shard: ScoreShard) -> Selected:
        """Select from one shard, which need not be cut as those were that the rule came from."""
        groups = self.groups(shard)
        if self.snapshots is not None:
            whole = shard.whole or shard.identity
            if not self.snapshots.takes(snapshot_key(self.seed, whole), whole):
                groups[:] = -1
        at = self._thresholds.drawn(shard, groups, self.seed)
        if self.groups.strata is None:
            return Selected(shard.first + at, None, np.ones(at.size))
        strata = groups[at]
        return Selected(shard.first + at, strata, self._weights[strata])

    @cached_property
    def _thresholds(self) -> Thresholds:
        return Thresholds.of(self.draws)

    @cached_property
    def _weights(self) -> Float64[np.ndarray, " k"]:
        return np.array([each.population / max(each.taken, 1) for each in self.draws])

    def to_json(self) -> dict[str, Any]:
        """Return the rule as objects that `json` writes exactly: keys and identities in hexadecimal."""
        high, strata = self.groups.high, self.groups.strata
        return {
            "keys": KEY_VERSION,
            "method": self.method,
            "total": self.total,
            "keep": self.keep,
            "kept": self.kept,
            "seed": int(self.seed),
            "part": self.groups.part,
            "high": None if high is None else [high.value, high.above, _draw_to_json(high.ties)],
            "strata": None if strata is None else [strata.lo, strata.hi, strata.count],
            "draws": [_draw_to_json(each) for each in self.draws],
            "snapshots": None if self.snapshots is None else _draw_to_json(self.snapshots),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Rule":
        """Return the rule that `to_json` gave.

        Raises:
            DataError: its keys are of another version.
        """
        if saved.get("keys") != KEY_VERSION:
            raise DataError(f"rule: expected keys {KEY_VERSION}, found {saved.get('keys')}; select again.")
        high, seed = saved["high"], saved["seed"]
        return cls(
            method=saved["method"],
            total=saved["total"],
            keep=saved["keep"],
            kept=saved["kept"],
            draws=tuple(_draw_from_json(each) for each in saved["draws"]),
            seed=seed,
            groups=Grouping(
                part=saved["part"],
                high=None if high is None else HighEnd(high[0], high[1], _draw_from_json(high[2]), seed),
                strata=None if saved["strata"] is None else Strata(*saved["strata"]),
            ),
            snapshots=None if saved["snapshots"] is None else _draw_from_json(saved["snapshots"]),
        )


def snapshot_key(seed: int, identity: bytes) -> int:
    """Return the key by which whole snapshots are drawn."""
    return int(stream(seed, identity, SNAPSHOTS))


def _draw_to_json(each: Draw) -> list[Any]:
    return [each.population, each.taken, *(() if each.last is None else (f"{each.last[0]:016x}", each.last[1].hex()))]


def _draw_from_json(saved: list[Any]) -> Draw:
    population, taken, *last = saved
    return Draw(population, taken, (int(last[0], 16), bytes.fromhex(last[1])) if last else None)

"""How the scores are distributed: over all training points, in each coreset, and in space around the atoms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.stage import Context, FindShard, Part, Scanner, Stage
from coreset.corpus.elements import SYMBOLS
from coreset.corpus.kept import batches_of, read_kept
from coreset.corpus.pieces import pieces_of
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import Member, SnapshotSet
from coreset.methods import Rule, ScoreShard
from coreset.methods.budget import keep
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.high_end import HighEnd, high_end
from coreset.numerics.order_statistics import summarise
from coreset.stages.scoring import read_field
from coreset.stages.selection import kept_files, score_shard

T = TypeVar("T")

LINEAR = 100
"""Bins of equal width from the lowest to the highest score."""
LOGARITHMIC = 120
"""Bins of equal ratio from the lowest positive score to the highest."""
SHELL = 0.25
"""Width (Bohr) of the bins of distance; a power of two, so that no point changes its bin by rounding."""

NEIGHBOURS = 4
"""Enough for frames without symmetry, which are the quickest; the nearest atom does not depend on it."""
_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class Borders:
    """What every part needs to know of all scores: the edges of the bins, and the top decile."""

    linear: Float64[np.ndarray, " l"]
    logarithmic: Float64[np.ndarray, " g"] | None
    """None where no score is positive."""
    top: HighEnd
    """The round-half-even(N/10) highest scores; of equal ones those of the smallest keys of seed 0."""


@dataclass(frozen=True)
class ScoreHistogram(Stage):
    """Histograms of one score field, what each selection takes of it, and where its hard points are.

    Everything adds up over snapshots; a part holds a piece of one at a time. The figures, all plain lists:

    - `linear` and `logarithmic`: `edges`, and the number of points of each bin: of `all`, and `kept` by label. Bins are
      half-open and the last is closed. Zeros are in no logarithmic bin; without a positive score that one is null.
    - `all` and `selections` by label: `points`, those of them with score 0 (`zero`), the `mean` score, and
      `top_decile`, the share of the points that belong to the top decile of all training points.
    - `top_decile`: its `points`, the `border` (highest score outside it, or of it where nothing is outside), the number
      of points `above` that, those `tied` with it, and those of them that belong to it (`taken`, by key of seed 0).
    - `strata`, by label of each selection that has them: `edges` [k + 1] from the lowest score to the border of the
      cut, `population` and `budget` [k], and `cut`, the number of points beyond.
    - `distance` to the nearest atom (`edges` in Bohr) and `species` of that atom, by symbol: `points`, their `mean`
      score, and `top_decile`, the share of these points that belong to the top decile; null where there is no point.
      Of a table, whose rows have no atoms around them, both are left out.
    """

    name: ClassVar[str] = "histogram"
    suffix: ClassVar[str] = ".json"

    scores: Artifact
    train: SnapshotSet
    field: str
    selections: tuple[tuple[str, Artifact], ...]
    """Label and artifact of each selection."""

    @property
    def title(self) -> str:
        return "histogram of scores"

    def parameters(self) -> dict[str, Any]:
        return {"field": self.field, "linear": LINEAR, "logarithmic": LOGARITHMIC, "shell": SHELL}

    def inputs(self) -> dict[str, str]:
        selections = {f"selection {label}": selection.digest for label, selection in self.selections}
        return {"train": self.train.digest, "scores": self.scores.digest, **selections}

    def prepare(self, scanner: Scanner) -> Borders:
        """The edges of the bins and the top decile, exactly, from scans."""

        def scan(function: Callable[[ScoreShard], T], merge: Callable[[T, T], T]) -> T:
            return scanner.scan(partial(_on_shards, self, function, merge), self.train.snapshots, merge)

        summary = summarise(scan)
        linear = np.linspace(summary.lo, summary.hi, LINEAR + 1)
        lowest = scan(_lowest_positive, min)
        # Rounding may put an inner edge of a very narrow range outside of it.
        logarithmic = (
            np.geomspace(lowest, summary.hi, LOGARITHMIC + 1).clip(lowest, summary.hi) if summary.hi > 0 else None
        )
        return Borders(linear, logarithmic, high_end(scan, summary, keep(summary.count, "0.9"), seed=0))

    def parts(self) -> list[Part]:
        return [Part(batch.name, batch) for batch in batches_of(len(self.train.snapshots))]

    def compute(self, part: Part, shared: Borders, path: Path, context: Context) -> dict[str, Any]:
        kept = {label: kept_files(selection, self.train) for label, selection in self.selections}
        total: dict[str, Any] = {}
        for snapshot in self.train.snapshots[part.payload.first : part.payload.stop]:
            files = {label: by_digest[snapshot.digest] for label, by_digest in kept.items()}
            for shard in self.shards(snapshot):
                total = _sum(total, self._tally(snapshot, shard, files, shared))
        path.write_text(json.dumps(total, default=np.ndarray.tolist))
        return {}

    def _tally(self, snapshot: Member, shard: ScoreShard, files: dict[str, Path], borders: Borders) -> dict[str, Any]:
        """What a piece of a snapshot adds; `files` hold what each selection keeps of it."""
        scores, top = shard.scores, borders.top.contains(shard)
        stop = shard.first + len(scores)
        kept = {}
        for label, file in files.items():
            selected = read_kept(file).get(snapshot.digest)
            index = np.empty(0, np.int64)
            if selected is not None:
                index = selected.between(shard.first, stop).index - shard.first
            kept[label] = _counts(scores[index], top[index], borders)
        found = {"all": _counts(scores, top, borders), "kept": kept}
        if not isinstance(snapshot, Snapshot):
            return found
        distances, numbers = nearest_atoms(snapshot, shard.first, stop)
        around = {"distance": (distances / SHELL).astype(np.int64), "species": numbers}
        return found | {name: _by_bin(bins, scores, top) for name, bins in around.items()}

    def shards(self, snapshot: Member) -> Iterator[ScoreShard]:
        """The scores of one snapshot, piece by piece."""
        for piece in pieces_of(snapshot):
            scores = read_field(self.scores, snapshot.name, self.field, piece.planes)
            yield score_shard(snapshot, piece, scores)

    def figures(self, shared: Borders, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        total: dict[str, Any] = {}
        for record in records:
            total = _sum(total, json.loads(find(record).read_text()))
        top = shared.top
        return {
            "field": self.field,
            "linear": _histogram(shared.linear, "linear", total),
            "logarithmic": None if shared.logarithmic is None else _histogram(shared.logarithmic, "logarithmic", total),
            "all": _whole(total["all"]),
            "selections": {label: _whole(counts) for label, counts in total["kept"].items()},
            "top_decile": {
                "points": top.count,
                "border": top.value,
                "above": top.above,
                "tied": top.ties.population,
                "taken": top.ties.taken,
            },
            "strata": {
                label: found for label, selection in self.selections if (found := _strata(selection)) is not None
            },
            **(_surroundings(total) if "distance" in total else {}),
        }


def _surroundings(total: dict[str, Any]) -> dict[str, Any]:
    distance, species = _by_bin_figures(total["distance"]), _by_bin_figures(total["species"])
    present = np.flatnonzero(np.array(species["points"]))
    return {
        "distance": {"edges": [SHELL * i for i in range(len(distance["points"]) + 1)], **distance},
        "species": {SYMBOLS[z - 1]: {name: values[z] for name, values in species.items()} for z in present.tolist()},
    }


def nearest_atoms(snapshot: Member, first: int, stop: int) -> tuple[Float32[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Distance (Bohr) from the grid points first ≤ index < stop to the nearest atom, and that atom's atomic number.

    Of atoms that are tied within the descriptor's tolerance it is the lightest.
    """
    from coreset.corpus.described import describe_points

    descriptor = Descriptor(NEIGHBOURS, distances=True)
    distances, numbers = np.empty(stop - first, np.float32), np.empty(stop - first, np.int64)
    for start in range(0, stop - first, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, stop - first))
        features = describe_points(snapshot, first + rows, descriptor).features
        distances[rows], numbers[rows] = features[:, 4 * NEIGHBOURS], features[:, 3 * NEIGHBOURS]
    return distances, numbers


def _on_shards(
    stage: ScoreHistogram, function: Callable[[ScoreShard], T], merge: Callable[[T, T], T], snapshot: Member
) -> T:
    return reduce(merge, map(function, stage.shards(snapshot)))


def _lowest_positive(shard: ScoreShard) -> float:
    return float(shard.scores.min(where=shard.scores > 0, initial=np.inf))


def _counts(scores: Float32[np.ndarray, " n"], top: Bool[np.ndarray, " n"], borders: Borders) -> dict[str, np.ndarray]:
    """Of some points: the histograms; how many there are, of score 0, and of the top decile; and their sum."""
    logarithmic = borders.logarithmic
    return {
        "linear": np.histogram(scores, borders.linear)[0],
        "logarithmic": np.empty(0, np.int64) if logarithmic is None else np.histogram(scores, logarithmic)[0],
        "points": np.array([scores.size, np.count_nonzero(scores == 0), np.count_nonzero(top)]),
        "sum": np.array([scores.sum(dtype=np.float64)]),
    }


def _by_bin(
    bins: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, " n"], top: Bool[np.ndarray, " n"]
) -> dict[str, np.ndarray]:
    """In each bin: the number of points, that of points of the top decile, and the sum of the scores."""
    return {
        "points": np.bincount(bins),
        "top": np.bincount(bins[top], minlength=bins.max() + 1),
        "sum": np.bincount(bins, scores),
    }


def _sum(a: Any, b: Any) -> Any:
    """Sum of two trees of arrays; the shorter array counts as 0 beyond its end, and so does a branch that is missing.

    The order of the summands decides the last bits of sums of scores; it is that of the snapshots.
    """
    if isinstance(b, dict):
        return {name: _sum(a.get(name, {} if isinstance(each, dict) else []), each) for name, each in b.items()}
    first, second = np.asarray(a), np.asarray(b)
    total = np.zeros(max(len(first), len(second)), second.dtype)
    total[: len(second)] = second
    total[: len(first)] += first.astype(second.dtype)
    return total


def _histogram(edges: Float64[np.ndarray, " e"], name: str, total: dict[str, Any]) -> dict[str, Any]:
    return {
        "edges": edges.tolist(),
        "all": total["all"][name].tolist(),
        "kept": {label: counts[name].tolist() for label, counts in total["kept"].items()},
    }


def _whole(counts: dict[str, Any]) -> dict[str, Any]:
    points, zero, top = counts["points"].tolist()
    return {"points": points, "zero": zero, "mean": float(counts["sum"][0]) / points, "top_decile": top / points}


def _by_bin_figures(total: dict[str, Any]) -> dict[str, list[Any]]:
    points, top, scores = (total[name].tolist() for name in ("points", "top", "sum"))
    return {
        "points": points,
        "mean": [each / count if count else None for each, count in zip(scores, points, strict=True)],
        "top_decile": [each / count if count else None for each, count in zip(top, points, strict=True)],
    }


def _strata(selection: Artifact) -> dict[str, Any] | None:
    """The strata of a selection, from its rule; None where it has none."""
    rule = Rule.from_json(selection.figures["rule"])
    if rule.lo is None or rule.hi is None:
        return None
    edges = np.linspace(rule.lo, rule.hi, len(rule.sizes) + 1).tolist()
    return {"edges": edges, "population": list(rule.sizes), "budget": list(rule.budgets), "cut": rule.cut}

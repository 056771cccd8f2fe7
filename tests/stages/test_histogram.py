"""The distribution of scores against plain sorting and counting, and nearest atoms against all images."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Stage
from coreset.corpus import kept
from coreset.corpus.elements import SYMBOLS
from coreset.corpus.kept import read_kept
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.numerics.keys import TIES, keys, stream
from coreset.stages.histogram import ScoreHistogram, nearest_atoms
from coreset.stages.selection import Selection

METHODS = {"ccs": {"cutoff": 0.2, "strata": 12}, "grand": {}, "random": {}, "cut-random": {"cutoff": 0.2}}


def drawn(snapshot: Snapshot) -> np.ndarray:
    """Heavy-tailed scores in steps of 1/4, so that many are tied, and many 0."""
    rng = np.random.default_rng(int(snapshot.digest[:8], 16))
    return (np.floor(4 * rng.lognormal(0.0, 1.5, snapshot.points)) / 4).astype(np.float32)


@dataclass(frozen=True)
class Known(Stage):
    """Score fields whose every value is known."""

    name: ClassVar[str] = "scores"
    suffix: ClassVar[str] = ".zarr"

    train: SnapshotSet
    lowest: float = 0.0
    equal: bool = False

    def parameters(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "equal": self.equal}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, snapshot) for snapshot in self.train.snapshots]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        scores = np.float32(self.lowest) + (0 if self.equal else drawn(part.payload))
        field = np.broadcast_to(scores, part.payload.points).reshape(part.payload.grid)
        zarr.open_group(path, mode="w", zarr_format=3).create_array("grand", data=field)
        return {}


@pytest.fixture(scope="module")
def train(small_corpus: Corpus) -> SnapshotSet:
    return SnapshotSet(str(small_corpus.path), small_corpus.select("train/*"))


def run(train: SnapshotSet, root: Path, methods: dict[str, Any], **scores_like: Any) -> ScoreHistogram:
    """The stage, and before it the scores and selections that it reads."""
    executor = SerialExecutor()
    scores = materialize(Known(train, **scores_like), root=root, executor=executor)
    selections = [
        (name, materialize(Selection(train, name, settings, scores), root=root, executor=executor))
        for name, settings in ((name, {"prune": 0.9, "seed": 0, **own}) for name, own in methods.items())
    ]
    return ScoreHistogram(scores, train, "grand", tuple(selections))


@pytest.fixture(scope="module")
def made(train: SnapshotSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoreHistogram, Artifact]:
    root = tmp_path_factory.mktemp("store")
    stage = run(train, root, METHODS)
    return stage, materialize(stage, root=root, executor=SerialExecutor())


def all_kept(train: SnapshotSet, selection: Artifact) -> list[tuple[Snapshot, int, int | None]]:
    """(snapshot, index, stratum) of every kept point."""
    files = [read_kept(selection.path(shard["name"])) for shard in selection.shards]
    rows = []
    for snapshot in train.snapshots:
        for selected in (file[snapshot.digest] for file in files if snapshot.digest in file):
            strata = [None] * len(selected.index) if selected.stratum is None else selected.stratum.tolist()
            rows += [(snapshot, int(i), stratum) for i, stratum in zip(selected.index, strata, strict=True)]
    return rows


def top_decile(train: SnapshotSet) -> set[tuple[bytes, int]]:
    """The tenth of all points that comes first by (score, falling; key; identity)."""
    ranked = [
        (-score, key, snapshot.identity, i)
        for snapshot in train.snapshots
        for i, (score, key) in enumerate(
            zip(
                drawn(snapshot).tolist(),
                keys(stream(0, snapshot.identity, TIES), 0, snapshot.points).tolist(),
                strict=True,
            )
        )
    ]
    return {(identity, i) for _, _, identity, i in sorted(ranked)[: len(ranked) // 10]}


def counted(values: list[float], edges: list[float]) -> list[int]:
    counts = [0] * (len(edges) - 1)
    for value in values:
        if edges[0] <= value <= edges[-1]:
            counts[min(bisect_right(edges, value) - 1, len(counts) - 1)] += 1
    return counts


def test_bins_hold_the_points_whose_scores_they_span(train: SnapshotSet, made: Any) -> None:
    stage, artifact = made
    scores = np.concatenate([drawn(snapshot) for snapshot in train.snapshots]).tolist()
    figures = artifact.figures
    linear, logarithmic = figures["linear"], figures["logarithmic"]
    assert (len(linear["all"]), len(logarithmic["all"])) == (100, 120)
    assert (linear["edges"][0], linear["edges"][-1]) == (0.0, max(scores))
    assert (logarithmic["edges"][0], logarithmic["edges"][-1]) == (0.25, max(scores))
    assert np.allclose(np.diff(linear["edges"]), max(scores) / 100)
    assert np.allclose(np.diff(np.log(logarithmic["edges"])), np.log(max(scores) / 0.25) / 120)
    by_label = {"all": scores}
    for label, selection in stage.selections:
        by_label[label] = [float(drawn(snapshot)[i]) for snapshot, i, _ in all_kept(train, selection)]
    for label, values in by_label.items():
        whole = figures["all"] if label == "all" else figures["selections"][label]
        assert whole["points"] == len(values)
        assert whole["zero"] == values.count(0.0)
        assert whole["mean"] == pytest.approx(np.mean(values), rel=1e-12)
        for histogram in (linear, logarithmic):
            counts = histogram["all"] if label == "all" else histogram["kept"][label]
            assert counts == counted(values, histogram["edges"])
        assert sum(linear["all"]) == len(scores) == sum(logarithmic["all"]) + scores.count(0.0)


def test_the_top_decile_is_that_of_sorting(train: SnapshotSet, made: Any) -> None:
    stage, artifact = made
    top = top_decile(train)
    figures = artifact.figures
    decile = figures["top_decile"]
    ranked = sorted(np.concatenate([drawn(snapshot) for snapshot in train.snapshots]).tolist(), reverse=True)
    assert decile["points"] == len(top) == decile["above"] + decile["taken"] == 120
    assert decile["border"] == ranked[120]
    assert decile["above"] == sum(score > ranked[120] for score in ranked)
    assert decile["tied"] == ranked.count(ranked[120])
    assert 0 < decile["taken"] < decile["tied"], "the border should cut through a tie"
    for label, selection in stage.selections:
        points = [(snapshot.identity, i) for snapshot, i, _ in all_kept(train, selection)]
        expected = sum(point in top for point in points) / len(points)
        assert figures["selections"][label]["top_decile"] == expected
    assert figures["all"]["top_decile"] == 0.1
    assert figures["selections"]["grand"]["top_decile"] == 1.0
    assert figures["selections"]["cut-random"]["top_decile"] == 0.0


@pytest.mark.parametrize("lowest", [0.0, 0.5])
def test_strata_and_budgets_are_those_of_the_points_that_are_kept(
    train: SnapshotSet, lowest: float, tmp_path: Path
) -> None:
    methods = {name: METHODS[name] for name in ("ccs", "random")}
    stage = run(train, tmp_path, methods, lowest=lowest)
    strata = materialize(stage, root=tmp_path, executor=SerialExecutor()).figures["strata"]
    assert set(strata) == {"ccs"}
    found = strata["ccs"]
    assert found["cut"] == 240
    rest = sorted((lowest + np.concatenate([drawn(each) for each in train.snapshots])).tolist())[:-240]
    assert found["edges"] == np.linspace(rest[0], rest[-1], 13).tolist()
    assert found["population"] == counted(rest, found["edges"])
    kept_strata = [stratum for *_, stratum in all_kept(train, dict(stage.selections)["ccs"])]
    assert found["budget"] == np.bincount(kept_strata, minlength=12).tolist()


def brute_nearest(snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
    shifts = np.array(list(product((-2, -1, 0, 1, 2), repeat=3))) @ snapshot.cell
    atoms = (snapshot.positions[:, None] + shifts).reshape(-1, 3)
    fractions = np.array(list(np.ndindex(snapshot.grid))) / snapshot.grid
    distances = np.linalg.norm((fractions @ snapshot.cell)[:, None] - atoms, axis=2)
    nearest = distances.argmin(1)
    return distances.min(1), snapshot.numbers[nearest // len(shifts)]


def test_the_nearest_atom_is_that_of_all_images(train: SnapshotSet) -> None:
    snapshot = train.snapshots[0]
    distances, numbers = nearest_atoms(snapshot, 0, snapshot.points)
    expected_distances, expected_numbers = brute_nearest(snapshot)
    assert np.allclose(distances, expected_distances, rtol=1e-6)
    assert np.array_equal(numbers, expected_numbers)


def test_hard_points_are_found_by_distance_and_by_species(train: SnapshotSet, made: Any) -> None:
    _, artifact = made
    figures = artifact.figures
    top = top_decile(train)
    by_shell: dict[int, list[tuple[float, bool]]] = {}
    by_symbol: dict[str, list[tuple[float, bool]]] = {}
    for snapshot in train.snapshots:
        rows = zip(*brute_nearest(snapshot), drawn(snapshot).tolist(), strict=True)
        for i, (distance, number, score) in enumerate(rows):
            point = (score, (snapshot.identity, i) in top)
            by_shell.setdefault(int(distance // 0.25), []).append(point)
            by_symbol.setdefault(SYMBOLS[number - 1], []).append(point)
    shells = figures["distance"]
    assert shells["edges"] == [0.25 * i for i in range(max(by_shell) + 2)]
    for i, (points, mean, share) in enumerate(zip(shells["points"], shells["mean"], shells["top_decile"], strict=True)):
        members = by_shell.get(i, [])
        assert points == len(members)
        assert mean == (pytest.approx(np.mean([score for score, _ in members])) if members else None)
        assert share == (np.mean([hard for _, hard in members]) if members else None)
    assert figures["species"] == {
        symbol: {
            "points": len(members),
            "mean": pytest.approx(np.mean([score for score, _ in members])),
            "top_decile": np.mean([hard for _, hard in members]),
        }
        for symbol, members in by_symbol.items()
    }


def flat(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in (key, *flat(tree[key]))]
    return [leaf for each in tree for leaf in flat(each)] if isinstance(tree, list) else [tree]


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_of_snapshots_do_not_matter(
    train: SnapshotSet, made: Any, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = made
    monkeypatch.setattr(kept, "BATCH", batch)
    pieces = materialize(run(train, tmp_path, METHODS), root=tmp_path, executor=SerialExecutor())
    assert (len(whole.shards), len(pieces.shards)) == (1, -(-10 // batch))
    # Scores in quarters add up exactly, so not even the means may differ.
    assert flat(pieces.figures) == flat(whole.figures)


# The inner edges that NumPy puts between 0.1 and 0.1 lie below it.
@pytest.mark.parametrize("score", [0.0, 0.1])
def test_scores_that_are_all_equal_lie_in_one_bin(train: SnapshotSet, score: float, tmp_path: Path) -> None:
    stage = run(train, tmp_path, {"random": {}}, lowest=score, equal=True)
    figures = materialize(stage, root=tmp_path, executor=SerialExecutor()).figures
    assert figures["linear"]["all"] == [0] * 99 + [1200]
    assert figures["all"]["mean"] == pytest.approx(score)
    assert figures["top_decile"]["tied"] == 1200
    if score == 0:
        assert figures["logarithmic"] is None
        assert figures["all"]["zero"] == 1200
    else:
        assert figures["logarithmic"]["kept"]["random"] == [0] * 119 + [120]
    assert figures["strata"] == {}


@pytest.mark.parametrize("lowest", [-1e12, -3.0, 1e-44])
def test_scores_that_are_negative_or_denormal_lie_between_the_edges(
    train: SnapshotSet, lowest: float, tmp_path: Path
) -> None:
    stage = run(train, tmp_path, {"random": {}}, lowest=lowest, equal=lowest > 0)
    figures = materialize(stage, root=tmp_path, executor=SerialExecutor()).figures
    assert sum(figures["linear"]["all"]) == 1200
    edges = figures["linear"]["edges"]
    assert np.isfinite(edges).all() and (np.diff(edges) >= 0).all()
    if lowest == -1e12:
        assert figures["logarithmic"] is None
    elif lowest > 0:
        assert sum(figures["logarithmic"]["all"]) == 1200


def test_the_digest_knows_all_that_is_counted_and_under_which_label(made: Any) -> None:
    stage, _ = made
    (first, a), (second, b), *others = stage.selections
    assert replace(stage, selections=((second, b), (first, a), *others)).digest == stage.digest
    changed = [
        replace(stage, selections=((second, a), (first, b), *others)),
        replace(stage, selections=tuple(others)),
        replace(stage, field="loss"),
        replace(stage, scores=a),
        replace(stage, train=replace(stage.train, snapshots=stage.train.snapshots[:1])),
    ]
    assert len({stage.digest, *(each.digest for each in changed)}) == 6

"""What a method says once the scores are there: what it cannot rank by is failed work, and nothing done is lost."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Stage
from coreset.corpus.kept import read_kept
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.errors import DataError, RequestError, WorkError
from coreset.stages.scoring import new_field
from coreset.stages.selection import Selection

CCS = {"prune": 0.8, "seed": 0, "cutoff": 0.3, "strata": 10, "redistribute": True}


@dataclass(frozen=True)
class Given(Stage):
    """A score field that is stated."""

    name: ClassVar[str] = "scores"
    suffix: ClassVar[str] = ".zarr"

    train: SnapshotSet
    kind: str
    score: Callable[[np.ndarray], np.ndarray]
    """Of numbers in (0, 1), shape [points]."""

    def parameters(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def inputs(self) -> dict[str, str]:
        return {"train": self.train.digest}

    def parts(self) -> list[Part]:
        return [Part(snapshot.name, snapshot) for snapshot in self.train.snapshots]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        rng = np.random.default_rng(int(part.payload.digest[:8], 16))
        field = self.score(rng.uniform(size=part.payload.points)).astype(np.float32)
        group = zarr.open_group(path, mode="w", zarr_format=3)
        new_field(group, "grand", part.payload.grid)[...] = field.reshape(part.payload.grid)
        return {}


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "equal": lambda u: np.full_like(u, 0.25),
    "zero": lambda u: np.zeros_like(u),
    "zero but for the highest, which are cut": lambda u: np.where(u > 0.75, u, 0.0),
    "negative": lambda u: -u,
    "denormal": lambda u: 1e-44 * np.ceil(9 * u),
    "twelve decades": lambda u: 1e-6 * 10 ** (12 * u),
    "nan": lambda u: np.where(u > 0.99, np.nan, u),
    "infinite": lambda u: np.where(u > 0.99, np.inf, u),
}


@pytest.fixture
def select(small_corpus: Corpus, tmp_path: Path) -> Callable[..., np.ndarray]:
    """The scores that are kept."""
    train = SnapshotSet(small_corpus.path, small_corpus.select("train/*"))

    def run(kind: str, method: str = "ccs", settings: dict[str, Any] = CCS) -> np.ndarray:
        scores = materialize(Given(train, kind, SCORES[kind]), root=tmp_path, executor=SerialExecutor())
        made = materialize(Selection(train, method, settings, scores), root=tmp_path, executor=SerialExecutor())
        kept = read_kept(made.path("part-00000")).values()
        return np.concatenate([np.asarray(each.score) for each in kept])

    return run


@pytest.mark.parametrize("kind", ["equal", "zero", "zero but for the highest, which are cut"])
def test_scores_without_a_difference_are_failed_work_and_the_other_methods_take_them(
    kind: str, select: Callable[..., np.ndarray]
) -> None:
    with pytest.raises(WorkError, match=r"selection by ccs: .* needs scores that differ, .* take cut-random") as caught:
        select(kind)
    # Not a request that could have been refused: the scores had to be computed first.
    assert not isinstance(caught.value, RequestError)
    plain = {"prune": 0.8, "seed": 0}
    assert len(select(kind, "cut-random", plain | {"cutoff": 0.3})) == 240
    assert len(select(kind, "grand", plain)) == 240


@pytest.mark.parametrize("kind", ["negative", "denormal", "twelve decades"])
def test_unusual_scores_are_cut_and_stratified_like_any_others(kind: str, select: Callable[..., np.ndarray]) -> None:
    kept = select(kind)
    assert len(kept) == 240
    assert len(select(kind, "cut-random", {"prune": 0.8, "seed": 0, "cutoff": 0.3})) == 240
    highest = select(kind, "grand", {"prune": 0.7, "seed": 0})
    # What is cut is what `grand` keeps, as far as no tie is cut in two.
    assert kept.max() <= highest.min()


@pytest.mark.parametrize("kind", ["nan", "infinite"])
@pytest.mark.parametrize("method", ["ccs", "grand", "cut-random"])
def test_scores_that_are_not_finite_are_bad_data(kind: str, method: str, select: Callable[..., np.ndarray]) -> None:
    settings = {"ccs": CCS, "grand": {"prune": 0.8, "seed": 0}, "cut-random": {"prune": 0.8, "seed": 0, "cutoff": 0.3}}
    with pytest.raises(DataError, match=r"score of point \d+ of .*: expected a finite number"):
        select(kind, method, settings[method])

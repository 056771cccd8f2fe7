"""What a corpus cannot be trained on is told before anything starts, and what is merely unusual is taken."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreset.checks import check_atoms
from coreset.corpus.elements import SYMBOLS, formula
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet, Split, split
from coreset.corpus.store import Corpus
from coreset.errors import DataError
from coreset.session import open_session

Made = tuple[Snapshot, np.ndarray]


def split_with(bad: Snapshot, good: Snapshot, role: str) -> Split:
    sets = {name: SnapshotSet("c", (good,)) for name in ("train", "validation", "test")}
    sets[role] = SnapshotSet("c", (good, bad))
    return Split(sets["train"], sets["validation"], {"bulk": sets["test"]})


FLAT = np.array([[6.0, 0.0, 0.0], [0.0, 6.0, 0.0], [6.0, 6.0, 1e-15]])
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cell": FLAT}, "lattice vectors that span a volume"),
    ({"cell": np.full((3, 3), np.nan)}, "lattice vectors that span a volume"),
    ({"numbers": np.array([8, 1, 1, 119, 1])}, "atomic numbers from 1 to 118, found 1 to 119"),
    ({"numbers": np.array([8, 1, 1, 1000, 1])}, "found 1 to 1000"),
    ({"numbers": np.array([8, 1, 0, 8, 1])}, "found 0 to 8"),
    ({"numbers": np.array([8, 1])}, "found 2 with 5"),
    ({"numbers": np.empty(0, np.int64), "positions": np.empty((0, 3))}, "one atom or more"),
    ({"positions": np.array([[0.0, 0.0, np.inf]] * 5)}, "finite positions"),
    ({"electrons": np.nan}, "a positive number of electrons, found nan"),
    ({"electrons": 0.0}, "a positive number of electrons"),
]


@pytest.mark.parametrize(("change", "expected"), WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("role", ["train", "validation", "test"])
def test_a_snapshot_that_no_descriptor_is_of_is_named(
    role: str, change: dict[str, Any], expected: str, make_snapshot: Callable[..., Made]
) -> None:
    good = make_snapshot("good")[0]
    check_atoms(split_with(good, good, role), "job.yaml")
    with pytest.raises(DataError, match=f"job.yaml: corpus.source: bad: expected .*{expected}"):
        check_atoms(split_with(replace(good, name="bad", **change), good, role), "job.yaml")


def test_a_bad_snapshot_is_told_before_anything_is_written(
    make_snapshot: Callable[..., Made], write_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    made = [make_snapshot(f"train/a{i}_0", seed=i) for i in range(4)] + [make_snapshot("test/b_0", seed=9)]
    made[-1] = (replace(made[-1][0], electrons=-1.0), made[-1][1])
    write_corpus(tmp_path / "c.zarr", made)
    (tmp_path / "job.yaml").write_text(
        'name: x\ncorpus: {source: c.zarr, test: {bulk: "test/*"}}\nselect: {strata: 5}\n'
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"test/b_0: expected a positive number of electrons"):
        open_session(tmp_path / "job.yaml", tmp_path / "run", None, ["coverage.queries=10"])
    assert sorted(tmp_path.iterdir()) == before


def test_a_thousand_compositions_are_split_and_taken(make_snapshot: Callable[..., Made]) -> None:
    template = make_snapshot("x")[0]
    choices = list(islice(combinations(range(1, len(SYMBOLS) + 1), 5), 0, 997_000, 997))
    snapshots = tuple(
        replace(
            template,
            name=f"{'train' if i else 'test'}/m{i:04d}",
            group=f"m{i:04d}",
            numbers=np.array(numbers),
            composition=formula(numbers),
            digest=f"{i:064x}",
        )
        for i, numbers in enumerate(choices)
    )
    assert len({snapshot.composition for snapshot in snapshots}) == 1000
    corpus = Corpus("here", snapshots, "")
    divided = split(corpus, "job", train="train/*", tests={"bulk": "test/*"}, validation=0.1, stratify="composition")
    check_atoms(divided, "job")
    assert (len(divided.train.snapshots), len(divided.validation.snapshots)) == (899, 100)
    # Spread evenly over the sorted formulas: one in ten, each from its own tenth.
    order = sorted(snapshot.composition for snapshot in snapshots[1:])
    places = sorted(order.index(snapshot.composition) for snapshot in divided.validation.snapshots)
    assert all(i * 9.99 <= place < (i + 1) * 9.99 for i, place in enumerate(places))

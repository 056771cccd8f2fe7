"""A coreset as a point set, and audited against the corpus that it comes from."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import coreset
from coreset.artifacts.executor import SerialExecutor
from coreset.auditing.opening import described_alike, open_points
from coreset.auditing.request import Audit
from coreset.auditing.run import write_audit
from coreset.publishing.kept_set import KeptSet
from coreset.stages.space import Space


def test_its_points_are_the_rows_in_order(built: Any) -> None:
    found = KeptSet.open(built.path)
    table = coreset.open(built.path).to_arrow()
    assert found.points == table.num_rows
    assert found.descriptor == built.descriptor
    rows = np.concatenate([found.read(i, np.arange(each.points)) for i, each in enumerate(found.members)])
    np.testing.assert_array_equal(rows, np.stack(table.column("descriptor").to_numpy()))
    numbers = np.concatenate([found.numbers(i, 0, each.points) for i, each in enumerate(found.members)])
    np.testing.assert_array_equal(numbers, table.column("index").to_numpy())


def test_a_coreset_against_its_corpus_meets_as_many_random_points(
    built: Any, small_corpus: Any, tmp_path: Path
) -> None:
    points = open_points(str(built.path), "CORPUS")
    other = open_points(small_corpus.path, "--against", "train/*")
    points, reference = described_alike(points, other, False)
    assert reference is not None
    assert asdict(reference.descriptor) == asdict(built.descriptor)
    audit = Audit(points, reference, Space(), None, "none", 0.1, 0)
    found = write_audit(audit, ("kept", "all"), tmp_path / "out", SerialExecutor(), "coreset audit")
    kept, whole = (
        np.concatenate([each.read(i, np.arange(member.points)) for i, member in enumerate(each.members)]).astype(float)
        for each in (points, reference)
    )
    assert found["coverage"]["auc"] == pytest.approx(cdist(whole, kept).min(axis=1).mean(), rel=1e-9)
    assert found["random"]["of"] == "reference"
    assert found["random"]["points"] == len(kept)
    drawn = np.concatenate([reference.keys(0, b"/random", piece) for piece in reference.pieces()])
    subset = whole[np.argsort(drawn)[: len(kept)]]
    ours, theirs = (cdist(whole, each).min(axis=1) for each in (kept, subset))
    unseen = (ours > 0) & (theirs > 0)
    assert 0.5 * len(whole) < unseen.sum() < len(whole)
    assert found["random"]["queries"] == unseen.sum()
    assert found["random"]["value"] == pytest.approx(theirs[unseen].mean(), rel=1e-9)
    assert found["random"]["difference"]["value"] == pytest.approx((ours - theirs)[unseen].mean(), rel=1e-9)
    assert found["duplicates"]["members"]["in_reference"] == [[each.name, each.name] for each in points.members]

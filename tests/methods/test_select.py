"""Selection from plain arrays and files."""

import pathlib
from typing import Any

import numpy as np
import pytest

from coreset.errors import DataError, RequestError, WorkError
from coreset.methods import METHODS, ScoreShard, serial_scan
from coreset.methods import select as select_module
from coreset.methods.select import ROWS, select, select_rows

SCORES = np.random.default_rng(0).lognormal(0, 1.5, 10_000)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"random-snapshots"}))
def test_select_is_the_rule_of_one_shard(method: str) -> None:
    options: dict[str, Any] = {} if method == "full" else {"prune": 0.8, "seed": 7}
    options |= {"cutoff": 0.1} if "cutoff" in METHODS[method].parameters else {}
    shard = ScoreShard(ROWS, 0, SCORES)
    expected = METHODS[method].rule(serial_scan(lambda: [shard]), **options).apply(shard).index
    found = select(SCORES, method, **options)
    assert found.dtype == np.int64 and np.array_equal(found, expected)


def test_the_size_of_a_piece_and_a_file_change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    expected = select(SCORES, cutoff=0.1)
    np.save(tmp_path / "scores.npy", SCORES)
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
    for piece in (999, 1 << 20):
        monkeypatch.setattr(select_module, "PIECE", piece)
        assert np.array_equal(select(mapped, cutoff=0.1), expected)
        assert np.array_equal(select(np.repeat(SCORES, 2)[::2], cutoff=0.1), expected)
        assert np.array_equal(select(SCORES.astype(">f8"), cutoff=0.1), expected)
        assert np.array_equal(select(SCORES.tolist(), cutoff=0.1), expected)


def test_integers_and_small_floats_are_taken() -> None:
    values = np.random.default_rng(0).integers(-50, 50, 1000)
    expected = select(values.astype(np.float64), prune=0.5, strata=10)
    for kind in (np.int8, np.int64, np.float16, np.float32):
        assert np.array_equal(select(values.astype(kind), prune=0.5, strata=10), expected)
    assert select(np.arange(100, dtype=np.uint16), "grand").tolist() == list(range(90, 100))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((5, 5)), r"one dimension, not empty, found shape \(5, 5\)"),
        (np.array([]), r"one dimension, not empty, found shape \(0,\)"),
        (np.array(["a"]), "expected float32, float64 or integers"),
        (np.array([True, False]), "expected float32, float64 or integers, found bool"),
        (np.array([1 + 1j]), "expected float32, float64 or integers"),
        (np.array([0, 2**53 + 1]), r"integers up to 2\*\*53"),
        (np.array([0, -(2**63)]), r"integers up to 2\*\*53"),
    ],
)
def test_scores_of_another_kind_are_refused(scores: np.ndarray, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        select(scores, "grand", prune=0.0)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("random", {"strata": 10}, "strata: method random takes"),
        ("grand", {"cutoff": 0.1}, "cutoff: method grand takes"),
        ("cut-random", {"redistribute": False}, "redistribute: method cut-random takes"),
        ("full", {"prune": 0.5}, "prune: method full takes no parameters"),
        ("random-snapshots", {}, "rows have none"),
        ("ccz", {}, "did you mean ccs"),
        ("random", {"seed": 0.5}, "seed: expected an integer"),
    ],
)
def test_requests_that_make_no_sense_are_refused(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        select(SCORES, method, **options)


def test_first_bad_row_is_named_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select_module, "PIECE", 1000)
    scores = SCORES.copy()
    scores[[4321, 8000]] = np.nan
    with pytest.raises(DataError, match="row 4321"):
        select(scores)


def test_masked_scores_are_no_scores() -> None:
    masked = np.ma.masked_array(SCORES, mask=False)
    assert np.array_equal(select(masked), select(SCORES))
    masked[[4321, 8000]] = np.ma.masked
    with pytest.raises(DataError, match="found row 4321 masked"):
        select(masked)


def test_rows_stream_in_ascending_pieces() -> None:
    shards = [ScoreShard(ROWS, first, SCORES[first : first + 999]) for first in range(0, SCORES.size, 999)]
    rule, pieces = select_rows(lambda: shards, prune=0.9, cutoff=0.3, seed=1)
    found = list(pieces)
    assert rule.kept == 1000 and len(found) == len(shards)
    assert np.array_equal(np.concatenate([piece.index for piece in found]), select(SCORES, cutoff=0.3, seed=1))
    strata = np.concatenate([piece.stratum for piece in found if piece.stratum is not None])
    assert np.bincount(strata, minlength=100).tolist() == list(rule.budgets)


def test_pieces_out_of_order_are_noticed() -> None:
    shards = [ScoreShard(ROWS, 5000, SCORES[5000:]), ScoreShard(ROWS, 0, SCORES[:5000])]
    _, pieces = select_rows(lambda: shards, "random")
    with pytest.raises(WorkError, match="expected a piece from row 0 on, found one from 5000"):
        list(pieces)

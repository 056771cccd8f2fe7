"""What the benchmarks say of a figure: its median, its range, and whether it meets the target."""

import json
import os

import pytest

from benchmarks.harness import Row, alternately, apart, pinned, row
from benchmarks.page import measured, page, target


def test_a_row_is_the_median_with_the_least_and_the_greatest() -> None:
    found = row("stage", "figure", [3.0, 1.0, 2.0, 9.0, 2.5], at_least=2.5)
    assert (found.value, found.low, found.high) == (2.5, 1.0, 9.0)


@pytest.mark.parametrize(
    ("limits", "met"),
    [
        ({}, None),
        ({"at_least": 2.0}, True),
        ({"at_least": 2.1}, False),
        ({"at_most": 2.0}, True),
        ({"at_most": 1.9}, False),
    ],
)
def test_a_target_is_met_by_the_median(limits: dict[str, float], met: bool | None) -> None:
    assert Row("stage", "figure", 2.0, 0.0, 9.0, **limits).met is met


def test_functions_take_turns_and_each_begins_a_round() -> None:
    calls: list[str] = []
    seconds = alternately(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert seconds.shape == (2, 3)
    assert (seconds >= 0).all()


def test_a_process_apart_has_one_thread_and_a_peak_of_its_own() -> None:
    ballast = bytearray(300 << 20)
    answer = apart("os:getenv", key="OMP_NUM_THREADS")
    assert answer["result"] == "1"
    assert 0 < answer["peak"] < len(ballast)


def test_kernels_of_another_processor_are_not_forced_on_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "OPENBLAS_CORETYPE" not in pinned()
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"


def test_the_page_shows_targets_and_figures_side_by_side() -> None:
    rows = [
        row("one", "time, of its peer", [1.0, 2.0, 3.0], at_most=1.5, note="The note."),
        row("two", "rate", [1234.5], unit="points/s"),
    ]
    where = {"hardware": "A machine.", "date": "2026-01-01", "commit": "abc", "seconds": 5}
    saved = {"rows": [vars(each) for each in rows], **where}
    text = page(json.loads(json.dumps({"stage_name": saved})), ["stage_name", "never_run"])
    assert "| one | time, of its peer | ≤ 1.5 × | 2 [1, 3] × | **no** |" in text
    assert "0 of 1 targets are met." in text
    assert "- The note." in text
    assert target(rows[1]) == ""
    assert measured(rows[1]) == "1,234 points/s"  # the one round is the range too

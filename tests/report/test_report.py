"""What people look at holds the figures, in words and units that are right."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from coreset.report.plan import duration, print_plan, size
from coreset.report.status import print_status, stage_states
from coreset.report.table import print_summary


def shown(show: Callable[..., None], *arguments: Any, width: int = 100) -> str:
    page = io.StringIO()
    show(*arguments, Console(file=page, width=width, markup=False))
    return page.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1.4, "1 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (5399, "90.0 min"),
        (5400, "1.5 h"),
        (36 * 3600, "1.5 d"),
        (8.64e6, "100.0 d"),
    ],
)
def test_a_duration_has_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (2**30, "1.0 GiB"),
        (3 * 2**40, "3.0 TiB"),
        (2**52, "4096.0 TiB"),
    ],
)
def test_a_size_has_a_binary_prefix(count: float, text: str) -> None:
    assert size(count) == text


PLAN = {
    "name": "al",
    "points": {"train": 1_500_000, "validation": 40},
    "kept": 150_000,
    "parameters": 12_345,
    "bytes": {"density": 2**20, "scores": 2**30, "descriptors_if_held": 2**40},
    "stages": {
        "scoring runs": {"artifacts": 4, "done": 1, "flops": 1.5e12, "points": 10, "seconds": 120.0, "memory": 2.0**30},
        "scoring": {"artifacts": 1, "done": 1, "flops": 0.0, "points": 0, "seconds": 0.0, "memory": 2.0**30},
    },
    "start": 10.0,
    "seconds": 7200.0,
    "energies": None,
    "workers": 2,
    "calibrated": False,
    "same_network": False,
}


def test_a_plan_shows_what_is_done_and_to_do() -> None:
    page = shown(print_plan, PLAN)
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in page.split("\n")
        if line.count("│") == 7
    }
    assert rows["scoring runs"] == ["1", "3", "1.5e+12", "2.0 min", "1.0 GiB"]
    assert rows["scoring"] == ["1", "0", "", "", ""]
    for part in (
        "train 1,500,000",
        "kept: 150,000",
        "12,345 parameters",
        "densities 1.0 MiB, scores 1.0 GiB",
        "2.0 h on 2 workers, 10 s of them until Ray runs",
        "assumed",
    ):
        assert part in page
    assert "energies: none; set energy.pseudopotentials" in page
    page = shown(print_plan, {**PLAN, "energies": 1_200})
    assert "until Ray runs, without 1,200 energies" in page
    assert "energies: none" not in page
    assert "energies" not in shown(print_plan, {**PLAN, "energies": 0})
    assert "measured on this machine with another network" in shown(print_plan, {**PLAN, "calibrated": True})
    page = shown(print_plan, {**PLAN, "calibrated": True, "same_network": True})
    assert "measured on this machine)" in page


def test_states_are_counted_from_what_stands(tmp_path: Path) -> None:
    (tmp_path / "a-1").mkdir()
    (tmp_path / "a-1" / "manifest.json").write_text("{}")
    (tmp_path / "a-2" / ".records").mkdir(parents=True)
    for name in ("x.json", "y.json", ".tmp-z.json"):
        (tmp_path / "a-2" / ".records" / name).write_text("{}")
    names = [("one", "a-1"), ("one", "a-2"), ("two", "b-1")]
    record = {"store": str(tmp_path), "stages": [{"title": title, "artifact": name} for title, name in names]}
    assert stage_states(record) == [
        {"stage": "one", "artifacts": 2, "done": 1, "shards": 2},
        {"stage": "two", "artifacts": 1, "done": 0, "shards": 0},
    ]


@pytest.mark.parametrize(
    ("state", "error", "goes_on"),
    [("done", None, False), ("failed", "disk [full]", True), ("interrupted", None, True), ("running", None, False)],
)
def test_a_status_tells_the_error_and_how_to_go_on(state: str, error: str | None, goes_on: bool) -> None:
    where, log = ("part 'b' of scoring", "log.jsonl, line 7") if error else ("", "")
    record = {"name": "al", "state": state, "error": error, "where": where, "log": log}
    last = {"time": "2026-01-01T00:00:00", "event": "stage begins", "stage": "scoring"}
    page = shown(print_status, record, [], last)
    assert f"al: {state}" in page
    for told in ("failed: part 'b' of scoring", "error: disk [full]", "log: log.jsonl, line 7"):
        assert (told in page) == (error is not None)
    assert ("last event: 2026-01-01T00:00:00 stage begins, stage scoring" in page) == (state == "running")
    assert ("Run the same command again" in page) == goes_on


def summary() -> dict[str, Any]:
    def figures(
        nrmse: float, half: float | None, verdict: str | None = None, difference: float = 0.0
    ) -> dict[str, Any]:
        low, high = (None, None) if half is None else (nrmse - half, nrmse + half)
        found: dict[str, Any] = {"nrmse": nrmse, "low": low, "high": high}
        if verdict:
            found["difference"] = {"nrmse": difference, "low": None, "high": None, "verdict": verdict}
        return found

    methods = {"full": (1000, 0.0), "random": (100, 0.9), "ccs": (101, 0.899), "grand": (102, 0.898)}
    return {
        "name": "al",
        "method": "ccs",
        "prune": 0.9,
        "corpus": {
            "train": {"snapshots": 8, "groups": 4, "points": 1000},
            "test.bulk": {"snapshots": 6, "groups": 3, "points": 600},
            "test.defects": {"snapshots": 1, "groups": 1, "points": 100},
        },
        "steps": 3000,
        "methods": {name: {"kept": [kept, kept], "rate": rate} for name, (kept, rate) in methods.items()},
        "coverage": {
            "random": {"auc": 0.1234, "difference": {"verdict": "lower"}},
            "ccs": {"auc": 0.2347},
            "grand": {"auc": 9.8761, "difference": {"verdict": "higher"}},
        },
        "evaluation": {
            "bulk": {
                "full": figures(0.0101, 0.0002, "lower", -0.0012),
                "random": figures(0.0115, 0.0031, "tie", 0.0002),
                "ccs": figures(0.0113, 0.0003),
                "grand": figures(0.0345, None, "higher", 0.0232),
            },
            "defects": {
                "full": figures(0.02, 0.001, "tie"),
                "random": figures(0.02, 0.001, "tie"),
                "ccs": figures(0.02, 0.001),
                "grand": figures(0.02, 0.001, "tie"),
            },
        },
    }


def test_the_table_shows_every_method_with_its_error_verdict_and_coverage() -> None:
    page = shown(print_summary, summary())
    bulk, rest = page.split("test set: defects")
    defects, coverage = rest.split("coverage of validation points")
    rows = {line.strip().split("  ")[0]: " ".join(line.split()) for line in bulk.split("\n")}
    assert rows["full corpus"] == "full corpus 1,000 0.0% 1.010 ± 0.020 better by 0.120"
    assert rows["random points"] == "random points 100 90.0% 1.150 ± 0.310 tie"
    assert rows["CCS"] == "CCS 101 89.9% 1.130 ± 0.030"
    assert rows["GraNd"] == "GraNd 102 89.8% 3.450 worse by 2.320"
    assert "1,000 training points of 8 snapshots, 90.0% pruned; 3,000 steps per network, 2 seeds" in " ".join(
        bulk.split()
    )
    covered = {line.strip().split("  ")[0]: " ".join(line.split()) for line in coverage.split("\n")}
    assert covered["random points"] == "random points 0.123 better"
    assert covered["CCS"] == "CCS 0.235"
    assert covered["GraNd"] == "GraNd 9.876 worse"
    assert "full corpus" not in covered
    assert "one trajectory" in defects
    assert "one trajectory" not in bulk
    assert "2.000 ± 0.100" in defects


def test_the_caption_says_how_many_queries_there_were_and_whether_they_sufficed() -> None:
    assert "queries" not in shown(print_summary, summary())  # nothing where a file does not say it
    told, enough = summary(), {"half_width": 0.001, "enough": True}
    for each in told["coverage"].values():
        each["queries"] = {"asked": 8000, **enough}
        if "difference" in each:
            each["difference"]["queries"] = enough
    page = " ".join(shown(print_summary, told).split())
    # 0.001 of the smallest AUC_pr, 0.1234.
    assert "8,000 queries, of which another sample would change an AUC_pr by ±0.8%: enough for each AUC_pr" in page
    assert "estimates" not in page
    told["coverage"]["random"]["bias"] = {"value": 0.001, "low": 0.0005, "high": 0.002}
    page = " ".join(shown(print_summary, told).split())
    assert "Those of large coresets are estimates, too high by at most 1.6%." in page
    told["coverage"]["grand"]["difference"]["queries"] = {"half_width": 0.5, "enough": False}
    assert "±0.8%: too few to know" in " ".join(shown(print_summary, told).split())
    told["coverage"]["ccs"]["queries"] = {"asked": 8000, "half_width": None, "enough": False}
    assert "8,000 queries: too few to know" in " ".join(shown(print_summary, told).split())


def test_the_table_fits_eighty_columns() -> None:
    assert max(map(len, shown(print_summary, summary(), width=80).split("\n"))) <= 80
    wide = shown(print_summary, summary(), width=80)
    for method in ("full corpus", "random points", "CCS", "GraNd"):
        assert method in wide


def test_a_summary_survives_json() -> None:
    assert shown(print_summary, json.loads(json.dumps(summary()))) == shown(print_summary, summary())

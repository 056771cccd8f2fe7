"""Each verdict, from figures that leave no other."""

from typing import Any

import pytest

from coreset.report.claims import Claim, Finding, claims


def difference(low: float, high: float) -> dict[str, Any]:
    verdict = "lower" if high < 0 else "higher" if low > 0 else "tie"
    return {"value": (low + high) / 2, "low": low, "high": high, "verdict": verdict}


def cell(method: str, rate: float, tests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": f"steps {method} {rate:g}",
        "studies": ["methods"],
        "protocol": "steps",
        "method": method,
        "rate": rate,
        "cutoff": 0.3,
        "kept": [1234],
        "tests": tests,
        **more,
    }


def a_test_set(nrmse: float, **differences: dict[str, Any]) -> dict[str, Any]:
    return {
        "figures": {"nrmse": {"value": nrmse}, "h1_seminorm": {"value": 1.0}},
        "differences": {peer: {"nrmse": each, "h1_seminorm": each} for peer, each in differences.items()},
    }


def sweep(*cells: dict[str, Any], **more: Any) -> dict[str, Any]:
    found = {
        "protocol_order": ["steps"],
        "test_order": ["bulk", "defects"],
        "cells": list(cells),
        "coverage": {},
        "cutoffs": {},
        "costs": [],
        "costs_rate": 0.9,
        "method": "ccs",
        "time_to_target": None,
    }
    return {**found, **more}


def judged(found: dict[str, Any], statement: str) -> Claim:
    (claim,) = (each for each in claims(found) if each.statement.startswith(statement))
    return claim


def both(nrmse: float, **differences: dict[str, Any]) -> dict[str, Any]:
    return {name: a_test_set(nrmse, **differences) for name in ("bulk", "defects")}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.001, 0.0005, "confirmed"),
        (0.0002, 0.0009, "confirmed"),  # worse, but by less than a tenth
        (0.0005, 0.0015, "undecided here"),
        (0.0012, 0.0015, "not confirmed here"),
    ],
)
def test_as_good_means_within_a_tenth_of_the_whole_corpus_error(low: float, high: float, verdict: str) -> None:
    # The whole corpus errs by 0.01: what CCS errs more is within, astride or beyond 0.001.
    mine = 0.01 + (low + high) / 2
    found = sweep(cell("ccs", 0.9, both(mine, full=difference(low, high))))
    claim = judged(found, "CCS at 90% pruning is as accurate")
    assert claim.verdict == verdict
    assert ("worse but by less" in claim.reason) == (verdict == "confirmed" and low > 0)
    assert [finding.where for finding in claim.findings] == ["bulk"]
    assert "1,234 points" in claim.reason
    defects = judged(found, "What CCS keeps generalises to defects as the whole corpus does (within 10%), at 90%")
    assert defects.verdict == verdict
    assert [finding.where for finding in defects.findings] == ["defects"]


def test_a_tie_decides_nothing_and_the_other_side_refutes() -> None:
    statement = "CCS beats random points at 99%"
    for low, high, verdict in ((-2e-3, -1e-3, "confirmed"), (-1e-3, 1e-3, "undecided"), (1e-3, 2e-3, "not confirmed")):
        found = sweep(cell("ccs", 0.99, both(0.01, random=difference(low, high))))
        assert judged(found, statement).verdict.startswith(verdict)
    mixed = {
        "bulk": a_test_set(0.01, random=difference(-2e-3, -1e-3)),
        "defects": a_test_set(0.01, random=difference(-1, 1)),
    }
    assert judged(sweep(cell("ccs", 0.99, mixed)), statement).verdict == "confirmed in part (1 of 2)"
    assert judged(sweep(cell("ccs", 0.9, mixed)), statement).verdict == "not tested"


def test_worse_is_confirmed_by_a_higher_error() -> None:
    found = sweep(cell("grand", 0.9, both(0.02, random=difference(5e-3, 9e-3))))
    (claim,) = (
        each for each in claims(found) if each.statement.startswith("Pruning by GraNd") and "90%" in each.statement
    )
    assert claim.verdict == "confirmed"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1e-3, 1.5e-3, "confirmed"), (1.5e-3, 1.7e-3, "undecided here"), (1.7e-3, 3e-3, "not confirmed here")],
)
def test_chemical_accuracy_is_judged_by_the_interval(low: float, high: float, verdict: str) -> None:
    measured = a_test_set(0.01)
    measured["figures"]["energy"] = {"value": (low + high) / 2, "low": low, "high": high, "by_seed": [1.0]}
    measured["energy_snapshots"] = ["a", "b"]
    claim = judged(
        sweep(cell("ccs", 0.99, {"bulk": measured, "defects": a_test_set(0.01)})), "CCS at 99% pruning still"
    )
    assert claim.verdict == verdict
    assert "over 2 snapshots, 1 network " in claim.reason
    measured["figures"]["energy"] |= {"low": None, "high": None}
    found = sweep(cell("ccs", 0.99, {"bulk": measured, "defects": a_test_set(0.01)}))
    assert judged(found, "CCS at 99% pruning still").verdict == "undecided here"


@pytest.mark.parametrize(
    ("mine", "verdict"),
    [([2.0, 2.0, 2.0], "confirmed"), ([2.0, 4.0, 8.0], "undecided here"), ([8.0, 8.1, 8.2], "not confirmed here")],
)
def test_the_target_is_reached_with_a_third_of_the_work_by_the_interval_of_the_ratios(
    mine: list[float], verdict: str
) -> None:
    full, ccs = cell("full", 0.0, both(0.01)), cell("ccs", 0.9, both(0.01))
    reached = {"cells": {full["id"]: {"flops": [8.0, 8.0, 8.0]}, ccs["id"]: {"flops": mine}}}
    found = sweep(full, ccs, time_to_target=reached)
    assert judged(found, "It reaches 1.05").verdict == verdict
    reached["cells"][ccs["id"]]["flops"] = [2.0, 2.0, None]
    claim = judged(found, "It reaches 1.05")
    assert claim.verdict == "undecided here"
    assert "1 of 3 networks" in claim.reason


def test_equal_epochs_must_be_shorter_and_as_good() -> None:
    def trained(method: str, rate: float, flops: float, **differences: Any) -> dict[str, Any]:
        return cell(method, rate, both(0.0105, **differences), protocol="epochs", training={"flops": [flops, flops]})

    full = trained("full", 0.0, 100.0)
    for flops, low, high, verdict in (
        (10.0, 0.0002, 0.0008, "confirmed"),
        (50.0, 0.0002, 0.0008, "not confirmed here"),
        (10.0, 0.0004, 0.0016, "undecided here"),
        (10.0, 0.0020, 0.0030, "not confirmed here"),
    ):
        ccs = trained("ccs", 0.9, flops, full=difference(low, high))
        claim = judged(sweep(full, ccs), "Training on the CCS coreset")
        assert claim.verdict == verdict, (flops, low)
        assert f"{100 / flops:.2g} times less work" in claim.reason
        counted = sweep(full, ccs, costs=[{"flops": 60.0}, {"flops": 30.0}])
        assert judged(counted, "… and it still is with the cost").verdict == "not confirmed here"


def test_coverage_is_better_where_the_peer_lies_higher() -> None:
    peer = {"auc": 9.0, "difference": difference(0.2, 0.3)}
    found = sweep(coverage={"0.9": {"ccs": {"auc": 8.7}, "grand": peer}})
    assert judged(found, "CCS covers validation points better than GraNd").verdict == "confirmed"


def test_the_strata_are_tested_only_where_something_is_cut() -> None:
    tests = both(0.01, **{"cut-random": difference(-2e-3, -1e-3)})
    assert judged(sweep(cell("ccs", 0.9, tests, cutoff=0.0)), "The strata do it").verdict == "not tested"
    assert judged(sweep(cell("ccs", 0.9, tests, cutoff=0.3)), "The strata do it").verdict == "confirmed"


@pytest.mark.parametrize(
    ("chosen", "verdict"),
    [((0.0, 0.1, 0.3), "confirmed"), ((0.3, 0.1, 0.3), "undecided here"), ((0.1, 0.1, 0.1), "undecided here")],
)
def test_a_growing_cutoff_never_falls_and_rises_once(chosen: tuple[float, ...], verdict: str) -> None:
    cutoffs = {f"{rate:g}": {"value": beta, "curve": []} for rate, beta in zip((0.5, 0.9, 0.99), chosen, strict=True)}
    assert judged(sweep(cutoffs=cutoffs), "The best β grows").verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.0005, 0.0005, "confirmed"),
        (-0.0005, 0.0015, "undecided here"),
        (0.0011, 0.0015, "not confirmed here"),
        (-0.0015, -0.0011, "not confirmed here"),
    ],
)
def test_a_setting_hardly_matters_where_its_paired_difference_stays_within_a_tenth(
    low: float, high: float, verdict: str
) -> None:
    own = cell("ccs", 0.9, both(0.01), strata=100, score_epoch=2)
    for setting, value, statement in (("strata", 10, "The number of strata"), ("score_epoch", 1, "The scoring epoch")):
        tests = both(0.01 + (low + high) / 2, ccs=difference(low, high))
        studied = cell("ccs", 0.9, tests, **{"studies": [setting], "id": "studied", setting: value})
        assert judged(sweep(own, studied), statement).verdict == verdict


def test_nothing_found_is_not_tested_and_says_what_it_would_take() -> None:
    for claim in claims(sweep()):
        assert claim.verdict == "not tested"
        assert claim.reason == claim.missing


def test_a_claim_is_as_good_as_its_findings() -> None:
    def verdict(*held: bool | None) -> str:
        return Claim("", "", tuple(Finding("", "", each) for each in held), "").verdict

    assert verdict(True, True) == "confirmed"
    assert verdict(True, False, None) == "confirmed in part (1 of 3)"
    assert verdict(None, None) == "undecided here"
    assert verdict(None, False) == "not confirmed here"

"""Each verdict, from figures that leave no other."""

from pathlib import Path
from typing import Any

import pytest

from coreset.report.claims import Claim, claims
from coreset.report.evidence import Evidence
from coreset.report.findings import Finding


def difference(low: float, high: float, seeds: int = 5, groups: int = 12) -> dict[str, Any]:
    verdict = "lower" if high < 0 else "higher" if low > 0 else "tie"
    return {"value": (low + high) / 2, "low": low, "high": high, "verdict": verdict, "seeds": seeds, "groups": groups}


def cell(method: str, rate: float, tests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": f"steps {method} {rate:g}",
        "studies": ["methods"],
        "protocol": "steps",
        "method": method,
        "rate": rate,
        "cutoff": 0.3,
        "seeds": 5,
        "kept": [1234],
        "tests": tests,
        **more,
    }


def a_test_set(nrmse: float, **differences: dict[str, Any]) -> dict[str, Any]:
    keys = ("nrmse", "h1_seminorm", "energy")
    return {
        "figures": {
            "nrmse": {"value": nrmse},
            "h1_seminorm": {"value": nrmse},
            **({"energy": an_energy(nrmse / 2, nrmse * 1.5)} if differences else {}),
        },
        "energy_snapshots": ["a", "b"],
        "differences": {peer: dict.fromkeys(keys, each) for peer, each in differences.items()},
    }


def an_energy(low: float, high: float, networks: int = 3, groups: int = 2) -> dict[str, Any]:
    by_seed = [(low + high) / 2] * networks
    return {"value": by_seed[0], "low": low, "high": high, "by_seed": by_seed, "seeds": networks, "groups": groups}


def sweep(*cells: dict[str, Any], **more: Any) -> Evidence:
    found = {
        "name": "a sweep",
        "corpus": {"train": {"points": 12340}},
        "protocol_order": ["steps"],
        "test_order": ["bulk", "defects"],
        "cells": list(cells),
        "coverage": {},
        "cutoffs": {},
        "costs": [],
        "costs_rate": 0.9,
        "method": "ccs",
        "prune": 0.9,
        "time_to_target": None,
    }
    return Evidence(Path(), {**found, **more}, swept=True)


def judged(found: Evidence, statement: str) -> Claim:
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
    defects = judged(found, "What CCS keeps generalises to defects as the whole corpus does (NRMSE within 10%), at 90%")
    assert defects.verdict == verdict
    assert [finding.where for finding in defects.findings] == ["defects"]


@pytest.mark.parametrize("error", ["NRMSE", "ΔE", "H¹ semi-norm"])
@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-2e-3, -1e-3, "confirmed"),
        (1e-3, 2e-3, "not confirmed here"),
        (-9e-4, 9e-4, "not confirmed here: a tie"),
        (-2e-3, 1e-3, "undecided here"),
    ],
)
def test_better_is_judged_in_each_error_and_a_tie_by_its_width(
    low: float, high: float, verdict: str, error: str
) -> None:
    # The peer errs by 0.01, so a tie is tight below 0.001.
    tests = both(0.01 + (low + high) / 2, random=difference(low, high))
    claim = judged(sweep(cell("ccs", 0.99, tests)), f"CCS beats random points at 99% ({error})")
    assert claim.verdict == verdict
    assert ("tie within" in claim.reason) == (low < 0 < high)
    assert "tie within 9%" in claim.reason or verdict != "not confirmed here: a tie"
    unit = {"NRMSE": "%", "ΔE": "mHa/atom", "H¹ semi-norm": "× 10⁻³ e/Bohr^(5/2)"}[error]
    assert f" {unit}, difference" in claim.reason
    assert judged(sweep(cell("ccs", 0.9, tests)), f"CCS beats random points at 99% ({error})").verdict == "not tested"


def test_in_part_says_how_often_it_holds_and_how_often_it_is_refuted() -> None:
    better, worse, wide = difference(-2e-3, -1e-3), difference(1e-3, 2e-3), difference(-1, 1)
    for others, verdict in (
        ((better, wide), "confirmed in part (1 of 2)"),
        ((better, worse), "confirmed in part (1 of 2; 1 refuted)"),
        ((worse, wide), "not confirmed here (1 of 2 refuted)"),
    ):
        tests = {name: a_test_set(0.01, random=each) for name, each in zip(("bulk", "defects"), others, strict=True)}
        assert judged(sweep(cell("ccs", 0.99, tests)), "CCS beats random points at 99% (NRMSE)").verdict == verdict


def test_one_network_decides_nothing() -> None:
    for low, high in ((-2e-3, -1e-3), (1e-3, 2e-3), (-1e-6, 1e-6)):
        one = difference(low, high, seeds=1)
        found = sweep(cell("ccs", 0.9, both(0.01, full=one, random=one, **{"cut-random": one})))
        for statement in ("CCS at 90% pruning is as", "CCS beats random points at 90% (ΔE)", "The strata do it"):
            claim = judged(found, statement)
            assert claim.verdict == "undecided here"
            assert "1 network: no verdict" in claim.reason
            assert "tie" not in claim.reason


def test_one_trajectory_is_said_with_the_verdict() -> None:
    alone, many = difference(-2e-3, -1e-3, groups=1), difference(-2e-3, -1e-3)
    tie = difference(-1e-4, 1e-4)
    for others, verdict in (
        ((alone, alone), "confirmed (one trajectory each)"),
        ((alone, many), "confirmed"),
        ((tie, alone), "confirmed in part (1 of 2, one trajectory)"),
        ((tie, difference(1e-3, 2e-3, groups=1)), "not confirmed here (1 of 2 refuted, one trajectory)"),
        ((difference(-1e-4, 1e-4, groups=1),) * 2, "not confirmed here: a tie (one trajectory each)"),
    ):
        tests = {name: a_test_set(0.01, random=each) for name, each in zip(("bulk", "defects"), others, strict=True)}
        claim = judged(sweep(cell("ccs", 0.99, tests)), "CCS beats random points at 99% (NRMSE)")
        assert claim.verdict == verdict
        assert ("of seeds alone" in claim.reason) == any(each["groups"] == 1 for each in others)


def test_worse_is_confirmed_by_a_higher_error() -> None:
    found = sweep(cell("grand", 0.9, both(0.02, random=difference(5e-3, 9e-3))))
    (claim,) = (
        each for each in claims(found) if each.statement.startswith("Pruning by GraNd") and "90%" in each.statement
    )
    assert claim.verdict == "confirmed"


@pytest.mark.parametrize(
    ("method", "statement"), [("ccs", "CCS at 99% pruning still"), ("random", "Random points at 99% are chemically")]
)
@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1e-3, 1.5e-3, "confirmed"), (1.5e-3, 1.7e-3, "undecided here"), (1.7e-3, 3e-3, "not confirmed here")],
)
def test_chemical_accuracy_is_judged_by_the_interval(
    low: float, high: float, verdict: str, method: str, statement: str
) -> None:
    measured = a_test_set(0.01)
    found = sweep(cell(method, 0.99, {"bulk": measured, "defects": a_test_set(0.01)}))
    measured["figures"]["energy"] = an_energy(low, high)
    claim = judged(found, statement)
    assert claim.verdict == verdict
    assert "over 2 snapshots (1,234 points, 3 seeds, 2 trajectories)" in claim.reason
    measured["figures"]["energy"] = an_energy(low, high, groups=1)
    decided = verdict != "undecided here"
    assert judged(found, statement).verdict == verdict + (" (one trajectory)" if decided else "")
    measured["figures"]["energy"] = an_energy(low, high, networks=1)
    assert judged(found, statement).verdict == "undecided here"
    assert "1 network: no verdict" in judged(found, statement).reason
    measured["figures"]["energy"] |= {"low": None, "high": None}
    assert judged(found, statement).verdict == "undecided here"
    assert "no interval" in judged(found, statement).reason


@pytest.mark.parametrize(
    ("mine", "verdict"),
    [([2.0, 2.0, 2.0], "confirmed"), ([2.0, 4.0, 8.0], "undecided here"), ([8.0, 8.1, 8.2], "not confirmed here")],
)
def test_the_target_is_reached_with_a_third_of_the_work_by_the_interval_of_the_ratios(
    mine: list[float], verdict: str
) -> None:
    full, ccs = cell("full", 0.0, both(0.01)), cell("ccs", 0.9, both(0.01))
    reached = {"cells": {full["id"]: {"flops": [8.0, 8.0, 8.0]}, ccs["id"]: {"flops": mine}}}
    claim = judged(sweep(full, ccs, time_to_target=reached), "It reaches 1.05")
    assert claim.verdict == verdict
    assert "1,234 points, 3 seeds" in claim.reason


@pytest.mark.parametrize(
    ("whole", "mine", "trained", "verdict", "told"),
    [
        # A whole training is a lower bound of the work: ratios of at most 1.
        ([8.0, 8.1, 8.2], [7.0, None, None], 9.0, "not confirmed here", "2 of 3 networks never reached it in a whole"),
        # At most 4, which says nothing of 3; and never that the claim holds.
        ([8.0, 8.1, 8.2], [2.0, None, 2.0], 2.0, "undecided here", "at most"),
        ([8.0, None, 8.2], [2.0, 2.0, 2.0], 9.0, "undecided here", "1 of 3 networks of the whole corpus"),
        ([8.0], [8.0], 9.0, "undecided here", "1 network: no verdict"),
    ],
)
def test_what_never_reaches_the_target_took_its_whole_training_at_least(
    whole: list[float | None], mine: list[float | None], trained: float, verdict: str, told: str
) -> None:
    training = {"flops": [trained] * len(mine)}
    full, ccs = cell("full", 0.0, both(0.01)), cell("ccs", 0.9, both(0.01), training=training)
    reached = {"cells": {full["id"]: {"flops": whole}, ccs["id"]: {"flops": mine}}}
    claim = judged(sweep(full, ccs, time_to_target=reached), "It reaches 1.05")
    assert claim.verdict == verdict
    assert told in claim.reason


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
        counted = judged(sweep(full, ccs, costs=[{"flops": 60.0}, {"flops": 30.0}]), "… and it still is with the cost")
        assert counted.verdict == "not confirmed here"
        assert "1,234 points" in counted.reason


def covered(low: float, high: float, **counted: int) -> dict[str, Any]:
    """AUC_pr of GraNd and CCS at 90%, 2 and a little less above the floor of 7, with peer − CCS in [low, high]."""
    apart = {key: each for key, each in difference(low, high).items() if key not in ("seeds", "groups")}
    ccs = {"auc": 9.0 - (low + high) / 2}
    return {"0.9": {"full": {"auc": 7.0}, "ccs": ccs, "grand": {"auc": 9.0, "difference": {**apart, **counted}}}}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.2, 0.3, "confirmed"),
        (-0.3, -0.2, "not confirmed here"),
        (-0.1, 0.19, "not confirmed here: a tie"),
        (-0.1, 0.3, "undecided here"),
    ],
)
def test_coverage_is_better_where_the_peer_lies_higher_and_a_tie_is_measured_from_the_floor(
    low: float, high: float, verdict: str
) -> None:
    statement = "CCS covers validation points better than GraNd"
    found = sweep(cell("ccs", 0.9, both(0.01)), coverage=covered(low, high, seeds=5, groups=4))
    claim = judged(found, statement)
    assert claim.verdict == verdict
    assert "(1,234 points, 5 seeds, 4 trajectories)" in claim.reason
    for counted in ({}, {"seeds": 1, "groups": 4}):
        found = sweep(cell("ccs", 0.9, both(0.01)), coverage=covered(low, high, **counted))
        assert judged(found, statement).verdict == "undecided here"
        assert "1 coreset: no verdict" in judged(found, statement).reason


def test_the_strata_are_tested_only_where_something_is_cut() -> None:
    tests = both(0.01, **{"cut-random": difference(-2e-3, -1e-3)})
    assert judged(sweep(cell("ccs", 0.9, tests, cutoff=0.0)), "The strata do it").verdict == "not tested"
    assert judged(sweep(cell("ccs", 0.9, tests, cutoff=0.3)), "The strata do it").verdict == "confirmed"


@pytest.mark.parametrize(
    ("chosen", "ties", "verdict"),
    [
        ((0.0, 0.1, 0.3), ([0.0], [0.1], [0.3]), "confirmed"),
        # The least of a few noisy means grows, and nothing tells one from the next.
        ((0.0, 0.1, 0.3), ([0.0, 0.1], [0.1, 0.3], [0.1, 0.3]), "undecided here"),
        ((0.0, 0.1, 0.3), ([0.0, 0.1], [0.1, 0.3], [0.3]), "confirmed"),
        ((0.3, 0.1, 0.0), ([0.3, 0.1], [0.1], [0.0]), "not confirmed here"),
        ((0.1, 0.3, 0.0), ([0.1], [0.3], [0.0]), "undecided here"),
        # Sets without a common value, and none above the other.
        ((0.1, 0.3, 0.3), ([0.1, 0.5], [0.3], [0.3]), "undecided here"),
        ((0.0, 0.1, 0.3), None, "undecided here"),
    ],
)
def test_a_growing_cutoff_is_one_that_validation_can_tell_apart(
    chosen: tuple[float, ...], ties: tuple[list[float], ...] | None, verdict: str
) -> None:
    cutoffs = {f"{rate:g}": {"value": beta, "curve": []} for rate, beta in zip((0.5, 0.9, 0.99), chosen, strict=True)}
    for found, tied in zip(cutoffs.values(), ties or (), strict=False):
        found["ties"] = tied
    claim = judged(sweep(cell("ccs", 0.9, both(0.01)), cutoffs=cutoffs), "The best β grows")
    assert claim.verdict == verdict
    assert f"90% (1,234 points): {chosen[1]:g}" in claim.reason
    assert ("is not known" in claim.reason) == (ties is None)


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


def test_every_claim_names_the_error_that_it_speaks_of() -> None:
    said = " ".join(claim.statement for claim in claims(sweep()) if "beats" in claim.statement)
    assert said.count("(NRMSE)") == 5  # CCS against two peers at two rates, and against cut-random
    assert said.count("(ΔE)") == said.count("(H¹ semi-norm)") == 4


def test_a_claim_is_as_good_as_its_findings() -> None:
    def verdict(*held: bool | None, tie: bool = False) -> str:
        return Claim("", "", tuple(Finding("", "", each, tie=tie) for each in held), "").verdict

    assert verdict(True, True) == "confirmed"
    assert verdict(True, False, None) == "confirmed in part (1 of 3; 1 refuted)"
    assert verdict(None, None) == "undecided here"
    assert verdict(None, None, tie=True) == "not confirmed here: a tie"
    assert verdict(None, False) == "not confirmed here (1 of 2 refuted)"
    assert verdict(False, False) == "not confirmed here"

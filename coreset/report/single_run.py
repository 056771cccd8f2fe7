"""A run's summary in the form of a sweep, so that one page shows either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def as_sweep(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's summary in the form of a sweep: one rate, one protocol."""
    prune = summary["prune"]
    cells = []
    for method, trained in summary["methods"].items():
        tests = {}
        for name, by_method in summary["evaluation"].items():
            evaluated = by_method[method]
            plain = {"value": evaluated["nrmse"], "low": evaluated["low"], "high": evaluated["high"]}
            tests[name] = {"figures": evaluated.get("figures", {"nrmse": plain}), "differences": {}}
            tests[name] |= {kind: evaluated.get(kind, {}) for kind in ("by_temperature", "by_composition")}
            against = evaluated.get("differences")
            if against is None and "difference" in evaluated:
                stated = evaluated["difference"]
                against = {"nrmse": {"value": stated["nrmse"], **{k: stated[k] for k in ("low", "high", "verdict")}}}
            if against:
                tests[name]["differences"][summary["method"]] = against
        rate = 0.0 if method == "full" else prune
        cells.append(
            {
                "id": f"steps {method} {rate:g}",
                "studies": ["methods"],
                "protocol": "steps",
                "method": method,
                "rate": rate,
                "cutoff": summary.get("cutoff", {}).get("value") if method in ("ccs", "cut-random") else None,
                "kept": trained["kept"],
                "seeds": len(trained["kept"]),
                "tests": tests,
            }
        )
    _compare_with_whole(cells, summary["method"])
    return {
        "name": summary["name"],
        "command": "coreset run",
        **({"table": summary["table"]} if "table" in summary else {}),
        "method": summary["method"],
        "prune": prune,
        "corpus": summary["corpus"],
        "protocols": {"steps": {"steps": summary["steps"]}},
        "protocol_order": ["steps"],
        "test_order": list(summary["evaluation"]),
        "cells": cells,
        "cutoffs": {f"{prune:g}": summary["cutoff"]} if "cutoff" in summary else {},
        "coverage": {f"{prune:g}": summary.get("coverage", {})},
        "scores": summary.get("scores", {}),
    }


def _compare_with_whole(cells: Sequence[Mapping[str, Any]], own: str) -> None:
    """A run compares every method with the job's own; a sweep, the job's own with the whole corpus too."""
    by_method = {cell["method"]: cell["tests"] for cell in cells}
    for test, whole in by_method.get("full", {}).items():
        against = whole["differences"].get(own, {})
        if own != "full" and against:
            by_method[own][test]["differences"]["full"] = {key: turned(each) for key, each in against.items()}


def turned(difference: Mapping[str, Any]) -> dict[str, Any]:
    """The paired difference of two methods the other way round."""
    low, high = (None if difference.get(side) is None else -difference[side] for side in ("high", "low"))
    verdict = {"lower": "higher", "higher": "lower", "tie": "tie"}[difference["verdict"]]
    return {**difference, "value": -difference["value"], "low": low, "high": high, "verdict": verdict}

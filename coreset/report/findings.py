"""What a sweep says of a claim: findings, each of one test set or one rate, with the interval that it rests on.

A finding holds where the 95% interval of a paired difference says so. Better or worse means that it excludes zero; as
good as means that its upper end lies below a tenth of the error of the whole corpus, and is said with it. What the
interval leaves open holds neither way: a tie, said with how far apart the two may be. One network, or one coreset,
decides nothing, for no interval knows how much the next would differ. Every finding names the number of points that
were kept, for a verdict at 99% means little without it: 1% of the paper's aluminium corpus is 432,000 points. Each
interval is at 95% by itself: of twenty differences that are zero, one is expected to look like more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from coreset.numerics.intervals import crossed_interval
from coreset.report.evidence import Evidence
from coreset.report.figure import percent, rounded
from coreset.report.quantity import ENERGY, NRMSE, Quantity
from coreset.report.single_run import turned
from coreset.report.wording import Wording

MARGIN = 0.10
"""Share of the whole corpus's error that a network may lose and still count as as good."""
CHEMICAL_ACCURACY = 1.6e-3
"""Ha per atom."""
FASTER = 3.0
"""How much faster training on a coreset is said to be."""
RATES = 3
"""The least number of rates over which β can be said to grow."""


@dataclass(frozen=True)
class Finding:
    """What was measured on one test set, or at one rate; `holds` is None where nothing is decided."""

    where: str
    text: str
    holds: bool | None
    alone: bool = False
    """Whether one trajectory was measured, so that the interval tells of seeds alone."""
    tie: bool = False
    """Whether it is a tie, and a tight one: the two differ by less than `MARGIN`."""


def as_good(
    evidence: Evidence, method: str, rate: float, quantity: Quantity, tests: Sequence[str]
) -> Iterator[Finding]:
    """Whether a network is as good as the whole corpus's, by `MARGIN`."""
    cell = evidence.cell(method, rate)
    if cell is not None:
        for test in tests:
            yield from _against_whole(evidence, test, cell, quantity)


def better(evidence: Evidence, method: str, peer: str, rate: float, quantity: Quantity = NRMSE) -> Iterator[Finding]:
    """Whether a method's error is lower than a peer's at the same rate."""
    yield from _compare(evidence, method, peer, rate, quantity, "lower")


def worse(evidence: Evidence, method: str, peer: str, rate: float, quantity: Quantity = NRMSE) -> Iterator[Finding]:
    """Whether a method's error is higher than a peer's at the same rate."""
    yield from _compare(evidence, method, peer, rate, quantity, "higher")


def _compare(
    evidence: Evidence, method: str, peer: str, rate: float, quantity: Quantity, wanted: str
) -> Iterator[Finding]:
    cell = evidence.cell(method, rate)
    for test in evidence.tests if cell else ():
        measured = cell["tests"][test] if cell else {}
        difference = measured["differences"].get(peer, {}).get(quantity.key)
        if cell is None or difference is None:
            continue
        mine = measured["figures"][quantity.key]["value"]
        found = _sided(f"{test}, {percent(rate)}", quantity, mine, difference, wanted)
        yield replace(found, text=f"{found.text} ({_behind(evidence.words, cell, difference)})")


def _sided(
    where: str, quantity: Quantity, mine: float, difference: Mapping[str, Any], wanted: str, floor: float = 0.0
) -> Finding:
    """Whether a paired difference, mine − theirs, lies on the wanted side; a tie's width is a share of theirs.

    floor: what no method can be below, so that only what lies above it counts.
    """
    low, high, theirs = difference["low"], difference["high"], mine - difference["value"]
    text = quantity.pair(mine, theirs, difference)
    if low is None:
        return Finding(where, f"{text}, no interval", None)
    text += f", difference {quantity.within(difference, '+')}"
    alone = difference["groups"] == 1
    if difference["seeds"] < 2:
        return Finding(where, text, None, alone)
    if difference["verdict"] != "tie":
        return Finding(where, text, difference["verdict"] == wanted, alone)
    if theirs <= floor:
        return Finding(where, f"{text}, tie", None, alone)
    reach = max(-low, high) / (theirs - floor)
    width = f"{100 * reach:.2g}" if reach < MARGIN else f"{100 * reach:,.0f}"
    text += f", tie within {width}%{' of its distance to the floor' if floor else ''}"
    return Finding(where, text, None, alone, tie=reach < MARGIN)


def _against_whole(evidence: Evidence, test: str, cell: Mapping[str, Any], quantity: Quantity) -> Iterator[Finding]:
    measured = cell["tests"][test]
    difference = measured["differences"].get("full", {}).get(quantity.key)
    if difference is None:
        return
    mine = measured["figures"][quantity.key]["value"]
    whole, behind = mine - difference["value"], _behind(evidence.words, cell, difference)
    if difference["high"] is None or whole <= 0:
        text = f"{quantity.pair(mine, whole, difference)}, no interval ({behind})"
        yield Finding(test, text, None)
        return
    low, high = difference["low"] / whole, difference["high"] / whole
    text = f"{difference['value'] / whole:+.1%} [{low:+.1%}, {high:+.1%}] against the whole corpus"
    text += ", worse but by less than 10%" if low > 0 and high < MARGIN else ""
    holds = _below(low, high, MARGIN) if difference["seeds"] > 1 else None
    yield Finding(test, f"{text} ({behind})", holds, difference["groups"] == 1)


def chemically_accurate(evidence: Evidence, method: str, rate: float) -> Iterator[Finding]:
    """Whether the mean |ΔE| per atom lies below 1 kcal/mol, by its interval."""
    cell = evidence.cell(method, rate)
    for test in evidence.tests if cell else ():
        measured = cell["tests"][test] if cell else {}
        energy = measured["figures"].get(ENERGY.key)
        if cell is None or energy is None:
            continue
        networks, holds, known = len(energy["by_seed"]), None, energy["low"] is not None
        if networks > 1 and known:
            holds = _below(energy["low"], energy["high"], CHEMICAL_ACCURACY)
        text = ENERGY.within(above_zero(energy)) if known else ENERGY.text(energy)
        text += f" mHa/atom{'' if known else ', no interval'} over {len(measured['energy_snapshots'])} snapshots"
        alone = energy["groups"] == 1
        yield Finding(
            test,
            f"{text} ({_behind(evidence.words, cell, {'seeds': networks, 'groups': energy['groups']})})",
            holds,
            alone,
        )


def above_zero(estimate: Mapping[str, Any]) -> dict[str, Any]:
    """The interval of what cannot be negative, such as |ΔE|."""
    return {**estimate, "low": None if estimate["low"] is None else max(estimate["low"], 0.0)}


def shorter(evidence: Evidence, rate: float, selection: bool) -> Iterator[Finding]:
    """Under equal epochs: how much less work CCS takes, and whether its network is as good all the same."""
    full, ccs = evidence.cell("full", 0.0, "epochs"), evidence.cell("ccs", rate, "epochs")
    if full is None or ccs is None or (selection and evidence.sweep["costs_rate"] != rate):
        return
    extra = sum(row["flops"] for row in evidence.sweep["costs"]) if selection else 0.0
    ratio = fmean(full["training"]["flops"]) / (fmean(ccs["training"]["flops"]) + extra)
    text = f"{rounded(ratio)} times less work, as at {evidence.label('random')} of that number"
    if selection:
        text = f"the whole corpus takes {rounded(ratio)} times the work of selection and one training on what it kept"
    for finding in _against_whole(evidence, evidence.tests[0], ccs, NRMSE):
        where = f"{percent(rate)}, equal epochs, {finding.where}"
        finding = replace(finding, where=where, text=f"{text}; error {finding.text}")
        # The work is counted, not sampled: where it is too much, no interval has a say.
        yield replace(finding, holds=False, alone=False) if ratio < FASTER else finding


def sooner(evidence: Evidence, rate: float) -> Iterator[Finding]:
    """How much less work CCS takes than the whole corpus to its validation error times 1.05, paired by seed.

    A network that never comes so far takes at least the work of its whole training, which bounds its ratio from above.
    """
    reached = evidence.sweep.get("time_to_target")
    cell, full = evidence.cell("ccs", rate), evidence.cell("full", 0.0)
    if not reached or cell is None or full is None:
        return
    mine, whole = (reached["cells"][each["id"]]["flops"] for each in (cell, full))
    seeds = min(len(mine), len(whole))
    where, behind = (
        f"{percent(rate)}, floating-point work",
        f"{cell['kept'][0]:,} {evidence.words.points}, {_seeds(seeds)}",
    )
    if None in whole[:seeds] or seeds < 2:
        lost = whole[:seeds].count(None)
        text = f"{lost} of {seeds} networks of the whole corpus never reached it" if lost else "no interval"
        yield Finding(where, f"{text} ({behind})", None)
        return
    spent = [cell["training"]["flops"][i] if mine[i] is None else mine[i] for i in range(seeds)]
    found = crossed_interval(np.log([[a / b] for a, b in zip(whole, spent, strict=False)]))
    ratio, low, high = (float(np.exp(each)) for each in (found.value, found.low, found.high))
    missed = mine[:seeds].count(None)
    if missed:
        never = f"{missed} of {seeds} networks never reached it in a whole training"
        text = f"at most {ratio:.2f} (interval up to {high:.2f}) times less, for {never} ({behind})"
        yield Finding(where, text, False if high < FASTER else None)
        return
    holds = True if low >= FASTER else False if high < FASTER else None
    yield Finding(where, f"{ratio:.2f} [{low:.2f}, {high:.2f}] times less ({behind})", holds)


def covers(evidence: Evidence, peer: str) -> Iterator[Finding]:
    """Whether CCS's AUC_pr is lower than a peer's, on the same queries.

    No part of the corpus can cover better than all of it, so a tie is measured against what lies above that floor.
    """
    # The differences are from the job's own method.
    coverage = evidence.sweep.get("coverage", {}) if evidence.own == "ccs" else {}
    for rate, by_method in sorted(coverage.items(), key=lambda item: float(item[0])):
        other, cell = by_method.get(peer), evidence.cell("ccs", float(rate))
        if other is None or "difference" not in other or "ccs" not in by_method or cell is None:
            continue
        # Peer − CCS as CCS − peer; a file that does not say how many coresets it is over has one.
        mine = {"seeds": 1, "groups": 0, **turned(other["difference"])}
        floor = by_method.get("full", other)["auc"]
        found = _sided(percent(float(rate)), evidence.words.auc, other["auc"] + mine["value"], mine, "lower", floor)
        yield replace(found, text=f"{found.text} ({_behind(evidence.words, cell, mine, 'coreset')})")


def growing_cutoff(evidence: Evidence) -> Iterator[Finding]:
    """Whether the β of one rate, and all that validation cannot tell from it, lie above those of a lower rate.

    β is the least of a few noisy means, so where two rates have a β in common, nothing tells them apart.
    """
    found = {float(rate): each for rate, each in evidence.sweep.get("cutoffs", {}).items() if "curve" in each}
    if len(found) < RATES:
        return
    rates = sorted(found)
    text = ", ".join(f"{evidence.rate_label(rate)}: {_chosen(found[rate])}" for rate in rates)
    if any("ties" not in each for each in found.values()):
        yield Finding("β by validation", f"{text}; how sure each choice is, is not known", None)
        return
    sets = {rate: {each["value"], *each["ties"]} for rate, each in found.items()}
    pairs = [(sets[low], sets[high]) for i, low in enumerate(rates) for high in rates[i + 1 :]]
    grows = any(max(low) < min(high) for low, high in pairs)
    falls = any(min(low) > max(high) for low, high in pairs)
    yield Finding("β by validation", text, grows if grows != falls else None)


def _chosen(cutoffs: Mapping[str, Any]) -> str:
    ties = sorted({*cutoffs.get("ties", ())} - {cutoffs["value"]})
    return f"{cutoffs['value']:g}" + (f" (no worse: {', '.join(f'{each:g}' for each in ties)})" if ties else "")


def insensitive(evidence: Evidence, setting: str) -> Iterator[Finding]:
    """Whether each value of a setting gives the error of the job's own value, within `MARGIN`."""
    for cell in (cell for cell in evidence.cells if setting in cell["studies"]):
        own = evidence.cell("ccs", cell["rate"])
        measured = cell["tests"][evidence.tests[0]]
        if own is None or cell["id"] == own["id"] or "ccs" not in measured["differences"]:
            continue
        difference = measured["differences"]["ccs"]["nrmse"]
        base = measured["figures"]["nrmse"]["value"] - difference["value"]
        if difference["low"] is None or base <= 0:
            continue
        low, high = difference["low"] / base, difference["high"] / base
        holds = True if low > -MARGIN and high < MARGIN else False if low > MARGIN or high < -MARGIN else None
        yield Finding(
            f"{percent(cell['rate'])}, {cell[setting]:g} instead of {own[setting]:g}",
            f"{difference['value'] / base:+.1%} [{low:+.1%}, {high:+.1%}] "
            f"({_behind(evidence.words, cell, difference)})",
            holds if difference["seeds"] > 1 else None,
            difference["groups"] == 1,
        )


def _behind(words: Wording, cell: Mapping[str, Any], figure: Mapping[str, Any], what: str = "network") -> str:
    """What a figure rests on: points, seeds, groups."""
    groups = figure["groups"]
    text = f"{cell['kept'][0]:,} {words.points}, {_seeds(figure['seeds'], what)}"
    return f"{text}, {words.group.count(figure)}{': of seeds alone' if groups == 1 else ''}" if groups else text


def _seeds(seeds: int, what: str = "network") -> str:
    return f"{seeds} seeds" if seeds > 1 else f"1 {what}: no verdict"


def _below(low: float, high: float, border: float) -> bool | None:
    return True if high < border else False if low > border else None

"""The paper's claims, each put to the test by the figures of one sweep.

A claim holds on a test set where the 95% interval of a paired difference says so. Better or worse means that it
excludes zero; as good as means that its upper end lies below a tenth of the error of the whole corpus, and is said with
it. What the interval leaves open is undecided, and a tie is no evidence for either side. Every finding names the number
of points that were kept, for a verdict at 99% means little without it: 1% of the paper's aluminium corpus is 432,000
points. Each interval is at 95% by itself: of twenty differences that are zero, one is expected to look like more.

Source: Pathrudkar et al., arXiv 2507.09001.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from coreset.numerics.intervals import crossed_interval

MARGIN = 0.10
"""Share of the whole corpus's error that a network may lose and still count as as good."""
CHEMICAL_ACCURACY = 1.6e-3
"""Ha per atom."""
FASTER = 3.0
"""How much faster training on a coreset is said to be."""


@dataclass(frozen=True)
class Finding:
    """What was measured on one test set, or at one rate; `holds` is None where the intervals decide nothing."""

    where: str
    text: str
    holds: bool | None


@dataclass(frozen=True)
class Claim:
    """One claim and all that was found of it."""

    statement: str
    source: str
    findings: tuple[Finding, ...]
    missing: str
    """What it would take to test it, where nothing was found."""

    @property
    def verdict(self) -> str:
        """Confirmed, confirmed in part (how often), undecided here, not confirmed here, or not tested."""
        held = [finding.holds for finding in self.findings]
        if not held:
            return "not tested"
        if all(held):
            return "confirmed"
        if any(held):
            return f"confirmed in part ({held.count(True)} of {len(held)})"
        return "undecided here" if all(each is None for each in held) else "not confirmed here"

    @property
    def reason(self) -> str:
        """The findings in one line each, or what is missing."""
        return "; ".join(f"{each.where}: {each.text}" for each in self.findings) or self.missing


def claims(sweep: dict[str, Any]) -> list[Claim]:
    """Every claim of the paper, tested by the figures of `sweep.json`."""
    evidence = _Evidence(sweep)
    return [
        Claim(
            "Random pruning of 90% of the points hardly costs accuracy (within 10% of the whole corpus's error).",
            "abstract; Figs. 1, 4, 6, 8",
            tuple(evidence.as_good("random", 0.9, "nrmse", evidence.first)),
            "a sweep with random points at 90%",
        ),
        Claim(
            "CCS at 90% pruning is as accurate as the whole corpus (within 10%).",
            "II; Fig. 1",
            tuple(evidence.as_good("ccs", 0.9, "nrmse", evidence.first)),
            "a sweep with CCS at 90%",
        ),
        Claim(
            "CCS at 99% pruning is nearly as accurate as the whole corpus (within 10%).",
            "II; Fig. 1",
            tuple(evidence.as_good("ccs", 0.99, "nrmse", evidence.first)),
            "a sweep with CCS at 99%",
        ),
        Claim(
            "CCS at 99% pruning still gives chemically accurate energies (below 1.6 mHa/atom).",
            "abstract; Fig. 2",
            tuple(evidence.chemically_accurate("ccs", 0.99)),
            "energies: --set energy.pseudopotentials=DIR",
        ),
        *(
            Claim(
                f"CCS beats {name} at {percent(rate)}.",
                "Figs. 1, 3",
                tuple(evidence.better("ccs", peer, rate)),
                f"a sweep with CCS and {name} at {percent(rate)}",
            )
            for peer, name in (("random", "random points"), ("grand", "GraNd"))
            for rate in (0.9, 0.99)
        ),
        *(
            Claim(
                f"Pruning by GraNd scores alone collapses: worse than random points at {percent(rate)}.",
                "II; Figs. 4, 6, 8, 14, 15",
                tuple(evidence.worse("grand", "random", rate)),
                f"a sweep with GraNd and random points at {percent(rate)}",
            )
            for rate in (0.8, 0.9, 0.99)
        ),
        Claim(
            "The gradient of the density follows: the H¹ error of CCS at 90% is that of the whole corpus (within 10%).",
            "Fig. 3",
            tuple(evidence.as_good("ccs", 0.9, "h1_seminorm", evidence.first)),
            "a sweep with CCS at 90%",
        ),
        *(
            Claim(
                f"What CCS keeps generalises to defects as the whole corpus does (within 10%), at {percent(rate)}.",
                "V.5; Figs. 10, 16–18",
                tuple(evidence.as_good("ccs", rate, "nrmse", evidence.defects)),
                "a test set whose name begins with `defect`",
            )
            for rate in (0.9, 0.99)
        ),
        Claim(
            "… and to other systems, such as larger cells, at 90%.",
            "V.5; Fig. 16",
            tuple(evidence.as_good("ccs", 0.9, "nrmse", evidence.others)),
            "a further test set",
        ),
        Claim(
            "Training on the CCS coreset of 90% is three times as fast and as accurate (equal epochs, within 10%).",
            "V.7; Fig. 19",
            tuple(evidence.shorter(0.9, selection=False)),
            "the protocol `epochs`",
        ),
        Claim(
            "… and it still is with the cost of selection counted in.",
            "ours",
            tuple(evidence.shorter(0.9, selection=True)),
            "the protocol `epochs`",
        ),
        Claim(
            "It reaches 1.05 × the whole corpus's validation error with a third of the work.",
            "ours",
            tuple(evidence.sooner(0.9)),
            "training.checks in the job file",
        ),
        Claim(
            "CCS covers validation points better than GraNd (lower AUC_pr).",
            "V.4; Table 1",
            tuple(evidence.covers("grand")),
            "a sweep with GraNd",
        ),
        Claim(
            "CCS covers validation points better than random points do.",
            "ours; the row that Table 1 lacks",
            tuple(evidence.covers("random")),
            "a sweep with random points",
        ),
        Claim(
            "The strata do it, not the cut alone: CCS beats cut-random.",
            "ours",
            tuple(
                finding
                for rate in (0.9, 0.99)
                if evidence.cutoff(rate)
                for finding in evidence.better("ccs", "cut-random", rate)
            ),
            "a β above 0: where nothing is cut, cut-random is random points",
        ),
        Claim(
            "The best β grows with the pruning rate.",
            "V.2; Fig. 12",
            tuple(evidence.growing_cutoff()),
            "a sweep of three rates or more with cutoff: auto",
        ),
        Claim(
            "The number of strata hardly matters (within 10%).",
            "V.2; Fig. 11",
            tuple(evidence.insensitive("strata")),
            "sweep.studies.strata",
        ),
        Claim(
            "The scoring epoch hardly matters, so an early one suffices (within 10%).",
            "V.2; Fig. 13",
            tuple(evidence.insensitive("score_epoch")),
            "sweep.studies.score_epochs",
        ),
    ]


class _Evidence:
    """Looks figures up in one sweep."""

    def __init__(self, sweep: dict[str, Any]) -> None:
        self._sweep = sweep
        self._protocol = sweep["protocol_order"][0]
        tests: list[str] = sweep["test_order"]
        self.first = tests[:1]
        self.defects = [name for name in tests[1:] if name.startswith("defect")]
        self.others = [name for name in tests[1:] if name not in self.defects]
        self._tests = tests
        self._compared = {
            (cell["protocol"], cell["method"], cell["rate"]): cell
            for cell in sweep["cells"]
            if "methods" in cell["studies"]
        }

    def _cell(self, method: str, rate: float, protocol: str | None = None) -> dict[str, Any] | None:
        return self._compared.get((protocol or self._protocol, method, rate))

    def cutoff(self, rate: float) -> float:
        """β of CCS at a rate."""
        cell = self._cell("ccs", rate)
        return (cell["cutoff"] or 0.0) if cell else 0.0

    def as_good(self, method: str, rate: float, figure: str, tests: Sequence[str]) -> Iterator[Finding]:
        """Whether a network is as good as the whole corpus's, by `MARGIN`."""
        cell = self._cell(method, rate)
        if cell is not None:
            for test in tests:
                yield from _against_whole(test, cell, figure)

    def better(self, method: str, peer: str, rate: float) -> Iterator[Finding]:
        """Whether a method's error is lower than a peer's at the same rate."""
        yield from self._compare(method, peer, rate, "lower")

    def worse(self, method: str, peer: str, rate: float) -> Iterator[Finding]:
        """Whether a method's error is higher than a peer's at the same rate."""
        yield from self._compare(method, peer, rate, "higher")

    def _compare(self, method: str, peer: str, rate: float, wanted: str) -> Iterator[Finding]:
        cell = self._cell(method, rate)
        for test in self._tests if cell else []:
            measured = cell["tests"][test] if cell else {}
            if cell is None or peer not in measured["differences"]:
                continue
            mine, difference = measured["figures"]["nrmse"], measured["differences"][peer]["nrmse"]
            verdict, low, high = difference["verdict"], difference["low"], difference["high"]
            text = f"{mine['value']:.3%} against {mine['value'] - difference['value']:.3%}"
            if low is not None:
                text += f", difference {100 * difference['value']:+.3f} [{100 * low:+.3f}, {100 * high:+.3f}]"
            text += ", tie" if verdict == "tie" else ""
            yield Finding(f"{test}, {percent(rate)}", f"{text} ({_behind(cell, difference)})", _sided(verdict, wanted))

    def chemically_accurate(self, method: str, rate: float) -> Iterator[Finding]:
        """Whether the mean |ΔE| per atom lies below 1 kcal/mol, by its interval."""
        cell = self._cell(method, rate)
        for test, measured in (cell["tests"] if cell else {}).items():
            energy = measured["figures"].get("energy")
            if cell is None or energy is None:
                continue
            text, holds = f"{1e3 * energy['value']:.3f} mHa/atom", None
            if energy["low"] is None:
                text += ", no interval"
            else:
                text += f" [{1e3 * max(energy['low'], 0):.3f}, {1e3 * energy['high']:.3f}]"
                holds = _below(energy["low"], energy["high"], CHEMICAL_ACCURACY)
            networks = len(energy["by_seed"])
            of = f"{len(measured['energy_snapshots'])} snapshots, {networks} network{'s' if networks > 1 else ''}"
            yield Finding(test, f"{text} over {of} ({cell['kept'][0]:,} points)", holds)

    def shorter(self, rate: float, selection: bool) -> Iterator[Finding]:
        """Under equal epochs: how much less work CCS takes, and whether its network is as good all the same."""
        full, ccs = self._cell("full", 0.0, "epochs"), self._cell("ccs", rate, "epochs")
        if full is None or ccs is None or (selection and self._sweep["costs_rate"] != rate):
            return
        extra = sum(row["flops"] for row in self._sweep["costs"]) if selection else 0.0
        ratio = fmean(full["training"]["flops"]) / (fmean(ccs["training"]["flops"]) + extra)
        for finding in _against_whole(self._tests[0], ccs, "nrmse"):
            text = f"{ratio:.2g} times less work, as at random points of that number; error {finding.text}"
            if selection:
                text = (
                    f"the whole corpus takes {ratio:.2g} times the work of selection and one training on what it kept"
                )
            holds = False if ratio < FASTER else finding.holds
            yield Finding(f"{percent(rate)}, equal epochs, {finding.where}", text, holds)

    def sooner(self, rate: float) -> Iterator[Finding]:
        """How much less work CCS takes than the whole corpus to its validation error times 1.05, paired by seed."""
        reached = self._sweep["time_to_target"]
        cell, full = self._cell("ccs", rate), self._cell("full", 0.0)
        if not reached or cell is None or full is None:
            return
        mine, whole = (reached["cells"][each["id"]]["flops"] for each in (cell, full))
        where = f"{percent(rate)}, floating-point work"
        pairs = [(a, b) for a, b in zip(whole, mine, strict=False) if a is not None and b is not None]
        if len(pairs) < max(len(mine), 2):
            missed = len(mine) - len(pairs)
            yield Finding(
                where, f"{missed} of {len(mine)} networks, here or of the whole corpus, never reached it", None
            )
            return
        found = crossed_interval(np.log([[a / b] for a, b in pairs]))
        ratio, low, high = (float(np.exp(each)) for each in (found.value, found.low, found.high))
        text = f"{ratio:.2f} [{low:.2f}, {high:.2f}] times less ({_behind(cell, {})})"
        yield Finding(where, text, True if low >= FASTER else False if high < FASTER else None)

    def covers(self, peer: str) -> Iterator[Finding]:
        """Whether CCS's AUC_pr is lower than a peer's, on the same queries."""
        # The differences are from the job's own method.
        for rate, by_method in self._sweep["coverage"].items() if self._sweep["method"] == "ccs" else ():
            if peer not in by_method or "difference" not in by_method[peer] or "ccs" not in by_method:
                continue
            difference = by_method[peer]["difference"]  # peer − CCS
            verdict = difference["verdict"]
            text = f"{by_method['ccs']['auc']:.3f} against {by_method[peer]['auc']:.3f} Bohr"
            text += ", tie" if verdict == "tie" else ""
            yield Finding(percent(float(rate)), f"{text} (first coreset of each)", _sided(verdict, "higher"))

    def growing_cutoff(self) -> Iterator[Finding]:
        """Whether β as validation chose it never falls with the rate, and rises; else its choice is too uncertain."""
        chosen = sorted((float(rate), f["value"]) for rate, f in self._sweep["cutoffs"].items() if "curve" in f)
        if len(chosen) < 3:
            return
        values = [value for _, value in chosen]
        text = ", ".join(f"{percent(rate)}: {value:g}" for rate, value in chosen)
        grows = sorted(values) == values and values[0] < values[-1]
        yield Finding("β by validation", text, True if grows else None)

    def insensitive(self, setting: str) -> Iterator[Finding]:
        """Whether each value of a setting gives the error of the job's own value, within `MARGIN`."""
        for cell in (cell for cell in self._sweep["cells"] if setting in cell["studies"]):
            own = self._cell("ccs", cell["rate"])
            measured = cell["tests"][self._tests[0]]
            if own is None or cell["id"] == own["id"] or "ccs" not in measured["differences"]:
                continue
            difference = measured["differences"]["ccs"]["nrmse"]
            base = measured["figures"]["nrmse"]["value"] - difference["value"]
            where = f"{percent(cell['rate'])}, {cell[setting]:g} instead of {own[setting]:g}"
            if difference["low"] is None or base <= 0:
                continue
            low, high = difference["low"] / base, difference["high"] / base
            text = f"{difference['value'] / base:+.1%} [{low:+.1%}, {high:+.1%}] ({_behind(cell, difference)})"
            holds = True if low > -MARGIN and high < MARGIN else False if low > MARGIN or high < -MARGIN else None
            yield Finding(where, text, holds)


def _against_whole(test: str, cell: dict[str, Any], figure: str) -> Iterator[Finding]:
    measured = cell["tests"][test]
    if "full" not in measured["differences"]:
        return
    mine, difference = measured["figures"][figure], measured["differences"]["full"][figure]
    whole = mine["value"] - difference["value"]
    behind = _behind(cell, difference)
    if difference["high"] is None or whole <= 0:
        yield Finding(test, f"{mine['value']:.3g} against {whole:.3g}, no interval ({behind})", None)
        return
    low, high = difference["low"] / whole, difference["high"] / whole
    text = f"{difference['value'] / whole:+.1%} [{low:+.1%}, {high:+.1%}] against the whole corpus"
    text += ", worse but by less than 10%" if low > 0 and high < MARGIN else ""
    yield Finding(test, f"{text} ({behind})", _below(low, high, MARGIN))


def _behind(cell: dict[str, Any], figure: dict[str, Any]) -> str:
    """What a figure rests on: points, seeds, trajectories."""
    text = f"{cell['kept'][0]:,} points"
    if "seeds" in figure:
        groups = figure["groups"]
        text += f", {figure['seeds']} seeds, {groups} trajector{'ies' if groups > 1 else 'y: of seeds alone'}"
    return text


def _below(low: float, high: float, border: float) -> bool | None:
    return True if high < border else False if low > border else None


def _sided(verdict: str, wanted: str) -> bool | None:
    return None if verdict == "tie" else verdict == wanted


def percent(rate: float) -> str:
    """A pruning rate in words: 99.5%, not 100%."""
    return f"{100 * rate:g}%"

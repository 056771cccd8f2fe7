"""The paper's claims, each put to the test by the figures of one sweep.

A claim holds on a test set where the interval of a paired difference says so: better or worse means that the 95%
interval excludes zero; as good as means that its upper end lies below a tenth of the error of the whole corpus. A tie
between methods is no evidence for either. Every finding names the number of points that were kept, for a verdict at 99%
means little without it: 1% of the paper's aluminium corpus is 432,000 points.

Source: Pathrudkar et al., arXiv 2507.09001.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

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
        """Confirmed, confirmed in part, undecided here, not confirmed here, or not tested."""
        held = [finding.holds for finding in self.findings]
        if not held:
            return "not tested"
        if all(held):
            return "confirmed"
        if any(held):
            return "confirmed in part"
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
            "Random pruning of 90% of the points hardly costs accuracy.",
            "abstract; Figs. 1, 4, 6, 8",
            tuple(evidence.as_good("random", 0.9, "nrmse")),
            "a sweep with random points at 90%",
        ),
        Claim(
            "CCS at 90% pruning is as accurate as the whole corpus.",
            "II; Fig. 1",
            tuple(evidence.as_good("ccs", 0.9, "nrmse")),
            "a sweep with CCS at 90%",
        ),
        Claim(
            "CCS at 99% pruning is as accurate as the whole corpus, or nearly.",
            "II; Fig. 1",
            tuple(evidence.as_good("ccs", 0.99, "nrmse")),
            "a sweep with CCS at 99%",
        ),
        Claim(
            "CCS at 99% pruning still gives chemically accurate energies (below 1.6 mHa/atom).",
            "abstract; Fig. 2",
            tuple(evidence.chemically_accurate("ccs", 0.99)),
            "energies: --set energy.pseudopotentials=DIR",
        ),
        Claim(
            "CCS beats random points at 90%.",
            "Fig. 1",
            tuple(evidence.better("ccs", "random", 0.9)),
            "a sweep with CCS and random points at 90%",
        ),
        Claim(
            "CCS beats random points at 99%.",
            "Figs. 1, 3",
            tuple(evidence.better("ccs", "random", 0.99)),
            "a sweep with CCS and random points at 99%",
        ),
        Claim(
            "CCS beats GraNd at 90%.",
            "Fig. 1",
            tuple(evidence.better("ccs", "grand", 0.9)),
            "a sweep with CCS and GraNd at 90%",
        ),
        Claim(
            "CCS beats GraNd at 99%.",
            "Fig. 1",
            tuple(evidence.better("ccs", "grand", 0.99)),
            "a sweep with CCS and GraNd at 99%",
        ),
        Claim(
            "Pruning by GraNd scores alone collapses at high pruning: worse than random points at 90%.",
            "II; Figs. 4, 6, 8, 14, 15",
            tuple(evidence.worse("grand", "random", 0.9)),
            "a sweep with GraNd and random points at 90%",
        ),
        Claim(
            "… and at 99%.",
            "II; Figs. 4, 6, 8, 14, 15",
            tuple(evidence.worse("grand", "random", 0.99)),
            "a sweep with GraNd and random points at 99%",
        ),
        Claim(
            "The gradient of the density follows: the H¹ error of CCS at 90% is as small as that of the whole corpus.",
            "Fig. 3",
            tuple(evidence.as_good("ccs", 0.9, "h1_seminorm")),
            "a sweep with CCS at 90%",
        ),
        Claim(
            "What CCS keeps generalises to defects as the whole corpus does, at 90%.",
            "V.5; Figs. 10, 16–18",
            tuple(evidence.as_good("ccs", 0.9, "nrmse", bulk=False)),
            "a second test set, such as `defects`",
        ),
        Claim(
            "Training on the CCS coreset of 90% is three times as fast, selection not counted.",
            "V.7; Fig. 19",
            (*evidence.faster(0.9, selection=False), *evidence.shorter(0.9)),
            "training.checks in the job file",
        ),
        Claim(
            "… and with the cost of selection counted in.",
            "ours",
            tuple(evidence.faster(0.9, selection=True)),
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
                for rate in evidence.rates
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
            "The number of strata hardly matters.",
            "V.2; Fig. 11",
            tuple(evidence.insensitive("strata")),
            "sweep.studies.strata",
        ),
        Claim(
            "Scores of an early epoch suffice: a later epoch gives no better coreset.",
            "V.2; Fig. 13",
            tuple(evidence.early_enough()),
            "sweep.studies.score_epochs",
        ),
    ]


class _Evidence:
    """Looks figures up in one sweep."""

    def __init__(self, sweep: dict[str, Any]) -> None:
        self._sweep = sweep
        self._protocol = sweep["protocol_order"][0]
        self._tests: list[str] = sweep["test_order"]
        self._compared = {
            (cell["method"], cell["rate"]): cell
            for cell in sweep["cells"]
            if "methods" in cell["studies"] and cell["protocol"] == self._protocol
        }

    @property
    def rates(self) -> list[float]:
        """The rates at which methods are compared."""
        return sorted({rate for _, rate in self._compared if rate})

    def cutoff(self, rate: float) -> float:
        """β of CCS at a rate."""
        cell = self._compared.get(("ccs", rate))
        return (cell["cutoff"] or 0.0) if cell else 0.0

    def as_good(self, method: str, rate: float, figure: str, bulk: bool = True) -> Iterator[Finding]:
        """Whether a network is as good as the whole corpus's, by `MARGIN`, on the first test set or on the others."""
        cell = self._compared.get((method, rate))
        for test in self._tests if cell is not None else []:
            if cell is not None and bulk == (test == self._tests[0]):
                yield from self._against_whole(test, cell, figure)

    def _against_whole(self, test: str, cell: dict[str, Any], figure: str) -> Iterator[Finding]:
        measured = cell["tests"][test]
        if "full" in measured["differences"]:
            mine, difference = measured["figures"][figure], measured["differences"]["full"][figure]
            whole = mine["value"] - difference["value"]
            if difference["high"] is None or whole <= 0:
                return
            low, high = difference["low"] / whole, difference["high"] / whole
            text = f"{difference['value'] / whole:+.1%} [{low:+.1%}, {high:+.1%}] against the whole corpus"
            holds = True if high < MARGIN else False if low > MARGIN else None
            yield Finding(test, f"{text} ({cell['kept'][0]:,} points)", holds)

    def better(self, method: str, peer: str, rate: float) -> Iterator[Finding]:
        """Whether a method's error is lower than a peer's at the same rate."""
        yield from self._compare(method, peer, rate, "lower")

    def worse(self, method: str, peer: str, rate: float) -> Iterator[Finding]:
        """Whether a method's error is higher than a peer's at the same rate."""
        yield from self._compare(method, peer, rate, "higher")

    def _compare(self, method: str, peer: str, rate: float, wanted: str) -> Iterator[Finding]:
        for test, mine, difference in self._differences(method, peer, rate, "nrmse"):
            theirs = mine["value"] - difference["value"]
            verdict = difference["verdict"]
            text = f"{mine['value']:.3%} against {theirs:.3%}"
            if difference["low"] is not None:
                text += f", difference {difference['value'] * 100:+.3f} {_percentage_points(difference)}"
            text += f" at {rate:.0%}, {verdict}" if verdict == "tie" else f" at {rate:.0%}"
            yield Finding(test, f"{text} ({self._points(method, rate)})", _sided(verdict, wanted))

    def chemically_accurate(self, method: str, rate: float) -> Iterator[Finding]:
        """Whether the mean |ΔE| per atom lies below 1 kcal/mol, by its interval."""
        cell = self._compared.get((method, rate))
        for test, measured in (cell["tests"] if cell else {}).items():
            energy = measured["figures"].get("energy")
            if energy is None:
                continue
            low, high = energy["low"], energy["high"]
            text = f"{1e3 * energy['value']:.3f} mHa/atom"
            if low is None:
                low = high = energy["value"]
            else:
                text += f" [{1e3 * max(low, 0):.3f}, {1e3 * high:.3f}]"
            holds = True if high < CHEMICAL_ACCURACY else False if low > CHEMICAL_ACCURACY else None
            text += f" over {len(measured['energy_snapshots'])} snapshots ({self._points(method, rate)})"
            yield Finding(test, text, holds)

    def faster(self, rate: float, selection: bool) -> Iterator[Finding]:
        """How much sooner CCS reaches 1.05 × the whole corpus's final validation error than the whole corpus does."""
        reached = self._sweep["time_to_target"]
        cell, full = self._compared.get(("ccs", rate)), self._compared.get(("full", 0.0))
        if not reached or cell is None or full is None:
            return
        mine, whole = (reached["cells"][each["id"]]["flops"] for each in (cell, full))
        if None in whole:
            return
        if None in mine:
            missed = sum(each is None for each in mine)
            yield Finding(f"{rate:.0%}", f"{missed} of {len(mine)} networks never reached that error", False)
            return
        if selection and self._sweep["costs_rate"] != rate:
            return
        extra = sum(row["flops"] for row in self._sweep["costs"]) if selection else 0.0
        ratio = fmean(whole) / (fmean(mine) + extra)
        where = f"{rate:.0%}, floating-point work to 1.05 × the whole corpus's validation error"
        yield Finding(where, f"{ratio:.2f} times as fast ({self._points('ccs', rate)})", ratio >= FASTER)

    def shorter(self, rate: float) -> Iterator[Finding]:
        """Under equal epochs, how much less work CCS takes, and whether its network is as good all the same."""
        cells = {cell["method"]: cell for cell in self._sweep["cells"] if cell["protocol"] == "epochs"}
        ccs = [c for c in self._sweep["cells"] if (c["protocol"], c["method"], c["rate"]) == ("epochs", "ccs", rate)]
        if self._protocol == "epochs" or "full" not in cells or not ccs:
            return
        test, ratio = self._tests[0], fmean(cells["full"]["training"]["flops"]) / fmean(ccs[0]["training"]["flops"])
        for finding in self._against_whole(test, ccs[0], "nrmse"):
            kept = f"{ratio:.1f} times less work, error {finding.text}"
            yield Finding(f"{rate:.0%}, equal epochs, {test}", kept, finding.holds and ratio >= FASTER)

    def covers(self, peer: str) -> Iterator[Finding]:
        """Whether CCS's AUC_pr is lower than a peer's, on the same queries."""
        # The differences are from the job's own method.
        for rate, by_method in self._sweep["coverage"].items() if self._sweep["method"] == "ccs" else ():
            if peer not in by_method or "difference" not in by_method[peer] or "ccs" not in by_method:
                continue
            difference = by_method[peer]["difference"]  # peer − CCS
            verdict = difference["verdict"]
            text = f"{by_method['ccs']['auc']:.3f} against {by_method[peer]['auc']:.3f} Bohr"
            yield Finding(f"{float(rate):.0%}", text + (", tie" if verdict == "tie" else ""), _sided(verdict, "higher"))

    def growing_cutoff(self) -> Iterator[Finding]:
        """Whether β as validation chose it never falls with the rate, and rises at all."""
        chosen = [(float(rate), found["value"]) for rate, found in self._sweep["cutoffs"].items() if "curve" in found]
        chosen.sort()
        if len(chosen) < 3:
            return
        values = [value for _, value in chosen]
        text = ", ".join(f"{rate:.0%}: {value:g}" for rate, value in chosen)
        yield Finding("β by validation", text, sorted(values) == values and values[0] < values[-1])

    def insensitive(self, setting: str) -> Iterator[Finding]:
        """Whether the error changes by less than `MARGIN` over the values of a setting."""
        for rate, cells in self._study(setting):
            values = {cell[setting]: cell["tests"][self._tests[0]]["figures"]["nrmse"]["value"] for cell in cells}
            spread = max(values.values()) / min(values.values()) - 1
            text = ", ".join(f"{key:g}: {value:.3%}" for key, value in sorted(values.items()))
            yield Finding(f"{rate:.0%}", f"{text}; largest over smallest {spread:+.1%}", spread < MARGIN)

    def early_enough(self) -> Iterator[Finding]:
        """Whether the latest scoring epoch gains less than `MARGIN` over the earliest."""
        for rate, cells in self._study("score_epoch"):
            values = {c["score_epoch"]: c["tests"][self._tests[0]]["figures"]["nrmse"]["value"] for c in cells}
            first, last = values[min(values)], values[max(values)]
            text = ", ".join(f"epoch {key}: {value:.3%}" for key, value in sorted(values.items()))
            yield Finding(f"{rate:.0%}", text, first < (1 + MARGIN) * last)

    def _study(self, setting: str) -> Iterator[tuple[float, Sequence[dict[str, Any]]]]:
        cells = [cell for cell in self._sweep["cells"] if setting in cell["studies"]]
        for rate in sorted({cell["rate"] for cell in cells}):
            at_rate = [cell for cell in cells if cell["rate"] == rate]
            if len({cell[setting] for cell in at_rate}) > 1:
                yield rate, at_rate

    def _differences(
        self, method: str, peer: str, rate: float, figure: str
    ) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        cell = self._compared.get((method, rate))
        for test in self._tests if cell else []:
            measured = cell["tests"][test] if cell else {}
            if peer in measured["differences"]:
                yield test, measured["figures"][figure], measured["differences"][peer][figure]

    def _points(self, method: str, rate: float) -> str:
        return f"{self._compared[method, rate]['kept'][0]:,} points"


def _sided(verdict: str, wanted: str) -> bool | None:
    return None if verdict == "tie" else verdict == wanted


def _percentage_points(difference: dict[str, Any]) -> str:
    return f"[{100 * difference['low']:+.3f}, {100 * difference['high']:+.3f}]"

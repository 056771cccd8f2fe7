"""The evidence of a folder as Markdown and plain pictures, for a dataset card: the figures of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from coreset.report.evidence import Evidence, settled
from coreset.report.figure import method_label, percent
from coreset.report.quantity import ERROR_RATE, NRMSE, Quantity
from coreset.report.svg import Dot, Line, curves, dots
from coreset.report.words import counted, is_of_classes

FIGURES = "figures"
"""Folder of the pictures, relative to the text."""


def evidence_section(evidence: Evidence) -> tuple[str, dict[str, str]]:
    """A section of Markdown, and the SVG of its pictures by their path; no command, for a command may name a path."""
    pictures: dict[str, str] = {}
    parts = [_lead(evidence)]
    shown = _shown(evidence)
    head = ("trained on", "points", "pruned", *(each.axis for each in shown), f"against {method_label(evidence.own)}")
    for test in evidence.tests:
        parts.append(f"**Test set {evidence.test_label(test)}**")
        if evidence.alone(test):
            parts.append(f"Only {evidence.alone(test)}.")
        parts.append(_table(head, _errors(evidence, test, shown)))
        name = f"{FIGURES}/error-{test}.svg"
        title = f"{_spoken(shown[0])} on test set {test}, {percent(evidence.rate)} pruned"
        pictures[name] = dots(title, shown[0].axis, list(_dots(evidence, test, shown[0])))
        parts.append(f"![{_spoken(shown[0])} of each method on test set {test}]({name})")
    covered = evidence.sweep.get("coverage", {}).get(f"{evidence.rate:g}", {})
    if covered:
        unit = evidence.words.length
        parts.append(f"**Coverage of validation points** (AUC_pr{unit}; lower covers better)")
        parts.append(_table(("coreset of", "AUC_pr"), [(method_label(m), _auc(f)) for m, f in covered.items()]))
        lines = [Line(method_label(m), m, f["r"], f["p"]) for m, f in covered.items() if f.get("p") and f.get("r")]
        if lines:
            name = f"{FIGURES}/coverage.svg"
            pictures[name] = curves(
                "Share of validation points within a distance of the coreset", f"distance r{unit}", "share p", lines
            )
            parts.append(f"![Share of validation points within a distance of each coreset]({name})")
    return "\n\n".join(parts), pictures


def _lead(evidence: Evidence) -> str:
    seeds = max(cell["seeds"] for cell in evidence.cells)
    trained, words = evidence.sweep["corpus"]["train"], evidence.words
    own, network = method_label(evidence.own), f"{counted(seeds, ('seed', 'seeds'))} each"
    also = "NRMSE is that of the classes' probabilities. " if is_of_classes(evidence.sweep) else ""
    return (
        f"## Evidence\n\nNetworks trained on each of these subsets of {trained['points']:,} points "
        f"({counted(trained['snapshots'], words.member)}), {network}, "
        f"{evidence.protocol_label(evidence.protocols[0])}, on {words.group[1]} that none of them has seen. "
        f"{_spoken(_shown(evidence)[0])} ± half of its 95% interval over seeds and {words.group[1]}; the last column "
        f"is its difference from {own}, paired by seed and {words.group[0]}, a tie where its interval holds 0. {also}"
        f"This dataset is the coreset of {own} at {percent(evidence.sweep['prune'])} pruned."
    )


def _shown(evidence: Evidence) -> list[Quantity]:
    """The figures of the error that the tables show; pictures and verdicts are of the first."""
    return [ERROR_RATE, NRMSE] if is_of_classes(evidence.sweep) else [NRMSE]


def _spoken(quantity: Quantity) -> str:
    return "Share of wrong classes" if quantity is ERROR_RATE else quantity.label


def _errors(evidence: Evidence, test: str, shown: Sequence[Quantity]) -> Iterator[tuple[str, ...]]:
    for method in evidence.methods():
        cell = evidence.cell(method, evidence.rate)
        figures = [evidence.figure(cell, test, each.key) for each in shown]
        if cell is None or figures[0] is None:
            continue
        against = cell["tests"][test]["differences"].get(evidence.own, {}).get(shown[0].key)
        yield (
            f"**{method_label(method)}**" if method == evidence.own else method_label(method),
            f"{cell['kept'][0]:,}",
            percent(cell["rate"]) if cell["rate"] else "0%",
            *("" if figure is None else _spread(figure) for figure in figures),
            _verdict(against),
        )


def _dots(evidence: Evidence, test: str, quantity: Quantity) -> Iterator[Dot]:
    for method in evidence.methods():
        figure = evidence.figure(evidence.cell(method, evidence.rate), test, quantity.key)
        if figure is not None:
            low, high = figure.get("low"), figure.get("high")
            known = low is not None and high is not None
            yield Dot(
                method_label(method),
                method,
                100 * figure["value"],
                (100 * low, 100 * high) if known else None,  # type: ignore[operator]
            )


def _spread(figure: Mapping[str, Any]) -> str:
    value = f"{100 * figure['value']:.3f}"
    return value if figure.get("low") is None else f"{value} ± {50 * (figure['high'] - figure['low']):.3f}"


def _verdict(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    if not settled(difference) or difference.get("verdict") == "tie":
        return "tie" if settled(difference) else "one network each: no verdict"
    return f"{'worse' if difference['value'] > 0 else 'better'} by {abs(100 * difference['value']):.3f}"


def _auc(figures: Mapping[str, Any]) -> str:
    interval = figures.get("interval")
    return f"{figures['auc']:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)

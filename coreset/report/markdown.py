"""The evidence of a folder as Markdown and plain pictures, for a dataset card: the figures of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from coreset.report.evidence import Evidence, settled
from coreset.report.figure import percent
from coreset.report.svg import Dot, Line, curves, dots

FIGURES = "figures"
"""Folder of the pictures, relative to the text."""


def evidence_section(evidence: Evidence) -> tuple[str, dict[str, str]]:
    """A section of Markdown, and the SVG of its pictures by their path; no command, for a command may name a path."""
    pictures: dict[str, str] = {}
    words, points = evidence.words, evidence.words.points
    parts = [_lead(evidence)]
    for test in evidence.tests:
        parts.append(f"**Test set {evidence.test_label(test)}**")
        if evidence.alone(test):
            parts.append(f"Only {evidence.alone(test)}.")
        figures = (*(each.axis for each in words.beside), "NRMSE, %")
        head = ("trained on", points, "pruned", *figures, f"against {evidence.label(evidence.own)}")
        parts.append(_table(head, _errors(evidence, test)))
        name = f"{FIGURES}/error-{test}.svg"
        pictures[name] = dots(
            f"NRMSE on test set {test}, {percent(evidence.rate)} pruned", "NRMSE, %", list(_dots(evidence, test))
        )
        parts.append(f"![NRMSE of each method on test set {test}]({name})")
    covered = evidence.sweep.get("coverage", {}).get(f"{evidence.rate:g}", {})
    if covered:
        parts.append(f"**Coverage of validation {points}** ({words.auc.axis}; lower covers better)")
        parts.append(_table(("coreset of", "AUC_pr"), [(evidence.label(m), _auc(f)) for m, f in covered.items()]))
        lines = [Line(evidence.label(m), m, f["r"], f["p"]) for m, f in covered.items() if f.get("p") and f.get("r")]
        if lines:
            name = f"{FIGURES}/coverage.svg"
            pictures[name] = curves(
                f"Share of validation {points} within a distance of the coreset", words.distance.axis, "share p", lines
            )
            parts.append(f"![Share of validation {points} within a distance of each coreset]({name})")
    return "\n\n".join(parts), pictures


def _lead(evidence: Evidence) -> str:
    seeds = max(cell["seeds"] for cell in evidence.cells)
    trained, words = evidence.sweep["corpus"]["train"], evidence.words
    own, network = evidence.label(evidence.own), f"{seeds} seed{'' if seeds == 1 else 's'} each"
    return (
        f"## Evidence\n\nNetworks trained on each of these subsets of {trained['points']:,} {words.points} "
        f"({words.divided.count(trained)}), {network}, {evidence.protocol_label(evidence.protocols[0])}, on "
        f"{words.groups} that none of them has seen. NRMSE ± half of its 95% interval over seeds and {words.groups}; "
        f"the last column is the difference from {own}, paired by seed and {words.group.one}, a tie where its "
        f"interval holds 0. This dataset is the coreset of {own} at {percent(evidence.sweep['prune'])} pruned."
    )


def _errors(evidence: Evidence, test: str) -> Iterator[tuple[str, ...]]:
    for method in evidence.methods():
        cell, figure = _measured(evidence, method, test)
        if cell is None or figure is None:
            continue
        against = cell["tests"][test]["differences"].get(evidence.own, {}).get("nrmse")
        yield (
            f"**{evidence.label(method)}**" if method == evidence.own else evidence.label(method),
            f"{cell['kept'][0]:,}",
            percent(cell["rate"]) if cell["rate"] else "0%",
            *(each.text(evidence.figure(cell, test, each.key)) for each in evidence.words.beside),
            _spread(figure),
            _verdict(against),
        )


def _measured(evidence: Evidence, method: str, test: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    cell = evidence.cell(method, evidence.rate)
    return cell, evidence.figure(cell, test, "nrmse")


def _dots(evidence: Evidence, test: str) -> Iterator[Dot]:
    for method in evidence.methods():
        _, figure = _measured(evidence, method, test)
        if figure is not None:
            low, high = figure.get("low"), figure.get("high")
            known = low is not None and high is not None
            yield Dot(
                evidence.label(method),
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

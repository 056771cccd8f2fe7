"""How well the kept points cover unseen ones: AUC_pr and the p–r curves (Table 1)."""

from __future__ import annotations

from typing import Any

from coreset.report.evidence import Evidence, settled
from coreset.report.figure import (
    Figure,
    Missing,
    Section,
    Table,
    percent,
    plot,
    significant,
)
from coreset.report.figures.curves import COLUMNS, SIDE_BY_SIDE, over_rates, points_with_intervals
from coreset.report.table import sampled_queries


def section(evidence: Evidence) -> Section:
    """AUC_pr as table and figure, and what part of the queries lies within which distance."""
    words, points = evidence.words, evidence.words.points
    coverage = {float(rate): found for rate, found in evidence.sweep.get("coverage", {}).items() if found}
    if not coverage:
        items: tuple[Figure | Table | Missing, ...] = (
            Missing(f"coverage of validation {points}", "run coreset sweep JOB.yaml"),
        )
    else:
        how = evidence.made_by(max(each.get("seeds", 1) for found in coverage.values() for each in found.values()))
        items = (_areas(evidence, coverage, how), _curves(evidence, coverage, how), _table(evidence, coverage, how))
    whole = any("full" in found for found in coverage.values())
    return Section(
        "coverage",
        "Coverage",
        f"AUC_pr is the mean distance, in {words.space}, from a validation {words.point.one} to the nearest training "
        f"{words.point.one} that was kept: lower covers better. No selection can cover better than the whole training "
        f"set{'; that row is the floor' if whole else ''}.",
        items,
    )


def _methods(evidence: Evidence, found: dict[str, Any]) -> list[str]:
    order = [*evidence.methods(), *found]
    return [method for method in dict.fromkeys(order) if method in found]


def _label(evidence: Evidence, method: str) -> str:
    return "whole training set (floor)" if method == "full" else evidence.label(method)


def _areas(evidence: Evidence, coverage: dict[float, dict[str, Any]], how: str) -> Figure:
    columns = ("pruned", f"{evidence.words.points} kept", "coresets")
    figure = plot((*columns, *COLUMNS), **SIDE_BY_SIDE)
    rates = sorted(coverage)
    for method in _methods(evidence, {name: None for found in coverage.values() for name in found}):
        points = []
        for rate in rates:
            if method in coverage[rate]:
                each = coverage[rate][method]
                low, high = each["interval"] or (None, None)
                estimate = {"value": each["auc"], "low": low, "high": high}
                points.append((percent(rate), estimate, (percent(rate), *_behind(evidence, method, rate, each))))
        curve = points_with_intervals(points, evidence.words.auc, {}, columns, **evidence.marks(method))
        figure.add_trace(curve.update(name=_label(evidence, method)))
    over_rates(figure, evidence, rates)
    # Points side by side make plotly begin at 0, where no coverage is.
    figure.update_layout(yaxis={"title": {"text": evidence.words.auc.axis}, "range": _range(coverage)})
    told = "; ".join(
        f"{percent(rate)}: "
        + ", ".join(f"{_label(evidence, m)} {coverage[rate][m]['auc']:.3f}" for m in _methods(evidence, coverage[rate]))
        for rate in rates
    )
    return Figure(
        "coverage-auc",
        "AUC_pr against pruning",
        f"Bars are 95% intervals over coresets and validation {evidence.words.groups}. They overlap because all "
        "methods share the same queries: what decides is the paired difference in the table.",
        how,
        f"{evidence.words.auc.in_unit('AUC_pr in') if evidence.words.auc.unit else 'AUC_pr'}, {told}",
        figure,
    )


def _range(coverage: dict[float, dict[str, Any]]) -> list[float]:
    ends = [
        end
        for found in coverage.values()
        for each in found.values()
        for end in (each["auc"], *(each["interval"] or ()))
    ]
    margin = 0.06 * (max(ends) - min(ends))
    return [min(ends) - margin, max(ends) + margin]


def _curves(evidence: Evidence, coverage: dict[float, dict[str, Any]], how: str) -> Figure:
    words, points = evidence.words, evidence.words.points
    columns = (f"{points} kept", f"share of {points} p", words.distance.axis)
    figure = plot(columns)
    rates = evidence.by_own_rate(sorted(coverage))
    for rate in rates:
        for method in _methods(evidence, coverage[rate]):
            each = coverage[rate][method]
            kept, _ = _behind(evidence, method, rate, each)
            rows = [[kept, significant(p), significant(r)] for p, r in zip(each["p"], each["r"], strict=True)]
            style = evidence.marks(method)
            style["name"] = _label(evidence, method)
            figure.add_scatter(
                x=[row[1] for row in rows],
                y=[row[2] for row in rows],
                mode="lines",
                customdata=rows,
                meta={"pruned": percent(rate)},
                hovertemplate=f"%{{fullData.name}}: %{{x:.0%}} of the {points} within "
                f"{words.distance.in_unit('%{y:.3g}')}<extra></extra>",
                **style,
            )
    figure.update_layout(
        xaxis={"title": {"text": f"share p of the validation {points}"}, "tickformat": ".0%", "range": [0, 1]},
        yaxis={"title": {"text": f"covered within the {words.distance.axis}"}, "rangemode": "tozero"},
    )
    return Figure(
        "coverage-curves",
        "p-partial r-cover",
        f"A share p of the validation {points} has a kept {words.point.one} within the distance r; the area under the "
        f"curve is AUC_pr. The right end is the worst covered {words.point.one}.",
        how,
        f"Distance within which a share of the validation {points} is covered, by method, at {percent(rates[0])}",
        figure,
        (evidence.choice_of_rates(rates),),
    )


def _table(evidence: Evidence, coverage: dict[float, dict[str, Any]], how: str) -> Table:
    own, words = evidence.label(evidence.own), evidence.words
    rows: list[tuple[str, ...]] = []
    strong = set()
    for rate in sorted(coverage):
        for method in _methods(evidence, coverage[rate]):
            each = coverage[rate][method]
            if method == evidence.own:
                strong.add(len(rows))
            interval = "" if each["interval"] is None else "[{:.4g}, {:.4g}]".format(*each["interval"])
            kept, _ = _behind(evidence, method, rate, each)
            measured = (f"{kept:,}" if kept else "", f"{each['auc']:.4g}", interval)
            rows.append((f"{percent(rate)}: {_label(evidence, method)}", *measured, *_paired(each.get("difference"))))
    return Table(
        "table-coverage",
        words.auc.axis,
        f"The difference is paired query by query with {own}; its 95% interval is over coresets and {words.groups}, "
        f"as far as there are several of each. Covers worse means that {own} lies nearer to the validation "
        f"{words.points}. " + sampled_queries(each for found in coverage.values() for each in found.values()),
        how,
        (
            "pruned: kept by",
            f"{words.points} kept",
            "AUC_pr",
            "95% interval",
            f"minus {own}",
            "its interval",
            "verdict",
        ),
        tuple(rows),
        frozenset(strong),
    )


def _behind(evidence: Evidence, method: str, rate: float, found: dict[str, Any]) -> tuple[int | None, int]:
    """How many points a coreset holds, and how many coresets an AUC_pr is the mean of."""
    cell = evidence.cell(method, rate)
    return (cell["kept"][0] if cell else None), found.get("seeds", 1)


def _paired(difference: dict[str, Any] | None) -> tuple[str, str, str]:
    if difference is None:
        return "", "", ""
    value = f"{difference['value']:+.3g}"
    if difference.get("low") is None:
        return value, "", "undecided"
    verdict = {"lower": "covers better", "higher": "covers worse", "tie": "tie"}[difference["verdict"]]
    if not settled({"seeds": 1, **difference}):
        verdict = "1 coreset: no verdict"
    return value, f"[{difference['low']:+.3g}, {difference['high']:+.3g}]", verdict

"""Error against the pruning rate, for every method (Figs. 1–4, 6, 8, 14, 15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go

from coreset.report.evidence import Evidence, settled
from coreset.report.figure import (
    Choice,
    Figure,
    Missing,
    Section,
    Table,
    percent,
    plot,
    significant,
)
from coreset.report.figures.curves import (
    COLUMNS,
    CUT,
    SIDE_BY_SIDE,
    line_across,
    on_second_axis,
    over_rates,
    points_with_intervals,
    span,
    value_axis,
)
from coreset.report.findings import CHEMICAL_ACCURACY
from coreset.report.quantity import ENERGY, LOST, NRMSE, Quantity
from coreset.report.wording import Curve


def section(evidence: Evidence) -> Section:
    """Curves of each figure of the error, and the table of the first test set."""
    items: list[Figure | Table | Missing] = []
    for each in evidence.words.curves:
        shown = not each.what or evidence.has(each.quantities[0].key)
        items.append(curve(evidence, each) if shown else Missing(each.what, each.way))
    items.extend(tables(evidence))
    points = evidence.words.points
    return Section(
        "pruning",
        "Error against pruning",
        f"How much a network loses when it is trained on fewer {points}, and whether it matters which. The lower axis "
        f"tells what share of the training {points} was left out, the upper one how many were kept: 99% of a small "
        "corpus is a harder test than 99% of a large one. Differences are paired by seed: "
        f"{evidence.redrawn}.",
        tuple(items),
    )


LOST_ELECTRONS = Curve(
    "pruning-lost",
    "Electrons lost before rescaling",
    (LOST,),
    "How many electrons the predicted density lacks before it is rescaled (Eq. 4)",
)


def curve(evidence: Evidence, told: Curve) -> Figure:
    """Curves of a few related figures, to be switched, with the whole corpus as a band."""
    words, quantities = evidence.words, told.quantities
    shown = [quantity for quantity in quantities if evidence.has(quantity.key)] or [quantities[0]]
    rates = evidence.rates()
    columns = ("pruned", f"{words.points} kept", "seeds")
    figure = plot((*columns, *COLUMNS))
    for quantity in shown:
        for test in evidence.tests:
            for protocol in evidence.protocols:
                meta = {"test set": test, "protocol": protocol, "figure": quantity.key}
                figure.add_traces(list(_whole(evidence, quantity, rates, test, protocol, meta)))
                for method in evidence.methods(protocol, whole=False):
                    points = []
                    for rate in rates:
                        cell = evidence.cell(method, rate, protocol)
                        estimate = evidence.figure(cell, test, quantity.key)
                        if cell is not None and estimate is not None:
                            leading = (percent(rate), cell["kept"][0], evidence.seeds(cell, estimate))
                            points.append((percent(rate), estimate, leading))
                    if points:
                        figure.add_trace(
                            points_with_intervals(points, quantity, meta, columns, **evidence.marks(method))
                        )
    over_rates(figure, evidence, rates)
    figure.update_layout(yaxis=value_axis(shown), **SIDE_BY_SIDE)
    if quantities[0] is ENERGY:
        line = 1e3 * CHEMICAL_ACCURACY
        line_across(figure, line, f"chemical accuracy, {line:g} mHa/atom")
        on_second_axis(figure, line)  # for the line, which is a shape, has no say in how far the axis reaches
    choices = [Choice.of("test set", evidence.tests, {test: evidence.test_label(test) for test in evidence.tests})]
    if len(evidence.protocols) > 1:
        labels = {protocol: evidence.protocol_label(protocol) for protocol in evidence.protocols}
        choices.append(Choice.of("protocol", evidence.protocols, labels))
    if len(shown) > 1:
        choices.append(
            Choice.of("figure", [each.key for each in shown], {each.key: each.axis for each in shown}, "yaxis")
        )
    return Figure(
        told.name,
        told.title,
        f"{told.meaning}. Points are means over seeds and test {words.members}; bars are 95% intervals "
        f"over seeds and test {words.groups}, cut at a tenth of the value. The dashed line and its band are "
        "the network of the whole corpus.",
        evidence.behind(quantities[0].key),
        _told(evidence, quantities[0]),
        figure,
        tuple(choices),
        height=500,
    )


def _whole(
    evidence: Evidence, quantity: Quantity, rates: list[float], test: str, protocol: str, meta: dict[str, str]
) -> Iterator[go.Scatter]:
    cell = evidence.cell("full", 0.0, protocol)
    estimate = evidence.figure(cell, test, quantity.key)
    if cell is None or estimate is None:
        return
    ends = span(rates)
    if estimate.get("low") is not None:
        least = -float("inf") if quantity.signed else CUT * estimate["value"]
        low, high = (significant(quantity.factor * max(estimate[side], least)) for side in ("low", "high"))
        yield go.Scatter(
            x=[*ends, *ends[::-1]],
            y=[high, high, low, low],
            fill="toself",
            fillcolor="rgba(128,128,128,0.18)",
            line={"width": 0},
            mode="lines",
            xaxis="x2",
            meta={**meta, "csv": "no"},
            legendgroup="full",
            showlegend=False,
            hoverinfo="skip",
            offsetgroup="full",
        )
    line = points_with_intervals(
        [(end, estimate, ("0%", cell["kept"][0], evidence.seeds(cell, estimate))) for end in ends],
        quantity,
        meta,
        ("pruned", f"{evidence.words.points} kept", "seeds"),
        **evidence.marks("full", dash="dash"),
    )
    yield line.update(
        mode="lines", offsetgroup="full", error_y={"visible": False}, xaxis="x2", meta={**meta, "csv": "once"}
    )


def _told(evidence: Evidence, quantity: Quantity) -> str:
    """The first test set in one sentence, for those who do not see the curves."""
    test = evidence.tests[0]
    parts = []
    for rate in evidence.main_rates:
        values = [
            f"{evidence.label(method)} {quantity.text(found)}"
            for method in evidence.methods(evidence.protocols[0])
            if (found := evidence.figure(evidence.cell(method, rate), test, quantity.key)) is not None
        ]
        parts.append(f"at {percent(rate)} pruned: {', '.join(values)}")
    return f"{quantity.axis}, test set {test}; " + "; ".join(parts)


def tables(evidence: Evidence) -> Iterator[Table]:
    """The errors of every method and rate, and the paired differences from the job's own method."""
    protocol, rates, tests = evidence.protocols[0], evidence.rates(evidence.protocols[0]), evidence.tests
    own, head = evidence.label(evidence.own), _head(evidence, rates)
    for test in tests:
        for quantity in (*evidence.words.beside, NRMSE):
            yield _values(evidence, quantity, rates, test, protocol)
    for test in tests:
        rows = []
        for method in (method for method in evidence.methods(protocol) if method != evidence.own):
            row = [_against_own(evidence, method, rate, protocol, test) for rate in rates]
            if any(row):
                rows.append((evidence.label(method), *row))
        if not rows:
            continue
        caption = (
            f"NRMSE of each method minus that of {own}, in percentage points, paired by seed and "
            f"{evidence.words.group.one}, with its 95% interval. Worse: {own} is better. A tie: the interval holds 0, "
            "and nothing is decided."
        ) + _alone(evidence, test)
        title = f"Differences from {own}: {evidence.test_label(test)}"
        yield Table(f"table-differences-{test}", title, caption, evidence.how, head, tuple(rows))


def _head(evidence: Evidence, rates: list[float]) -> tuple[str, ...]:
    return "trained on", *(evidence.column(rate) for rate in rates)


def _values(evidence: Evidence, quantity: Quantity, rates: list[float], test: str, protocol: str) -> Table:
    rows: list[tuple[str, ...]] = []
    strong = set()
    for method in evidence.methods(protocol):
        cells = [evidence.cell(method, rate, protocol) for rate in rates]
        if method == evidence.own:
            strong.add(len(rows))
        found = [evidence.figure(cell, test, quantity.key) for cell in cells]
        if method == "full":
            found = [found[0], *[None] * (len(rates) - 1)]
        rows.append((evidence.label(method), *(quantity.text(each) for each in found)))
    caption = (
        f"Mean ± half of the 95% interval over seeds and {evidence.words.groups}, {evidence.protocol_label(protocol)}; "
        "the whole corpus has one value, whatever the rate."
    ) + _alone(evidence, test)
    return Table(
        f"table-{quantity.key.replace('_', '-')}-{test}",
        f"{quantity.axis[0].upper()}{quantity.axis[1:]}: {evidence.test_label(test)}",
        caption,
        evidence.how,
        _head(evidence, rates),
        tuple(rows),
        frozenset(strong),
    )


def _alone(evidence: Evidence, test: str) -> str:
    told = evidence.alone(test)
    return f" Here is {told}." if told else ""


def _against_own(evidence: Evidence, method: str, rate: float, protocol: str, test: str) -> str:
    if method == "full":  # whose cell has no rate: what the own method's cell says of it, the other way round
        own = evidence.cell(evidence.own, rate, protocol)
        found = (own or {}).get("tests", {}).get(test, {}).get("differences", {}).get("full", {}).get("nrmse")
        return _difference(found, -1)
    cell = evidence.cell(method, rate, protocol)
    found = (cell or {}).get("tests", {}).get(test, {}).get("differences", {}).get(evidence.own, {})
    told = _difference(found.get("nrmse"), 1)
    other = evidence.other_budget(cell) if cell else ""
    return f"{told} ({other})" if told and other else told


def _difference(found: dict[str, Any] | None, sign: int) -> str:
    if found is None:
        return ""
    if found["low"] is None:
        return NRMSE.within({"value": sign * found["value"]}, "+")
    low, high = sorted(sign * found[side] for side in ("low", "high"))
    verdict = "worse" if low > 0 else "better" if high < 0 else "tie"
    if not settled(found):
        verdict = "1 network: no verdict"
    return f"{NRMSE.within({'value': sign * found['value'], 'low': low, 'high': high}, '+')} {verdict}"


def lost_electrons(evidence: Evidence) -> Figure | None:
    """Electrons that a predicted density lacks before it is rescaled."""
    return curve(evidence, LOST_ELECTRONS) if evidence.has(LOST.key) else None

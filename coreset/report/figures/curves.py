"""Curves with intervals that the chapters share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go

from coreset.report.evidence import Evidence
from coreset.report.figure import percent, significant
from coreset.report.quantity import Quantity

CUT = 0.1
"""Share of a value at which its bar is cut on a logarithmic axis, which has no place for 0."""
COLUMNS = ("value", "low", "high")

Point = tuple[str | float, Mapping[str, Any], tuple[Any, ...]]
"""Where a point stands, its estimate, and what the CSV and the reader's pointer are told before its value."""


def points_with_intervals(
    points: Iterable[Point], quantity: Quantity, meta: Mapping[str, str], columns: Sequence[str], **style: Any
) -> go.Scatter:
    """One curve; `columns` name what each point carries before its value, low and high."""
    at, values, above, below, carried = [], [], [], [], []
    for position, estimate, leading in points:
        value = quantity.factor * estimate["value"]
        low, high = (None if estimate.get(s) is None else quantity.factor * estimate[s] for s in ("low", "high"))
        at.append(position)
        values.append(significant(value))
        above.append(0 if high is None else significant(high - value))
        # A logarithmic axis has no place for a bar that ends at or below 0.
        below.append(0 if low is None else significant(value - (low if quantity.signed else max(low, CUT * value))))
        carried.append([*leading, *(significant(each) for each in (value, low, high))])
    shade = {"color": style["line"]["color"]} if "color" in style.get("line", {}) else {}
    named = "".join(f"{name} %{{customdata[{i}]}}<br>" for i, name in enumerate(columns))
    n = len(columns)
    template = (
        f"<b>%{{fullData.name}}</b><br>{named}{quantity.in_unit(f'%{{customdata[{n}]:.4g}}')} "
        f"[%{{customdata[{n + 1}]:.4g}}, %{{customdata[{n + 2}]:.4g}}]<extra></extra>"
    )
    return go.Scatter(
        x=at,
        y=values,
        error_y={"type": "data", "array": above, "arrayminus": below, "width": 3, "thickness": 1.2, **shade},
        customdata=carried,
        meta=dict(meta),
        hovertemplate=template,
        mode="lines+markers",
        **style,
    )


def log_axis(title: str) -> dict[str, Any]:
    """A logarithmic axis with plain numbers."""
    axis = {"type": "log", "title": {"text": title}, "nticks": 4}
    # Few are asked for, so that plotly takes 1, 2, 5 and not every digit; with a format it writes them in full.
    return {**axis, "exponentformat": "none", "tickformat": "~g"}


def value_axis(quantities: Sequence[Quantity]) -> dict[str, Any]:
    """The axis of figures to be switched, titled as the first: logarithmic where none of them may be 0 or below."""
    title = quantities[0].axis
    if quantities[0].signed:
        return {"title": {"text": title}}
    return linear_axis(title) if any(each.zero for each in quantities) else log_axis(title)


def linear_axis(title: str) -> dict[str, Any]:
    """An axis from 0."""
    return {"title": {"text": title}, "rangemode": "tozero"}


SIDE_BY_SIDE = {"scattermode": "group", "scattergap": 0.45}
"""Moves the points of several curves apart, so that their bars do not hide each other."""


def categories(names: Sequence[str], title: str = "") -> dict[str, Any]:
    """An axis of names in this order."""
    axis = {"type": "category", "categoryorder": "array", "categoryarray": list(names), "fixedrange": True}
    return {**axis, "showgrid": False, "title": {"text": title}}


def span(rates: Sequence[float]) -> list[float]:
    """The ends of an axis of rates."""
    return [-0.5, len(rates) - 0.5]


def over_rates(figure: go.Figure, evidence: Evidence, rates: Sequence[float]) -> None:
    """An axis of the share pruned, and above it a second one of the points kept."""
    names = [percent(rate) for rate in rates]
    figure.update_layout(
        xaxis={**categories(names, f"share of {evidence.words.points} pruned"), "range": span(rates)},
        xaxis2={
            "range": span(rates),
            "tickvals": list(range(len(rates))),
            "ticktext": [f"{kept:,}" if kept else "" for kept in map(evidence.kept, rates)],
            "showgrid": False,
            "fixedrange": True,
            "title": {"text": f"training {evidence.words.points} kept"},
            "overlaying": "x",
            "side": "top",
        },
        margin={"t": 56},
    )
    # An axis is drawn only where some trace stands on it.
    on_second_axis(figure, None)


def on_second_axis(figure: go.Figure, y: float | None) -> None:
    """A point that nobody sees, to which the axes reach."""
    hidden = {"opacity": 0, "meta": {"csv": "no"}, "showlegend": False, "hoverinfo": "skip", "offsetgroup": "full"}
    figure.add_trace(go.Scatter(x=[0], y=[y], xaxis="x2", mode="markers", **hidden))


def line_across(figure: go.Figure, y: float, text: str) -> None:
    """A dotted line over the whole width of a logarithmic axis, with its name at the right end."""
    figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=y, y1=y, line={"dash": "dot", "width": 1.5})
    # Shapes stand at values, annotations at their logarithms.
    note = {"xref": "paper", "x": 1, "xanchor": "right", "y": log10(y), "yanchor": "bottom", "showarrow": False}
    figure.add_annotation(text=text, **note)


def line_up(figure: go.Figure, x: float, text: str, dash: str, side: str, logarithmic: bool) -> None:
    """A line over the whole height with its name above, on the side of it that `side` is the anchor of."""
    figure.add_shape(type="line", yref="paper", y0=0, y1=1, x0=x, x1=x, line={"dash": dash, "width": 1.5})
    note = {"yref": "paper", "y": 1, "yanchor": "bottom", "xanchor": side, "showarrow": False}
    figure.add_annotation(text=text, x=log10(x) if logarithmic else x, **note)

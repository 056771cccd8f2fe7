"""Curves with intervals that the chapters share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, log10
from typing import Any

import plotly.graph_objects as go

from coreset.report.evidence import Quantity
from coreset.report.figure import significant

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
        below.append(0 if low is None else significant(value - (low if quantity.signed else max(low, 0.02 * value))))
        carried.append([*leading, *(significant(each) for each in (value, low, high))])
    shade = {"color": style["line"]["color"]} if "color" in style.get("line", {}) else {}
    named = "".join(f"{name} %{{customdata[{i}]}}<br>" for i, name in enumerate(columns))
    n = len(columns)
    template = (
        f"<b>%{{fullData.name}}</b><br>{named}%{{customdata[{n}]:.4g}} {quantity.unit} "
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


def log_axis(title: str, figure: go.Figure) -> dict[str, Any]:
    """A logarithmic axis with plain numbers: at 1, 2 and 5, or at every digit where curves need less than a decade."""
    spans: dict[str, tuple[float, float]] = {}
    for trace in figure.data:
        values = [value for value in trace.y or () if isinstance(value, int | float) and value > 0]
        key = (trace.meta or {}).get("figure", (trace.meta or {}).get("measure", ""))
        low, high = spans.get(key, (inf, 0.0))
        spans[key] = min([low, *values]), max([high, *values])
    close = max((high / low for low, high in spans.values() if high), default=1.0) < 9
    tick = "D1" if close else "D2"
    return {"type": "log", "title": {"text": title}, "dtick": tick, "exponentformat": "none", "tickformat": "~g"}


SIDE_BY_SIDE = {"scattermode": "group", "scattergap": 0.45}
"""Moves the points of several curves apart, so that their bars do not hide each other."""


def categories(names: Sequence[str], title: str = "") -> dict[str, Any]:
    """An axis of names in this order."""
    axis = {"type": "category", "categoryorder": "array", "categoryarray": list(names), "fixedrange": True}
    return {**axis, "showgrid": False, "title": {"text": title}}


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

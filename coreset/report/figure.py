"""What the page is made of: figures and tables that carry their caption, the command and the seeds behind them.

A plot is a plotly figure whose traces tell in `meta` what they belong to ({"test set": "bulk"}): the page's choices
show and hide traces by it, and it labels the rows of the CSV. Where `layout.meta["columns"]` is given, the rows are the
traces' `customdata`, with these names; elsewhere they are the coordinates themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import plotly.graph_objects as go

INK = {"light": "#1b1f24", "dark": "#e8eaed"}
PAPER = {"light": "#ffffff", "dark": "#16191d"}
GRID = {"light": "#e3e6ea", "dark": "#343a42"}

METHOD_STYLES: dict[str, tuple[str | None, str]] = {
    "full": (None, "star"),
    "random": ("#0072B2", "circle"),
    "random-snapshots": ("#8c8c8c", "square"),
    "grand": ("#D55E00", "triangle-down"),
    "ccs": ("#009E73", "diamond"),
    "cut-random": ("#E69F00", "triangle-up"),
    "loss": ("#CC79A7", "x"),
}
"""Colour (Okabe and Ito's, distinct for the colour-blind) and marker; None: the colour of the text."""
SEQUENCE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#8c8c8c")
"""Colours of series that are no methods."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "triangle-down", "x", "cross")


@dataclass(frozen=True)
class Choice:
    """What the reader may switch: the key in the traces' `meta`, and its values with labels; the first is shown."""

    key: str
    options: tuple[tuple[str, str], ...]
    axis: str = ""
    """The axis that takes the chosen label as its title, if any: `yaxis`."""

    @classmethod
    def of(cls, key: str, values: Sequence[str], labels: Mapping[str, str] | None = None, axis: str = "") -> Choice:
        """A choice of these values, under other labels where some are given."""
        return cls(key, tuple((value, (labels or {}).get(value, value)) for value in dict.fromkeys(values)), axis)


@dataclass(frozen=True)
class Figure:
    """A plot, what it shows in plain words, and what made it."""

    name: str
    title: str
    caption: str
    how: str
    alt: str
    plot: go.Figure
    choices: tuple[Choice, ...] = ()
    height: int = 460
    width: int = 0
    """Least width in pixels; a narrower screen scrolls within the figure."""
    turns: bool = False
    """Whether it is a view in three dimensions."""

    def __post_init__(self) -> None:
        show(self.plot, {choice.key: choice.options[0][0] for choice in self.choices})


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column names the row."""

    name: str
    title: str
    caption: str
    how: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    """Rows of the job's own method."""
    wraps: bool = False
    """Whether cells hold sentences rather than figures."""


@dataclass(frozen=True)
class Missing:
    """Evidence that the folder does not hold, and the way to it."""

    what: str
    way: str


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    name: str
    title: str
    lead: str
    items: tuple[Figure | Table | Missing, ...] = field(default=())


def show(plot: go.Figure, chosen: Mapping[str, str]) -> None:
    """Shows the traces that agree with what is chosen, or have no say in it, and hides the others."""
    for trace in plot.data:
        meta = trace.meta or {}
        trace.visible = all(meta.get(key, value) == value for key, value in chosen.items())


def template(theme: str) -> dict[str, Any]:
    """Colours and fonts of every plot, light or dark; what has no colour of its own gets that of the text."""
    ink, paper, grid = INK[theme], PAPER[theme], GRID[theme]
    axis = {"gridcolor": grid, "linecolor": ink, "tickcolor": ink, "zeroline": False, "ticks": "outside", "ticklen": 4}
    axis |= {"showline": True, "automargin": True, "title": {"standoff": 8}}
    space = {"gridcolor": grid, "color": ink, "backgroundcolor": paper, "showbackground": False, "zeroline": False}
    return {
        "layout": {
            "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": ink},
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "xaxis": axis,
            "yaxis": axis,
            "scene": {"xaxis": space, "yaxis": space, "zaxis": space},
            "legend": {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
            "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
            "shapedefaults": {"line": {"color": ink}},
            "annotationdefaults": {"font": {"color": ink}, "arrowcolor": ink},
            "hoverlabel": {"bgcolor": paper, "font": {"color": ink}, "bordercolor": grid},
            "colorway": list(SEQUENCE),
        },
        "data": {
            "scatter": [{"line": {"color": ink}, "marker": {"color": ink}, "error_y": {"color": ink}}],
            "scatter3d": [{"line": {"color": ink}}],
            "bar": [{"marker": {"color": ink, "line": {"width": 0}}}],
        },
    }


def plot(columns: Sequence[str] = (), **layout: Any) -> go.Figure:
    """An empty plot; `columns` name what the traces carry as `customdata`."""
    figure = go.Figure()
    figure.update_layout(template=None, **layout)
    if columns:
        figure.update_layout(meta={"columns": list(columns)})
    return figure


def colour(method: str) -> str | None:
    """A method's colour; None: that of the text."""
    return METHOD_STYLES.get(method, (SEQUENCE[-2], "hexagon"))[0]


def marks(method: str, label: str, **line: Any) -> dict[str, Any]:
    """Colour, marker and line of a method's curve, and its label."""
    shade, symbol = METHOD_STYLES.get(method, (SEQUENCE[-2], "hexagon"))
    return {
        "name": label,
        "legendgroup": method,
        "line": {"width": 2, **({"color": shade} if shade else {}), **line},
        "marker": {"symbol": symbol, "size": 8, **({"color": shade} if shade else {})},
    }


def faint(hexadecimal: str, alpha: float) -> str:
    """A colour that lets through what lies behind it."""
    red, green, blue = (int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def percent(rate: float) -> str:
    """A rate as text: 99%, 99.5%."""
    return f"{100 * rate:.6g}%"


@overload
def significant(value: float, digits: int = 6) -> float: ...
@overload
def significant(value: None, digits: int = 6) -> None: ...
@overload
def significant(value: float | None, digits: int = 6) -> float | None: ...
def significant(value: float | None, digits: int = 6) -> float | None:
    """A number with as many digits as anyone reads, to keep the page small."""
    return None if value is None else float(f"{value:.{digits}g}")


def rounded(value: float) -> str:
    """Two significant digits in plain figures: 0.16, 7.3, 190, 1,200."""
    return f"{float(f'{value:.2g}'):,.15g}"

"""Two plain pictures, written without a browser, for cards: dots with their intervals, and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from coreset.report.figure import GRID, INK, PAPER, SEQUENCE, colour

_WIDTH = 720
_LABELS = 150
"""Room for the names of the rows."""
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"


@dataclass(frozen=True)
class Dot:
    """A value with its interval, if it has one."""

    label: str
    method: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    """A curve."""

    label: str
    method: str
    x: Sequence[float]
    y: Sequence[float]


def dots(title: str, axis: str, values: Sequence[Dot]) -> str:
    """One row per value along one axis, which begins at 0."""
    most = max((each.interval[1] if each.interval else each.value for each in values), default=1.0) or 1.0
    steps = _steps(most)
    height = 34 * len(values) + 90
    left, right, bottom = _LABELS, _WIDTH - 24, height - 46

    def at(value: float) -> float:
        return left + (right - left) * value / steps[-1]

    drawn = [_text(16, 22, title, weight="600")]
    drawn += [_rule(at(step), 36, at(step), bottom, GRID["light"]) for step in steps]
    drawn += [_text(at(step), bottom + 18, f"{step:g}", anchor="middle") for step in steps]
    drawn.append(_text((left + right) / 2, height - 8, axis, anchor="middle"))
    for number, each in enumerate(values):
        y, shade = 54 + 34 * number, colour(each.method) or INK["light"]
        drawn.append(_text(left - 12, y + 4, each.label, anchor="end"))
        if each.interval:
            low, high = map(at, each.interval)
            drawn.append(_rule(max(low, left), y, high, y, shade, 2))
        drawn.append(f'<circle cx="{at(each.value):.1f}" cy="{y}" r="5" fill="{shade}"/>')
    return _svg(height, title, drawn)


def curves(title: str, x_axis: str, y_axis: str, lines: Sequence[Line]) -> str:
    """Curves over one pair of axes, both from 0, with a legend below."""
    across = _steps(max(max(line.x) for line in lines))
    up = _steps(max(max(line.y) for line in lines))
    legend = math.ceil(len(lines) / 4)
    height = 400 + 22 * legend
    left, right, top, bottom = 64, _WIDTH - 24, 54, 340

    def place(x: float, y: float) -> str:
        return f"{left + (right - left) * x / across[-1]:.1f},{bottom - (bottom - top) * y / up[-1]:.1f}"

    drawn = [_text(16, 22, title, weight="600")]
    for step in across:
        x = float(place(step, 0).split(",")[0])
        drawn += [_rule(x, top, x, bottom, GRID["light"]), _text(x, bottom + 18, f"{step:g}", anchor="middle")]
    for step in up:
        y = float(place(0, step).split(",")[1])
        drawn += [_rule(left, y, right, y, GRID["light"]), _text(left - 8, y + 4, f"{step:g}", anchor="end")]
    drawn.append(_text((left + right) / 2, bottom + 38, x_axis, anchor="middle"))
    drawn.append(_text(left, top - 6, y_axis))
    for number, line in enumerate(lines):
        shade = colour(line.method) or (INK["light"] if line.method == "full" else SEQUENCE[number % len(SEQUENCE)])
        points = " ".join(place(x, y) for x, y in zip(line.x, line.y, strict=True))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{shade}" stroke-width="2"/>')
        x, y = left + 164 * (number % 4), bottom + 64 + 22 * (number // 4)
        drawn += [_rule(x, y - 4, x + 22, y - 4, shade, 3), _text(x + 30, y, line.label)]
    return _svg(height, title, drawn)


def _steps(most: float) -> list[float]:
    """Ticks from 0 to beyond `most`, four to eight of them, at 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(most / 4)) if most > 0 else 1.0
    width = next(factor * power for factor in (1, 2, 5, 10) if most / (factor * power) <= 8)
    return [width * number for number in range(math.ceil(most / width - 1e-9) + 1)]


def _text(x: float, y: float, content: str, anchor: str = "start", weight: str = "400") -> str:
    style = f'font-family="{_FONT}" font-size="13" font-weight="{weight}" fill="{INK["light"]}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{escape(content)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, shade: str, width: float = 1) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{shade}" stroke-width="{width:g}"/>'


def _svg(height: int, title: str, drawn: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    paper = f'<rect width="{_WIDTH}" height="{height}" fill="{PAPER["light"]}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", paper, *drawn, "</svg>"]) + "\n"

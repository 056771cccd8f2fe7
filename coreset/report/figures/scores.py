"""How hard the points are, which of them each method keeps, and where in the cell the hard ones lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from coreset.report.evidence import Evidence
from coreset.report.figure import (
    Choice,
    Figure,
    Missing,
    Section,
    Table,
    faint,
    percent,
    plot,
    significant,
)
from coreset.report.figures.atoms import middle_plane, on_plane
from coreset.report.figures.curves import line_up
from coreset.report.figures.space import hard_points

SIZE = 72
"""Points along the longer edge of a picture of a plane."""


def section(evidence: Evidence) -> Section:
    """Histogram, strata, top decile, and the surroundings of the hard points."""
    point, points = evidence.words.point.one, evidence.words.points
    items: list[Figure | Table | Missing] = []
    histogram = evidence.sweep.get("scores", {}).get("histogram")
    if histogram:
        items.append(_histogram(evidence, histogram))
        items.extend(_strata(evidence, label, each) for label, each in histogram.get("strata", {}).items())
        items.append(_table(evidence, histogram))
        if "distance" in histogram:
            items.append(_distance(evidence, histogram))
        if len(histogram.get("species", {})) > 1:
            items.append(_species(evidence, histogram))
    else:
        items.append(Missing("the histogram of the scores", "run coreset sweep JOB.yaml"))
    scored = evidence.fields("training")
    if scored:
        items.append(_plane(evidence, *scored[0]))
        items.append(hard_points(evidence, *scored[0]))
    return Section(
        "scores",
        f"Where the hard {points} are",
        f"A {point}'s score is {evidence.words.score}",
        tuple(items),
    )


def _histogram(evidence: Evidence, histogram: Mapping[str, Any]) -> Figure:
    logarithmic = histogram.get("logarithmic")
    bins = logarithmic or histogram["linear"]
    edges = np.array(bins["edges"])
    centres = np.sqrt(edges[1:] * edges[:-1]) if logarithmic else (edges[1:] + edges[:-1]) / 2
    x = [significant(value, 5) for value in centres]
    words = evidence.words
    figure = plot(("score from", "score to", words.points, f"share of the {words.points} of the bin, %"))
    everything = np.array(bins["all"])
    series = {"full": everything, **{name: np.array(counts) for name, counts in bins["kept"].items()}}
    for what in ("points", "share"):
        for name in [method for method in evidence.methods() if method in series]:
            counts = series[name]
            if what == "share" and name == "full":
                continue
            shares = np.divide(100.0 * counts, everything, out=np.full(len(counts), np.nan), where=everything > 0)
            style = evidence.marks(name)
            style.pop("marker")
            style["line"]["shape"] = "hvh"
            y = counts.astype(float) if what == "points" else shares
            figure.add_scatter(
                x=x,
                y=[significant(v, 4) if np.isfinite(v) and v > 0 else None for v in y],
                mode="lines",
                connectgaps=False,
                fill="tozeroy" if name == "full" else None,
                fillcolor="rgba(128,128,128,0.18)" if name == "full" else None,
                meta={"show": what},
                customdata=[
                    [significant(a), significant(b), int(n), significant(s, 4) if np.isfinite(s) else None]
                    for a, b, n, s in zip(edges[:-1], edges[1:], counts, shares, strict=True)
                ],
                hovertemplate=f"%{{fullData.name}}: %{{customdata[2]:,}} {words.points} of scores "
                "%{customdata[0]:.3g}–"
                "%{customdata[1]:.3g} (%{customdata[3]:.3g}%)<extra></extra>",
                **{**style, "name": f"all training {words.points}" if name == "full" else style["name"]},
            )
    _borders(figure, histogram)
    figure.update_layout(
        xaxis={
            "type": "log" if logarithmic else "linear",
            "title": {"text": "score (GraNd)"},
            "exponentformat": "power",
            "dtick": 1 if logarithmic else None,
            "range": [float(np.log10(edges[0])), float(np.log10(edges[-1]))] if logarithmic else None,
        },
        yaxis={"type": "log", "title": {"text": f"{words.points} in the bin"}, "exponentformat": "power", "dtick": 1},
        margin={"t": 36},
    )
    zero, points = histogram["all"]["zero"], histogram["all"]["points"]
    return Figure(
        "score-histogram",
        "The scores, and what each method keeps of them",
        f"Of {points:,} training {words.points} {zero:,} have the score 0"
        f"{' and are in no bin of this logarithmic axis' if logarithmic else ''}. "
        "Dotted: the border of the hardest tenth; dashed: β, beyond which CCS takes nothing. All selections at "
        f"{percent(evidence.rate)} pruned.",
        evidence.how,
        f"Histogram of the scores of {points:,} {words.points}, in all and as kept by "
        f"{', '.join(evidence.label(method) for method in evidence.methods() if method in bins['kept'])}",
        figure,
        (
            Choice(
                "show",
                (("points", f"{words.points} in the bin"), ("share", "share of the bin that is kept, %")),
                "yaxis",
            ),
        ),
        height=500,
    )


def _borders(figure: go.Figure, histogram: Mapping[str, Any]) -> None:
    border = histogram.get("top_decile", {}).get("border")
    logarithmic = histogram.get("logarithmic") is not None
    ccs = histogram.get("strata", {}).get("ccs")
    cut = ccs["edges"][-1] if ccs and ccs["cut"] else None
    lines = [(at, text, dash) for at, text, dash in ((border, "top tenth", "dot"), (cut, "β", "dash")) if at]
    for i, (at, text, dash) in enumerate(sorted(lines)):
        line_up(figure, at, text, dash, "left" if i == len(lines) - 1 else "right", logarithmic)


def _strata(evidence: Evidence, label: str, strata: Mapping[str, Any]) -> Figure:
    edges = np.array(strata["edges"])
    rows = [
        [i + 1, significant(a), significant(b), population, budget]
        for i, (a, b, population, budget) in enumerate(
            zip(edges[:-1], edges[1:], strata["population"], strata["budget"], strict=True)
        )
    ]
    points = evidence.words.points
    figure = plot(("stratum", "score from", "score to", f"{points} in it", "kept of it"), barmode="overlay", bargap=0)
    style = evidence.marks(label)
    for name, column, shade in (
        (f"{points} in the stratum", 3, "rgba(128,128,128,0.35)"),
        (f"kept by {style['name']}", 4, style["line"]["color"]),
    ):
        figure.add_bar(
            x=[significant((row[1] + row[2]) / 2) for row in rows],
            y=[row[column] or None for row in rows],
            width=float(edges[1] - edges[0]),
            name=name,
            marker={"color": shade},
            customdata=rows if column == 3 else None,
            meta={} if column == 3 else {"csv": "no"},
            hovertemplate=f"{name}: %{{y:,}}<extra></extra>",
        )
    figure.update_layout(
        xaxis={"title": {"text": "score (GraNd)"}},
        yaxis={
            "type": "log",
            "title": {"text": points},
            "exponentformat": "power",
            "dtick": 1,
            "range": [-0.1, float(np.log10(1.5 * max(strata["population"])))],
        },
    )
    taken_whole = sum(row[3] == row[4] for row in rows if row[3])
    return Figure(
        f"strata-{label}",
        f"Strata and budgets of {style['name']}",
        f"{len(rows)} strata of equal width in the score; {strata['cut']:,} {points} beyond β are cut. Every stratum "
        f"gets an even budget; {taken_whole} small ones are taken whole, and what they cannot use goes to the "
        "larger ones.",
        evidence.how,
        f"{points.capitalize()} and kept {points} of {len(rows)} strata",
        figure,
        height=420,
    )


def _table(evidence: Evidence, histogram: Mapping[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    strong = set()
    listed = {"full": histogram["all"], **histogram["selections"]}
    for method in [name for name in evidence.methods() if name in listed]:
        each = listed[method]
        if method == evidence.own:
            strong.add(len(rows))
        shares = (f"{100 * each['top_decile']:.3g}%", f"{100 * each['zero'] / each['points']:.3g}%")
        rows.append((evidence.label(method), f"{each['points']:,}", f"{each['mean']:.3g}", *shares))
    return Table(
        "table-top-decile",
        "What each selection is made of",
        f"At {percent(evidence.rate)} pruned. The top decile are the hardest tenth of all training "
        f"{evidence.words.points}.",
        evidence.how,
        ("kept by", evidence.words.points, "mean score", "of the top decile", "of score 0"),
        tuple(rows),
        frozenset(strong),
    )


def _distance(evidence: Evidence, histogram: Mapping[str, Any]) -> Figure:
    found = histogram["distance"]
    edges = found["edges"]
    figure = plot(("from, Bohr", "to, Bohr", "points", "mean score", "share of the top decile, %"))
    rows = [
        [a, b, n, significant(mean), None if share is None else significant(100 * share)]
        for a, b, n, mean, share in zip(
            edges[:-1], edges[1:], found["points"], found["mean"], found["top_decile"], strict=True
        )
    ]
    for what, column in (("mean", 3), ("share", 4)):
        style = evidence.marks("grand")
        figure.add_scatter(
            x=[(row[0] + row[1]) / 2 for row in rows],
            y=[row[column] for row in rows],
            mode="lines+markers",
            customdata=rows,
            meta={"show": what, "csv": "no" if what == "share" else ""},
            showlegend=False,
            hovertemplate="%{customdata[0]}–%{customdata[1]} Bohr: %{y:.3g}, %{customdata[2]:,} points<extra></extra>",
            **{**style, "name": "mean score" if what == "mean" else "share of the top decile"},
        )
    figure.update_layout(
        xaxis={"title": {"text": "distance to the nearest atom, Bohr"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "mean score"}, "rangemode": "tozero"},
    )
    highest = max((row for row in rows if row[3] is not None), key=lambda row: row[3])
    return Figure(
        "score-distance",
        "Hard points by their distance from atoms",
        "Mean score of the training points, and what part of them belongs to the hardest tenth, in shells around "
        "atoms.",
        evidence.how,
        f"The mean score is highest {highest[0]:g} to {highest[1]:g} Bohr from the nearest atom",
        figure,
        (Choice("show", (("mean", "mean score"), ("share", "share that is of the hardest tenth, %")), "yaxis"),),
        height=380,
    )


def _species(evidence: Evidence, histogram: Mapping[str, Any]) -> Table:
    rows = tuple(
        (name, f"{each['points']:,}", f"{each['mean']:.3g}", f"{100 * each['top_decile']:.3g}%")
        for name, each in sorted(histogram["species"].items())
    )
    head = ("nearest atom", "points", "mean score", "of the top decile")
    caption = "Training points by the element of the atom that is nearest to them."
    return Table("table-species", "Hard points by element", caption, evidence.how, head, rows)


def _plane(evidence: Evidence, entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Figure:
    plane, _ = middle_plane(entry)
    u, v = plane.coordinates(SIZE)
    figure = make_subplots(1, 2, subplot_titles=("density, e/Bohr³", "score (log₁₀)"), horizontal_spacing=0.17)
    figure.update_layout(template=None)
    score = np.asarray(arrays["score"], np.float64)
    floor = max(float(score.max()) * 1e-4, np.finfo(np.float64).tiny)
    atoms = on_plane(entry, plane).round(3)
    for column, (field, scale, name) in enumerate(
        ((arrays["reference"], "Cividis", "density"), (np.log10(np.maximum(score, floor)), "Inferno", "log10 score")),
        start=1,
    ):
        figure.add_heatmap(
            x=u.astype(np.float32),
            y=v.astype(np.float32),
            z=plane.cut(field, SIZE).astype(np.float32),
            colorscale=scale,
            colorbar={"x": 0.42 if column == 1 else 1.0, "thickness": 12, "len": 0.9},
            name=name,
            hovertemplate="%{x:.2f}, %{y:.2f} Bohr: %{z:.4g}<extra></extra>",
            row=1,
            col=column,
        )
        add_atoms(figure, atoms, {}, 1, column)
    square(figure, 2)
    figure.update_layout(margin={"t": 40})
    return Figure(
        "score-plane",
        "Scores in a plane of one training snapshot",
        f"{entry['snapshot']}, in the plane through the atom nearest to the middle of the cell; circles are atoms "
        "within 0.8 Bohr of it. Scores below 10⁻⁴ of the highest are drawn as that.",
        evidence.how,
        f"Density and score in a plane of {entry['snapshot']}",
        figure,
        height=440,
        width=680,
    )


def add_atoms(figure: Any, atoms: np.ndarray, meta: Mapping[str, str], row: int, column: int) -> None:
    """Marks atoms by open circles that show on light and on dark fields."""
    figure.add_scatter(
        x=atoms[:, 0].tolist(),
        y=atoms[:, 1].tolist(),
        mode="markers",
        marker={
            "symbol": "circle",
            "size": 7,
            "color": faint("#ffffff", 0.75),
            "line": {"color": "#222222", "width": 1.2},
        },
        meta={**meta, "csv": "no"},
        showlegend=False,
        hoverinfo="skip",
        row=row,
        col=column,
    )


def square(figure: Any, panels: int) -> None:
    """One Bohr is as long along either axis of every panel; only the first column and the last row bear numbers."""
    for i in range(1, panels + 1):
        number = "" if i == 1 else str(i)
        plain = {"showgrid": False, "constrain": "domain", "title": {"text": "Bohr", "standoff": 4}}
        figure.update_layout(
            {f"xaxis{number}": plain, f"yaxis{number}": {**plain, "scaleanchor": f"x{number}", "title": {"text": ""}}}
        )

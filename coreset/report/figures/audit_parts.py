"""Parts in an audit: what each adds, and in which order they could be left out whole."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from coreset.report.figure import SEQUENCE, Choice, Figure, Section, Table, percent, plot, significant
from coreset.report.figures.audit_coverage import plural, share

ORDER = ("snapshot", "shard", "file", "trajectory", "group", "temperature", "composition")
"""In which order parts of different kinds are offered."""
BARS = 40
"""Labels of one kind that are drawn: of more, those that add the most and the least."""
NAMES = 12
"""Parts that a row of the table names."""


def section(figures: dict[str, Any]) -> Section:
    """What each part of the corpus adds that no other does, and which could go."""
    items: list[Figure | Table] = [_bars(figures)] if figures["contribution"] else []
    if figures["dropped"] is not None and figures["dropped"]["order"]:
        items += [_curve(figures), _reach(figures)]
    return Section(
        "contribution",
        "Parts",
        "How much worse the queries would be covered without a part of the corpus, all others kept. Two that repeat "
        "each other both seem to add nothing, so what can go together is asked step by step.",
        tuple(items),
    )


def _bars(figures: dict[str, Any]) -> Figure:
    figure = plot(("points", "nearest to", "covers alone", "rise of AUC_pr", "rise, of AUC_pr"))
    area = figures["coverage"]["auc"]
    kinds = sorted(figures["contribution"], key=lambda kind: ORDER.index(kind) if kind in ORDER else len(ORDER))
    most = max(min(BARS, len(figures["contribution"][kind])) for kind in kinds)
    for i, kind in enumerate(kinds):
        shown = [each for each in figures["contribution"][kind] if each["rise"] is not None]
        cut = len(shown) > BARS
        shown = [*shown[: BARS // 2], *shown[-BARS // 2 :]] if cut else shown
        rows = [
            [
                each["points"],
                *(significant(each[key]) for key in ("nearest", "alone", "rise")),
                significant(each["rise"] / area) if area else None,
            ]
            for each in shown
        ]
        figure.add_trace(
            go.Bar(
                x=[each["rise"] / area if area else 0.0 for each in reversed(shown)],
                y=[each["name"] for each in reversed(shown)],
                orientation="h",
                width=0.75 * len(shown) / most,  # as thick as where there are many
                name=kind,
                marker={"color": SEQUENCE[i % len(SEQUENCE)]},
                customdata=rows[::-1],
                meta={"by": kind},
                showlegend=False,
                hovertemplate=(
                    "%{y}: AUC_pr rises by %{x:.2%} without its %{customdata[0]:,} points; nearest to "
                    "%{customdata[1]:.2%} of the queries, covers %{customdata[2]:.2%} alone<extra></extra>"
                ),
            )
        )
    figure.update_layout(
        xaxis={"title": {"text": "rise of AUC_pr without it"}, "tickformat": ".2~%", "rangemode": "tozero"},
        yaxis={"automargin": True, "type": "category", "tickfont": {"size": 11}},
    )
    return Figure(
        "adds",
        "Rise of AUC_pr without each part",
        "The exact rise if all points of that part were left out, as a share of AUC_pr; of many parts those that add "
        "the most and the least. The CSV has the points of each, the share of the queries that it is nearest to, and "
        "the share that it alone covers within the radius that covers 90% of all.",
        figures["command"],
        f"Rise of AUC_pr without each {kinds[0]}",
        figure,
        (Choice.of("by", kinds),),
        height=max(320, 90 + 17 * most),
    )


def _curve(figures: dict[str, Any]) -> Figure:
    found = figures["dropped"]
    figure = plot(("left out", "points left", "coverage", "AUC_pr"))
    whole = [0, figures["corpus"]["points"], 1.0, significant(found["auc"])]
    rows = [whole] + [
        [i + 1, row["points"], significant(row["coverage"]), significant(row["auc"])]
        for i, row in enumerate(found["order"])
    ]
    lowest = min(0.88, *(row[2] for row in rows))
    figure.add_scatter(
        x=[row[0] for row in rows],
        y=[row[2] for row in rows],
        mode="lines+markers",
        name=f"{plural(found['kind'])} left out",
        line={"width": 2, "color": SEQUENCE[0]},
        marker={"size": 5, "color": SEQUENCE[0]},
        customdata=rows,
        text=["all kept", *(row["name"] for row in found["order"])],
        hovertemplate="%{x} left out, last %{text}: %{y:.1%} of the coverage with %{customdata[1]:,} points"
        "<extra></extra>",
    )
    for each in found["reach"]:
        figure.add_hline(y=each["share"], line={"dash": "dot", "width": 1})
    figure.update_layout(
        xaxis={"title": {"text": f"{plural(found['kind'])} left out, of {found['parts']:,}"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "share of the coverage"}, "tickformat": ".0%", "range": [lowest - 0.02, 1.02]},
        showlegend=False,
    )
    return Figure(
        "dropped",
        f"Whole {plural(found['kind'])} left out",
        f"Greedily: at each step the {found['kind']} goes without which AUC_pr rises least, given those gone before. "
        f"{found['queries']:,} queries decide. Dotted: 90, 95 and 99% of the coverage.",
        figures["command"],
        f"Share of the coverage against the number of {plural(found['kind'])} left out",
        figure,
    )


def _reach(figures: dict[str, Any]) -> Table:
    found = figures["dropped"]
    names = [row["name"] for row in found["order"]]
    rows = tuple(
        (
            percent(each["share"]),
            f"{each['parts']:,} of {found['parts']:,}",
            share(each["points"] / figures["corpus"]["points"], 3),
            ", ".join(names[: each["parts"]][:NAMES]) + (", …" if each["parts"] > NAMES else ""),
        )
        for each in sorted(found["reach"], key=lambda each: -each["share"])
    )
    return Table(
        "droppable",
        f"{plural(found['kind']).capitalize()} that could go",
        "In the order in which they go; audit.json names all of them.",
        figures["command"],
        ("coverage that stays", "could go", "points that stay", "which"),
        rows,
        wraps=True,
    )

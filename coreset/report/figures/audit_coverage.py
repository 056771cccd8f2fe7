"""Coverage in an audit: the p–r curve, and coverage against size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coreset.report.figure import SEQUENCE, Choice, Figure, Section, Table, percent, plot, significant


def share(value: float, digits: int = 2) -> str:
    """A share in percent, to so many significant digits."""
    return percent(float(f"{value:.{digits}g}"))


def plural(kind: str) -> str:
    """Of what parts are called."""
    return f"{kind.removesuffix('y')}ies" if kind.endswith("y") else f"{kind}s"


def unit_of(figures: Mapping[str, Any]) -> str:
    """Of distances, with a space before it."""
    unit = figures["corpus"]["unit"]
    return f" {unit}" if unit else ""


def axis(figures: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The title of an axis of distances."""
    unit = figures["corpus"]["unit"]
    return {"text": f"{what}, {unit}" if unit else what}


def section(figures: dict[str, Any]) -> Section:
    """AUC_pr and the p–r curve."""
    seen = {
        "nothing": "Queries are points of the reference; one that the corpus holds too has distance 0.",
        "trajectory": "Queries are points of the corpus itself; none counts the points of its own "
        f"{figures['corpus']['group_kind']}.",
        "point": "Queries are points of the corpus itself; none counts itself.",
    }[figures["left_out"]]
    return Section(
        "coverage",
        "Coverage",
        "AUC_pr is the mean distance from a query to its nearest point of the corpus: lower covers better. " + seen,
        (_curve(figures), _areas(figures)),
    )


def _curve(figures: dict[str, Any]) -> Figure:
    area = figures["coverage"]
    figure = plot(("share of queries p", "distance r"))
    rows = [[significant(p), significant(r)] for p, r in zip(area["p"], area["r"], strict=True)]
    figure.add_scatter(
        x=[row[0] for row in rows],
        y=[row[1] for row in rows],
        mode="lines",
        name="corpus",
        line={"width": 2, "color": SEQUENCE[0]},
        customdata=rows,
        fill="tozeroy",
        fillcolor="rgba(0,114,178,0.12)",
        hovertemplate="%{x:.0%} of the queries within %{y:.4g}<extra></extra>",
    )
    figure.add_hline(y=area["auc"], line={"dash": "dash", "width": 1.5})
    figure.update_layout(
        xaxis={"title": {"text": "share p of the queries"}, "tickformat": ".0%", "range": [0, 1]},
        yaxis={"title": axis(figures, "nearest point within r"), "rangemode": "tozero"},
        showlegend=False,
    )
    return Figure(
        "curve",
        "p-partial r-cover",
        f"A share p of the queries has a point of the corpus within the distance r. The area under the curve is "
        f"AUC_pr, {area['auc']:.4g}{unit_of(figures)} (dashed: the mean). The right end is the worst covered query, at "
        f"{area['largest']:.4g}; {percent(round(area['at_zero'], 4))} of the queries equal a point of the corpus.",
        figures["command"],
        f"Distance within which a share of the queries is covered; the mean is {area['auc']:.4g}",
        figure,
    )


def _areas(figures: dict[str, Any]) -> Table:
    area, random = figures["coverage"], figures["random"]
    rows = [
        ("the corpus", f"{figures['corpus']['points']:,}", f"{area['auc']:.4g}", interval(*area["interval"]), "", "")
    ]
    told = ""
    if random is not None:
        of = "random points of the reference" if random["of"] == "reference" else "random points of the corpus"
        difference = random["difference"]
        verdict = {"lower": "corpus covers better", "higher": "corpus covers worse", "tie": "tie"}
        paired = f"{difference['value']:+.3g} {interval(difference['low'], difference['high'])}".strip()
        judged = verdict[difference["verdict"]] if difference["low"] is not None else ""
        measured = (f"{random['points']:,}", f"{random['value']:.4g}", interval(random["low"], random["high"]))
        rows.append((of, *measured, paired, judged))
        told = (
            f"The random points are as many as the corpus has; they are compared on the {random['queries']:,} queries "
            f"that neither holds, where AUC_pr of the corpus is {random['corpus']:.4g}. "
            if random["of"] == "reference"
            else "The reference has no more points than the corpus, so the peer is a random half of the corpus. "
            if figures["reference"]
            else "The peer is a random half of the corpus: what the other half adds. "
        )
    width = area["sampling"]["half_width"]
    sampled = f" Asking so many leaves ±{width:.2g} of it unknown." if width else ""
    return Table(
        "areas",
        f"AUC_pr{',' + unit_of(figures) if unit_of(figures) else ''}",
        f"{told}Intervals of 95% are over {plural(figures['corpus']['group_kind'])}, or "
        "over queries where there are none; the difference, the "
        f"corpus less the peer, is paired query by query. {area['queries']:,} queries.{sampled}",
        figures["command"],
        ("points", "number", "AUC_pr", "95% interval", "difference", "verdict"),
        tuple(rows),
    )


def interval(low: float | None, high: float | None) -> str:
    """In brackets, where there is one."""
    return "" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"


def section_size(figures: dict[str, Any]) -> Section:
    """How many points reach which coverage, drawn and chosen."""
    return Section(
        "size",
        "Size",
        "The coverage of a subset is AUC_pr of the whole corpus over that of the subset: 100% for the whole, 50% where "
        "the nearest point is twice as far on average. In many dimensions all distances are alike, and even few points "
        "reach much of it.",
        (_sizes(figures), _reach(figures), _chosen(figures)),
    )


def _sizes(figures: dict[str, Any]) -> Figure:
    figure = plot(("points", "coverage", "AUC_pr", "low", "high"))
    rows = [
        [row["points"], significant(row["coverage"]), *(significant(row[side]) for side in ("value", "low", "high"))]
        for row in figures["size"]["subsets"]
    ]
    figure.add_scatter(
        x=[row[0] for row in rows],
        y=[row[1] for row in rows],
        mode="lines+markers",
        name="random subsets",
        line={"width": 2, "color": SEQUENCE[0]},
        marker={"size": 7, "color": SEQUENCE[0]},
        customdata=rows,
        hovertemplate="%{x:,} points: %{y:.1%} of the coverage, AUC_pr %{customdata[2]:.4g}<extra></extra>",
    )
    for row in figures["size"]["reach"]:
        figure.add_scatter(
            x=[row["points"]],
            y=[row["share"]],
            mode="markers+text",
            text=[percent(row["share"])],
            textposition="top left",
            name=f"{percent(row['share'])} of the coverage",
            marker={"size": 11, "symbol": "diamond", "color": SEQUENCE[1]},
            customdata=[[row["points"], row["share"], None, None, None]],
            showlegend=False,
            hovertemplate="%{x:,.0f} points reach %{y:.0%}<extra></extra>",
        )
    figure.update_layout(
        xaxis={"title": {"text": "points of the subset"}, "type": "log"},
        yaxis={"title": {"text": "share of the coverage"}, "tickformat": ".0%", "range": [0, 1.08]},
        showlegend=False,
    )
    return Figure(
        "sizes",
        "Coverage against size",
        "Each point is a random subset of a half, a quarter, an eighth … of the corpus, each within the one before. "
        "Diamonds: where 90, 95 and 99% of the coverage are reached, on a line of log AUC_pr in log size.",
        figures["command"],
        f"Share of the coverage against the number of points, from {rows[0][0]:,} to {rows[-1][0]:,}",
        figure,
    )


def _reach(figures: dict[str, Any]) -> Table:
    rows = tuple(
        (
            percent(row["share"]),
            f"{'fewer than ' if row['or_fewer'] else ''}{row['points']:,.0f}",
            share(row["of_all"], 3),
            share(1 - row["of_all"], 3),
        )
        for row in figures["size"]["reach"]
    )
    return Table(
        "reach",
        "Points for a share of the coverage",
        "What is left over could go without harm to coverage, whatever its use for training.",
        figures["command"],
        ("coverage", "points", "of the corpus", "left over"),
        rows,
    )


def _chosen(figures: dict[str, Any]) -> Figure:
    found = figures["chosen"]
    figure = plot(("points", "AUC_pr", "largest distance"))
    styles = {"drawn": ("drawn at random", SEQUENCE[0], "circle"), "chosen": ("farthest first", SEQUENCE[1], "diamond")}
    labels = {"auc": "mean distance (AUC_pr)", "largest": "largest distance"}
    for quantity in labels:
        for kind, (name, shade, symbol) in styles.items():
            rows = [[row["points"], significant(row[kind]["auc"]), significant(row[kind]["largest"])] for row in found]
            figure.add_scatter(
                x=[row[0] for row in rows],
                y=[row[kind][quantity] for row in found],
                mode="lines+markers",
                name=name,
                line={"width": 2, "color": shade},
                marker={"size": 7, "symbol": symbol, "color": shade},
                customdata=rows,
                meta={"distance": quantity},
                hovertemplate="%{fullData.name}, %{x:,} points: %{y:.4g}<extra></extra>",
            )
    figure.update_layout(
        xaxis={"title": {"text": "points"}, "type": "log"},
        yaxis={"title": axis(figures, "distance"), "rangemode": "tozero"},
    )
    return Figure(
        "chosen",
        "Chosen or drawn",
        f"How well so many points cover a sample of {found[0]['of']:,} points of the corpus, drawn at random or each "
        "chosen as the one farthest from those before. Where the curves part, a choice is worth its work: farthest "
        "first is for the largest distance, and may well lose in the mean.",
        figures["command"],
        "Distance against the number of points, drawn and chosen",
        figure,
        (Choice.of("distance", list(labels), labels),),
    )

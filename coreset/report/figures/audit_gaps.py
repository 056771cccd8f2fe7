"""What an audit found uncovered: regions by snapshot, atom and place, in space and on a map, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coreset.report.figure import Choice, Figure, Section, Table, plot, rounded
from coreset.report.figures.atoms import PLAIN_AXES, scaffold
from coreset.report.figures.audit_coverage import share, unit_of

ROWS = 20
SCALE = [[0.0, "#56B4E9"], [0.5, "#b088c0"], [1.0, "#B22222"]]


def section(figures: dict[str, Any]) -> Section:
    """Regions, views, the map, and tables by member and species."""
    found = figures["uncovered"]
    items: list[Figure | Table] = []
    if found["views"]:
        items.append(_space(figures))
    if found["regions"]:
        items.append(_regions(figures))
    items.append(_map(figures))
    if found["helpful"]:
        items.append(_helpful(figures))
    items.append(_members(figures))
    if found["species"]:
        items.append(_species(figures))
    return Section(
        "uncovered",
        "Not covered",
        "Where queries lie farthest from the corpus: there it has nothing like them, and a model trained on it "
        "extrapolates.",
        tuple(items),
    )


def name(region: Mapping[str, Any]) -> str:
    """The point in the centre of a region."""
    kind = next(kind for kind in ("snapshot", "file") if kind in region)
    return f"{region[kind]}, {'point' if kind == 'snapshot' else 'row'} {region['index']:,}"


def place(region: Mapping[str, Any], unit: str = "") -> str:
    """Where a region is, in a few words."""
    text = name(region)
    if "species" in region:
        text += f", {region['from_atom']:.2g} Bohr from an atom of {region['species']}"
    if region.get("unusual"):
        most = region["unusual"][0]
        text += f" (its column {most['feature']} lies {most['deviations']:+.2g} standard deviations from the mean)"
    return text + f", {region['distance']:.3g} {unit}".rstrip() + " from the nearest point of the corpus"


def _scene(camera: float = 1.0) -> dict[str, Any]:
    eye = {axis: camera * value for axis, value in (("x", 1.4), ("y", 1.15), ("z", 0.7))}
    return {"aspectmode": "data", "camera": {"eye": eye, "center": {"x": 0, "y": 0, "z": -0.12}}}


def _marks(distances: list[float], ends: tuple[float, float], label: str, **style: Any) -> dict[str, Any]:
    bar = {"title": {"text": label, "side": "right"}, "thickness": 12, "len": 0.7, "outlinewidth": 0}
    return {"color": distances, "cmin": ends[0], "cmax": ends[1], "colorscale": SCALE, "colorbar": bar, **style}


def _ends(distances: list[float]) -> tuple[float, float]:
    """The ends of a scale of colours."""
    least, largest = min(distances), max(distances)
    return least, largest if largest > least else least + 1.0


def _space(figures: Mapping[str, Any]) -> Figure:
    views, unit = figures["uncovered"]["views"], unit_of(figures)
    least, largest = _ends([distance for view in views for distance in view["distances"]])
    figure = plot(("x, Bohr", "y, Bohr", "z, Bohr", "distance"))
    for view in views:
        at, distances = np.array(view["points"]), np.array(view["distances"])
        rows = np.column_stack([at, distances]).round(5).tolist()
        size = (3 + 7 * (distances - least) / (largest - least)).round(1).tolist()
        label = f"distance,{unit}" if unit else "distance"
        figure.add_scatter3d(
            x=at[:, 0].tolist(),
            y=at[:, 1].tolist(),
            z=at[:, 2].tolist(),
            mode="markers",
            name="queries",
            marker=_marks(distances.round(5).tolist(), (least, largest), label, size=size, opacity=0.85),
            customdata=rows,
            meta={"snapshot": view["snapshot"]},
            showlegend=False,
            hovertemplate="%{x:.2f}, %{y:.2f}, %{z:.2f} Bohr: distance %{customdata[3]:.3g}<extra></extra>",
        )
        entry = {key: view[key] for key in ("cell", "positions", "numbers")}
        figure.add_traces(
            [trace.update(meta={"snapshot": view["snapshot"], "csv": "no"}) for trace in scaffold(entry, {})]
        )
    figure.update_layout(
        scene={**PLAIN_AXES, **_scene()}, margin={"l": 0, "r": 0, "t": 0, "b": 0}, legend={"y": 0.0, "yanchor": "top"}
    )
    return Figure(
        "uncovered-space",
        "Where in the cell",
        "The queries of the snapshots with the worst covered points, each at its place among the atoms: the larger and "
        "redder, the farther from the corpus. Drag to turn; the arrow buttons turn by keyboard.",
        figures["command"],
        f"Queries by distance in the cells of {', '.join(view['snapshot'] for view in views)}",
        figure,
        (Choice.of("snapshot", [view["snapshot"] for view in views]),),
        height=560,
        turns=True,
    )


def _map(figures: Mapping[str, Any]) -> Figure:
    found = figures["uncovered"]["map"]
    figure = plot(("first axis", "second axis", "third axis", "distance"))
    corpus, queries, distances = (np.array(found[key]) for key in ("corpus", "queries", "distances"))
    corpus, queries = (np.pad(each, ((0, 0), (0, max(0, 3 - each.shape[1])))) for each in (corpus, queries))
    ends = _ends(found["distances"])
    label = f"distance,{unit_of(figures)}" if unit_of(figures) else "distance"
    figure.add_scatter3d(
        x=corpus[:, 0].tolist(),
        y=corpus[:, 1].tolist(),
        z=corpus[:, 2].tolist(),
        mode="markers",
        name="corpus (a sample)",
        marker={"size": 2, "color": "#8c8c8c", "opacity": 0.5},
        customdata=[[*row, None] for row in corpus.tolist()],
        hoverinfo="skip",
    )
    figure.add_scatter3d(
        x=queries[:, 0].tolist(),
        y=queries[:, 1].tolist(),
        z=queries[:, 2].tolist(),
        mode="markers",
        name="queries",
        marker=_marks(distances.round(5).tolist(), ends, label, size=3.5, opacity=0.9),
        customdata=np.column_stack([queries, distances]).round(5).tolist(),
        hovertemplate="distance %{customdata[3]:.3g}<extra></extra>",
    )
    axes = {f"{axis}axis": {"title": {"text": f"axis {i}"}, "nticks": 5} for i, axis in enumerate("xyz", start=1)}
    figure.update_layout(
        scene={**axes, **_scene(), "aspectmode": "cube"},
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        legend={"y": 0.0, "yanchor": "top"},
    )
    return Figure(
        "map",
        "Where in the space of features",
        "Corpus and queries along the three directions in which the corpus spreads most, which hold "
        f"{share(found['explained'], 3)} of its variance; the farthest queries are all shown, of the others some. "
        "What lies apart here is apart; what lies together may still differ in other directions.",
        figures["command"],
        "Corpus and queries on the three main axes of the corpus, queries by distance",
        figure,
        height=560,
        turns=True,
    )


def _regions(figures: Mapping[str, Any]) -> Table:
    regions, unit = figures["uncovered"]["regions"], unit_of(figures)
    atoms = "species" in regions[0]
    head = ["place"] + (["x, y, z (Bohr)", "nearest atom"] if atoms else ["most unusual"])
    rows = []
    for region in regions:
        row = [name(region)]
        if atoms:
            row += [
                ", ".join(f"{region[axis]:.2f}" for axis in "xyz"),
                f"{region['species']} at {region['from_atom']:.2f}",
            ]
        else:
            row += [", ".join(f"{each['feature']}: {each['deviations']:+.1f} σ" for each in region["unusual"])]
        rows.append((*row, f"{region['distance']:.4g}", f"{region['queries']:,}", share(region["share"])))
    return Table(
        "regions",
        "The least covered regions",
        "A region is an empty ball: its centre is the query farthest from the corpus, its radius that distance, so no "
        "point of the corpus lies in it; the queries within belong to it. The next begins with the farthest outside.",
        figures["command"],
        (*head, f"radius{',' + unit if unit else ''}", "queries in it", "of all"),
        tuple(rows),
    )


def _helpful(figures: Mapping[str, Any]) -> Table:
    area = figures["coverage"]["auc"]
    rows = tuple(
        (
            each["name"],
            rounded(each["fall"]),
            rounded(each["others"]),
            share(each["fall"] / area) if area else "",
            f"{each['auc']:.4g}",
        )
        for each in figures["uncovered"]["helpful"]
    )
    return Table(
        "helpful",
        "What would help most",
        "Parts of the reference in the order in which adding them to the corpus lowers AUC_pr most, each beside those "
        "before it. Only their queries stand for them, so the true fall is larger. What a part does for all others "
        "tells whether it is of use beyond itself; calculations like these are the ones to make next.",
        figures["command"],
        ("add", "AUC_pr falls by", "that of all others by", "of AUC_pr", "AUC_pr then"),
        rows,
    )


def _members(figures: Mapping[str, Any]) -> Table:
    members, unit = figures["uncovered"]["members"], unit_of(figures)
    labels = [key for key in ("temperature", "composition") if any(key in each for each in members)]
    kind = (figures["reference"] or figures["corpus"])["member_kind"]
    rows = tuple(
        (
            each["name"],
            *(each.get(label, "") for label in labels),
            f"{each['queries']:,}",
            f"{each['mean']:.4g}",
            f"{each['largest']:.4g}",
            share(each["share"]),
        )
        for each in members[:ROWS]
    )
    return Table(
        "worst",
        f"Distance by {kind}",
        f"Mean and largest distance of the queries of each {kind} from the corpus, the worst first"
        + (f"; {ROWS} of {len(members):,}." if len(members) > ROWS else "."),
        figures["command"],
        (kind, *labels, "queries", f"mean{',' + unit if unit else ''}", "largest", "share of AUC_pr"),
        rows,
    )


def _species(figures: Mapping[str, Any]) -> Table:
    rows = tuple(
        (each["species"], f"{each['queries']:,}", f"{each['mean']:.4g}", f"{each['largest']:.4g}")
        for each in figures["uncovered"]["species"]
    )
    return Table(
        "species",
        "Distance by nearest atom",
        "Queries by the element of the atom that they are nearest to.",
        figures["command"],
        ("element", "queries", f"mean{',' + unit_of(figures) if unit_of(figures) else ''}", "largest"),
        rows,
    )

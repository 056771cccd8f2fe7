"""Densities and errors in planes and along lines, and the spectrum of the error (Figs. 5, 7, 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from plotly.subplots import make_subplots

from coreset.report.evidence import Evidence
from coreset.report.figure import (
    DASHES,
    Choice,
    Figure,
    Missing,
    Section,
    percent,
    plot,
    significant,
)
from coreset.report.figures.atoms import middle_plane, on_plane
from coreset.report.figures.curves import log_axis
from coreset.report.figures.scores import add_atoms, square
from coreset.report.lattice import sample

SIZE = 60
"""Points along the longer edge of a picture of a plane."""
LINE = 121
"""Points along a profile."""

Fields = list[tuple[dict[str, Any], dict[str, np.ndarray]]]


def section(evidence: Evidence) -> Section:
    """Planes, lines and spectra."""
    items: list[Figure | Missing] = []
    shown = [each for each in evidence.fields("test") if len(each[1]) > 1]
    if shown:
        items += [_planes(evidence, shown), _profiles(evidence, shown)]
    else:
        items.append(Missing("densities and errors of whole snapshots", "run coreset sweep JOB.yaml"))
    items += [each for each in (_spectrum(evidence), _spectrum_of_parts(evidence)) if each is not None]
    return Section(
        "fields",
        "Where the errors are",
        "One test snapshot of each set, as DFT has it and as networks predict it that were trained on the whole "
        "corpus or on a part of it.",
        tuple(items),
    )


def _labels(shown: Fields) -> list[str]:
    return list(dict.fromkeys(label for _, arrays in shown for label in arrays if label != "reference"))


def _planes(evidence: Evidence, shown: Fields) -> Figure:
    labels = _labels(shown)
    columns = len(labels) + 1
    titles = ["DFT", *(evidence.cell_label(label).replace(", ", "<br>") for label in labels)]
    figure = make_subplots(
        2,
        columns,
        subplot_titles=titles,
        horizontal_spacing=0.012,
        vertical_spacing=0.05,
        shared_yaxes=True,
        shared_xaxes=True,
    )
    figure.update_layout(template=None)
    tests, worst = [], {}
    for entry, arrays in shown:
        plane, _ = middle_plane(entry)
        u, v = (axis.astype(np.float32) for axis in plane.coordinates(SIZE))
        atoms = on_plane(entry, plane).round(3)
        tests.append(entry["set"])
        meta = {"test set": entry["set"]}
        cuts = {label: plane.cut(field, SIZE) for label, field in arrays.items()}
        errors = {label: cut - cuts["reference"] for label, cut in cuts.items() if label != "reference"}
        low, high = np.nanmin(cuts["reference"]), np.nanmax(cuts["reference"])
        limit = float(np.nanpercentile(np.abs(np.stack(list(errors.values()))), 99.0)) or 1e-12
        worst[entry["set"]] = limit
        for row, fields in enumerate((cuts, errors), start=1):
            for label, cut in fields.items():
                column = 1 if label == "reference" else 2 + labels.index(label)
                last = label == list(fields)[-1]
                figure.add_heatmap(
                    x=u,
                    y=v,
                    z=cut.astype(np.float32),
                    name=("density, " if row == 1 else "error, ")
                    + ("DFT" if label == "reference" else evidence.cell_label(label)),
                    colorscale="Cividis" if row == 1 else "RdBu_r",
                    zmin=significant(low if row == 1 else -limit),
                    zmax=significant(high if row == 1 else limit),
                    showscale=last,
                    colorbar={
                        "len": 0.46,
                        "y": 0.76 if row == 1 else 0.24,
                        "thickness": 12,
                        "title": {"text": "density" if row == 1 else "error", "side": "right"},
                        "exponentformat": "e",
                        "nticks": 5,
                    },
                    meta=meta,
                    hovertemplate="%{x:.2f}, %{y:.2f} Bohr: %{z:.4g} e/Bohr³<extra></extra>",
                    row=row,
                    col=column,
                )
                add_atoms(figure, atoms, meta, row, column)
    _one_scale(figure, columns)
    told = "; ".join(f"{name}: {limit:.2g} e/Bohr³" for name, limit in worst.items())
    return Figure(
        "field-planes",
        "Density and error in a plane",
        "Above: the density in the plane through the atom nearest to the middle of the cell. Below: prediction "
        f"minus DFT, all on one scale, which ends at the 99th percentile of all errors shown ({told}). Circles are "
        "atoms within 0.8 Bohr. " + "; ".join(f"{entry['set']}: {entry['snapshot']}" for entry, _ in shown) + ".",
        evidence.how,
        f"Density slices of DFT, {', '.join(evidence.cell_label(label) for label in labels)} and their errors",
        figure,
        (Choice.of("test set", tests),),
        height=480,
        width=170 * columns,
    )


def _one_scale(figure: Any, columns: int) -> None:
    """Shared axes, one Bohr as long along either, numbers only at the outer edges."""
    square(figure, 2 * columns)
    for i in range(1, 2 * columns + 1):
        number = "" if i == 1 else str(i)
        bare = {"showticklabels": False, "ticks": "", "title": {"text": ""}}
        if i <= columns:
            figure.layout[f"xaxis{number}"].update(bare)
        if i not in (1, columns + 1):
            figure.layout[f"yaxis{number}"].update(bare)
    # Nothing is to be seen of the error of DFT against itself.
    empty = "" if columns == 0 else str(columns + 1)
    for axis in ("xaxis", "yaxis"):
        figure.layout[f"{axis}{empty}"].update({"visible": False})
    for axis, at in (("yaxis", 1), ("yaxis", columns + 2)):
        number = "" if at == 1 else str(at)
        figure.layout[f"{axis}{number}"].update({"showticklabels": True, "ticks": "outside"})
    figure.update_layout(margin={"t": 48, "l": 40, "r": 8})


def _profiles(evidence: Evidence, shown: Fields) -> Figure:
    columns = ("distance, Bohr", "density or error, e/Bohr³")
    figure = plot(columns)
    tests = []
    for entry, arrays in shown:
        tests.append(entry["set"])
        _, atom = middle_plane(entry)
        cell = np.array(entry["cell"])
        along = max(range(3), key=lambda i: (round(float(np.linalg.norm(cell[i])), 6), -i))
        start = np.array(entry["positions"])[atom] @ np.linalg.inv(cell) % 1.0
        steps = np.linspace(-0.5, 0.5, LINE)
        path = start + steps[:, None] * np.eye(3)[along]
        distance = [significant(value, 4) for value in steps * np.linalg.norm(cell[along])]
        reference = sample(arrays["reference"], path)
        for label, field in arrays.items():
            values = sample(field, path)
            for what, line in (("density", values), ("error", values - reference)):
                if what == "error" and label == "reference":
                    continue
                y = [significant(value, 5) for value in line]
                figure.add_scatter(
                    x=distance,
                    y=y,
                    mode="lines",
                    customdata=list(zip(distance, y, strict=True)),
                    meta={"test set": entry["set"], "show": what},
                    hovertemplate="%{fullData.name}: %{y:.4g} e/Bohr³ at %{x:.2f} Bohr<extra></extra>",
                    **_line_of(evidence, label),
                )
    figure.update_layout(
        xaxis={"title": {"text": "distance from the atom, Bohr"}},
        yaxis={"title": {"text": "density, e/Bohr³"}},
    )
    return Figure(
        "field-profiles",
        "Profiles through an atom",
        "Along the line through the atom nearest to the middle of the cell, parallel to the longest edge, from one "
        "end of the cell to the other.",
        evidence.how,
        "Density, and error of each network, along a line through an atom",
        figure,
        (
            Choice.of("test set", tests),
            Choice("show", (("error", "error, e/Bohr³"), ("density", "density, e/Bohr³")), "yaxis"),
        ),
        height=440,
    )


def _line_of(evidence: Evidence, label: str) -> dict[str, Any]:
    if label == "reference":
        return {"name": "DFT", "line": {"width": 3}}
    cell = next((each for each in evidence.cells if each["id"] == label), None)
    if cell is None:
        return {"name": label}
    rates = [0.0, *evidence.main_rates]
    dash = DASHES[min(max(rates.index(cell["rate"]) - 1, 0) if cell["rate"] in rates else 3, 3)]
    style = evidence.marks(cell["method"], dash=dash if cell["method"] != "full" else "dashdot", width=1.8)
    style.pop("marker")
    return {**style, "name": evidence.cell_label(label), "legendgroup": label}


def _spectrum(evidence: Evidence) -> Figure | None:
    columns = ("|G| from, Bohr⁻¹", "|G| to, Bohr⁻¹", "power, e²/Bohr³")
    figure = plot(columns)
    rates = evidence.by_own_rate(evidence.rates(evidence.protocols[0]))
    for test in evidence.tests:
        for rate in rates:
            for method in evidence.methods(evidence.protocols[0]):
                cell = evidence.cell(method, rate)
                found = cell["tests"].get(test, {}).get("spectrum") if cell else None
                if not found:
                    continue
                meta = {"test set": test, "pruned": percent(rate)}
                if method == "full":
                    density = {"name": "the density itself", "line": {"width": 1.5, "dash": "dot"}}
                    _shells(figure, found["edges"], found["reference"], meta, **density)
                style = evidence.marks(method, dash="dash" if method == "full" else "solid")
                style["marker"]["size"] = 5
                _shells(figure, found["edges"], found["power"], meta, **style)
    if not figure.data:
        return None
    figure.update_layout(**_POWER_BY_WAVE)
    return Figure(
        "error-spectrum",
        "Spectrum of the error",
        "Power of the error by the length of the wave, mean over test snapshots and seeds; the powers of all "
        "shells add up to ∫ e². Long waves stand on the left; the H¹ semi-norm weighs each power by |G|². Dotted: "
        "the density itself.",
        evidence.how,
        f"Radial power spectrum of the error of {', '.join(map(evidence.label, evidence.methods()))}",
        figure,
        (
            Choice.of("test set", evidence.tests, {test: evidence.test_label(test) for test in evidence.tests}),
            Choice.of("pruned", [percent(rate) for rate in rates]),
        ),
    )


_POWER_BY_WAVE: dict[str, Any] = {
    "xaxis": {"title": {"text": "wave number |G|, Bohr⁻¹"}, "rangemode": "tozero"},
    "yaxis": {
        **log_axis("power of the error, e²/Bohr³"),
        "dtick": 1,
        "exponentformat": "power",
        "tickformat": "",
    },
}


def _spectrum_of_parts(evidence: Evidence) -> Figure | None:
    """The spectrum at each temperature and of each composition alone, at the job's own rate."""
    figure = plot(("|G| from, Bohr⁻¹", "|G| to, Bohr⁻¹", "power, e²/Bohr³"))
    parts: list[str] = []
    for test in evidence.tests:
        for kind, unit in (("by_temperature", " K"), ("by_composition", "")):
            for method in evidence.methods(evidence.protocols[0]):
                cell = evidence.cell(method, evidence.rate)
                found = cell["tests"].get(test, {}).get("spectrum", {}) if cell else {}
                for name, power in found.get(kind, {}).items():
                    part = f"{test}, {name}{unit}"
                    parts += [part] if part not in parts else []
                    style = evidence.marks(method, dash="dash" if method == "full" else "solid")
                    style["marker"]["size"] = 5
                    _shells(figure, found["edges"], power, {"snapshots": part}, **style)
    if not parts:
        return None
    figure.update_layout(**_POWER_BY_WAVE)
    return Figure(
        "error-spectrum-parts",
        "Spectrum by temperature and composition",
        f"The same for the snapshots of one temperature or composition, {percent(evidence.rate)} pruned.",
        evidence.how,
        "Radial power spectrum of the error by temperature and composition",
        figure,
        (Choice.of("snapshots", parts),),
    )


def _shells(figure: Any, edges: list[float], power: list[float], meta: Mapping[str, str], **style: Any) -> None:
    rows = [
        [significant(a), significant(b), significant(value, 4)]
        for a, b, value in zip(edges[:-1], edges[1:], power, strict=True)
        if value > 0
    ]
    figure.add_scatter(
        x=[(row[0] + row[1]) / 2 for row in rows],
        y=[row[2] for row in rows],
        mode="lines+markers" if "marker" in style else "lines",
        customdata=rows,
        meta=dict(meta),
        hovertemplate="%{fullData.name}: %{y:.3g} e²/Bohr³ at %{x:.3g} Bohr⁻¹<extra></extra>",
        **style,
    )

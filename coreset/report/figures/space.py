"""Isosurfaces with atoms, to be turned (Figs. 20–25)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from coreset.report.evidence import Evidence
from coreset.report.figure import Choice, Figure, Missing, Section, plot
from coreset.report.figures.atoms import PLAIN_AXES, scaffold
from coreset.report.lattice import coarse, surface

FINE = 22
"""Points along an axis at most; more would make the page heavy and the view slow."""
LEVELS = (70.0, 85.0, 95.0)
"""Percentiles of the density whose isosurfaces may be looked at, the middle one first."""
SURFACES = ((+1, "#D55E00", "too high"), (-1, "#0072B2", "too low"))


def section(evidence: Evidence) -> Section:
    """The density and the errors of the networks, in every test set."""
    shown = evidence.fields("test")
    items: tuple[Figure | Missing, ...] = (
        (_density(evidence, shown), _errors(evidence, shown))
        if shown
        else (Missing("fields of whole snapshots", "run coreset sweep JOB.yaml"),)
    )
    return Section(
        "space",
        "In three dimensions",
        "Drag to turn, scroll or pinch to come nearer; the arrow buttons turn by keyboard. Surfaces end at the "
        "faces of the periodic cell.",
        items,
    )


Fields = list[tuple[dict[str, Any], dict[str, np.ndarray]]]


def _scene(**layout: Any) -> go.Figure:
    figure = plot(**layout)
    figure.update_layout(
        scene={
            **PLAIN_AXES,
            "aspectmode": "data",
            "camera": {"eye": {"x": 1.4, "y": 1.15, "z": 0.7}, "center": {"x": 0, "y": 0, "z": -0.12}},
        },
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        legend={"y": 0.0, "yanchor": "top"},
    )
    return figure


def _density(evidence: Evidence, shown: Fields) -> Figure:
    figure = _scene()
    tests = []
    for entry, arrays in shown:
        tests.append(entry["set"])
        reference = coarse(arrays["reference"], FINE)
        for percentile in LEVELS:
            level = float(np.percentile(reference, percentile))
            meta = {"test set": entry["set"], "level": f"{percentile:g}"}
            name = f"density {level:.3g} e/Bohr³"
            figure.add_traces(mesh(reference, entry, level, meta, name=name, color="#56B4E9", opacity=0.55))
        figure.add_traces(scaffold(entry, {"test set": entry["set"]}))
    middle = f"{LEVELS[1]:g}"
    labels = {f"{each:g}": f"encloses {100 - each:.2g}% of the cell" for each in LEVELS}
    return Figure(
        "density-space",
        "The density",
        "Isosurface of the DFT density of one test snapshot, at three levels; dots are atoms. Where "
        "pseudopotentials replace the core, the density may be low at the atoms themselves.",
        evidence.how,
        f"Isosurface of the density with atoms, test sets {', '.join(tests)}",
        figure,
        (_tests(evidence, tests), Choice.of("level", [middle, *(f"{each:g}" for each in LEVELS)], labels)),
        height=560,
        turns=True,
    )


def _errors(evidence: Evidence, shown: Fields) -> Figure:
    figure = _scene()
    tests, labels, shown_first = [], {}, list[str]()
    told = []
    for entry, arrays in shown:
        tests.append(entry["set"])
        reference = np.asarray(arrays["reference"], np.float64)
        errors = {label: coarse(field - reference, FINE) for label, field in arrays.items() if label != "reference"}
        if not errors:
            continue
        own = evidence.cell(evidence.own, evidence.rate)
        judged = own["id"] if own and own["id"] in errors else next(iter(errors))
        shown_first.append(judged)
        # One level for all networks of a test set, so that larger surfaces are larger errors.
        level = float(np.percentile(np.abs(errors[judged]), 98.0)) or 1e-12
        told.append(f"±{level:.2g} e/Bohr³ in {entry['set']}")
        for label, error in errors.items():
            labels[label] = evidence.cell_label(label)
            for sign, shade, word in SURFACES:
                meta = {"test set": entry["set"], "network": label}
                name = f"{word} by {level:.2g} e/Bohr³"
                figure.add_traces(mesh(error, entry, sign * level, meta, name=name, color=shade, opacity=0.7))
        figure.add_traces(scaffold(entry, {"test set": entry["set"]}))
    return Figure(
        "error-space",
        "The error",
        "Where the predicted density is too high (vermilion) or too low (blue) by more than one level, the same "
        f"for all networks: {'; '.join(told)}. 2% of the cell lies beyond it in the view that is shown first.",
        evidence.how,
        f"Isosurfaces of the error of {', '.join(labels.values())}",
        figure,
        (_tests(evidence, tests), Choice.of("network", [*shown_first, *labels], labels)),
        height=560,
        turns=True,
    )


def hard_points(evidence: Evidence, entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Figure:
    """The score of one training snapshot as isosurfaces."""
    score = np.asarray(arrays["score"], np.float64)
    figure = _scene()
    shares = ("10", "3", "1")
    for share in shares:
        level = float(np.percentile(score, 100 - float(share)))
        meta = {"hardest": share}
        figure.add_traces(
            mesh(coarse(score, FINE), entry, level, meta, name=f"score {level:.3g}", color="#CC79A7", opacity=0.65)
        )
    figure.add_traces(scaffold(entry, {}))
    labels = {share: f"the hardest {share}% of its points" for share in shares}
    return Figure(
        "score-space",
        "Hard points of one training snapshot",
        f"The surface encloses the hardest points of {entry['snapshot']}; dots are atoms.",
        evidence.how,
        f"Isosurface of the score with atoms, snapshot {entry['snapshot']}",
        figure,
        (Choice.of("hardest", shares, labels),),
        height=560,
        turns=True,
    )


def mesh(
    field: np.ndarray, entry: Mapping[str, Any], level: float, meta: Mapping[str, str], **style: Any
) -> list[go.Mesh3d]:
    """One isosurface; nothing where the field does not reach the level."""
    vertices, faces = surface(field, np.array(entry["cell"]), level)
    if not len(faces):
        return []
    index = np.uint16 if len(vertices) <= np.iinfo(np.uint16).max else np.uint32
    x, y, z = (np.ascontiguousarray(vertices[:, k]) for k in range(3))
    i, j, k = (np.ascontiguousarray(faces[:, c].astype(index)) for c in range(3))
    light = {"ambient": 0.55, "diffuse": 0.7, "specular": 0.15, "roughness": 0.7}
    return [
        go.Mesh3d(
            x=x, y=y, z=z, i=i, j=j, k=k, meta=dict(meta), lighting=light, hoverinfo="name", showlegend=True, **style
        )
    ]


def _tests(evidence: Evidence, tests: list[str]) -> Choice:
    return Choice.of("test set", tests)

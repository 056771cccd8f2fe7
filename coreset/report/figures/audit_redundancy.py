"""Redundancy in an audit: what stands twice, the dimension that points fill, and how the page was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coreset.report.figure import Section, Table
from coreset.report.figures import audit_gaps
from coreset.report.figures.audit_coverage import interval, share, unit_of

ROWS = 20


def section(figures: dict[str, Any]) -> Section:
    """Exact and near duplicates."""
    found = figures["duplicates"]
    items = [_kinds(figures)]
    if found["exact"]["pairs"]:
        items.append(_pairs(figures))
    if found["exact"]["examples"]:
        items.append(_examples(figures))
    members = found["members"]
    if members["near"] or members["exact"] or members["in_reference"]:
        items.append(_members(figures))
    return Section(
        "duplicates",
        "Duplicates",
        "Points whose features equal another's to the last bit, points that nearly do, and whole snapshots or files "
        "that stand twice.",
        tuple(items),
    )


def _kinds(figures: Mapping[str, Any]) -> Table:
    exact, near, unit = figures["duplicates"]["exact"], figures["duplicates"]["near"], unit_of(figures)
    rows = (
        (
            "exact copies of another point",
            f"{exact['copies']:,}",
            share(exact["share"], 3),
            "all points",
        ),
        (
            f"another point within {near['threshold']:.3g}{unit}",
            "",
            f"{share(near['share'], 3)} [{share(near['low'])}, {share(near['high'])}]",
            f"a sample of {near['probes']:,}",
        ),
    )
    return Table(
        "copies",
        "Points that stand twice",
        f"Near is within {near['factor']:g} of the median spacing, {near['spacing']:.3g}{unit}: the distance from a "
        "point to its nearest other point that is not equal to it.",
        figures["command"],
        ("what", "points", "share", "of"),
        rows,
    )


def _pairs(figures: Mapping[str, Any]) -> Table:
    pairs = figures["duplicates"]["exact"]["pairs"]
    return Table(
        "pairs",
        "Where copies are shared",
        "Pairs of parts with the most points in common; a point that stands in several counts with the first of them.",
        figures["command"],
        ("first", "repeats it", "points in common"),
        tuple((*pair["members"], f"{pair['points']:,}") for pair in pairs[:ROWS]),
    )


def _examples(figures: Mapping[str, Any]) -> Table:
    examples = figures["duplicates"]["exact"]["examples"]
    return Table(
        "examples",
        "The points that stand most often",
        "Each row is one set of features, with the first two points that have it.",
        figures["command"],
        ("times", "first", "and again"),
        tuple((f"{each['points']:,}", *map(audit_gaps.name, each["first"])) for each in examples),
    )


def _members(figures: Mapping[str, Any]) -> Table:
    members, kind = figures["duplicates"]["members"], figures["corpus"]["member_kind"]
    rows = [(names[0], ", ".join(names[1:]), "equal", "") for names in members["exact"]]
    rows += [(mine, f"{theirs} (reference)", "equal", "") for mine, theirs in members["in_reference"]]
    rows += [
        (each["name"], each["like"], f"{each['distance']:.3g}", f"{each['spacing']:.3g}") for each in members["near"]
    ]
    return Table(
        "twice",
        f"Whole {kind}s that stand twice",
        f"Near: the mean distance from its points to the nearest of any other {kind} is at most "
        f"{figures['duplicates']['near']['factor']:g} of that to the nearest other point of its own.",
        figures["command"],
        (kind, "repeats", "distance", "own spacing"),
        tuple(rows[: 2 * ROWS]),
    )


def section_dimension(figures: dict[str, Any]) -> Section:
    """The participation ratio and TwoNN."""
    found, ratio = figures["dimension"], figures["dimension"]["participation_ratio"]
    rows = [
        ("participation ratio", _number(ratio["value"]), interval(ratio["low"], ratio["high"]), f"{ratio['points']:,}")
    ]
    rows += [
        ("TwoNN", _number(each["value"]), interval(each["low"], each["high"]), f"{each['points']:,}")
        for each in found["two_nn"]
    ]
    table = Table(
        "dimensions",
        "Effective dimension",
        "The participation ratio counts the directions in which the points spread, as the covariance sees them. TwoNN "
        "looks at the two nearest neighbours of each point, so it sees curved shapes, on the scale of a sample's "
        "spacing: of fewer points a coarser one. Where its values differ by more than their intervals, the dimension "
        "depends on scale.",
        figures["command"],
        ("estimate", "dimensions", "95% interval", "points"),
        tuple(rows),
    )
    return Section(
        "dimension",
        "Dimension",
        f"The points have {found['features']} features. How many numbers would do to tell them apart?",
        (table,),
    )


def section_made(figures: dict[str, Any]) -> Section:
    """The command, the space and the software."""
    space = figures["space"]
    rows = [("command", figures["command"]), ("seed", str(figures["seed"]))]
    told = "features as they are" if space["space"] == "features" else f"last hidden layer of {space['network'][:16]}…"
    rows += [("space", f"{told}, Euclidean distance"), ("scaling", figures["scaling"])]
    rows += [(f"descriptor: {key}", str(value)) for key, value in space.get("descriptor", {}).items()]
    for role in ("corpus", "reference"):
        if figures[role] is not None:
            rows.append((f"{role}: digest", figures[role]["digest"]))
    rows += [(f"software: {name}", version) for name, version in sorted(figures["software"].items())]
    table = Table(
        "table-made",
        "Command, space, software",
        "What repeats this page.",
        figures["command"],
        ("what", "value"),
        tuple(rows),
        wraps=True,
    )
    return Section("made", "How it was made", "Everything that is needed to repeat it.", (table,))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"

"""What it takes to come near the whole corpus's validation error, the selection counted in (Fig. 19)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from coreset.report.evidence import Evidence
from coreset.report.figure import (
    Choice,
    Figure,
    Table,
    colour,
    faint,
    percent,
    plot,
    rounded,
    significant,
)
from coreset.report.figures.curves import over_rates
from coreset.report.quantity import Quantity

MEASURES = (
    Quantity("flops", "work to the target", "10¹² operations", 1e-12),
    Quantity("seconds", "time to the target", "s", 1.0),
)
SCORED = {"grand", "loss", "ccs", "cut-random"}
"""Methods that need scores."""
CUT = {"ccs", "cut-random"}
"""Methods that need β."""


@dataclass(frozen=True)
class Reached:
    """How many seeds of a cell came to the target, and what that took on the mean; None where some never came."""

    rate: float
    kept: int
    seeds: int
    of: int
    spent: float | None
    selection: float

    @property
    def row(self) -> list[Any]:
        """As the CSV has it."""
        chosen = None if self.spent is None else significant(self.selection)
        return [percent(self.rate), self.kept, self.seeds, self.of, significant(self.spent), chosen]


def reached(
    evidence: Evidence, target: Mapping[str, Any], protocol: str, method: str, quantity: Quantity
) -> Iterator[Reached]:
    """The cells of a method in order of their rate."""
    for rate in [0.0] if method == "full" else evidence.rates(protocol):
        cell = evidence.cell(method, rate, protocol)
        found = target["cells"].get(cell["id"]) if cell else None
        if cell is None or found is None:
            continue
        values = [quantity.factor * value for value in found[quantity.key] if value is not None]
        everyone = len(found[quantity.key])
        spent = fmean(values) if len(values) == everyone else None
        selection = quantity.factor * selection_cost(evidence, method, quantity.key)
        yield Reached(rate, cell["kept"][0], len(values), everyone, spent, selection)


def selection_cost(evidence: Evidence, method: str, measure: str) -> float:
    """What choosing the points costs, in the unit of sweep.json; only methods that cut have to search for β."""
    if method not in SCORED:
        return 0.0
    rows = [row for row in evidence.sweep.get("costs", []) if method in CUT or not row["stage"].startswith("proxies")]
    return float(sum(row[measure] or 0.0 for row in rows))


def target_figure(evidence: Evidence, target: Mapping[str, Any]) -> Figure:
    """Bars of the training with the selection on top."""
    columns = ("pruned", f"{evidence.words.points} kept", "seeds that reached it", "seeds", "training", "selection")
    figure = plot(columns, barmode="group", bargap=0.25)
    for quantity in MEASURES:
        for protocol in evidence.protocols:
            for method in evidence.methods(protocol):
                rows = [each.row for each in reached(evidence, target, protocol, method, quantity)]
                meta = {"protocol": protocol, "measure": quantity.key}
                shade = colour(method)
                place = {"x": [row[0] for row in rows], "offsetgroup": method, "legendgroup": method}
                figure.add_bar(
                    y=[row[4] for row in rows],
                    name=evidence.label(method),
                    marker={"color": shade} if shade else None,
                    customdata=rows,
                    meta=meta,
                    hovertemplate="%{fullData.name}, %{customdata[0]} pruned: training %{customdata[4]:.3g}, "
                    "selection %{customdata[5]:.3g}<extra></extra>",
                    **place,
                )
                if method in SCORED:
                    hatched = {"shape": "/", "fgcolor": shade, "size": 5}
                    figure.add_bar(
                        y=[row[5] for row in rows],
                        base=[row[4] for row in rows],
                        name=f"{evidence.label(method)}: its selection",
                        marker={"color": faint(shade or "#808080", 0.35), "pattern": hatched},
                        meta={**meta, "csv": "no"},
                        showlegend=method == evidence.own,
                        hoverinfo="skip",
                        **place,
                    )
    over_rates(figure, evidence, [0.0, *evidence.rates()])
    figure.update_layout(yaxis={"title": {"text": MEASURES[0].axis}, "rangemode": "tozero"})
    labels = {each: evidence.protocol_label(each) for each in evidence.protocols}
    return Figure(
        "time-to-target",
        f"Work to reach {target['factor']:g} × the whole corpus's validation error",
        f"The target is {100 * target['target']:.3g}% on the validation groups. Solid: the training; hatched on "
        f"top: choosing the {evidence.words.points}. There is no bar where some seed never came so far within its "
        "training.",
        evidence.how,
        f"Work until the validation error is {target['factor']:g} times that of the whole corpus",
        figure,
        (
            Choice.of("protocol", evidence.protocols, labels),
            Choice.of("measure", [q.key for q in MEASURES], {q.key: q.axis for q in MEASURES}, "yaxis"),
        ),
    )


def target_table(evidence: Evidence, target: Mapping[str, Any]) -> Table:
    """How many seeds came to the target, and how much sooner than on the whole corpus."""
    protocol, work = evidence.protocols[0], MEASURES[0]
    rates = evidence.rates(protocol)
    whole = next(reached(evidence, target, protocol, "full", work), None)
    rows: list[tuple[str, ...]] = []
    strong = set()
    for method in evidence.methods(protocol, whole=False):
        by_rate = {each.rate: each for each in reached(evidence, target, protocol, method, work)}
        if method == evidence.own:
            strong.add(len(rows))
        rows.append((evidence.label(method), *(_told(by_rate.get(rate), whole) for rate in rates)))
    return Table(
        "table-target",
        "How much sooner the target is reached",
        f"Seeds that reached it, and how many times less work that took than on the whole corpus "
        f"({evidence.protocol_label(protocol)}); in brackets with the selection counted in, its search for β as at "
        f"{percent(evidence.sweep.get('costs_rate', evidence.rate))}.",
        evidence.how,
        ("trained on", *(evidence.column(rate) for rate in rates)),
        tuple(rows),
        frozenset(strong),
    )


def _told(each: Reached | None, whole: Reached | None) -> str:
    if each is None:
        return ""
    text = f"{each.seeds} of {each.of}"
    if each.spent is None or whole is None or whole.spent is None:
        return text
    return f"{text}: {rounded(whole.spent / each.spent)}× ({rounded(whole.spent / (each.spent + each.selection))}×)"

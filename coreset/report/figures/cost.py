"""What a training costs and what the selection itself costs (Fig. 19)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from coreset.report.evidence import Evidence
from coreset.report.figure import (
    Choice,
    Figure,
    Missing,
    Section,
    Table,
    percent,
    plot,
    rounded,
    significant,
)
from coreset.report.figures.curves import (
    COLUMNS,
    SIDE_BY_SIDE,
    line_across,
    log_axis,
    over_rates,
    points_with_intervals,
)
from coreset.report.figures.target import target_figure, target_table
from coreset.report.quantity import Quantity

MEASURES = (
    Quantity("seconds", "wall time of one training", "s", 1.0),
    Quantity("cpu_seconds", "processor time of one training", "s", 1.0),
    Quantity("flops", "work of one training", "10¹² operations", 1e-12),
    Quantity("steps", "steps of one training", "thousands", 1e-3),
)


def section(evidence: Evidence) -> Section:
    """Cost of a training, time to the whole corpus's error, learning curves, and the bill of the selection."""
    items: list[Figure | Table | Missing] = []
    if any(evidence.spent(cell, "flops") for cell in evidence.compared.values()):
        items.append(_training(evidence))
    target = evidence.sweep.get("time_to_target")
    if target:
        items += [target_figure(evidence, target), target_table(evidence, target)]
    if any(any(cell.get("training", {}).get("validation", ())) for cell in evidence.compared.values()):
        items.append(_learning(evidence))
    if evidence.sweep.get("costs"):
        items.append(_bill(evidence))
    if not items:
        items.append(Missing("times and work of the trainings", "run coreset sweep JOB.yaml"))
    elif not target:
        items.append(
            Missing(
                "the time to the whole corpus's validation error", "state training.checks in the job file and sweep"
            )
        )
    return Section(
        "cost",
        "What it costs, what it saves",
        f"A training on fewer {evidence.words.points} is shorter where the number of epochs is equal, and takes as "
        f"long where the number of steps is. The {evidence.words.points} must first be chosen, and that is paid too: "
        "scoring networks, scores, the search for β.",
        tuple(items),
    )


def _range(values: Sequence[float]) -> dict[str, float]:
    return {"value": fmean(values), "low": min(values), "high": max(values)}


def _training(evidence: Evidence) -> Figure:
    # Equal epochs come first: there the number of points decides the time.
    protocols = sorted(evidence.protocols, key=lambda protocol: protocol != "epochs")
    columns = ("pruned", f"{evidence.words.points} kept", "seeds")
    figure = plot((*columns, *COLUMNS), **SIDE_BY_SIDE)
    for quantity in MEASURES[:3]:
        for protocol in protocols:
            for method in evidence.methods(protocol):
                points = []
                for rate in [0.0] if method == "full" else evidence.rates(protocol):
                    cell = evidence.cell(method, rate, protocol)
                    values = evidence.spent(cell, quantity.key)
                    if cell is not None and values:
                        points.append((percent(rate), _range(values), (percent(rate), cell["kept"][0], cell["seeds"])))
                if points:
                    meta = {"protocol": protocol, "measure": quantity.key}
                    figure.add_trace(points_with_intervals(points, quantity, meta, columns, **evidence.marks(method)))
    over_rates(figure, evidence, [0.0, *evidence.rates()])
    figure.update_layout(yaxis=log_axis(MEASURES[0].axis))
    whole = evidence.cell("full", 0.0, protocols[0])
    own = evidence.cell(evidence.own, evidence.rate, protocols[0])
    told, slow, fast = "", evidence.spent(whole, "seconds"), evidence.spent(own, "seconds")
    if slow and fast:
        ratio = fmean(slow) / fmean(fast)
        own_name = f"{evidence.label(evidence.own)} at {percent(evidence.rate)}"
        told = f"; {own_name} trains {rounded(ratio)} times as fast as the whole corpus"
    return Figure(
        "training-time",
        "Cost of one training",
        "Mean over seeds; bars reach from the cheapest to the dearest seed. The cost of the selection is not in "
        "it: see the bill below. Wall time is that of one process, with others beside it on the same machine.",
        evidence.how,
        f"Cost of a training by pruning rate, {evidence.protocol_label(protocols[0])}{told}",
        figure,
        (
            Choice.of("protocol", protocols, {each: evidence.protocol_label(each) for each in protocols}),
            Choice.of("measure", [q.key for q in MEASURES[:3]], {q.key: q.axis for q in MEASURES[:3]}, "yaxis"),
        ),
    )


def _learning(evidence: Evidence) -> Figure:
    columns = ("pruned", f"{evidence.words.points} kept", "step", "validation error, %")
    figure = plot(columns)
    rates = evidence.by_own_rate(evidence.rates())
    for protocol in evidence.protocols:
        for rate in rates:
            for method in evidence.methods(protocol):
                cell = evidence.cell(method, rate, protocol)
                curves = cell.get("training", {}).get("validation", []) if cell else []
                if cell is None or not curves or not all(curves):
                    continue
                steps = [point[0] for point in curves[0]]
                means = [significant(100 * fmean(curve[i][1] for curve in curves)) for i in range(len(steps))]
                style = evidence.marks(method)
                style["marker"]["size"] = 5
                figure.add_scatter(
                    x=steps,
                    y=means,
                    mode="lines+markers",
                    customdata=[
                        [percent(cell["rate"]), cell["kept"][0], *each] for each in zip(steps, means, strict=True)
                    ],
                    meta={"protocol": protocol, "pruned": percent(rate)},
                    hovertemplate="%{fullData.name}: %{y:.3g}% at step %{x:,}<extra></extra>",
                    **style,
                )
    figure.update_layout(xaxis={"title": {"text": "training step"}}, yaxis=log_axis("error on validation groups, %"))
    target = evidence.sweep.get("time_to_target")
    # An error rate may be 0, and a logarithmic axis has no place for that.
    if target and target["target"] > 0:
        line_across(figure, 100 * target["target"], "target")
    choices = [evidence.choice_of_rates(rates)]
    if len(evidence.protocols) > 1:
        labels = {each: evidence.protocol_label(each) for each in evidence.protocols}
        choices.append(Choice.of("protocol", evidence.protocols, labels))
    return Figure(
        "validation-curves",
        "Learning curves",
        f"Error on the validation groups during training, {evidence.words.share}; mean over "
        "seeds. The dotted line is the target of the figure above.",
        evidence.how,
        "Validation error against the training step of every method",
        figure,
        tuple(choices),
    )


def _bill(evidence: Evidence) -> Table:
    whole = evidence.cell("full", 0.0)
    one = fmean(seconds) if (seconds := evidence.spent(whole, "seconds")) else None
    work = fmean(flops) if (flops := evidence.spent(whole, "flops")) else None
    costs = list(evidence.sweep["costs"])
    total = {"stage": "all of it", **{k: _sum(row[k] for row in costs) for k in ("seconds", "cpu_seconds", "flops")}}
    rows = []
    for row in [*costs, total]:
        in_trainings = row["flops"] / work if work else None
        rows.append(
            (
                row["stage"],
                _known(row["seconds"]),
                _known(row["cpu_seconds"]),
                f"{row['flops'] * 1e-12:.3g}" if row["flops"] else "0",
                "" if in_trainings is None else rounded(in_trainings),
                rounded(row["seconds"] / one) if one and row["seconds"] is not None else "",
            )
        )
    return Table(
        "table-costs",
        "The bill of the selection",
        f"What it takes to choose the {evidence.words.points} for {evidence.label(evidence.own)} once, in itself and "
        f"against one training on the whole corpus ({evidence.protocol_label(evidence.protocols[0])}). Every later "
        f"training on these {evidence.words.points} is free of it.",
        evidence.how,
        ("stage", "wall time", "processor time", "10¹² operations", "in trainings, by work", "in trainings, by time"),
        tuple(rows),
        frozenset({len(rows) - 1}),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where a part of it is not known."""
    found = list(values)
    return None if None in found else sum(value for value in found if value is not None)


def _known(seconds: float | None) -> str:
    return "not known" if seconds is None else duration(seconds)


def duration(seconds: float) -> str:
    """Seconds as anyone would say them."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{rounded(seconds)} s"

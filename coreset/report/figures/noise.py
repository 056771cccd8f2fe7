"""How much one training differs from the next, under each recipe."""

from __future__ import annotations

from coreset.report.evidence import Evidence
from coreset.report.figure import SEQUENCE, SYMBOLS, Figure, Missing, Section, plot, significant
from coreset.report.figures.curves import categories


def section(evidence: Evidence) -> Section:
    """The spread from seed to seed."""
    variants = (evidence.sweep.get("noise") or {}).get("variants", [])
    item = (
        _spread(evidence, variants)
        if variants
        else Missing(
            "how noisy one training is under several recipes",
            "state sweep.noise.recipes in the job file and run coreset sweep",
        )
    )
    return Section(
        "noise",
        "How noisy is one training?",
        f"Where two trainings on the same {evidence.words.points} differ by more than two methods do, no single run "
        "decides between the methods. Each recipe changes how networks are trained, and nothing else.",
        (item,),
    )


def _spread(evidence: Evidence, variants: list[dict]) -> Figure:
    columns = ("recipe", "seeds", "mean NRMSE, %", "spread, % of the mean", "low", "high")
    figure = plot(columns, scattermode="group", scattergap=0.4)
    sets = list(dict.fromkeys(name for variant in variants for name in variant["figures"]))
    for i, name in enumerate(sets):
        rows = []
        for variant in variants:
            found = variant["figures"].get(name)
            if found is None:
                continue
            mean, scale = found["mean"], 100 / found["mean"]
            low, high = (None if found[side] is None else significant(scale * found[side]) for side in ("low", "high"))
            rows.append(
                [variant["name"], found["seeds"], significant(100 * mean), significant(scale * found["sd"]), low, high]
            )
        figure.add_scatter(
            x=[row[0] for row in rows],
            y=[row[3] for row in rows],
            error_y={
                "type": "data",
                "array": [0 if row[5] is None else row[5] - row[3] for row in rows],
                "arrayminus": [0 if row[4] is None else row[3] - row[4] for row in rows],
                "thickness": 1.2,
            },
            customdata=rows,
            mode="markers",
            name=name,
            marker={"size": 9, "color": SEQUENCE[i % len(SEQUENCE)], "symbol": SYMBOLS[i % len(SYMBOLS)]},
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]} seeds<br>spread %{customdata[3]:.3g}% of "
            "%{customdata[2]:.3g}% [%{customdata[4]:.3g}, %{customdata[5]:.3g}]",
        )
    figure.update_layout(
        xaxis=categories([variant["name"] for variant in variants], "recipe of training"),
        yaxis={"title": {"text": "spread between seeds, % of the mean"}, "rangemode": "tozero"},
    )
    told = "; ".join(
        f"{variant['name']}: "
        + ", ".join(f"{100 * each['relative_sd']:.2g}% on {name}" for name, each in variant["figures"].items())
        for variant in variants
    )
    return Figure(
        "noise",
        "Spread from seed to seed",
        "Standard deviation of the error between trainings that differ in their seed alone, as a share of the "
        "mean; bars are 95% intervals of that deviation. A seed redraws the coreset and the initial weights.",
        evidence.made_by(variants[0]["figures"][sets[0]]["seeds"]),
        f"Standard deviation between seeds, relative to the mean error: {told}",
        figure,
        height=420,
    )

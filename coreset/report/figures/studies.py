"""Which part of CCS does the work: β, strata, scoring epoch, number of scoring runs (Figs. 11–13)."""

from __future__ import annotations

from coreset.report.evidence import Evidence, settled
from coreset.report.figure import (
    DASHES,
    SEQUENCE,
    SYMBOLS,
    Choice,
    Figure,
    Missing,
    Section,
    Table,
    percent,
    plot,
)
from coreset.report.figures.curves import COLUMNS, SIDE_BY_SIDE, categories, log_axis, points_with_intervals, value_axis
from coreset.report.quantity import NRMSE

TITLES = {
    "cutoff": "The cut: β",
    "strata": "Number of strata",
    "score_epoch": "Epoch of the scores",
    "score_runs": "Networks that score",
}
STUDIES = (
    (
        "cutoff",
        "β, the share of the hardest {points} cut",
        "sweep.studies.cutoffs",
        "β takes the hardest {points} away before strata are formed. At 0 nothing is cut.",
    ),
    (
        "strata",
        "number of strata",
        "sweep.studies.strata",
        "How finely the scores that are left are divided before every stratum gets its budget.",
    ),
    (
        "score_epoch",
        "epoch of the scores",
        "sweep.studies.score_epochs",
        "How long the scoring networks are trained before the scores are taken: what is early is cheap.",
    ),
    (
        "score_runs",
        "networks that score",
        "sweep.studies.score_runs",
        "Scores are means over this many networks; each costs a training.",
    ),
)


def section(evidence: Evidence) -> Section:
    """A figure per study, the choice of β, and CCS against the control without strata."""
    items: list[Figure | Table | Missing] = []
    chosen = _validation(evidence)
    if chosen is not None:
        items.append(chosen)
    points = evidence.words.points
    for key, name, way, text in STUDIES:
        label, caption = (each.format(points=points) for each in (name, text))
        cells = evidence.study(key)
        if cells:
            items.append(_study(evidence, key, label, caption))
        else:
            items.append(Missing(f"a study of the {label}", f"state {way} in the job file and run coreset sweep"))
    control = _control(evidence)
    if control is not None:
        items.append(control)
    return Section(
        "studies",
        "What part of CCS works",
        f"CCS cuts the hardest {points}, divides the rest into strata of equal width in the score, and draws evenly "
        "from them. Each setting is changed alone; the control (cut-random) cuts as CCS does and then draws "
        "without strata.",
        tuple(items),
    )


def _study(evidence: Evidence, key: str, label: str, caption: str) -> Figure:
    columns = (label, f"{evidence.words.points} kept", "seeds")
    figure = plot((*columns, *COLUMNS), **SIDE_BY_SIDE)
    studied = evidence.study(key)
    present = [
        q
        for q in evidence.words.quantities
        if any(evidence.figure(c, t, q.key) for cells in studied.values() for c in cells for t in evidence.tests)
    ]
    values = sorted({cell[key] for cells in studied.values() for cell in cells})
    for quantity in present:
        for test in evidence.tests:
            for i, (rate, cells) in enumerate(studied.items()):
                points = [
                    (f"{cell[key]:g}", estimate, (cell[key], cell["kept"][0], evidence.seeds(cell, estimate)))
                    for cell in cells
                    if (estimate := evidence.figure(cell, test, quantity.key)) is not None
                ]
                meta = {"test set": test, "figure": quantity.key}
                style = {"color": SEQUENCE[i % len(SEQUENCE)]}
                figure.add_trace(
                    points_with_intervals(
                        points,
                        quantity,
                        meta,
                        columns,
                        name=evidence.column(rate),
                        line={**style, "width": 2, "dash": DASHES[i % len(DASHES)]},
                        marker={**style, "size": 8, "symbol": SYMBOLS[i % len(SYMBOLS)]},
                    )
                )
    figure.update_layout(xaxis=categories([f"{value:g}" for value in values], label), yaxis=value_axis(present))
    told = "; ".join(
        f"at {percent(rate)}: "
        + ", ".join(f"{c[key]:g} gives {NRMSE.text(evidence.figure(c, evidence.tests[0], 'nrmse'))}" for c in cells)
        for rate, cells in studied.items()
    )
    return Figure(
        f"study-{key.replace('_', '-')}",
        TITLES[key],
        f"{caption} Bars are 95% intervals over seeds and {evidence.words.groups}; all else as in the job file.",
        evidence.made_by(min(cell["seeds"] for cells in studied.values() for cell in cells)),
        f"NRMSE, %, test set {evidence.tests[0]}: {told}",
        figure,
        (
            Choice.of("test set", evidence.tests, {test: evidence.test_label(test) for test in evidence.tests}),
            Choice.of("figure", [each.key for each in present], {each.key: each.axis for each in present}, "yaxis"),
        ),
        height=420,
    )


def _validation(evidence: Evidence) -> Figure | None:
    """How β was chosen: the proxies' errors on the validation groups."""
    found = {rate: each for rate, each in evidence.sweep.get("cutoffs", {}).items() if each.get("curve")}
    if not found:
        return None
    columns = (f"{evidence.words.points} kept", "β", "chosen")
    figure = plot((*columns, *COLUMNS), **SIDE_BY_SIDE)
    betas = sorted({point["cutoff"] for each in found.values() for point in each["curve"]})
    for i, rate in enumerate(sorted(found, key=float)):
        each = found[rate]
        ties = each.get("ties", ())
        points = []
        for point in each["curve"]:
            estimate = {"value": point["nrmse"], "low": point["low"], "high": point["high"]}
            chosen = "chosen" if point["cutoff"] == each["value"] else "no worse" if point["cutoff"] in ties else ""
            points.append((f"{point['cutoff']:g}", estimate, (evidence.kept(float(rate)), point["cutoff"], chosen)))
        style = {"color": SEQUENCE[i % len(SEQUENCE)]}
        sizes = [14 if leading[2] == "chosen" else 8 for *_, leading in points]
        symbol = SYMBOLS[i % len(SYMBOLS)]
        curve = points_with_intervals(points, NRMSE, {}, columns, name=evidence.column(float(rate)), line=style)
        curve.update(
            line={**style, "width": 2, "dash": DASHES[i % len(DASHES)]},
            marker={**style, "size": sizes, "symbol": symbol},
        )
        figure.add_trace(curve)
    figure.update_layout(
        xaxis=categories([f"{beta:g}" for beta in betas], f"β, share of the hardest {evidence.words.points} cut"),
        yaxis=log_axis("NRMSE on validation groups, %"),
    )
    told = ", ".join(f"{evidence.rate_label(float(r))}: β = {found[r]['value']:g}" for r in sorted(found, key=float))
    return Figure(
        "cutoff-validation",
        "How β was chosen",
        "Short proxy trainings on the coreset of every β, judged on the validation groups; test sets have no say. "
        "The large marker is the choice. Bars are 95% intervals.",
        evidence.sweep["command"] + " · seeds of the proxies as in the job file",
        f"Chosen β by pruning rate: {told}",
        figure,
        height=400,
    )


def _control(evidence: Evidence) -> Table | None:
    """CCS against cut-random: the strata alone."""
    rows = []
    for rate in evidence.rates():
        cell = evidence.cell("cut-random", rate)
        for test in evidence.tests if cell else ():
            found = (cell or {})["tests"].get(test, {}).get("differences", {}).get("ccs", {}).get("nrmse")
            ccs = evidence.cell("ccs", rate)
            if found is None or ccs is None:
                continue
            verdict = {"lower": "strata do harm", "higher": "strata help", "tie": "tie"}[found["verdict"]]
            if not settled(found):
                verdict = "1 network: no verdict"
            elif evidence.alone(test):
                verdict += f" (one {evidence.words.group.one})"
            if not ccs["cutoff"]:
                verdict += f" (nothing is cut: this control is {evidence.label('random')})"
            difference = {"value": found["value"], "low": found["low"], "high": found["high"]}
            own, control = (NRMSE.text(evidence.figure(each, test, "nrmse")) for each in (ccs, cell))
            beta = f"{ccs['cutoff']:g}" if ccs["cutoff"] is not None else ""
            kept = f"{ccs['kept'][0]:,}"
            rows.append((f"{test}, {percent(rate)}", kept, beta, own, control, NRMSE.within(difference, "+"), verdict))
    if not rows:
        return None
    return Table(
        "table-control",
        f"{evidence.label('ccs')} against {evidence.label('cut-random')}",
        "NRMSE in %, and the paired difference (cut-random minus CCS) with its 95% interval: what the strata add "
        "to the cut.",
        evidence.how,
        ("test set, pruned", f"{evidence.words.points} kept", "β", "CCS", "cut-random", "difference", "verdict"),
        tuple(rows),
    )

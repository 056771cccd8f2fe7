"""Other systems than those trained on: test sets, temperatures, compositions (Figs. 10, 16–18)."""

from __future__ import annotations

from coreset.report.evidence import Evidence
from coreset.report.figure import Choice, Figure, Missing, Section, percent, plot
from coreset.report.figures.curves import COLUMNS, SIDE_BY_SIDE, categories, linear_axis, points_with_intervals


def section(evidence: Evidence) -> Section:
    """One figure each over test sets, temperatures and compositions."""
    words = evidence.words
    items: list[Figure | Missing] = []
    if len(evidence.tests) > 1:
        items.append(_over_tests(evidence))
    else:
        items.append(Missing(words.tests.what, words.tests.way))
    for key, what, unit, caption in (
        (
            "by_temperature",
            "temperature",
            ", K",
            "Each temperature of the test set alone.",
        ),
        ("by_composition", "composition", "", "Each composition of the test set alone."),
    ):
        found = _by_group(evidence, key, what, unit, caption)
        if found is not None:
            items.append(found)
    return Section(
        "generalisation",
        words.tests.title,
        words.tests.lead,
        tuple(items),
    )


def _choices(evidence: Evidence, keys: list[str], tests: list[str] | None = None) -> tuple[Choice, ...]:
    choices = [evidence.choice_of_rates(evidence.by_own_rate(evidence.rates(evidence.protocols[0])))]
    if tests:
        choices.append(Choice.of("test set", tests, {test: evidence.test_label(test) for test in tests}))
    labels = {each.key: each.axis for each in evidence.words.quantities}
    return (*choices, Choice.of("figure", keys, labels, "yaxis"))


def _over_tests(evidence: Evidence) -> Figure:
    protocol, columns = evidence.protocols[0], ("test set", f"{evidence.words.points} kept", "seeds")
    figure = plot((*columns, *COLUMNS))
    shown = [quantity for quantity in evidence.words.quantities if evidence.has(quantity.key)]
    methods = evidence.methods(protocol)
    for quantity in shown:
        for rate in evidence.rates(protocol):
            for method in methods:
                cell = evidence.cell(method, rate, protocol)
                if cell is None:
                    continue
                points = [
                    (test, estimate, (test, cell["kept"][0], evidence.seeds(cell, estimate)))
                    for test in evidence.tests
                    if (estimate := evidence.figure(cell, test, quantity.key)) is not None
                ]
                meta = {"pruned": percent(rate), "figure": quantity.key}
                curve = points_with_intervals(points, quantity, meta, columns, **evidence.marks(method))
                figure.add_trace(curve.update(mode="markers"))
    figure.update_layout(xaxis=categories(evidence.tests, "test set"), yaxis=linear_axis(shown[0].axis), **SIDE_BY_SIDE)
    return Figure(
        "test-sets",
        "Every test set",
        evidence.words.tests.caption,
        evidence.how,
        f"Error by test set ({', '.join(evidence.tests)}) of {', '.join(map(evidence.label, methods))}",
        figure,
        _choices(evidence, [each.key for each in shown]),
    )


def _by_group(evidence: Evidence, key: str, what: str, unit: str, caption: str) -> Figure | None:
    protocol, columns = evidence.protocols[0], (what, f"{evidence.words.points} kept", "seeds")
    figure = plot((*columns, *COLUMNS))
    methods = evidence.methods(protocol)
    whole = evidence.cell("full", 0.0, protocol) or evidence.cells[0]
    tests = [test for test in evidence.tests if len(whole["tests"].get(test, {}).get(key, {})) > 1]
    if not tests:
        return None
    keys: dict[str, None] = {}
    for test in tests:
        names = sorted(whole["tests"][test][key], key=_number)
        for rate in evidence.rates(protocol):
            for method in methods:
                cell = evidence.cell(method, rate, protocol)
                groups = cell["tests"].get(test, {}).get(key, {}) if cell else {}
                for quantity in evidence.words.quantities:
                    points = [
                        (name, estimate, (name, cell["kept"][0], evidence.seeds(cell, estimate)))
                        for name in names
                        if cell and (estimate := groups.get(name, {}).get(quantity.key)) is not None
                    ]
                    if not points:
                        continue
                    keys[quantity.key] = None
                    meta = {"pruned": percent(rate), "test set": test, "figure": quantity.key}
                    curve = points_with_intervals(points, quantity, meta, columns, **evidence.marks(method))
                    figure.add_trace(curve.update(mode="markers"))
    everywhere = sorted({name for test in tests for name in whole["tests"][test][key]}, key=_number)
    first = next(quantity.axis for quantity in evidence.words.quantities if quantity.key in keys)
    figure.update_layout(
        xaxis={**categories(everywhere, what + unit), "categoryorder": "trace"},
        yaxis=linear_axis(first),
        **SIDE_BY_SIDE,
    )
    return Figure(
        f"by-{what}",
        f"By {what}",
        f"{caption} Bars are 95% intervals; a group of one {evidence.words.group.one} has the spread of the seeds "
        "alone.",
        evidence.how,
        f"Error by {what} of {', '.join(map(evidence.label, methods))}",
        figure,
        _choices(evidence, list(keys), tests),
    )


def _number(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return 0.0, name

"""The table on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from coreset.report.words import is_of_classes, words_of

METHOD_NAMES = {
    "full": "full corpus",
    "random": "random points",
    "random-snapshots": "random snapshots",
    "grand": "GraNd",
    "ccs": "CCS",
    "cut-random": "cut-random",
    "loss": "loss",
}

_ENOUGH = "enough for each AUC_pr, to 1%, and for each difference, to 0.1% or in sign"
_TOO_FEW = "too few to know each AUC_pr to 1%, and each difference to 0.1% or in sign"

_COVERS = {"lower": "better", "higher": "worse", "tie": "tie"}


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints what was kept and what it is worth: a table per test set and one of the coverage, one row per method."""
    console.print(_title(summary), style="bold", highlight=False)
    classes = is_of_classes(summary)
    columns = ("points", "pruned", *(["wrong, %"] if classes else []), "NRMSE, %")
    for name, evaluated in summary["evaluation"].items():
        rows = [
            (
                method,
                f"{kept['kept'][0]:,}",
                f"{kept['rate']:.1%}",
                *([_spread(evaluated[method]["figures"]["error_rate"])] if classes else []),
                _percent(evaluated[method]),
                _verdict(evaluated[method]),
            )
            for method, kept in summary["methods"].items()
        ]
        _print_table(summary, console, _heading(summary, name), columns, rows)
    covered = [
        (method, f"{figures['auc']:.3f}", _COVERS[figures["difference"]["verdict"]] if "difference" in figures else "")
        for method, figures in summary["coverage"].items()
    ]
    _print_table(
        summary,
        console,
        "\ncoverage of validation points",
        (f"AUC_pr{words_of(summary).length}",),
        covered,
    )
    told = (_caption(summary), sampled_queries(summary["coverage"].values()))
    console.print(" ".join(filter(None, told)), highlight=False)


def sampled_queries(measured: Iterable[Mapping[str, Any]]) -> str:
    """How many queries some AUC_pr are of, and whether those were enough; nothing where a file does not say it."""
    found = [(each, each["queries"]) for each in measured if "queries" in each]
    if not found:
        return ""
    differences = [each["difference"]["queries"] for each, _ in found if "difference" in each]
    enough = all(known["enough"] for known in (*(known for _, known in found), *differences))
    told = f"{found[0][1]['asked']:,} queries"
    widths = [(known["half_width"], each["auc"]) for each, known in found]
    if all(width is not None for width, _ in widths):
        told += f", of which another sample would change an AUC_pr by ±{max(w / v if v else 0 for w, v in widths):.1%}"
    told += f": {_ENOUGH if enough else _TOO_FEW}."
    # The intervals of the bias itself are in the file.
    wrong = [each["bias"]["high"] / each["auc"] for each, _ in found if "bias" in each]
    return f"{told} Those of large coresets are estimates, too high by at most {max(wrong):.1%}." if wrong else told


def print_sweep(sweep: dict[str, Any], console: Console) -> None:
    """Prints a table per test set: NRMSE of every method, one column per pruning rate."""
    protocol = sweep["protocol_order"][0]
    cells = [cell for cell in sweep["cells"] if cell["protocol"] == protocol and "methods" in cell["studies"]]
    rates = sorted({cell["rate"] for cell in cells})
    trained = sweep["corpus"]["train"]
    console.print(f"{sweep['name']}: {trained['points']:,} training points", style="bold", highlight=False)
    for name in sweep["test_order"]:
        table = Table(title=_heading(sweep, name), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("trained on", no_wrap=True)
        for rate in rates:
            kept = Counter(cell["kept"][0] for cell in cells if cell["rate"] == rate).most_common(1)[0][0]
            table.add_column(f"{100 * rate:g}% pruned\n{kept:,}", justify="right", no_wrap=True)
        for method in (method for method in METHOD_NAMES if any(cell["method"] == method for cell in cells)):
            found = {
                cell["rate"]: cell["tests"][name]["figures"]["nrmse"] for cell in cells if cell["method"] == method
            }
            row = [_spread(found[rate]) if rate in found else "" for rate in rates]
            table.add_row(METHOD_NAMES[method], *row, style="bold" if method == sweep["method"] else None)
        console.print(table)
    console.print(
        "NRMSE, %, ± half of its 95% interval over seeds and trajectories. Whole snapshots come in lumps: "
        "random snapshots keep at least one.",
        highlight=False,
    )


def _spread(figure: dict[str, Any]) -> str:
    value = f"{100 * figure['value']:.3f}"
    return value if figure["low"] is None else f"{value} ± {50 * (figure['high'] - figure['low']):.3f}"


def _print_table(
    summary: dict[str, Any], console: Console, title: str, columns: Sequence[str], rows: Iterable[tuple[str, ...]]
) -> None:
    """One row per method: its name, figures to the right, and how it compares with the job's own."""
    own = summary["method"]
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("trained on", no_wrap=True, min_width=max(map(len, METHOD_NAMES.values())))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(f"vs {METHOD_NAMES[own]}", no_wrap=True)
    for method, *figures in rows:
        table.add_row(METHOD_NAMES[method], *figures, style="bold" if method == own else None)
    console.print(table)


def _title(summary: dict[str, Any]) -> str:
    trained, members = summary["corpus"]["train"], words_of(summary).member[1]
    seeds = len(summary["methods"][summary["method"]]["kept"])
    return (
        f"{summary['name']}: {trained['points']:,} training points of {trained['snapshots']} {members}, "
        f"{summary['prune']:.1%} pruned; {summary['steps']:,} steps per network, {seeds} seeds"
    )


def _caption(summary: dict[str, Any]) -> str:
    own, words = METHOD_NAMES[summary["method"]], words_of(summary)
    probabilities = " NRMSE is that of the classes' probabilities." if is_of_classes(summary) else ""
    return (
        f"NRMSE ± half of its 95% interval: mean over test {words.member[1]} and seeds. vs {own}: difference, "
        f"paired by seed and {words.group[0]}; a tie if its 95% interval holds 0.{probabilities} AUC_pr, of each first "
        "coreset: lower covers better."
    )


def _heading(summary: dict[str, Any], name: str) -> str:
    tested, words = summary["corpus"][f"test.{name}"], words_of(summary)
    alone = f"; one {words.group[0]}, so the interval tells of seeds alone" if tested["groups"] == 1 else ""
    return f"\ntest set: {name} ({tested['snapshots']} {words.member[1]}{alone})"


def _percent(figures: dict[str, Any]) -> str:
    value = 100 * figures["nrmse"]
    if figures["low"] is None:
        return f"{value:.3f}"
    return f"{value:.3f} ± {100 * (figures['high'] - figures['low']) / 2:.3f}"


def _verdict(figures: dict[str, Any]) -> str:
    if "difference" not in figures:
        return ""
    difference = figures["difference"]
    if difference["verdict"] == "tie":
        return "tie"
    return f"{'worse' if difference['verdict'] == 'higher' else 'better'} by {abs(100 * difference['nrmse']):.3f}"

"""The table on the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_NAMES = {
    "full": "full corpus",
    "random": "random points",
    "random-snapshots": "random snapshots",
    "grand": "GraNd",
    "ccs": "CCS",
    "cut-random": "cut-random",
    "loss": "loss",
}


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints what was kept and what it is worth: a table per test set, one row per method."""
    own = summary["method"]
    console.print(_title(summary), style="bold", highlight=False)
    for number, name in enumerate(summary["evaluation"]):
        table = Table(
            title=f"\ntest set: {name}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False
        )
        table.add_column("trained on", no_wrap=True)
        for column in ("points", "pruned", "NRMSE, %"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column(f"vs {_NAMES[own]}", no_wrap=True)
        table.add_column("AUC_pr, Bohr" if number == 0 else "", justify="right", no_wrap=True)
        for method, kept in summary["methods"].items():
            figures = summary["evaluation"][name][method]
            coverage = summary["coverage"].get(method) if number == 0 else None
            table.add_row(
                _NAMES[method],
                f"{kept['kept'][0]:,}",
                f"{kept['rate']:.1%}",
                _percent(figures),
                _verdict(figures),
                f"{coverage['auc']:.3f}" if coverage else "",
                style="bold" if method == own else None,
            )
        console.print(table)
    console.print(_caption(own), highlight=False)


def _title(summary: dict[str, Any]) -> str:
    trained = summary["corpus"]["train"]
    seeds = len(summary["methods"][summary["method"]]["kept"])
    return (
        f"{summary['name']}: {trained['points']:,} training points of {trained['snapshots']} snapshots, "
        f"{summary['prune']:.1%} pruned; {summary['steps']:,} steps per network, {seeds} seeds"
    )


def _caption(own: str) -> str:
    return (
        f"NRMSE ± half of its 95% interval: mean over test snapshots and seeds. vs {_NAMES[own]}: difference, "
        "paired by seed and trajectory; a tie if its 95% interval holds 0. AUC_pr: lower covers better."
    )


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

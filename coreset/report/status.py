"""What is done, what failed and why, on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import shards_so_far
from coreset.artifacts.remote import located


def stage_states(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Per stage title: artifacts, how many are whole, and finished shards of those that are not."""
    store = located(record["store"], "store")
    stages: dict[str, dict[str, Any]] = {}
    for stage in record["stages"]:
        row = stages.setdefault(stage["title"], {"stage": stage["title"], "artifacts": 0, "done": 0, "shards": 0})
        folder = store / stage["artifact"]
        row["artifacts"] += 1
        if Artifact(folder).stands:
            row["done"] += 1
        else:
            row["shards"] += shards_so_far(folder)
    return list(stages.values())


def print_status(
    record: dict[str, Any], stages: list[dict[str, Any]], last: dict[str, Any] | None, console: Console
) -> None:
    """Prints the state of a run, its stages, the last event of one that goes on, and what to do next."""
    table = Table(title=f"{record['name']}: {record['state']}", title_justify="left")
    for column in ("stage", "artifacts", "done", "shards of the others"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for row in stages:
        table.add_row(row["stage"], str(row["artifacts"]), str(row["done"]), str(row["shards"] or ""))
    console.print(table)
    known = {"failed": record["where"], "error": record["error"], "log": record["log"]}
    for name, text in known.items():
        if text:
            console.print(f"{name}: {text}", highlight=False, soft_wrap=True)
    if record["state"] == "running" and last is not None:
        told = ", ".join(f"{name} {value}" for name, value in last.items() if name not in ("time", "event"))
        console.print(f"last event: {last['time']} {last['event']}, {told}", highlight=False)
    elif record["state"] != "done":
        console.print("Run the same command again to go on from here.", soft_wrap=True)

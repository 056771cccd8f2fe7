"""The plan on the terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from coreset.report.wording import wording_of

_HELD = {"density": "densities", "values": "values", "scores": "scores"} | {
    "descriptors_if_held": "descriptors if all were held"
}


def print_plan(figures: dict[str, Any], console: Console) -> None:
    """Prints what a job will read, compute and keep, stage by stage."""
    table = Table(title=f"Plan of {figures['name']}", title_justify="left")
    for column, justify in (
        ("stage", "left"),
        ("done", "right"),
        ("to do", "right"),
        ("FLOP", "right"),
        ("time", "right"),
        ("memory", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for title, row in figures["stages"].items():
        to_do = row["artifacts"] - row["done"]
        work = f"{row['flops']:.1e}" if row["flops"] else ""
        told = (duration(row["seconds"]), size(row["memory"])) if to_do else ("", "")
        table.add_row(title, str(row["done"]), str(to_do), work, *told)
    console.print(table)
    points = ", ".join(f"{name} {count:,}" for name, count in figures["points"].items())
    source, start = _source(figures), duration(figures["start"])
    energies = figures["energies"]
    lines = [
        f"{wording_of(figures).points}: {points}; kept: {figures['kept']:,}",
        f"network: {figures['parameters']:,} parameters",
        f"bytes: {', '.join(f'{_HELD[name]} {size(count)}' for name, count in figures['bytes'].items())}",
        f"estimate: {duration(figures['seconds'])} on {figures['workers']} workers, {start} of them until Ray runs"
        f"{f', without {energies:,} energies' if energies else ''}; memory is a worker's (rates {source})",
    ]
    if energies is None:
        lines.append("energies: none; set energy.pseudopotentials")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _source(figures: dict[str, Any]) -> str:
    if not figures["calibrated"]:
        return "assumed; --calibrate measures this machine"
    if not figures["same_network"]:
        return "measured on this machine with another network; --calibrate measures this one"
    return "measured on this machine"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, whichever reads best."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes with a binary prefix."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(max(count, 1)) // 10), len(units) - 1)
    return f"{count / 1024**power:.{0 if power == 0 else 1}f} {units[power]}"

"""What was measured, on the terminal and as docs/performance.md."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Row

PACKAGES = ("torch", "numpy", "numba", "faiss-cpu", "pyarrow", "ray", "scipy")

HEAD = """# Performance

What each stage takes, against a limit of the machine or against a peer. This page is made by `make bench` from what it
measured; `python -m benchmarks NAME` measures one benchmark again. A figure is the median of several rounds, with the
least and the greatest of them in brackets. In each round it and its peer take turns in one process with one thread, so
that a noisy machine slows both; a ratio says more than the seconds behind it.

**Never run on a GPU.** The same torch code runs under `cluster.device: cuda`, but no GPU was at hand when any of this
was measured.
"""


def hardware() -> str:
    """Processor, cores, memory and the versions that matter, in one line."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0] if info else "0"
    instructions = "AVX-512" if "avx512f" in info else "AVX2" if "avx2" in info else platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{len(names)} cores of {names[0] if names else platform.processor()} ({instructions}), "
        f"{int(memory) / 2**20:.0f} GiB; Python {platform.python_version()}, {packages}"
    )


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table of one benchmark."""
    table = Table("stage", "figure", "target", "measured", "met")
    for each in map(_row, rows):
        table.add_row(each.stage, each.figure, target(each), measured(each), verdict(each))
    Console().print(table)


def page(record: Mapping[str, Any], order: Sequence[str]) -> str:
    """docs/performance.md."""
    known = [name for name in order if name in record]
    rows = [_row(each) for name in known for each in record[name]["rows"]]
    judged = [each for each in rows if each.met is not None]
    lines = [HEAD, f"{sum(bool(each.met) for each in judged)} of {len(judged)} targets are met.", ""]
    for name in known:
        one = record[name]
        lines += [f"## {name.replace('_', ' ').capitalize()}", "", "| | figure | target | measured | met |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {each.stage} | {each.figure} | {target(each)} | {measured(each)} | {verdict(each)} |"
            for each in map(_row, one["rows"])
        ]
        lines += [""]
        lines += [f"- {note}" for note in dict.fromkeys(each.note for each in map(_row, one["rows"]) if each.note)]
        lines += ["", f"{one['date']}, commit {one['commit']}, {one['seconds']} s. {one['hardware']}.", ""]
    return "\n".join(lines)


def target(each: Row) -> str:
    """The target in words."""
    if each.at_least is not None:
        return f"≥ {_plain(each.at_least)} {each.unit}".strip()
    return "" if each.at_most is None else f"≤ {_plain(each.at_most)} {each.unit}".strip()


def measured(each: Row) -> str:
    """The figure with its range."""
    span = "" if each.low == each.high else f" [{_plain(each.low)}, {_plain(each.high)}]"
    return f"{_plain(each.value)}{span} {each.unit}".strip()


def verdict(each: Row) -> str:
    """Whether the target is met."""
    return {True: "yes", False: "**no**", None: ""}[each.met]


def _row(saved: Mapping[str, Any]) -> Row:
    return Row(**saved)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

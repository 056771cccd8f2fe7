"""`python -m benchmarks [NAME]…`: measures, prints targets and figures side by side, and writes docs/performance.md.

Each benchmark is a module here with a function `rows(quick)`; it runs in a process of its own with one thread. What was
measured stands in docs/performance.json, by benchmark, so that one of them can be repeated alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from benchmarks import scale
from benchmarks.harness import ROOT, pinned
from benchmarks.page import hardware, page, print_rows

NAMES = (
    *("gradient_norms", "precision", "descriptors", "training", "selection", "coverage", "extraction", "formats"),
    *("machine", "run", "growth", "plan", "endtoend", "load", "audit"),
)
RECORD = ROOT / "docs" / "performance.json"
SCALE = ROOT / "docs" / "scale.md"
PAGE = ROOT / "docs" / "performance.md"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--quick", is_flag=True, help="Small sizes: whether everything runs, not what it takes. Writes nothing.")
@click.option("--child", is_flag=True, hidden=True)
def main(names: tuple[str, ...], quick: bool, child: bool) -> None:
    """Measures the stages NAMES, or all of them."""
    if child:
        measured = import_module(f"benchmarks.{names[0]}").rows(quick)
        print(json.dumps([asdict(each) for each in measured]))
        return
    commit = _commit(ROOT)  # before the record changes the tree
    for name in names or NAMES:
        record = {**_measure(name, quick), "commit": commit}
        print_rows(record["rows"])
        if not quick:
            saved = json.loads(RECORD.read_bytes()) if RECORD.exists() else {}
            RECORD.write_text(json.dumps({**saved, name: record}, indent=1, ensure_ascii=False) + "\n")
            saved = json.loads(RECORD.read_bytes())
            PAGE.write_text(page(saved, NAMES))
            if set(NAMES) <= set(saved):
                SCALE.write_text(scale.page(saved))


def _measure(name: str, quick: bool) -> dict[str, Any]:
    click.echo(f"{name} …", err=True)
    begin = time.perf_counter()
    options = ["--quick"] if quick else []
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--child", name, *options],
        cwd=ROOT, env=pinned(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if made.returncode:
        raise click.ClickException(f"benchmark {name}: ended with status {made.returncode}; see its message above.")
    return {
        "rows": json.loads(made.stdout.splitlines()[-1]),
        "hardware": hardware(),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.perf_counter() - begin),
    }


def _commit(root: Path) -> str:
    made = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=root, stdout=subprocess.PIPE, text=True
    )
    return made.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()

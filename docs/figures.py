"""The pruning curves of docs/results.md, as SVG: the same figures as in the report.

    python docs/figures.py OUT SWEEP...

Each SWEEP is the folder of a finished sweep, or its sweep.json compressed by gzip. Writes OUT/<name>-nrmse.svg, -h1.svg
and, where energies were computed, -energy.svg, for the first test set and the first protocol; <name> is the sweep's
without -sweep. Needs kaleido, and a chromium for it to draw with.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go

from coreset.report.evidence import Evidence, read_evidence
from coreset.report.figure import Figure, template
from coreset.report.figures.pruning import section

NAMES = {"pruning-nrmse": "nrmse", "pruning-h1": "h1", "pruning-energy": "energy"}
KEYS = {"nrmse": "nrmse", "h1": "h1_seminorm", "energy": "energy"}
"""What sweep.json calls the figure that each shows."""
SIZE = {"width": 860, "height": 480}


def pictures(evidence: Evidence) -> Iterator[tuple[str, Figure]]:
    """The pruning curves with the ends of their files' names."""
    for item in section(evidence).items:
        if isinstance(item, Figure) and item.name in NAMES:
            yield NAMES[item.name], item


def dressed(figure: Figure, evidence: Evidence, key: str) -> go.Figure:
    """The plot in light colours, with what it shows above it."""
    chosen = ", ".join(choice.options[0][1] for choice in figure.choices if choice.key != "figure")
    seeds = evidence.most_seeds(key)
    networks = f"{seeds} network{'' if seeds == 1 else 's'} each"
    text = f"{evidence.name}: {evidence.kept(0.0):,} training points; {chosen}; {networks}"
    title = {"text": text, "font": {"size": 13}, "x": 0.01, "y": 0.985, "yanchor": "top"}
    # A trace that is not chosen has no place in the file.
    plot = go.Figure([trace for trace in figure.plot.data if trace.visible], figure.plot.layout)
    return plot.update_layout(template=template("light"), title=title, margin={"t": 84})


def write(plot: go.Figure, path: Path) -> None:
    """Writes the plot; plotly's random names become numbers, so that the same plot gives the same file."""
    import kaleido

    drawn = kaleido.calc_fig_sync(plot, opts={"format": "svg", **SIZE}).decode()
    names = dict.fromkeys(re.findall(r"(?:clip|defs-|topdefs-|legend|trace|g)([0-9a-f]{6})(?![0-9a-f])", drawn))
    for number, name in enumerate(names):
        drawn = drawn.replace(name, f"{number:06d}")
    path.write_text(drawn + "\n", encoding="utf-8")


def main(out: Path, sweeps: list[Path]) -> None:
    """Writes every picture of every sweep."""
    out.mkdir(parents=True, exist_ok=True)
    for sweep in sweeps:
        if sweep.is_file():
            evidence = Evidence(sweep, json.loads(gzip.decompress(sweep.read_bytes())), swept=True)
        else:
            evidence = read_evidence(sweep)
        for name, figure in pictures(evidence):
            path = out / f"{evidence.name.removesuffix('-sweep')}-{name}.svg"
            write(dressed(figure, evidence, KEYS[name]), path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])

"""NRMSE against the pruning rate, from finished runs that share a store: `make curve` makes them and draws docs/*.svg.

    python docs/pruning_curve.py OUT.svg RUN...

Each RUN is the folder of a run; the curves are drawn for the first test set, with 95% intervals.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

STYLES = {
    "random": ("random points", "#0072B2", "o"),
    "random-snapshots": ("random snapshots", "#999999", "s"),
    "grand": ("GraNd", "#D55E00", "v"),
    "cut-random": ("cut-random", "#E69F00", "^"),
    "ccs": ("CCS", "#009E73", "D"),
}
"""Label, colour (distinct for the colour-blind) and marker of each method."""


def draw(out: Path, runs: list[Path]) -> None:
    """Draws the curves of one corpus; the figures come from each run's summary.json alone."""
    summaries = sorted((json.loads((run / "summary.json").read_bytes()) for run in runs), key=lambda s: s["prune"])
    name = next(iter(summaries[0]["evaluation"]))
    positions = range(len(summaries))
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    full = summaries[0]["evaluation"][name]["full"]
    axes.axhspan(100 * full["low"], 100 * full["high"], color="black", alpha=0.08, lw=0)
    axes.axhline(100 * full["nrmse"], color="black", lw=1, ls="--", label="full corpus")
    for shift, (method, (label, colour, marker)) in enumerate(STYLES.items()):
        figures = [summary["evaluation"][name][method] for summary in summaries]
        values = [100 * each["nrmse"] for each in figures]
        spread = [
            [100 * (each["nrmse"] - each["low"]) for each in figures],
            [100 * (each["high"] - each["nrmse"]) for each in figures],
        ]
        at = [position + 0.06 * (shift - 2) for position in positions]
        axes.errorbar(
            at, values, yerr=spread, label=label, color=colour, marker=marker, ms=5, lw=1.4, capsize=2, elinewidth=0.8
        )
    kept = [summary["methods"]["ccs"]["kept"][0] for summary in summaries]
    axes.set_xticks(list(positions), [f"{s['prune']:.0%}\n{k:,}" for s, k in zip(summaries, kept, strict=True)])
    axes.set_xlabel("pruned, and points kept")
    axes.set_ylabel("NRMSE on unseen trajectories, %")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.grid(axis="y", which="both", lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2)
    seeds = len(summaries[0]["methods"]["ccs"]["kept"])
    trained = summaries[0]["corpus"]["train"]
    axes.set_title(
        f"{summaries[0]['name']}: {trained['points']:,} points of {trained['snapshots']} snapshots; "
        f"{summaries[0]['steps']:,} steps each, {seeds} seeds, 95% intervals",
        fontsize=9,
        loc="left",
    )
    with mpl.rc_context({"svg.hashsalt": "coreset"}):
        figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    mpl.use("svg")
    draw(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])

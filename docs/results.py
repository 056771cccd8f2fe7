"""Writes docs/results.md from finished runs: `make results` makes them.

    python docs/results.py RUN... > docs/results.md

Every figure comes from the runs' summary.json; the job files hold the seeds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from coreset.report.table import METHOD_NAMES

HEAD = """# Results

What `make results` measured on the three corpora that come with the package: 90% pruned, three seeds per method, each
seed redrawing selection and initialisation, the same number of steps for every network. The commands are

```console
$ coreset run jobs/al.yaml
$ coreset run jobs/water.yaml
$ coreset run jobs/crfeconi.yaml
```

and this page is made of their `summary.json` by `docs/results.py`. NRMSE is in percent of each snapshot's density
range, with half the width of its 95% interval; a difference whose interval holds zero is a tie. The networks are small
(3 × 96) and trained for 3,000 steps: the figures say how the methods compare under that budget, not how well a density
can be learnt. Validation chose β; no test set was looked at for any choice. Where it chose β = 0, cut-random is random
points, to the last bit.

![Pruning curve of aluminium](pruning-curve-al.svg)

The curve is the aluminium job at five rates (`make curve`), its β chosen anew at each rate.
"""


def main(runs: list[Path]) -> None:
    """Prints the page."""
    print(HEAD)
    for run in runs:
        page(json.loads((run / "summary.json").read_bytes()))


def page(summary: dict[str, Any]) -> None:
    """Prints the section of one corpus."""
    train, cutoff, scores = summary["corpus"]["train"], summary["cutoff"], summary["scores"]
    print(f"## {summary['name']}\n")
    print(
        f"{train['points']:,} training points of {train['snapshots']} snapshots in {train['groups']} trajectories; "
        f"{summary['corpus']['validation']['groups']} trajectories validate. Scores: {scores['runs']} runs, rank "
        f"correlation between runs {scores['rank_correlation']:.2f}; points without a gradient "
        f"{100 * min(scores['zero_gradient']):.2g}–{100 * max(scores['zero_gradient']):.2g}% per run, "
        f"{scores['zero_everywhere']:,} in all runs; dead runs redrawn: {sum(scores['redrawn'])}; points that needed "
        f"the descriptor's fallback: {scores['descriptor_fallback']:,}.\n"
    )
    for number, (name, evaluated) in enumerate(summary["evaluation"].items()):
        tested = summary["corpus"][f"test.{name}"]
        alone = " The intervals tell of seeds alone, for there is one trajectory." if tested["groups"] == 1 else ""
        print(f"Test set `{name}`: {tested['snapshots']} snapshots, {tested['groups']} trajectories.{alone}\n")
        print(
            "| trained on | points | NRMSE, % | minus CCS, % | verdict |"
            + (" AUC_pr, Bohr | minus CCS [95%] |" if number == 0 else "")
        )
        print("|---|---:|---:|---:|---|" + ("---:|---|" if number == 0 else ""))
        for method in (name for name in METHOD_NAMES if name in summary["methods"]):
            kept = summary["methods"][method]
            row = [METHOD_NAMES[method], f"{kept['kept'][0]:,}", spread(evaluated[method])]
            difference = evaluated[method].get("difference")
            row += [spread(difference), difference["verdict"]] if difference else ["", ""]
            if number == 0:
                coverage = summary["coverage"].get(method)
                row += [f"{coverage['auc']:.2f}", gap(coverage)] if coverage else ["", ""]
            print("| " + " | ".join(row) + " |")
        print()
    chosen = ", ".join(f"{entry['cutoff']:g}: {100 * entry['nrmse']:.3f}%" for entry in cutoff.get("curve", []))
    print(f"β = {cutoff['value']:g}, of validation errors after short trainings {chosen} ", end="")
    print(f"({cutoff['cost']['trainings']} trainings, {cutoff['cost']['steps']:,} steps in all).\n")


def gap(coverage: dict[str, Any]) -> str:
    """The paired difference of AUC_pr, its interval and its verdict."""
    difference = coverage.get("difference")
    if difference is None:
        return ""
    return f"{difference['value']:.3f} [{difference['low']:.3f}, {difference['high']:.3f}] {difference['verdict']}"


def spread(figures: dict[str, Any]) -> str:
    """A value and half the width of its interval, in percent."""
    value = f"{100 * figures['nrmse']:.3f}"
    return value if figures["low"] is None else f"{value} ± {50 * (figures['high'] - figures['low']):.3f}"


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])

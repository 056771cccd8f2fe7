"""Writes docs/results.md from finished sweeps: `make results` makes them.

    python docs/results.py SWEEP... [--noise SWEEP] > docs/results.md

Each SWEEP is the folder of a sweep, or its sweep.json compressed by gzip. Every figure comes from there; the job files
hold the seeds.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

import click

from coreset.report.claims import claims, percent
from coreset.report.table import METHOD_NAMES

TITLES = {"al-sweep": "Aluminium", "water-sweep": "Water", "crfeconi-sweep": "CrFeCoNi"}

HEAD = """# Results

What the sweeps measured on the corpora that come with the package. This page is made by `docs/results.py` from their
`sweep.json`, which stands compressed in `docs/sweeps`; [Evidence](evidence.md) says how each figure is defined, how the
intervals are made and how a claim is judged. The commands:

```console
{commands}
```

{machine}. The networks are small ({network}) and trained for {steps:,} steps; each
point is the mean of {seeds} networks, each seed redrawing selection and initialisation. So the figures say how the
methods compare under that budget, not how well a density can be learnt. β was chosen on validation groups.{energies}

**One per cent is not one per cent**: {smallest}. The paper's coresets at 99% hold 432,000 points (aluminium), 511,000
(water) and more. A verdict at 99% speaks of coresets of the size given beside it.
"""


@click.command()
@click.argument("sweeps", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--noise", type=click.Path(path_type=Path), help="Folder of the sweep of jobs/al-noise.yaml.")
def main(sweeps: tuple[Path, ...], noise: Path | None) -> None:
    """Prints the page."""
    read = [figures_of(sweep) for sweep in sweeps]
    print(head(read))
    print_claims(read)
    for sweep in read:
        print_corpus(sweep)
    if noise is not None:
        print_noise(figures_of(noise))


def figures_of(sweep: Path) -> dict[str, Any]:
    """What sweep.json holds."""
    content = gzip.decompress(sweep.read_bytes()) if sweep.is_file() else (sweep / "sweep.json").read_bytes()
    found: dict[str, Any] = json.loads(content)
    return found


def head(sweeps: list[dict[str, Any]]) -> str:
    """What was run, where and when."""
    machine = sweeps[0]["machine"]
    dates = sorted({sweep["date"] for sweep in sweeps})
    smallest = ", ".join(
        f"{title(sweep)} keeps {min(kept for cell in compared(sweep) for kept in cell['kept']):,} of "
        f"{sweep['corpus']['train']['points']:,} points at {percent(max(rates(sweep)))}"
        for sweep in sweeps
    )
    return HEAD.format(
        commands="\n".join(f"$ {sweep['command']}" for sweep in sweeps),
        machine=f"Machine: {machine['processor']}, {machine['cores']} cores; {' and '.join(dates)}",
        network=" × ".join(map(str, sweeps[0]["job"]["network"]["hidden"])) + " hidden units",
        energies=" Energies: see [Energies](energies.md)." if any(map(has_energies, sweeps)) else "",
        steps=sweeps[0]["protocols"]["steps"]["steps"],
        seeds=max(cell["seeds"] for cell in compared(sweeps[0])),
        smallest=smallest,
    )


def has_energies(sweep: dict[str, Any]) -> bool:
    """Whether any cell has an energy."""
    return any("energy" in test["figures"] for cell in sweep["cells"] for test in cell["tests"].values())


def budget(sweep: dict[str, Any], rate: float) -> int:
    """Points that most methods keep at a rate."""
    return Counter(cell["kept"][0] for cell in compared(sweep) if cell["rate"] == rate).most_common(1)[0][0]


def title(sweep: dict[str, Any]) -> str:
    """The corpus in words."""
    return TITLES.get(sweep["name"], sweep["name"])


def compared(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that compare methods under the first protocol."""
    protocol = sweep["protocol_order"][0]
    return [cell for cell in sweep["cells"] if "methods" in cell["studies"] and cell["protocol"] == protocol]


def rates(sweep: dict[str, Any]) -> list[float]:
    """The rates at which methods are compared."""
    return sorted({cell["rate"] for cell in compared(sweep)} - {0.0})


def print_claims(sweeps: list[dict[str, Any]]) -> None:
    """The verdicts of all corpora side by side, then the reasons."""
    judged = [claims(sweep) for sweep in sweeps]
    print("## The paper's claims\n")
    print("| claim | source | " + " | ".join(map(title, sweeps)) + " |")
    print("|---|---|" + "---|" * len(sweeps))
    for each in zip(*judged, strict=True):
        print(f"| {each[0].statement} | {each[0].source} | " + " | ".join(claim.verdict for claim in each) + " |")
    print()
    for each in zip(*judged, strict=True):
        print(f"**{each[0].statement}**\n")
        for sweep, claim in zip(sweeps, each, strict=True):
            reason = claim.reason if claim.findings else f"it would take {claim.reason}"
            print(f"- {title(sweep)}: *{claim.verdict}*. {reason}.")
        print()


def print_corpus(sweep: dict[str, Any]) -> None:
    """The tables of one corpus."""
    train, scores = sweep["corpus"]["train"], sweep["scores"]
    print(f"## {title(sweep)}\n")
    print(
        f"{train['points']:,} training points of {train['snapshots']} snapshots in {train['groups']} trajectories; "
        f"{sweep['corpus']['validation']['groups']} trajectories validate. Scores: {scores['runs']} runs, rank "
        f"correlation between runs {scores['rank_correlation']:.2f}, {scores['zero_everywhere']:,} points without a "
        "gradient in all runs. β by rate: "
        + ", ".join(f"{percent(float(rate))}: {found['value']:g}" for rate, found in sorted(sweep["cutoffs"].items()))
        + ".\n"
    )
    stem = sweep["name"].removesuffix("-sweep")
    print(f"![Pruning curves of {title(sweep)}](figures/{stem}-nrmse.svg)\n")
    for test in sweep["test_order"]:
        tested = sweep["corpus"][f"test.{test}"]
        alone = " There is one trajectory: the intervals tell of seeds alone." if tested["groups"] == 1 else ""
        print(f"### Test set `{test}`: {tested['snapshots']} snapshots of {tested['groups']} trajectories\n{alone}")
        print_table(sweep, test, "nrmse", "NRMSE, %", 100, 3)
        print_table(sweep, test, "h1_seminorm", "H¹ semi-norm of the error, 10⁻³ e/Bohr^(5/2)", 1e3, 2)
        print_table(sweep, test, "energy", "ΔE, mHa/atom (chemical accuracy: 1.6)", 1e3, 3)
    print_coverage(sweep)
    print_costs(sweep)
    for protocol in sweep["protocol_order"][1:]:
        print_protocol(sweep, protocol)


def print_table(sweep: dict[str, Any], test: str, figure: str, heading: str, scale: float, digits: int) -> None:
    """One figure, methods by rates, each with its interval and its verdict against CCS."""
    cells = [cell for cell in compared(sweep) if figure in cell["tests"][test]["figures"]]
    if not cells:
        return
    columns = sorted({cell["rate"] for cell in cells})
    found = {(cell["method"], cell["rate"]): cell for cell in cells}
    print(f"\n{heading}; in brackets the verdict against CCS at the same rate, paired.\n")
    print("| trained on | " + " | ".join(f"{percent(rate)} pruned" for rate in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for method in (name for name in METHOD_NAMES if any(name == known for known, _ in found)):
        row = [METHOD_NAMES[method]]
        for rate in columns:
            cell = found.get((method, rate))
            row.append("" if cell is None else entry(cell, test, figure, scale, digits, budget(sweep, rate)))
        print("| " + " | ".join(row) + " |")
    print()


def entry(cell: dict[str, Any], test: str, figure: str, scale: float, digits: int, usual: int) -> str:
    """A value, half the width of its interval and the verdict; no verdict where other methods kept fewer points."""
    measured = cell["tests"][test]
    value = measured["figures"][figure]
    text = f"{scale * value['value']:.{digits}f}"
    if value["low"] is not None:
        text += f" ± {scale * (value['high'] - value['low']) / 2:.{digits}f}"
    kept = max(cell["kept"])
    if abs(kept / usual - 1) > 0.05:
        return f"{text} (on {kept:,} points)"
    difference = measured["differences"].get("ccs", {}).get(figure)
    if difference is None:
        return text
    return f"{text} ({difference['verdict'] if difference['low'] is not None else 'no interval'})"


def print_coverage(sweep: dict[str, Any]) -> None:
    """AUC_pr with its interval and paired difference."""
    print("\n### Coverage: AUC_pr, Bohr (lower covers better)\n")
    print("| coreset of | " + " | ".join(f"{percent(rate)} pruned; minus CCS" for rate in rates(sweep)) + " |")
    print("|---|" + "---|" * len(rates(sweep)))
    by_rate = {float(rate): found for rate, found in sweep["coverage"].items()}
    for method in (name for name in METHOD_NAMES if any(name in found for found in by_rate.values())):
        row = [METHOD_NAMES[method] + (" (floor)" if method == "full" else "")]
        for rate in rates(sweep):
            measured = by_rate.get(rate, {}).get(method)
            row.append("" if measured is None else coverage_entry(measured))
        print("| " + " | ".join(row) + " |")
    print()


def coverage_entry(measured: dict[str, Any]) -> str:
    """AUC_pr and the paired difference from CCS."""
    text = f"{measured['auc']:.3f}"
    if measured["interval"] is not None:
        text += " [{:.3f}, {:.3f}]".format(*measured["interval"])
    difference = measured.get("difference")
    if difference is None:
        return text
    if difference["low"] is None:
        return f"{text}; {difference['value']:+.3f}"
    return (
        f"{text}; {difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}] "
        f"{difference['verdict']}"
    )


def print_costs(sweep: dict[str, Any]) -> None:
    """What selection costs, and when training reaches the target."""
    reached = sweep["time_to_target"]
    print("### Cost\n")
    print("Selection, one core: " + "; ".join(cost(row) for row in sweep["costs"]) + ".\n")
    if reached is None:
        return
    print(
        f"Work to reach {reached['factor']:g} × the validation error that the whole corpus ends with "
        f"({reached['target']:.3%}), mean over the seeds that reach it:\n"
    )
    print("| trained on | pruned | seeds that reach it | steps | 10¹² FLOP | seconds, one core |")
    print("|---|---:|---:|---:|---:|---:|")
    for cell in compared(sweep):
        found = reached["cells"][cell["id"]]
        steps, flops, seconds = ([each for each in found[name] if each is not None] for name in _REACHED)
        row = [METHOD_NAMES[cell["method"]], f"{percent(cell['rate'])}", f"{len(steps)} of {cell['seeds']}"]
        if steps:
            row += [f"{mean(steps):,.0f}", f"{mean(flops) / 1e12:.2f}", f"{mean(seconds):.1f}"]
        print("| " + " | ".join(row + [""] * (6 - len(row))) + " |")
    print()


_REACHED = ("steps", "flops", "seconds")


def cost(row: dict[str, Any]) -> str:
    """One row of the costs in words."""
    work = f", {row['flops'] / 1e12:.1f}·10¹² FLOP" if row["flops"] else ""
    spent = "time not known" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.1f} s of processor time"
    return f"{row['stage']} {spent}{work}"


def mean(values: Sequence[float | None]) -> float:
    """Arithmetic mean of those that are known; NaN of none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else nan


def print_protocol(sweep: dict[str, Any], protocol: str) -> None:
    """NRMSE under another protocol, on the first test set."""
    cells = [cell for cell in sweep["cells"] if cell["protocol"] == protocol]
    test = sweep["test_order"][0]
    lengths = ", ".join(f"{value} {name}" for name, value in sweep["protocols"][protocol].items())
    print(f"### Protocol of equal {protocol} ({lengths}), test set `{test}`\n")
    print("| trained on | pruned | steps | NRMSE, % (against CCS) | training, s of processor time |")
    print("|---|---:|---:|---:|---:|")
    for cell in cells:
        trained = cell["training"]
        print(
            f"| {METHOD_NAMES[cell['method']]} | {percent(cell['rate'])} | {trained['steps'][0]:,} | "
            f"{entry(cell, test, 'nrmse', 100, 3, cell['kept'][0])} | {mean(trained['cpu_seconds']):.1f} |"
        )
    print()


def print_noise(sweep: dict[str, Any]) -> None:
    """How much one training differs from the next, by recipe."""
    test = sweep["test_order"][0]
    variants = sweep["noise"]["variants"]
    print("## How much one training differs from the next\n")
    print(
        f"Aluminium at 99%: {variants[0]['figures'][test]['seeds']} seeds, each with its own coreset of CCS and "
        f"its own initialisation, the same in every row; `{sweep['command']}`. The recipe of the sweeps was chosen by "
        "the validation columns. The spread is the standard deviation over seeds divided by the mean, with its 95% "
        "interval.\n"
    )
    print(f"| recipe | validation error | spread | NRMSE on `{test}` | spread |")
    print("|---|---:|---:|---:|---:|")
    for variant in variants:
        row = [variant["name"]]
        for name in ("validation", test):
            found = variant["figures"].get(name)
            row += [f"{found['mean']:.3%}", spread(found)] if found else ["", ""]
        print("| " + " | ".join(row) + " |")


def spread(found: dict[str, Any]) -> str:
    """Relative standard deviation and its interval."""
    low, high = found["low"] / found["mean"], found["high"] / found["mean"]
    return f"{found['relative_sd']:.2%} [{low:.2%}, {high:.2%}]"


if __name__ == "__main__":
    main()

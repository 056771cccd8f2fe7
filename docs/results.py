"""Writes docs/results.md from finished sweeps: `make results` makes them.

    python docs/results.py SWEEP... [--studies SWEEP]... [--noise SWEEP] > docs/results.md

Each SWEEP is the folder of a sweep, or its sweep.json compressed by gzip. Every figure comes from there; the job files
hold the seeds. Pictures are those that docs/figures.py has drawn.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import click
import numpy as np

from coreset.numerics.intervals import crossed_interval, verdict
from coreset.numerics.spread import spread_ratio
from coreset.report.claims import claims
from coreset.report.evidence import Evidence, settled, uneven
from coreset.report.figure import percent
from coreset.report.quantity import ENERGY, NRMSE, SEMINORM, Quantity
from coreset.report.table import sampled_queries
from coreset.report.wording import METHOD_NAMES

TITLES = {"al": "Aluminium", "water": "Water", "crfeconi": "CrFeCoNi"}
PICTURES = {"nrmse": "Pruning curves", "h1": "Pruning curves in H¹", "energy": "Pruning curves in energy"}
"""Ends of the files' names, and what they show."""
FIGURES = Path(__file__).parent / "figures"
TABLES = (
    (NRMSE, "NRMSE, %", 3),
    (SEMINORM, "H¹ semi-norm of the error, 10⁻³ e/Bohr^(5/2)", 2),
    (ENERGY, "ΔE, mHa/atom (chemical accuracy: 1.6)", 3),
)
"""Figures with their headings and decimals."""
STUDIES = {
    "cutoff": ("β", "cutoffs"),
    "strata": ("strata", "strata"),
    "score_epoch": ("epoch of the scores", "score_epochs"),
    "score_runs": ("networks that score", "score_runs"),
}
"""Settings in words, and their keys below sweep.studies."""

HEAD = """# Results

What the sweeps measured on the corpora that come with the package. This page is made by `docs/results.py` from their
`sweep.json`, which stands compressed in `docs/sweeps`; [Evidence](evidence.md) says how each figure is defined, how the
intervals are made and how a claim is judged. The commands:

```console
{commands}
```

{sweeps}

Another version of coreset may add up in another order: its networks differ by rounding to begin with, and its figures
within their intervals.

The networks are small and trained for a set time, so the figures say how the methods compare under that budget, not how
well a density can be learnt. Below each table stands how many networks its figures are means of. β was chosen on
validation groups.{energies}

**One per cent is not one per cent**: {smallest}. The paper's coresets at 99% hold 432,000 points (aluminium), 511,000
(water) and more. A verdict at 99% speaks of coresets of the size given beside it.
"""


@click.command()
@click.argument("sweeps", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--studies", multiple=True, type=click.Path(path_type=Path), help="Sweep of jobs/*-studies.yaml.")
@click.option("--noise", type=click.Path(path_type=Path), help="Folder of the sweep of jobs/al-noise.yaml.")
def main(sweeps: tuple[Path, ...], studies: tuple[Path, ...], noise: Path | None) -> None:
    """Prints the page."""
    # All are read before anything is printed, so that a page is whole or none.
    read = [read_sweep(path) for path in sweeps]
    of_settings = [read_sweep(path) for path in studies]
    recipes = None if noise is None else read_noise(noise)
    print(head(read))
    print_answers(read)
    print_claims(read, of_settings)
    for evidence in read:
        print_corpus(evidence)
    for evidence in of_settings:
        print_settings(evidence)
    if recipes is not None:
        print_noise(recipes, read)


def read_sweep(path: Path) -> Evidence:
    """What a sweep.json holds, compressed or in its folder. Raises ClickException for what is none."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.is_file() else (path / "sweep.json").read_bytes()
        return Evidence(path, json.loads(content), swept=True)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        found = "nothing there" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise click.ClickException(
            f"{path}: expected the folder of a finished sweep, or its sweep.json compressed by gzip, found {found}; "
            "see `make results`."
        ) from None


def read_noise(path: Path) -> Evidence:
    """The sweep of several recipes of training. Raises ClickException where it has none."""
    evidence = read_sweep(path)
    if not (evidence.sweep.get("noise") or {}).get("variants"):
        raise click.ClickException(
            f"--noise {path}: expected a sweep with sweep.noise.recipes, found none in it; give that of "
            "jobs/al-noise.yaml."
        )
    return evidence


def head(sweeps: list[Evidence]) -> str:
    """What was run, where and when, of each sweep."""
    smallest = ", ".join(
        f"{title(evidence)} keeps {min(kept for cell in compared(evidence) for kept in cell['kept']):,} of "
        f"{evidence.kept(0.0):,} points at {percent(max(rates(evidence)))}"
        for evidence in sweeps
    )
    rows = [
        "| corpus | hidden units | trained for | seeds | machine | version | date |",
        "|---|---|---|---:|---|---|---|",
        *map(made_row, sweeps),
    ]
    return HEAD.format(
        commands="\n".join(f"$ {evidence.sweep['command']}" for evidence in sweeps),
        sweeps="\n".join(rows),
        energies=" Energies: see [Energies](energies.md)." if any(each.has(ENERGY.key) for each in sweeps) else "",
        smallest=smallest,
    )


def made_row(evidence: Evidence) -> str:
    """How one sweep was made."""
    sweep = evidence.sweep
    lengths = [f"{value:,} {name}" for each in evidence.protocols for name, value in sweep["protocols"][each].items()]
    machine = sweep["machine"]
    row = [
        title(evidence),
        " × ".join(map(str, sweep["job"]["network"]["hidden"])),
        "; ".join(lengths),
        few_or_many(cell["seeds"] for cell in compared(evidence)),
        f"{machine['processor']}, {machine['cores']} cores",
        sweep["software"]["coreset-ray"],
        sweep["date"],
    ]
    return f"| {' | '.join(row)} |"


def title(evidence: Evidence) -> str:
    """The corpus in words."""
    return TITLES.get(stem(evidence), evidence.name)


def stem(evidence: Evidence) -> str:
    """The corpus as jobs and pictures name it."""
    return evidence.name.removesuffix("-sweep").removesuffix("-noise").removesuffix("-studies")


def compared(evidence: Evidence) -> list[dict[str, Any]]:
    """The cells that compare methods under the first protocol."""
    return [cell for (protocol, _, _), cell in evidence.compared.items() if protocol == evidence.protocols[0]]


def rates(evidence: Evidence) -> list[float]:
    """The rates at which methods are compared."""
    return sorted({cell["rate"] for cell in compared(evidence)} - {0.0})


def budget(evidence: Evidence, rate: float) -> int:
    """Points that most methods keep at a rate."""
    kept = Counter(int(cell["kept"][0]) for cell in compared(evidence) if cell["rate"] == rate)
    return kept.most_common(1)[0][0]


def column(evidence: Evidence, rate: float) -> str:
    """The head of a rate's column."""
    return f"{percent(rate)} pruned ({budget(evidence, rate):,})"


def few_or_many(counts: Iterable[int]) -> str:
    """`5`, or `2 to 5`."""
    found = sorted(set(counts))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def networks(counts: Iterable[int]) -> str:
    """How many networks the figures of a table are means of, as the line below it."""
    told = few_or_many(counts)
    return "Each figure is of one network." if told == "1" else f"Each figure is of {told} networks, one per seed."


def print_answers(sweeps: list[Evidence]) -> None:
    """Whether the job's own method beats random points and GraNd, on every corpus and test set, at 90% and 99%."""
    print("## Does CCS beat random points and GraNd?\n")
    print(
        "NRMSE in %, and in percentage points its difference from the peer's at the same rate, paired by seed and "
        "trajectory, with its 95% interval: below zero CCS is better. Where there is one trajectory, the interval "
        "tells of seeds alone.\n"
    )
    print("| corpus, test set | pruned (points kept) | CCS | minus random points | minus GraNd | trajectories |")
    print("|---|---|---:|---|---|---:|")
    for evidence in sweeps:
        for test in evidence.tests:
            for rate in (rate for rate in (0.9, 0.99) if evidence.cell("ccs", rate)):
                print(f"| {' | '.join(answer_row(evidence, test, rate))} |")
    print()


def answer_row(evidence: Evidence, test: str, rate: float) -> list[str]:
    """One corpus, test set and rate."""
    cell = evidence.cell("ccs", rate)
    assert cell is not None
    measured = cell["tests"][test]
    against = []
    for peer in ("random", "grand"):
        difference = measured["differences"].get(peer, {}).get(NRMSE.key)
        against.append("" if difference is None else f"{NRMSE.within(difference, '+')} {better_or_worse(difference)}")
    figure = measured["figures"][NRMSE.key]
    groups = str(evidence.sweep["corpus"][f"test.{test}"]["groups"])
    return [
        f"{title(evidence)}, {test}",
        f"{percent(rate)} ({cell['kept'][0]:,})",
        value(figure, NRMSE, 3),
        *against,
        groups,
    ]


def better_or_worse(difference: Mapping[str, Any]) -> str:
    """The verdict in words of CCS."""
    words = {"lower": "**better**", "higher": "**worse**", "tie": "tie"}
    found = judged(difference)
    return words.get(found, found)


def print_claims(sweeps: list[Evidence], studies: Sequence[Evidence] = ()) -> None:
    """The verdicts of all corpora side by side, then the reasons; what a sweep left out is told by its studies."""
    others = {stem(evidence): claims(evidence) for evidence in studies}
    judged = [
        [mine if mine.findings else other for mine, other in zip(own, others.get(stem(evidence), own), strict=True)]
        for evidence, own in ((evidence, claims(evidence)) for evidence in sweeps)
    ]
    print("## The paper's claims\n")
    print("| claim | source | " + " | ".join(map(title, sweeps)) + " |")
    print("|---|---|" + "---|" * len(sweeps))
    for each in zip(*judged, strict=True):
        print(f"| {each[0].statement} | {each[0].source} | " + " | ".join(claim.verdict for claim in each) + " |")
    print()
    for each in zip(*judged, strict=True):
        print(f"**{each[0].statement}**\n")
        for evidence, claim in zip(sweeps, each, strict=True):
            reason = claim.reason if claim.findings else f"it would take {claim.reason}"
            print(f"- {title(evidence)}: *{claim.verdict}*. {reason}.")
        print()


def print_corpus(evidence: Evidence) -> None:
    """The tables of one corpus."""
    sweep = evidence.sweep
    train, scores = sweep["corpus"]["train"], sweep["scores"]
    print(f"## {title(evidence)}\n")
    print(
        f"{train['points']:,} training points of {train['snapshots']} snapshots in {train['groups']} trajectories; "
        f"{sweep['corpus']['validation']['groups']} trajectories validate. In this sweep {evidence.redrawn}. "
        f"Scores: {scores['runs']} runs, {correlation(scores)}{scores['zero_everywhere']:,} points without a gradient "
        "in all runs. β by rate: "
        + ", ".join(
            f"{evidence.rate_label(float(rate))}: {found['value']:g}"
            for rate, found in sorted(sweep["cutoffs"].items(), key=lambda item: float(item[0]))
        )
        + ".\n"
    )
    for end, shows in PICTURES.items():
        if (FIGURES / f"{stem(evidence)}-{end}.svg").is_file():
            print(f"![{shows} of {title(evidence)}](figures/{stem(evidence)}-{end}.svg)\n")
    for test in evidence.tests:
        tested = sweep["corpus"][f"test.{test}"]
        print(
            f"### Test set `{test}`: {counted(tested['snapshots'], 'snapshot')} of "
            f"{counted(tested['groups'], 'trajectory')}\n"
        )
        if evidence.alone(test):
            print(f"There is {evidence.alone(test)}.\n")
        for quantity, heading, digits in TABLES:
            print_table(evidence, test, quantity, heading, digits)
    print_studies(evidence)
    print_coverage(evidence)
    print_costs(evidence)
    for protocol in evidence.protocols[1:]:
        print_protocol(evidence, protocol)


def correlation(scores: Mapping[str, Any]) -> str:
    """How well two scoring networks agree; nothing of one network."""
    found = scores["rank_correlation"]
    return "" if found is None else f"rank correlation between runs {found:.2f}, "


def counted(number: int, noun: str) -> str:
    """`1 trajectory`, `2 trajectories`."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def print_table(evidence: Evidence, test: str, quantity: Quantity, heading: str, digits: int) -> None:
    """One figure, methods by rates, each with its interval and its verdict against CCS."""
    cells = [cell for cell in compared(evidence) if quantity.key in cell["tests"][test]["figures"]]
    if not cells:
        return
    columns = sorted({cell["rate"] for cell in cells})
    found = {(cell["method"], cell["rate"]): cell for cell in cells}
    print(f"{heading}; in brackets the verdict against CCS at the same rate, paired.\n")
    print("| trained on | " + " | ".join(column(evidence, rate) for rate in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for method in (name for name in METHOD_NAMES if any(name == known for known, _ in found)):
        row = [METHOD_NAMES[method]]
        for rate in columns:
            cell = found.get((method, rate))
            row.append("" if cell is None else entry(cell, test, quantity, digits, budget(evidence, rate)))
        print("| " + " | ".join(row) + " |")
    seeds = networks(evidence.seeds(cell, cell["tests"][test]["figures"][quantity.key]) for cell in cells)
    snapshots = {len(cell["tests"][test].get("energy_snapshots", ())) for cell in cells} - {0}
    of = f" Energies of {counted(max(snapshots), 'snapshot')}." if quantity is ENERGY and snapshots else ""
    print(f"\n{seeds}{of}\n")


def entry(cell: Mapping[str, Any], test: str, quantity: Quantity, digits: int, usual: int) -> str:
    """A value, half the width of its interval and the verdict; no verdict where other methods kept fewer points."""
    measured = cell["tests"][test]
    text = value(measured["figures"][quantity.key], quantity, digits)
    kept = max(cell["kept"])
    if uneven(kept, usual):
        return f"{text} (on {kept:,} points)"
    difference = measured["differences"].get("ccs", {}).get(quantity.key)
    return text if difference is None else f"{text} ({judged(difference)})"


def value(found: Mapping[str, Any], quantity: Quantity, digits: int) -> str:
    """A value ± half the width of its interval."""
    text = f"{quantity.factor * found['value']:.{digits}f}"
    if found["low"] is None:
        return text
    return f"{text} ± {quantity.factor * (found['high'] - found['low']) / 2:.{digits}f}"


def judged(difference: Mapping[str, Any], what: str = "network") -> str:
    """The verdict of a paired difference; none of one network, or without an interval."""
    if settled(difference):
        return str(difference["verdict"])
    return "no interval" if difference["low"] is None else f"1 {what}: no verdict"


def print_settings(evidence: Evidence) -> None:
    """The studies of a sweep of their own."""
    sweep = evidence.sweep
    print(f"## Settings of CCS: {title(evidence)}\n")
    print(f"`{sweep['command']}`, {sweep['date']}. In this sweep {evidence.redrawn}.\n")
    if not evidence.name.endswith("-studies"):
        print(
            f"This is an earlier sweep, of fewer seeds. `jobs/{stem(evidence)}-studies.yaml` asks the same of five "
            "seeds, each with scores of its own, and has not been run yet.\n"
        )
    print_studies(evidence)


def print_studies(evidence: Evidence) -> None:
    """CCS with one setting changed at a time, on the first test set, each against the job's own setting."""
    test = evidence.tests[0]
    found = {setting: evidence.study(setting) for setting in STUDIES}
    if not any(found.values()):
        return
    print(f"### Settings of CCS, one changed at a time, test set `{test}`\n")
    print("NRMSE, %, and in percentage points its difference from that of the job's own setting, paired by seed.\n")
    print("| setting | pruned (points kept) | value | NRMSE, % | minus the job's own | seeds |")
    print("|---|---|---:|---:|---|---:|")
    for setting, by_rate in found.items():
        for rate, cells in by_rate.items():
            for cell in cells:
                print(f"| {' | '.join(study_row(evidence, setting, rate, cell, test))} |")
    print()
    lost = [f"sweep.studies.{key}" for setting, (_, key) in STUDIES.items() if not found[setting]]
    if lost:
        print(f"Not studied here: {', '.join(f'`{key}`' for key in lost)}.\n")


def study_row(evidence: Evidence, setting: str, rate: float, cell: Mapping[str, Any], test: str) -> list[str]:
    """One value of one setting."""
    measured, own = cell["tests"][test], evidence.cell("ccs", rate)
    difference = measured["differences"].get("ccs", {}).get(NRMSE.key)
    if own is not None and cell["id"] == own["id"]:
        against = "the job's own"
    elif difference is None:
        against = ""
    else:
        against = f"{NRMSE.within(difference, '+')} {judged(difference)}"
    figure = measured["figures"][NRMSE.key]
    seeds = str(evidence.seeds(cell, figure))
    points = f"{percent(rate)} ({cell['kept'][0]:,})"
    return [STUDIES[setting][0], points, f"{cell[setting]:g}", value(figure, NRMSE, 3), against, seeds]


def print_coverage(evidence: Evidence) -> None:
    """AUC_pr with its interval and paired difference."""
    by_rate = {float(rate): found for rate, found in evidence.sweep["coverage"].items()}
    own = METHOD_NAMES[evidence.own]
    print("### Coverage: AUC_pr, Bohr (lower covers better)\n")
    print("| coreset of | " + " | ".join(f"{column(evidence, r)}; minus {own}" for r in rates(evidence)) + " |")
    print("|---|" + "---|" * len(rates(evidence)))
    for method in (name for name in METHOD_NAMES if any(name in found for found in by_rate.values())):
        row = [METHOD_NAMES[method] + (" (floor)" if method == "full" else "")]
        for rate in rates(evidence):
            measured, cell = by_rate.get(rate, {}).get(method), evidence.cell(method, rate)
            kept = max(cell["kept"]) if cell and method != "full" else budget(evidence, rate)
            row.append("" if measured is None else coverage_entry(measured, kept, budget(evidence, rate)))
        print("| " + " | ".join(row) + " |")
    drawn = [each.get("seeds", 1) for found in by_rate.values() for name, each in found.items() if name != "full"]
    told = few_or_many(drawn) if drawn else "1"
    of = "one coreset" if told == "1" else f"{told} coresets, one per seed"
    told = sampled_queries(each for found in by_rate.values() for each in found.values())
    print(f"\nEach figure is of {of}, all on the same queries.{told and f' {told}'}\n")


def coverage_entry(measured: Mapping[str, Any], kept: int, usual: int) -> str:
    """AUC_pr and the paired difference from the job's own method; no verdict where another number was kept."""
    text = f"{measured['auc']:.3f}"
    if measured["interval"] is not None:
        text += " [{:.3f}, {:.3f}]".format(*measured["interval"])
    difference = measured.get("difference")
    if difference is None:
        return text
    text += f"; {difference['value']:+.3f}"
    if difference["low"] is not None:
        text += f" [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    told = f"(on {kept:,} points)" if uneven(kept, usual) else judged({"seeds": 1, **difference}, "coreset")
    return f"{text} {told}"


def print_costs(evidence: Evidence) -> None:
    """What selection costs, and when training reaches the target."""
    reached = evidence.sweep["time_to_target"]
    print("### Cost\n")
    print("Selection: " + "; ".join(cost(row) for row in evidence.sweep["costs"]) + ".\n")
    if reached is None:
        return
    print(
        f"Work to reach {reached['factor']:g} × the validation error that the whole corpus ends with "
        f"({reached['target']:.3%}), mean over the seeds that reach it; processor time in proportion to the steps:\n"
    )
    print("| trained on | pruned (points kept) | seeds that reach it | steps | 10¹² FLOP | processor seconds |")
    print("|---|---:|---:|---:|---:|---:|")
    for cell in compared(evidence):
        found = reached["cells"][cell["id"]]
        steps, flops = ([each for each in found[name] if each is not None] for name in ("steps", "flops"))
        row = [METHOD_NAMES[cell["method"]], f"{percent(cell['rate'])} ({cell['kept'][0]:,})"]
        row.append(f"{len(steps)} of {cell['seeds']}")
        if steps:
            row += [f"{mean(steps):,.0f}", f"{mean(flops) / 1e12:.2f}", known(processor_seconds(cell, found["steps"]))]
        print("| " + " | ".join(row + [""] * (6 - len(row))) + " |")
    print()


def processor_seconds(cell: Mapping[str, Any], reached: Sequence[int | None]) -> list[float | None]:
    """The processor time of each training that reached the target, until it did: its share of the steps."""
    trained = cell["training"]
    return [
        None if spent is None else spent * at / steps
        for at, spent, steps in zip(reached, trained["cpu_seconds"], trained["steps"], strict=True)
        if at is not None
    ]


def cost(row: Mapping[str, Any]) -> str:
    """One row of the costs in words."""
    work = f", {row['flops'] / 1e12:.1f}·10¹² FLOP" if row["flops"] else ""
    spent = "time not known" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.1f} s of processor time"
    return f"{row['stage']} {spent}{work}"


def known(seconds: Sequence[float | None]) -> str:
    """The mean of the times that are known."""
    return "not known" if all(each is None for each in seconds) else f"{mean(seconds):.1f}"


def mean(values: Sequence[float | None]) -> float:
    """Arithmetic mean of those that are known; NaN of none."""
    found = [each for each in values if each is not None]
    return sum(found) / len(found) if found else nan


def print_protocol(evidence: Evidence, protocol: str) -> None:
    """NRMSE under another protocol, on the first test set."""
    cells = [cell for (at, _, _), cell in evidence.compared.items() if at == protocol]
    test = evidence.tests[0]
    lengths = ", ".join(f"{count} {name}" for name, count in evidence.sweep["protocols"][protocol].items())
    print(f"### Protocol of equal {protocol} ({lengths}), test set `{test}`\n")
    print("| trained on | pruned (points kept) | steps | NRMSE, % (against CCS) | training, s of processor time |")
    print("|---|---:|---:|---:|---:|")
    for cell in cells:
        trained = cell["training"]
        print(
            f"| {METHOD_NAMES[cell['method']]} | {percent(cell['rate'])} ({cell['kept'][0]:,}) | "
            f"{trained['steps'][0]:,} | {entry(cell, test, NRMSE, 3, cell['kept'][0])} | "
            f"{known(trained['cpu_seconds'])} |"
        )
    print(f"\n{networks(evidence.seeds(cell, cell['tests'][test]['figures'][NRMSE.key]) for cell in cells)}\n")


def print_noise(noise: Evidence, sweeps: list[Evidence]) -> None:
    """How much one training differs from the next, by recipe."""
    asked, variants = noise.sweep["job"]["sweep"]["noise"], noise.sweep["noise"]["variants"]
    test = noise.tests[0]
    shown = [name for name in ("validation", test) if all(name in variant["figures"] for variant in variants)]
    seeds = variants[0]["figures"][test]["seeds"]
    kept = next(cell["kept"][0] for cell in noise.cells if cell["id"] == variants[0]["id"])
    print("## How much one training differs from the next\n")
    print(
        f"{title(noise)}, {METHOD_NAMES[asked['method']]} at {percent(asked['rate'])} ({kept:,} points): {seeds} "
        "seeds, each with its own draw and its own initial weights, the same in every row; "
        f"`{noise.sweep['command']}`. The spread is the standard deviation over seeds divided by the mean, with its "
        "95% interval (χ²). Behind it stands its ratio to the spread of the first row, with the 95% interval of "
        "Pitman and Morgan for standard deviations that are paired seed by seed.\n"
    )
    heads = {"validation": "validation error", test: f"NRMSE on `{test}`"}
    print("| recipe | " + " | ".join(f"{heads[name]} | spread | to the first" for name in shown) + " |")
    print("|---|" + "---:|---:|---:|" * len(shown))
    for variant in variants:
        row = [variant["name"]]
        for name in shown:
            found, first = variant["figures"][name], variants[0]["figures"][name]
            row += [f"{found['mean']:.3%}", spread(found), "" if variant is variants[0] else quieter(found, first)]
        print("| " + " | ".join(row) + " |")
    print(f"\n{chosen(noise, variants, shown[0], heads[shown[0]])} {used(noise, sweeps)}")


def spread(found: Mapping[str, Any]) -> str:
    """Relative standard deviation and its interval."""
    text = f"{found['relative_sd']:.2%}"
    if found["low"] is None:
        return text
    return f"{text} [{found['low'] / found['mean']:.2%}, {found['high'] / found['mean']:.2%}]"


def quieter(found: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """The spread as a multiple of the first row's, both relative to their means, which are taken as known."""
    if len(found["by_seed"]) < 3:
        return "too few seeds"
    mine, theirs = (np.array(each["by_seed"]) / each["mean"] for each in (found, first))
    ratio = spread_ratio(mine, theirs)
    return f"× {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def chosen(noise: Evidence, variants: Sequence[Mapping[str, Any]], by: str, heading: str) -> str:
    """Which recipe errs least, which ones cannot be told from it, and which is the quietest."""
    errors = {variant["name"]: variant["figures"][by] for variant in variants}
    best = min(errors, key=lambda name: errors[name]["mean"])
    quiet = min(errors, key=lambda name: errors[name]["relative_sd"])
    apart = {name: np.subtract(found["by_seed"], errors[best]["by_seed"]) for name, found in errors.items()}
    ties = [name for name in errors if name != best and verdict(crossed_interval(apart[name][:, None])) == "tie"]
    tied = f"; paired by seed, {listed(ties)} cannot be told from it" if ties else ", by paired intervals"
    return f"The least {heading} is that of {quoted(best)}{tied}. The least spread of it is that of {quoted(quiet)}."


def used(noise: Evidence, sweeps: Sequence[Evidence]) -> str:
    """Which of the recipes the sweeps of this page train by."""
    by_recipe: dict[str, list[str]] = {}
    for evidence in sweeps:
        by_recipe.setdefault(recipe_of(evidence, noise), []).append(title(evidence))
    told = (
        f"the sweep{'' if len(names) == 1 else 's'} of {' and '.join(names)} train{'s' if len(names) == 1 else ''} by "
        + (quoted(recipe) if recipe else "none of these")
        for recipe, names in by_recipe.items()
    )
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}."


def recipe_of(evidence: Evidence, noise: Evidence) -> str:
    """The name of the recipe that a sweep's networks are trained by; empty where it is none of these."""
    asked, trained = noise.sweep["job"], evidence.sweep["job"]["training"]
    for name, recipe in asked["sweep"]["noise"]["recipes"].items():
        # What a recipe leaves out is as that job has it.
        whole = {key: asked["training"][key] if stated is None else stated for key, stated in recipe.items()}
        if all(trained[key] == stated for key, stated in whole.items()):
            return str(name)
    return ""


def quoted(name: str) -> str:
    """A recipe's name, set off from the sentence."""
    return f"*{name}*"


def listed(names: Sequence[str]) -> str:
    """Names in a row."""
    return " and ".join(quoted(name) for name in names)


if __name__ == "__main__":
    main()

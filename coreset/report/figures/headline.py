"""What the page says first: what was kept, what it costs, what it saves; and the paper's claims, tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from coreset.report.claims import claims
from coreset.report.evidence import Evidence, settled
from coreset.report.figure import Missing, Section, Table, percent, rounded
from coreset.report.figures.cost import duration
from coreset.report.findings import CHEMICAL_ACCURACY, above_zero
from coreset.report.quantity import ENERGY, NRMSE, Quantity
from coreset.report.wording import told_of_rows


@dataclass(frozen=True)
class Tile:
    """A figure to be seen at once."""

    value: str
    label: str
    note: str = ""


def sentences(evidence: Evidence) -> list[str]:
    """The summary, in plain words."""
    corpus = evidence.sweep["corpus"]["train"]
    own, words = evidence.label(evidence.own), evidence.words
    rows = f"{told_of_rows(evidence.sweep['table'])} " if "table" in evidence.sweep else ""
    found = [
        f"The corpus “{evidence.name}” has {corpus['points']:,} training {words.points} of "
        f"{words.divided.count(corpus)}. {rows}{own} chose a small part of them, and networks trained on that part "
        f"were compared, at {evidence.protocol_label(evidence.protocols[0])}, with networks trained on all "
        f"{words.points}"
        + (f" and on as many {words.points} chosen otherwise ({_others(evidence)})." if _others(evidence) else ".")
    ]
    found.extend(_verdict(evidence, rate) for rate in evidence.main_rates)
    energy = _energies(evidence)
    if energy:
        found.append(energy)
    cost = _cost(evidence)
    if cost:
        found.append(cost)
    kept = evidence.kept(max(evidence.rates()))
    if words.papers and kept is not None and kept < min(words.papers.values()) / 2:
        papers = " and ".join(f"{points:,} points of {corpus}" for corpus, points in words.papers.items())
        found.append(
            f"Mind the size: {percent(max(evidence.rates()))} pruning leaves {kept:,} points here. "
            f"The paper's 1% was {papers}."
        )
    return found


def _others(evidence: Evidence) -> str:
    names = [
        evidence.label(method) for method in evidence.methods(evidence.protocols[0], False) if method != evidence.own
    ]
    return ", ".join(names)


def _verdict(evidence: Evidence, rate: float) -> str:
    """One rate on the first test set: the own method's error, and against every peer."""
    test, protocol, words = evidence.tests[0], evidence.protocols[0], evidence.words
    cell = evidence.cell(evidence.own, rate, protocol)
    own = evidence.figure(cell, test, "nrmse")
    if cell is None or own is None:
        return f"At {percent(rate)} {evidence.label(evidence.own)} was not measured."
    text = (
        f"At {percent(rate)} pruning {cell['kept'][0]:,} {words.points} are kept, and the {words.error} (NRMSE) on "
        f"“{test}” is {_bracketed(own)}"
    )
    full = evidence.cell("full", 0.0, protocol)
    whole = evidence.figure(full, test, "nrmse")
    if whole is not None:
        text += f", against {_bracketed(whole)} with all {words.points} ({own['value'] / whole['value'] - 1:+.0%})"
    for quantity in words.beside:
        text += f"; {quantity.label}: {_beside(quantity, evidence.figure(cell, test, quantity.key))}"
        text += f" against {_beside(quantity, evidence.figure(full, test, quantity.key))}" if full else ""
    verdicts: dict[str, list[str]] = {"better than": [], "worse than": [], "tied with": []}
    for peer in evidence.methods(protocol, whole=False):
        relation = against(evidence, peer, rate, test)
        if relation is not None:
            verdicts[relation].append(_peer(evidence, peer, rate, test))
    said = [f"{relation} {', '.join(peers)}" for relation, peers in verdicts.items() if peers]
    alone = f" ({evidence.alone(test)})" if evidence.alone(test) else ""
    return f"{text}. {evidence.label(evidence.own)} is {'; '.join(said)}{alone}." if said else f"{text}."


def _beside(quantity: Quantity, estimate: Mapping[str, Any] | None) -> str:
    """A value with its unit: `5.75%`, `0.2`."""
    return "" if estimate is None else f"{quantity.factor * estimate['value']:.3g}{quantity.unit}"


def _peer(evidence: Evidence, peer: str, rate: float, test: str) -> str:
    """A peer with its error, and the number of its points where that is another."""
    cell = evidence.cell(peer, rate)
    found = evidence.figure(cell, test, "nrmse")
    error = f"{NRMSE.factor * found['value']:.3g}%" if found else ""
    told = ", ".join(each for each in (error, evidence.other_budget(cell) if cell else "") if each)
    return f"{evidence.label(peer)} ({told})" if told else evidence.label(peer)


def against(evidence: Evidence, peer: str, rate: float, test: str) -> str | None:
    """How the own method stands against a peer, by the interval of the paired difference; None where none is known."""
    if peer == evidence.own:
        return None
    cell = evidence.cell(peer, rate)
    found = (cell or {}).get("tests", {}).get(test, {}).get("differences", {}).get(evidence.own, {}).get("nrmse")
    if found is None or not settled(found):
        return None
    return {"higher": "better than", "lower": "worse than", "tie": "tied with"}[found["verdict"]]


def _bracketed(estimate: Mapping[str, Any]) -> str:
    text = NRMSE.within(estimate)
    return text.replace("]", "] %") if "]" in text else f"{text}%"


def _energies(evidence: Evidence) -> str:
    test, limit = evidence.tests[0], 1e3 * CHEMICAL_ACCURACY
    parts: list[str] = []
    networks: list[int] = []
    for rate in evidence.main_rates:
        found = evidence.figure(evidence.cell(evidence.own, rate), test, "energy")
        if found is not None:
            parts.append(f"{ENERGY.within(above_zero(found))} mHa/atom at {percent(rate)}")
            networks.append(len(found["by_seed"]))
    if not parts:
        return ""
    whole = evidence.figure(evidence.cell("full", 0.0), test, "energy")
    with_all = f" ({ENERGY.factor * whole['value']:.3g} with all points)" if whole else ""
    alone = ", of one network each" if max(networks) == 1 else ""
    off = f"Energies from these densities are off by {' and '.join(parts)}{alone}{with_all}"
    return f"{off}; chemical accuracy is {limit:g} mHa/atom."


def _cost(evidence: Evidence) -> str:
    parts = []
    for protocol in evidence.protocols:
        cells = evidence.cell("full", 0.0, protocol), evidence.cell(evidence.own, evidence.rate, protocol)
        times = [evidence.spent(cell, "seconds") for cell in cells]
        if all(times):
            first, second = (fmean(time) for time in times)
            parts.append(f"{duration(second)} instead of {duration(first)} at {evidence.protocol_label(protocol)}")
    text = f"At {percent(evidence.rate)} one training takes {', '.join(parts)}." if parts else ""
    costs = evidence.sweep.get("costs")
    flops = evidence.spent(evidence.cell("full", 0.0), "flops")
    if costs and flops:
        bill = sum(row["flops"] or 0.0 for row in costs) / fmean(flops)
        work = f"as much work as {rounded(bill)} trainings on the whole corpus, once"
        text += f" Choosing the {evidence.words.points} costs {work}."
    return text.strip()


def tiles(evidence: Evidence) -> list[Tile]:
    """The key figures."""
    test, own, words = evidence.tests[0], evidence.label(evidence.own), evidence.words
    found = []
    for rate in evidence.main_rates:
        cell = evidence.cell(evidence.own, rate)
        if cell is None:
            continue
        found.append(
            Tile(
                f"{cell['kept'][0]:,}",
                f"{words.points} kept at {percent(rate)}",
                f"of {evidence.sweep['corpus']['train']['points']:,}",
            )
        )
        mine, whole = (evidence.figure(each, test, "nrmse") for each in (cell, evidence.cell("full", 0.0)))
        if mine and whole:
            found.append(
                Tile(
                    f"{mine['value'] / whole['value'] - 1:+.0%}",
                    f"{words.error} at {percent(rate)}, {own} against all {words.points}",
                    f"{NRMSE.text(mine)} against {NRMSE.text(whole)} %",
                )
            )
        for quantity in words.beside:
            mine, whole = (evidence.figure(each, test, quantity.key) for each in (cell, evidence.cell("full", 0.0)))
            if mine:
                note = f"{_beside(quantity, whole)} with all {words.points}" if whole else ""
                found.append(Tile(_beside(quantity, mine), f"{quantity.label} at {percent(rate)}", note))
        energy = evidence.figure(cell, test, "energy")
        if energy:
            limit = 1e3 * CHEMICAL_ACCURACY
            found.append(
                Tile(
                    rounded(ENERGY.factor * energy["value"]),
                    f"mHa/atom off at {percent(rate)}",
                    f"chemical accuracy: {limit:g}" + ("; one network" if len(energy["by_seed"]) == 1 else ""),
                )
            )
    return found


def verdicts(evidence: Evidence) -> Table | None:
    """The own method against whole corpus, random points and GraNd, at the main rates, in every test set."""
    peers = [peer for peer in ("full", "random", "grand") if peer in evidence.methods() and peer != evidence.own]
    rows, words = [], evidence.words
    for rate in evidence.main_rates:
        cell = evidence.cell(evidence.own, rate)
        for test in evidence.tests if cell else ():
            found = evidence.figure(cell, test, "nrmse")
            cells = [_against(evidence, peer, rate, test) for peer in peers]
            alone = f" (one {words.group.one})" if evidence.alone(test) else ""
            figures = [each.text(evidence.figure(cell, test, each.key)) for each in words.beside]
            kept = f"{cell['kept'][0]:,}" if cell else ""
            rows.append((f"{percent(rate)}, {test}{alone}", kept, *figures, NRMSE.text(found), *cells))
    if not rows:
        return None
    own = evidence.label(evidence.own)
    return Table(
        "table-verdicts",
        f"{own}: the verdict",
        f"NRMSE of {own} in %, and how it stands against each peer: in brackets the peer's error. Better, worse and "
        f"tie by the 95% interval of the difference, paired by seed and {words.group.one}; of one {words.group.one}, "
        "by seed alone.",
        evidence.how,
        (
            "pruned, test set",
            f"{words.points} kept",
            *(each.axis for each in words.beside),
            f"NRMSE of {own}, %",
            *(f"against {evidence.label(peer)}" for peer in peers),
        ),
        tuple(rows),
    )


def _against(evidence: Evidence, peer: str, rate: float, test: str) -> str:
    other = evidence.figure(evidence.cell(peer, rate), test, "nrmse")
    if other is None:
        return ""
    value = f"({NRMSE.factor * other['value']:.3g})"
    if peer == "full":
        own = evidence.cell(evidence.own, rate)
        found = (own or {}).get("tests", {}).get(test, {}).get("differences", {}).get("full", {}).get("nrmse")
        if found is None or not settled(found):
            return value
        return f"{ ({'lower': 'better', 'higher': 'worse', 'tie': 'tie'}[found['verdict']]) } {value}"
    relation = against(evidence, peer, rate, test)
    return f"{relation.split()[0].replace('tied', 'tie')} {value}" if relation else value


def section_claims(evidence: Evidence) -> Section:
    """The paper's claims, each with its verdict and reason."""
    lead = (
        "Each claim of Pathrudkar et al., arXiv 2507.09001, put to the test by the figures of this page. As good "
        "means: the upper end of the interval lies below a tenth of the whole corpus's error. A tie means that the "
        "whole interval lies within a tenth of the other's error; undecided, that it holds both answers, or that one "
        f"network is too few to tell. One {evidence.words.group.one}: what decides was measured on one, so its "
        f"interval tells of seeds alone.{evidence.words.claims}"
    )
    if not evidence.swept:
        return Section(
            "claims", "The paper's claims", lead, (Missing("the test of the claims", "run coreset sweep JOB.yaml"),)
        )
    rows = tuple((each.statement, each.source, each.verdict, each.reason) for each in claims(evidence))
    head = ("claim", "where in the paper", "verdict", "reason")
    table = Table(
        "table-claims", "Claims and verdicts", "Lower errors are better.", evidence.how, head, rows, wraps=True
    )
    return Section("claims", "The paper's claims", lead, (table,))

"""The paper's claims, each put to the test by the findings of one sweep.

Source: Pathrudkar et al., arXiv 2507.09001.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from coreset.report import findings
from coreset.report.evidence import Evidence
from coreset.report.figure import percent
from coreset.report.findings import Finding
from coreset.report.quantity import ENERGY, NRMSE, SEMINORM

BEATS = (
    (NRMSE, "NRMSE", "II; Figs. 1, 4, 6, 8"),
    (ENERGY, "ΔE", "abstract; Fig. 2"),
    (SEMINORM, "H¹ semi-norm", "Fig. 3"),
)
"""In which errors CCS is said to be better, and where in the paper."""
WITH_ENERGIES = "energies: --set energy.pseudopotentials=DIR"


@dataclass(frozen=True)
class Claim:
    """One claim and all that was found of it."""

    statement: str
    source: str
    findings: tuple[Finding, ...]
    missing: str
    """What it would take to test it, where nothing was found."""

    @property
    def verdict(self) -> str:
        """Confirmed, confirmed in part, not confirmed here, undecided here or not tested, and how it came to that.

        How many findings hold and how many are refuted, where that is not all of them; that they are ties, where all
        are tight ones; and that what decides is of one trajectory alone, where it is.
        """
        held = [each for each in self.findings if each.holds]
        refuted = [each for each in self.findings if each.holds is False]
        number = len(self.findings)
        if not number:
            return "not tested"
        if len(held) == number:
            return _with_notes("confirmed", _alone(held))
        if held:
            of = [f"{len(held)} of {number}", *_alone(held)]
            return _with_notes("confirmed in part", [", ".join(of), *([f"{len(refuted)} refuted"] if refuted else [])])
        if refuted:
            of = [f"{len(refuted)} of {number} refuted"] if len(refuted) < number else []
            return _with_notes("not confirmed here", [", ".join([*of, *_alone(refuted)])])
        if all(each.tie for each in self.findings):
            return _with_notes("not confirmed here: a tie", _alone(self.findings))
        return "undecided here"

    @property
    def reason(self) -> str:
        """The findings in one line each, or what is missing."""
        return "; ".join(f"{each.where}: {each.text}" for each in self.findings) or self.missing


def _alone(deciding: Sequence[Finding]) -> list[str]:
    """That all of them are of one trajectory, if they are."""
    if not all(each.alone for each in deciding):
        return []
    return ["one trajectory" if len(deciding) == 1 else "one trajectory each"]


def _with_notes(word: str, notes: Iterable[str]) -> str:
    told = "; ".join(note for note in notes if note)
    return f"{word} ({told})" if told else word


def claims(evidence: Evidence) -> list[Claim]:
    """Every claim of the paper, and a few of ours, tested by the figures of `sweep.json`."""
    first, points, random = evidence.tests[:1], evidence.words.points, evidence.label("random")
    return [
        Claim(
            f"Random pruning of 90% of the {points} hardly costs accuracy (NRMSE within 10% of the whole corpus's).",
            "abstract; Figs. 1, 4, 6, 8",
            tuple(findings.as_good(evidence, "random", 0.9, NRMSE, first)),
            f"a sweep with {random} at 90%",
        ),
        Claim(
            "CCS at 90% pruning is as accurate as the whole corpus (NRMSE within 10%).",
            "II; Fig. 1",
            tuple(findings.as_good(evidence, "ccs", 0.9, NRMSE, first)),
            "a sweep with CCS at 90%",
        ),
        Claim(
            "CCS at 99% pruning is nearly as accurate as the whole corpus (NRMSE within 10%).",
            "II; Fig. 1",
            tuple(findings.as_good(evidence, "ccs", 0.99, NRMSE, first)),
            "a sweep with CCS at 99%",
        ),
        *_energies(evidence),
        *_beats(evidence),
        *(
            Claim(
                f"Pruning by GraNd scores alone collapses: worse than {random} at {percent(rate)} (NRMSE).",
                "II; Figs. 4, 6, 8, 14, 15",
                tuple(findings.worse(evidence, "grand", "random", rate)),
                f"a sweep with GraNd and {random} at {percent(rate)}",
            )
            for rate in (0.8, 0.9, 0.99)
        ),
        *_in_space(evidence),
        *_saves(evidence),
        Claim(
            f"CCS covers validation {points} better than GraNd (lower AUC_pr).",
            "V.4; Table 1",
            tuple(findings.covers(evidence, "grand")),
            "a sweep with GraNd",
        ),
        Claim(
            f"CCS covers validation {points} better than {random} do.",
            "ours; the row that Table 1 lacks",
            tuple(findings.covers(evidence, "random")),
            f"a sweep with {random}",
        ),
        *_settings(evidence),
    ]


def _energies(evidence: Evidence) -> Iterator[Claim]:
    """Whether energies are those of the whole corpus's network, where there are energies."""
    if ENERGY not in evidence.words.quantities:
        return
    yield Claim(
        "CCS at 99% pruning still gives chemically accurate energies (below 1.6 mHa/atom).",
        "abstract; Fig. 2",
        tuple(findings.chemically_accurate(evidence, "ccs", 0.99)),
        WITH_ENERGIES,
    )
    yield Claim(
        "Random points at 99% are chemically accurate too.",
        "ours",
        tuple(findings.chemically_accurate(evidence, "random", 0.99)),
        WITH_ENERGIES,
    )


def _in_space(evidence: Evidence) -> Iterator[Claim]:
    """What is said of densities alone: their gradient, and other systems of atoms."""
    if not evidence.words.in_space:
        return
    first, tests = evidence.tests[:1], evidence.tests[1:]
    defects = [name for name in tests if name.startswith("defect")]
    others = [name for name in tests if name not in defects]
    yield Claim(
        "The gradient of the density follows: the H¹ semi-norm of the error of CCS at 90% is that of the whole "
        "corpus (within 10%).",
        "Fig. 3",
        tuple(findings.as_good(evidence, "ccs", 0.9, SEMINORM, first)),
        "a sweep with CCS at 90%",
    )
    for rate in (0.9, 0.99):
        yield Claim(
            f"What CCS keeps generalises to defects as the whole corpus does (NRMSE within 10%), at {percent(rate)}.",
            "V.5; Figs. 10, 16–18",
            tuple(findings.as_good(evidence, "ccs", rate, NRMSE, defects)),
            "a test set whose name begins with `defect`",
        )
    yield Claim(
        "… and to other systems, such as larger cells, at 90%.",
        "V.5; Fig. 16",
        tuple(findings.as_good(evidence, "ccs", 0.9, NRMSE, others)),
        "a further test set",
    )


def _beats(evidence: Evidence) -> Iterator[Claim]:
    """CCS against its peers, in each error."""
    for quantity, name, source in (each for each in BEATS if each[0] in evidence.words.quantities):
        for peer, label in ((peer, evidence.label(peer)) for peer in ("random", "grand")):
            for rate in (0.9, 0.99):
                missing = f"a sweep with CCS and {label} at {percent(rate)}"
                yield Claim(
                    f"CCS beats {label} at {percent(rate)} ({name}).",
                    source,
                    tuple(findings.better(evidence, "ccs", peer, rate, quantity)),
                    f"{missing}, with {WITH_ENERGIES}" if quantity is ENERGY else missing,
                )


def _saves(evidence: Evidence) -> Iterator[Claim]:
    """What training on less is said to save."""
    yield Claim(
        "Training on the CCS coreset of 90% is three times as fast and as accurate (equal epochs, NRMSE within 10%).",
        "V.7; Fig. 19",
        tuple(findings.shorter(evidence, 0.9, selection=False)),
        "the protocol `epochs`",
    )
    yield Claim(
        "… and it still is with the cost of selection counted in.",
        "ours",
        tuple(findings.shorter(evidence, 0.9, selection=True)),
        "the protocol `epochs`",
    )
    yield Claim(
        "It reaches 1.05 × the whole corpus's validation error with a third of the work.",
        "ours",
        tuple(findings.sooner(evidence, 0.9)),
        "training.checks in the job file",
    )


def _settings(evidence: Evidence) -> Iterator[Claim]:
    """Which part of CCS does the work, and how much its settings matter."""
    # Where nothing is cut, cut-random is random points.
    cut = [rate for rate in (0.9, 0.99) if (evidence.cell("ccs", rate) or {}).get("cutoff")]
    yield Claim(
        "The strata do it, not the cut alone: CCS beats cut-random (NRMSE).",
        "ours",
        tuple(finding for rate in cut for finding in findings.better(evidence, "ccs", "cut-random", rate)),
        f"a β above 0: where nothing is cut, cut-random is {evidence.label('random')}",
    )
    yield Claim(
        "The best β grows with the pruning rate.",
        "V.2; Fig. 12",
        tuple(findings.growing_cutoff(evidence)),
        "a sweep of three rates or more with cutoff: auto",
    )
    yield Claim(
        "The number of strata hardly matters (NRMSE within 10%).",
        "V.2; Fig. 11",
        tuple(findings.insensitive(evidence, "strata")),
        "sweep.studies.strata",
    )
    yield Claim(
        "The scoring epoch hardly matters, so an early one suffices (NRMSE within 10%).",
        "V.2; Fig. 13",
        tuple(findings.insensitive(evidence, "score_epoch")),
        "sweep.studies.score_epochs",
    )

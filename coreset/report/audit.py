"""The page of an audit: the whole in plain words first, then each figure with what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coreset.report.figure import Section, Table, rounded
from coreset.report.figures import audit_coverage, audit_gaps, audit_parts, audit_redundancy
from coreset.report.figures.audit_coverage import plural, share
from coreset.report.figures.headline import Tile
from coreset.report.page import render


@dataclass(frozen=True)
class AuditPage:
    """What the template fills in."""

    figures: dict[str, Any]

    note: str = ""
    verdicts: Table | None = None
    made_by: str = "coreset audit"
    made_from: str = "audit.json"
    job: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """What was audited, against what."""
        reference = self.figures["reference"]
        return f"Audit of {self.figures['name']}" + ("" if reference is None else f" against {reference['name']}")

    @property
    def summary(self) -> list[str]:
        """The whole in plain words."""
        return [summary_of(self.figures)]

    @property
    def tiles(self) -> list[Tile]:
        """Figures to be seen at once."""
        area, unit = self.figures["coverage"], self.figures["corpus"]["unit"]
        reach = self.figures["size"]["reach"][0]
        exact, near = (self.figures["duplicates"][kind] for kind in ("exact", "near"))
        two_nn = self.figures["dimension"]["two_nn"]
        found = [
            Tile(f"{area['auc']:.4g} {unit}".strip(), "AUC_pr", _interval(area["interval"])),
            Tile(share(reach["of_all"]), "of the points for 90% of the coverage", f"{reach['points']:,.0f}"),
            Tile(share(exact["share"]), "of the points are exact copies", f"{exact['copies']:,}"),
            Tile(share(near["share"]), "of the points have a near duplicate", "of a sample"),
        ]
        if two_nn and two_nn[0]["value"] is not None:
            told = _interval([two_nn[0]["low"], two_nn[0]["high"]])
            found.append(
                Tile(f"{two_nn[0]['value']:.3g}", f"dimensions of {self.figures['dimension']['features']}", told)
            )
        return found

    @property
    def sections(self) -> list[Section]:
        """The chapters in order."""
        chapters = (
            audit_coverage.section,
            audit_coverage.section_size,
            audit_redundancy.section,
            audit_gaps.section,
            audit_parts.section,
            audit_redundancy.section_dimension,
            audit_redundancy.section_made,
        )
        return [chapter(self.figures) for chapter in chapters]


def build_audit_page(figures: dict[str, Any]) -> str:
    """The page as HTML: no other file and no network is needed to read it."""
    return render(AuditPage(figures))


def summary_of(figures: Mapping[str, Any]) -> str:
    """The whole in one paragraph of plain words."""
    return " ".join(_sentences(figures))


def _sentences(figures: Mapping[str, Any]) -> list[str]:
    corpus, reference, area = figures["corpus"], figures["reference"], figures["coverage"]
    unit = f" {corpus['unit']}" if corpus["unit"] else ""
    what = f"“{figures['name']}” has {corpus['points']:,} points of {_members(corpus)}."
    seen = {
        "nothing": f"A point of “{reference['name']}” ({reference['points']:,} points)" if reference else "",
        "trajectory": f"Each of its points, looking at the other {plural(corpus['group_kind'])} only,",
        "point": "Each of its points, looking at all others,",
    }[figures["left_out"]]
    found = [what, f"{seen} finds its nearest point at {area['auc']:.4g}{unit} on average (AUC_pr)."]
    if figures["random"] is not None:
        found.append(_against_random(figures["random"], area["queries"], unit))
    reach = {row["share"]: row for row in figures["size"]["reach"]}
    found.append(
        f"Random subsets of {_points(reach[0.9])} and {_points(reach[0.99])} reach 90% and 99% of this coverage."
    )
    exact, members = figures["duplicates"]["exact"], figures["duplicates"]["members"]
    copies = "No point is an exact copy of another"
    if exact["copies"]:
        copies = f"{exact['copies']:,} points ({share(exact['share'])}) are exact copies of others"
    near = f"{share(figures['duplicates']['near']['share'])} have a near duplicate"
    found.append(f"{copies}, and {near}.")
    doubled = len(members["near"]) + len(members["exact"])
    if doubled:
        found.append(f"{_count(doubled, corpus['member_kind'])} nearly or exactly repeat another.")
    if members["in_reference"]:
        shared = _count(len(members["in_reference"]), corpus["member_kind"])
        found.append(f"{shared} stand in the reference too.")
    if (dropped := figures["dropped"]) and (parts := dropped["reach"][-1]["parts"]):
        could = f"{parts:,} of its {dropped['parts']:,} {plural(dropped['kind'])}"
        found.append(f"{could} could be left out whole and 99% of the coverage would stay.")
    if regions := figures["uncovered"]["regions"]:
        found.append(f"Least covered is {audit_gaps.place(regions[0], corpus['unit'])}.")
    if helpful := figures["uncovered"]["helpful"]:
        best = helpful[0]
        found.append(f"Adding {best['name']} would lower AUC_pr most, by {rounded(best['fall'])}{unit} or more.")
    return found


def _against_random(random: Mapping[str, Any], queries: int, unit: str) -> str:
    """Both sides of the comparison; the corpus's is another than AUC_pr of all queries where it is not of all."""
    points = f"{random['points']:,}"
    peer = f"{points} random points of the reference" if random["of"] == "reference" else "a random half of its points"
    verdict = {"lower": "better than", "higher": "worse than", "tie": "as good as"}[random["difference"]["verdict"]]
    judged, value = random["difference"]["low"] is not None, f"{random['value']:.4g}{unit}"
    if random["queries"] == queries:
        return f"That is {verdict} for {peer} ({value})." if judged else f"For {peer} it is {value}."
    own = f"Over the {random['queries']:,} of {queries:,} queries that neither holds it is {random['corpus']:.4g}{unit}"
    return f"{own}, {verdict} for {peer} ({value})." if judged else f"{own}, for {peer} {value}."


def _points(row: Mapping[str, Any]) -> str:
    few = "fewer than " if row["or_fewer"] else ""
    return f"{few}{row['points']:,.0f} points ({share(row['of_all'])})"


def _members(corpus: Mapping[str, Any]) -> str:
    told = _count(corpus["members"], corpus["member_kind"])
    if corpus["groups"] is None:
        return told
    return f"{told} and {_count(corpus['groups'], corpus['group_kind'], plural(corpus['group_kind']))}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _interval(sides: list[float | None]) -> str:
    return "" if None in sides else f"95%: {sides[0]:.4g} to {sides[1]:.4g}"

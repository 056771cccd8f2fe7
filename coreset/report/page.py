"""`coreset report`: one self-contained HTML page from what a folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from coreset.errors import RequestError
from coreset.report.evidence import Evidence
from coreset.report.figure import Figure, Missing, Section, Table, percent, template
from coreset.report.figures import (
    cost,
    coverage,
    fields,
    generalisation,
    headline,
    noise,
    provenance,
    pruning,
    scores,
    space,
    studies,
)
from coreset.report.packing import script_base64, script_json

ASSETS = Path(__file__).parent / "assets"


class Content(Protocol):
    """What the template fills in."""

    @property
    def title(self) -> str:
        """What the page is about."""

    @property
    def note(self) -> str:
        """What is to be known before all else; empty where there is nothing."""

    @property
    def summary(self) -> list[str]:
        """The whole in plain words."""

    @property
    def tiles(self) -> list[headline.Tile]:
        """Figures to be seen at once."""

    @property
    def verdicts(self) -> Table | None:
        """A table right below the summary."""

    @property
    def sections(self) -> list[Section]:
        """The chapters in order."""

    @property
    def made_by(self) -> str:
        """The verb."""

    @property
    def made_from(self) -> str:
        """The file of figures."""

    @property
    def job(self) -> Mapping[str, Any] | None:
        """The job file with its defaults, if there is one."""


def build_page(evidence: Evidence) -> str:
    """The page of a run or sweep as HTML.

    Raises RequestError where the figures are not those of this version, or fields are damaged.
    """
    return render(_page(evidence))


def render(page: Content) -> str:
    """The page as HTML: no other file and no network is needed to read it."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.tests |= {kind.__name__.lower(): _is(kind) for kind in (Figure, Table, Missing)}
    return environment.get_template("page.html").render(
        page=page,
        spec=_spec,
        templates=script_json({theme: template(theme) for theme in ("light", "dark")}),
        style=(ASSETS / "page.css").read_text(encoding="utf-8"),
        script=(ASSETS / "page.js").read_text(encoding="utf-8"),
        plotly=script_base64(get_plotlyjs()),
    )


@dataclass(frozen=True)
class Page:
    """The page of a run or sweep."""

    evidence: Evidence
    summary: list[str]
    tiles: list[headline.Tile]
    verdicts: Table | None
    sections: list[Section]

    @property
    def title(self) -> str:
        """What was done to which corpus."""
        own, rate = self.evidence.label(self.evidence.own), percent(self.evidence.rate)
        return f"{self.evidence.name}: {own} at {rate} pruning"

    @property
    def note(self) -> str:
        """That figures are older than the folder's last command."""
        return self.evidence.note

    @property
    def made_by(self) -> str:
        """The verb."""
        return "coreset report"

    @property
    def made_from(self) -> str:
        """The file of figures."""
        return "sweep.json" if self.evidence.swept else "summary.json"

    @property
    def job(self) -> Mapping[str, Any] | None:
        """The job file with its defaults, without sections that say nothing of such a corpus."""
        job, unused = self.evidence.sweep.get("job"), self.evidence.words.unused
        return None if job is None else {name: section for name, section in job.items() if name not in unused}

    @cached_property
    def figures(self) -> list[Figure]:
        """Every plot of the page."""
        return [item for section in self.sections for item in section.items if isinstance(item, Figure)]


def _page(evidence: Evidence) -> Page:
    try:
        return Page(
            evidence,
            headline.sentences(evidence),
            headline.tiles(evidence),
            headline.verdicts(evidence),
            sections(evidence),
        )
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        name = "sweep.json" if evidence.swept else "summary.json"
        raise RequestError(
            f"{evidence.folder / name}: expected the figures of this version, found others "
            f"({type(error).__name__}: {error}); run the same command again."
        ) from error


def sections(evidence: Evidence) -> list[Section]:
    """The chapters in the order of the page."""
    chapters = (
        headline.section_claims,
        pruning.section,
        generalisation.section,
        studies.section,
        cost.section,
        coverage.section,
        scores.section,
        *((fields.section, space.section) if evidence.words.in_space else ()),
        noise.section,
        provenance.section,
    )
    return [chapter(evidence) for chapter in chapters]


def _is(kind: type) -> Any:
    return lambda item: isinstance(item, kind)


def _spec(figure: Figure) -> str:
    """The figure's data and layout; trace by trace, for plotly packs the arrays of a whole in its own way."""
    traces = [trace.to_plotly_json() for trace in figure.plot.data]
    return script_json({"data": traces, "layout": figure.plot.layout.to_plotly_json()})

"""The evidence of a card: the figures of sweep.json, in Markdown and in pictures that are well formed."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from coreset.report.evidence import Evidence, read_evidence
from coreset.report.markdown import evidence_section
from coreset.report.svg import Dot, Line, curves, dots

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    folder = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(Path(__file__).parent))
        from sample import sample_sweep

        (folder / "sweep.json").write_text(json.dumps(sample_sweep()))
        yield read_evidence(folder)
        sys.modules.pop("sample", None)


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_the_table_has_the_figures_of_the_jobs_own_rate(evidence: Evidence) -> None:
    text, _ = evidence_section(evidence)
    table = rows(text)
    for test in evidence.tests:
        for method in evidence.methods():
            cell = evidence.cell(method, 0.9)
            assert cell is not None
            figure = cell["tests"][test]["figures"]["nrmse"]
            shown = f"{100 * figure['value']:.3f} ± {100 * (figure['high'] - figure['low']) / 2:.3f}"
            name = f"**{evidence.label(method)}**" if method == "ccs" else evidence.label(method)
            (row,) = [row for row in table if row[0] == name and row[3:4] == [shown]]
            assert row[1] == f"{cell['kept'][0]:,}"
            difference = cell["tests"][test]["differences"].get("ccs", {}).get("nrmse")
            if difference is not None:
                verdict = {"tie": "tie", "higher": "worse", "lower": "better"}[difference["verdict"]]
                assert row[4].startswith(verdict)
    for method, figures in evidence.sweep["coverage"]["0.9"].items():
        assert any(row[0] == evidence.label(method) and row[1].startswith(f"{figures['auc']:.4f}") for row in table)


def test_no_command_and_no_machine_is_told(evidence: Evidence) -> None:
    text, pictures = evidence_section(evidence)
    for told in (evidence.sweep["command"], evidence.sweep["machine"]["processor"], str(evidence.folder)):
        assert all(told not in each for each in (text, *pictures.values()))


def test_every_picture_that_is_shown_is_there_and_no_other(evidence: Evidence) -> None:
    text, pictures = evidence_section(evidence)
    assert all(f"({name})" in text for name in pictures)
    assert text.count("](figures/") == len(pictures) == len(evidence.tests) + 1


def test_a_dot_stands_where_its_value_is() -> None:
    drawn = ElementTree.fromstring(
        dots("a <title> & more", "x", [Dot("one", "ccs", 1.0, (0.5, 1.5)), Dot("two", "random", 2.0, None)])
    )
    (first, second) = drawn.findall(f"{SVG}circle")
    left = 150.0
    assert float(second.attrib["cx"]) - left == pytest.approx(2 * (float(first.attrib["cx"]) - left), abs=0.2)
    assert first.attrib["fill"] != second.attrib["fill"]
    assert drawn.findtext(f"{SVG}title") == "a <title> & more"


def test_a_curve_goes_through_its_points() -> None:
    lines = [Line("one", "ccs", [0.0, 1.0, 4.0], [0.0, 0.5, 1.0]), Line("two", "random", [0.0, 4.0], [0.0, 1.0])]
    drawn = ElementTree.fromstring(curves("title", "r", "p", lines))
    one, two = ([tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
                for line in drawn.findall(f"{SVG}polyline"))  # fmt: skip
    assert one[0] == two[0] and one[-1] == two[-1]
    assert one[1][0] == pytest.approx(one[0][0] + (one[2][0] - one[0][0]) / 4, abs=0.2)
    assert one[1][1] == pytest.approx((one[0][1] + one[2][1]) / 2, abs=0.2)


@pytest.mark.parametrize("most", [1e-4, 0.7, 1.0, 13.9, 99.0, 12_345.0])
def test_an_axis_begins_at_zero_and_holds_its_values(most: float) -> None:
    from coreset.report.svg import _steps

    steps: Any = _steps(most)
    assert steps[0] == 0 and steps[-1] >= most * (1 - 1e-9)
    assert 4 <= len(steps) <= 10

"""A table's page, terminal and card speak of rows, groups and classes; those of densities of points and snapshots."""

import html
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from coreset.report.evidence import Evidence, read_evidence
from coreset.report.markdown import evidence_section
from coreset.report.page import build_page
from coreset.report.table import print_summary
from coreset.report.wording import Noun, told_of_rows

UNSEEN = ("legendgroup", "offsetgroup")
"""What plotly keeps curves together by, and shows to nobody."""
TASKS = ("regression", "classification")


@pytest.fixture
def evidence(request: pytest.FixtureRequest, table_sample: Any, tmp_path: Path) -> Evidence:
    (tmp_path / "summary.json").write_text(json.dumps(table_sample.table_summary(request.param)))
    return read_evidence(tmp_path)


def said(page: str) -> str:
    """Everything that a reader may come to see: text, labels for those who do not see, and the figures' own words."""
    specs = re.findall(r'class="spec">(.*?)</script>', page, re.DOTALL)
    without_code = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    labels = re.findall(r'(?:aria-label|title)="([^"]*)"', without_code)
    text = re.sub(r"<[^>]+>", " ", without_code)
    return html.unescape(re.sub(r"\s+", " ", " ".join([text, *labels, *map(words_of, specs)])))


def words_of(spec: str) -> str:
    """The text of a plotly figure; its keys are plotly's and not ours."""

    def strings(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [each for key, inner in value.items() if key not in UNSEEN for each in strings(inner)]
        if isinstance(value, list):
            return [each for inner in value for each in strings(inner)]
        return [value] if isinstance(value, str) else []

    return " ".join(strings(json.loads(spec)))


@pytest.mark.parametrize("evidence", TASKS, indirect=True)
def test_a_tables_page_speaks_of_rows_alone(evidence: Evidence, table_sample: Any) -> None:
    text = said(build_page(evidence))
    assert table_sample.foreign_words(text) == []
    for words in (
        "12,000 training rows of 30 groups",
        "random rows",
        "random groups",
        "rows kept",
        "share of rows pruned",
        "held-out (1,500 rows, 5 groups)",
        "harvest (200 rows, 1 group)",
        "one group: the intervals tell of seeds alone",
        "the space of features, each divided by its standard deviation",
        "test sets",
    ):
        assert words in text
    assert "None" not in text
    assert not re.search(r", ?(<|$|;)", evidence.words.auc.axis + evidence.words.distance.axis)


@pytest.mark.parametrize("evidence", TASKS, indirect=True)
def test_figures_that_make_no_sense_of_a_table_are_left_out(evidence: Evidence) -> None:
    page = build_page(evidence)
    plots = set(re.findall(r'<figure class="item plot" id="([^"]+)"', page))
    wanted = {"pruning-nrmse", "test-sets", "cutoff-validation", "coverage-auc", "coverage-curves"}
    assert plots == wanted | ({"pruning-classes"} if evidence.words.beside else set())
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert not {"fields", "space"} & set(sections)
    assert {"pruning", "coverage", "scores", "cost"} < set(sections)
    told = " ".join(re.findall(r'class="missing">(.*?)<', page))
    assert "histogram" in told
    assert "energies" not in told


@pytest.mark.parametrize("evidence", ["classification"], indirect=True)
def test_classes_have_their_error_rate_and_log_loss_beside_nrmse(evidence: Evidence, table_sample: Any) -> None:
    page = build_page(evidence)
    text = said(page)
    # 0.06 and 0.2 times 1.25 on the coreset, and as they are with all rows.
    assert "error rate: 7.5% against 6%; log loss: 0.25 against 0.2" in text
    assert "one of 3 classes" in text
    tiles = re.findall(r'class="value">([^<]*)</span><span class="label">([^<]*)<', page)
    assert ("7.5%", "error rate at 80%") in tiles
    assert ("0.25", "log loss at 80%") in tiles
    rate, loss, nrmse = (
        re.search(rf'id="table-{name}-held-out">.*?</table>', page, re.DOTALL)
        for name in ("error-rate", "log-loss", "nrmse")
    )
    assert rate is not None
    assert loss is not None
    assert nrmse is not None
    assert "18.0 ± 3.6" in rate[0]  # GraNd: 3 times 6%
    assert "0.60 ± 0.12" in loss[0]
    (spec,) = re.findall(r'id="pruning-classes">.*?class="spec">(.*?)</script>', page, re.DOTALL)
    # An error rate may be 0, which a logarithmic axis cannot show.
    assert json.loads(spec)["layout"]["yaxis"].get("type") != "log"


@pytest.mark.parametrize("evidence", TASKS, indirect=True)
def test_a_run_compares_its_method_with_the_whole_corpus_too(evidence: Evidence) -> None:
    text = said(build_page(evidence))
    (row,) = re.findall(r"80%, held-out 2,400 (.*?) NRMSE of", text)
    assert " worse " in row  # CCS lies above the whole corpus by a quarter, with a narrow interval
    assert evidence.cell("ccs", 0.8)["tests"]["held-out"]["differences"]["full"]["nrmse"]["value"] > 0  # type: ignore[index]


@pytest.mark.parametrize("task", TASKS)
def test_the_terminal_speaks_of_rows_within_eighty_columns(task: str, table_sample: Any) -> None:
    page = io.StringIO()
    print_summary(table_sample.table_summary(task), Console(file=page, width=80))
    text = page.getvalue()
    assert table_sample.foreign_words(text) == []
    assert "…" not in text
    assert max(map(len, text.split("\n"))) <= 80
    rows = {line.strip().split("  ")[0]: line.split() for line in text.split("coverage")[0].split("\n")}
    assert rows["random groups"][2:4] == ["2,400", "80.0%"]
    assert ("18.0" in rows["GraNd"]) == (task == "classification")


@pytest.mark.parametrize("evidence", TASKS, indirect=True)
def test_the_card_of_a_table_speaks_of_rows(evidence: Evidence, table_sample: Any) -> None:
    text, pictures = evidence_section(evidence)
    drawn = [re.sub(r"<[^>]+>", " ", picture) for picture in pictures.values()]
    assert table_sample.foreign_words(" ".join([text, *drawn])) == []
    assert "12,000 rows (30 groups)" in text
    assert ("| error rate, % | log loss |" in text) == bool(evidence.words.beside)


def test_the_page_of_densities_keeps_its_words(sample: Any, table_sample: Any, tmp_path: Path) -> None:
    sample.write_sample(tmp_path)
    text = said(build_page(read_evidence(tmp_path)))
    for words in (
        "the density error (NRMSE) on",
        "random points",
        "random snapshots",
        "points kept",
        "share of points pruned",
        "seeds and test trajectories",
        "in the space of descriptors",
        "AUC_pr, Bohr",
        "covered within the distance r, Bohr",
        "Defects and other systems",
        "as a share of the range of their density",
        "The paper's 1% was 432,000 points of aluminium and 511,000 points of water",
    ):
        assert words in text
    assert not re.search(r"\brows?\b (kept|pruned)|random rows|\bshards\b", text)
    assert table_sample.foreign_words(text)  # the list that a table's page is held against finds what it should


def test_numbers_and_names_are_told_in_words() -> None:
    noun = Noun("group", "groups", "groups")
    assert [noun.count({"groups": number}) for number in (1, 2, 1200)] == ["1 group", "2 groups", "1,200 groups"]
    one = {"targets": ["y"], "features": 1, "classes": 0}
    assert told_of_rows(one) == "Each row has 1 feature, and “y” is to be learnt."
    three = {"targets": ["a", "b", "c"], "features": 1024, "classes": 0}
    assert told_of_rows(three) == "Each row has 1,024 features, and “a”, “b” and “c” are to be learnt."

"""The page as text: it holds every piece of evidence, loads nothing, and says what is missing."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreset.errors import RequestError
from coreset.report.claims import claims
from coreset.report.evidence import Evidence, read_evidence
from coreset.report.figures import headline, pruning
from coreset.report.page import build_page


class Reader(HTMLParser):
    """Elements with their attributes, and the text of each."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._raw = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text.append(data)

    def having(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.elements if name == tag and all(a.get(k) == v for k, v in wanted.items())]


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def page(sample: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sample")
    sample.write_sample(folder)
    return build_page(read_evidence(folder))


SECTIONS = (
    "The paper's claims",
    "Error against pruning",
    "Defects and other systems",
    "What part of CCS works",
    "coverage",
    "hard points",
    "errors are",
)


def test_every_chapter_is_there(page: str) -> None:
    text = " ".join(read(page).text).lower()
    for words in SECTIONS:
        assert words.lower() in text
    assert "1.6 mha" in text


def test_it_is_of_a_few_megabytes_and_loads_nothing(page: str) -> None:
    assert len(page.encode()) < 10e6
    reader = read(page)
    for tag, attributes in reader.elements:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    (policy,) = reader.having("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in str(policy["content"])
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style


def test_every_figure_has_caption_origin_buttons_and_words_for_those_who_cannot_see_it(page: str) -> None:
    figures = re.findall(r'<figure class="item (plot|table)" id="([^"]+)">(.*?)</figure>', page, re.DOTALL)
    assert len({name for _, name, _ in figures}) == len(figures) > 25
    for kind, name, body in figures:
        found = read(body)
        text = " ".join(found.text)
        assert "How:" in text, name
        assert "coreset sweep jobs/al-sweep.yaml" in text, name
        saves = {button["data-save"] for button in found.having("button") if button.get("data-save")}
        assert saves == ({"svg", "png", "csv"} if kind == "plot" else {"csv"}), name
        assert all(button.get("aria-label") for button in found.having("button")), name
        if kind == "plot":
            (canvas,) = found.having("div", role="img")
            assert len(str(canvas["aria-label"])) > 20, name
            spec = re.search(r'class="spec">(.*?)</script>', body, re.DOTALL)
            assert spec is not None
            assert json.loads(spec[1])["data"], name


def test_the_claims_stand_with_their_verdicts(page: str, sample: Any) -> None:
    text = re.sub(r"\s+", " ", " ".join(read(page).text))
    for claim in claims(Evidence(Path(), sample.sample_sweep(), swept=True)):
        assert re.sub(r"\s+", " ", claim.statement) in text
        assert claim.verdict in text


def spec_of(page: str, name: str) -> Any:
    found = re.search(rf'id="{name}">.*?class="spec">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("pruning-nrmse", [0.5, 0.8, 0.9, 0.95, 0.99]),
        ("pruning-energy", [0.5, 0.8, 0.9, 0.95, 0.99]),
        ("coverage-auc", [0.5, 0.8, 0.9, 0.95, 0.99]),
        ("training-time", [0, 0.5, 0.8, 0.9, 0.95, 0.99]),
        ("time-to-target", [0, 0.5, 0.8, 0.9, 0.95, 0.99]),
    ],
)
def test_what_stands_against_the_share_pruned_stands_against_the_points_kept_too(
    page: str, sample: Any, name: str, rates: list[float]
) -> None:
    spec = spec_of(page, name)
    above = spec["layout"]["xaxis2"]
    assert above["overlaying"] == "x"
    assert above["ticktext"] == [f"{round((1 - rate) * sample.POINTS):,}" for rate in rates]
    assert above["range"] == spec["layout"]["xaxis"]["range"]
    assert any(trace.get("xaxis") == "x2" for trace in spec["data"])
    columns = spec["layout"]["meta"]["columns"]
    pruned = (trace for trace in spec["data"] if "floor" not in trace.get("name", ""))
    for row in (dict(zip(columns, row, strict=True)) for trace in pruned for row in trace.get("customdata", ())):
        if row["pruned"] != "0%":
            assert row["points kept"] == round((1 - float(row["pruned"].strip("%")) / 100) * sample.POINTS)


@pytest.mark.parametrize("name", ["coverage-curves", "validation-curves", "cutoff-validation"])
def test_the_csv_of_a_curve_at_one_rate_has_the_points_kept(page: str, name: str) -> None:
    assert "points kept" in spec_of(page, name)["layout"]["meta"]["columns"]


def test_what_a_seed_redraws_is_said_where_methods_are_compared(sample: Any) -> None:
    sweep = sample.sample_sweep()
    evidence = Evidence(Path(), sweep, swept=True)
    assert evidence.redrawn == "each seed redraws the selection, the scores behind it, and the initial weights"
    assert evidence.redrawn in pruning.section(evidence).lead
    for shared in ({"redraw_scores": False}, {}):
        sweep["job"]["sweep"] = shared
        assert evidence.redrawn.endswith(
            "share one set of scores, so GraNd and loss keep the same points at every seed"
        )
    sweep["cells"] = [cell for cell in sweep["cells"] if cell["method"] != "loss"]
    assert Evidence(Path(), sweep, swept=True).redrawn.endswith("so GraNd keeps the same points at every seed")


def test_tables_give_one_network_no_verdict_and_name_one_trajectory(sample: Any) -> None:
    sweep = sample.sample_sweep()
    evidence = Evidence(Path(), sweep, swept=True)

    def told() -> str:
        tables = [*pruning.tables(evidence), headline.verdicts(evidence)]
        return " ".join(
            " ".join([each.caption, *(word for row in each.rows for word in row)]) for each in tables if each
        )

    assert sweep["corpus"]["test.large"]["groups"] == 1
    assert "99%, large (one trajectory)" in told()
    assert "Here is one trajectory" in told()
    assert "no verdict" not in told()
    for cell in sweep["cells"]:
        for measured in cell["tests"].values():
            for peer in measured["differences"].values():
                peer["nrmse"]["seeds"] = 1
    assert "1 network: no verdict" in told()
    assert headline.against(evidence, "random", 0.9, "bulk") is None
    assert "better" not in " ".join(word for row in headline.verdicts(evidence).rows for word in row)  # type: ignore[union-attr]


def test_what_is_missing_is_said_with_the_way_to_it(sample: Any, tmp_path: Path) -> None:
    sample.write_sample(tmp_path, energy=False)
    sweep = json.loads((tmp_path / "sweep.json").read_bytes())
    sweep["cells"] = [cell for cell in sweep["cells"] if cell["studies"] == ["methods"]]
    sweep["noise"] = {"variants": []}
    sweep["fields"] = []
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    page = build_page(read_evidence(tmp_path))
    missing = re.findall(r'<p class="missing">(.*?)</p>', page)
    assert len(missing) >= 4
    assert all("To have it:" in line for line in missing)
    assert any("energy.pseudopotentials" in line for line in missing)


def test_names_cannot_become_markup(sample: Any, tmp_path: Path) -> None:
    evil = "a<script>alert(1)</script>&</title>"
    sample.write_sample(tmp_path, name=evil)
    page = build_page(read_evidence(tmp_path))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("damage", ["none", "text", "list", "half"])
def test_a_folder_without_figures_is_refused(damage: str, tmp_path: Path) -> None:
    content: dict[str, Callable[[], object]] = {
        "none": lambda: None,
        "text": lambda: (tmp_path / "sweep.json").write_text("{"),
        "list": lambda: (tmp_path / "sweep.json").write_text("[]"),
        "half": lambda: (tmp_path / "sweep.json").write_text('{"name": "x"}'),
    }
    content[damage]()
    with pytest.raises(RequestError, match="expected"):
        build_page(read_evidence(tmp_path))


def test_a_damaged_field_is_refused(sample: Any, tmp_path: Path) -> None:
    sweep = sample.write_sample(tmp_path)
    file = tmp_path / sweep["fields"][0]["file"]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(Exception, match=re.escape(file.name)):
        build_page(read_evidence(tmp_path))


def test_the_isosurface_of_a_sphere_lies_on_it_in_any_cell() -> None:
    from coreset.report.lattice import surface

    for cell in (np.eye(3) * 8.0, np.array([[9.0, 0, 0], [3.0, 8.0, 0], [1.0, 2.0, 8.5]])):
        grid = (30, 28, 32)
        fractions = np.stack(np.meshgrid(*(np.arange(n) / n for n in grid), indexing="ij"), -1)
        away = (fractions - 0.5) @ cell
        field = -np.linalg.norm(away, axis=-1)
        vertices = np.asarray(surface(field, cell, -2.0)[0])
        radii = np.linalg.norm(vertices - np.array([0.5, 0.5, 0.5]) @ cell, axis=1)
        assert len(vertices) > 100
        assert np.abs(radii - 2.0).max() < 0.05


def test_a_target_of_no_error_has_no_line_on_a_logarithmic_axis(sample: Any, tmp_path: Path) -> None:
    sweep = sample.write_sample(tmp_path)
    assert any(
        "target" in note["text"] for note in spec_of(built(tmp_path), "validation-curves")["layout"]["annotations"]
    )
    sweep["time_to_target"]["target"] = 0.0  # of classes: no validation row is classified wrongly
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    assert "annotations" not in spec_of(built(tmp_path), "validation-curves")["layout"]


def built(folder: Path) -> str:
    return build_page(read_evidence(folder))

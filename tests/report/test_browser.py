"""The page in a real browser: it draws, turns, saves, fits a phone, and can be used by keyboard, without a network."""

import csv
import json
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.auditing.opening import open_points
from coreset.auditing.request import Audit
from coreset.auditing.run import write_audit
from coreset.report.evidence import read_evidence
from coreset.report.figures.atoms import middle_plane
from coreset.report.figures.fields import SIZE
from coreset.report.page import build_page
from coreset.stages.space import Space

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver (make system)"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module", params=["report", "audit"])
def page(
    sample: Any,
    tmp_path_factory: pytest.TempPathFactory,
    write_gaussians: Callable[..., None],
    request: pytest.FixtureRequest,
) -> Path:
    folder = tmp_path_factory.mktemp("report")
    if request.param == "audit":
        names = [
            f"{role}/s{i}_T{100 * i + 100:04d}_{frame}"
            for role in ("train", "test")
            for i in (1, 2)
            for frame in (0, 1)
        ]
        write_gaussians(folder / "grids.zarr", [*names, "test/mg_T0700"], points=8)
        points, reference = (
            open_points(str(folder / "grids.zarr"), "", f"{role}/*", neighbours=4) for role in ("train", "test")
        )
        audit = Audit(points, reference, Space(), 900, "none", 0.1, 0)
        write_audit(audit, ("train", "test"), folder, SerialExecutor(), "coreset audit")
        return folder / "audit.html"
    sample.write_sample(folder)
    path = folder / "report.html"
    path.write_text(build_page(read_evidence(folder)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(page: Path, downloads: Path) -> Iterator[Any]:
    with opened(page, downloads) as driver:
        yield driver


@contextmanager
def opened(page: Path, downloads: Path) -> Iterator[Any]:
    """A browser without a network that shows a page."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--enable-unsafe-swiftshader",
        "--window-size=1200,900",
        # Whatever the page asked of a network would fail.
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ):
        options.add_argument(argument)
    allowed = {"profile.default_content_setting_values.automatic_downloads": 1}
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads), **allowed})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    driver.set_script_timeout(300)
    try:
        driver.get(page.as_uri())
        yield driver
    finally:
        driver.quit()


def eventually(found: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
    """The first true value; a machine that is busy takes its time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


def scroll_to(browser: Any, name: str) -> Any:
    element = browser.find_element("id", name)

    def drawn() -> bool:
        # Again and again, for what is drawn above may push it away.
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        return "plot" not in element.get_attribute("class").split() or bool(element.get_attribute("data-drawn"))

    eventually(drawn, f"{name} to be drawn")
    return element


def names(browser: Any, selector: str) -> list[str]:
    return [element.get_attribute("id") for element in browser.find_elements("css selector", selector)]


def turning(browser: Any) -> str:
    return str(browser.execute_script("return document.querySelector('[data-turn]').closest('.item').id"))


CAMERA = """
    const scene = document.getElementById(arguments[0]).querySelector(".canvas")._fullLayout.scene._scene;
    return JSON.stringify(scene.getCamera().eye);
"""
"""Where the viewer stands at this moment, also in the middle of a drag."""


@pytest.fixture
def of_a_run(page: Path) -> None:
    if page.name != "report.html":
        pytest.skip("tells of a figure of a run's page")


def test_figures_are_drawn_when_they_come_into_view_and_only_then(browser: Any, page: Path) -> None:
    plots = names(browser, ".plot")
    assert len(plots) > {"report.html": 15, "audit.html": 5}[page.name]
    assert not browser.find_element("id", plots[-1]).get_attribute("data-drawn")
    for name in plots:
        figure = scroll_to(browser, name)
        assert figure.find_elements("css selector", "svg.main-svg"), name
        canvas = figure.find_element("css selector", ".canvas")
        assert canvas.size["height"] > 150, name
        assert canvas.size["width"] > 200, name


def test_the_view_in_three_dimensions_turns_by_mouse_and_by_button(browser: Any) -> None:
    from selenium.webdriver import ActionChains

    name = turning(browser)
    figure = scroll_to(browser, name)
    before = browser.execute_script(CAMERA, name)
    figure.find_element("css selector", "[data-turn='1']").click()
    turned = eventually(
        lambda: (eye := browser.execute_script(CAMERA, name)) != before and eye, "the button to turn the view"
    )
    canvas = figure.find_element("css selector", ".canvas")
    drag = ActionChains(browser).move_to_element(canvas).click_and_hold()
    for _ in range(6):
        drag = drag.move_by_offset(15, 4).pause(0.1)
    drag.release().perform()
    eventually(lambda: browser.execute_script(CAMERA, name) != turned, "the mouse to turn the view")


@pytest.mark.usefixtures("of_a_run")
def test_every_kind_of_download_holds_what_it_should(browser: Any, page: Path, downloads: Path) -> None:
    plot = names(browser, ".plot")[0]
    figure = scroll_to(browser, plot)
    for kind in ("svg", "png", "csv"):
        browser.execute_script("arguments[0].click()", figure.find_element("css selector", f"[data-save='{kind}']"))
        file = downloads / f"{plot}.{kind}"
        eventually(lambda file=file: file.is_file() and file.stat().st_size, f"{file.name}")
    assert ET.parse(downloads / f"{plot}.svg").getroot().tag.endswith("svg")
    assert (downloads / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
    with (downloads / f"{plot}.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {"test set": "bulk", "protocol": "steps", "figure": "nrmse", "series": "CCS", "pruned": "90%"}
    (row,) = (row for row in rows if wanted.items() <= row.items())
    sweep = json.loads((page.parent / "sweep.json").read_bytes())
    (cell,) = (cell for cell in sweep["cells"] if cell["id"] == "steps ccs 0.9")
    estimate = cell["tests"]["bulk"]["figures"]["nrmse"]
    for side in ("value", "low", "high"):
        assert float(row[side]) == pytest.approx(100 * estimate[side], rel=1e-5)
    assert int(row["points kept"]) == cell["kept"][0]
    table = names(browser, ".item.table")[0]
    figure = scroll_to(browser, table)
    browser.execute_script("arguments[0].click()", figure.find_element("css selector", "[data-save='csv']"))
    file = downloads / f"{table}.csv"
    eventually(lambda: file.is_file() and file.stat().st_size, file.name)
    shown = figure.find_elements("css selector", "tbody tr")
    assert len(file.read_text(encoding="utf-8-sig").splitlines()) == len(shown) + 1


def test_choosing_shows_other_curves(browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    figure = next(
        each for each in browser.find_elements("css selector", ".plot") if each.find_elements("tag name", "select")
    )
    scroll_to(browser, figure.get_attribute("id"))
    visible = "return arguments[0].querySelector('.canvas').data.map(t => t.visible !== false).join()"
    before = browser.execute_script(visible, figure)
    choice = Select(figure.find_element("tag name", "select"))
    choice.select_by_index(len(choice.options) - 1)
    eventually(lambda: browser.execute_script(visible, figure) != before, "other curves")


def test_the_keyboard_reaches_every_control(browser: Any) -> None:
    lost = browser.execute_script("""
        document.querySelectorAll("details").forEach((details) => { details.open = true; });
        const controls = document.querySelectorAll("button, a[href], select, [tabindex='0'], summary");
        const reached = (control) => { control.focus(); return document.activeElement === control; };
        return [...controls].filter((control) => !reached(control)).map((control) => control.outerHTML.slice(0, 200));
    """)
    assert lost == []
    from selenium.webdriver import Keys

    browser.execute_script("window.scrollTo(0, 0); document.activeElement.blur(); document.body.focus()")
    seen = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(
            browser.execute_script(
                "return document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()"
            )
        )
    assert any("Skip to the evidence" in each for each in seen)
    assert any(each.startswith("BUTTON CSV") for each in seen)


def test_dark_and_light(browser: Any) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(background)
    browser.execute_script("window.scrollTo(0, 0)")
    browser.find_element("id", "theme").click()
    eventually(lambda: browser.execute_script(background) != light, "the dark page")
    plot = scroll_to(browser, names(browser, ".plot")[0])
    ink = "return arguments[0].querySelector('.canvas')._fullLayout.font.color"
    dark_ink = eventually(lambda: browser.execute_script(ink, plot), "a figure's colour")
    browser.find_element("id", "theme").click()
    eventually(lambda: browser.execute_script(ink, plot) != dark_ink, "the figure to follow")


def test_a_phone_scrolls_down_and_never_sideways(browser: Any) -> None:
    device = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    try:
        browser.refresh()
        for name in names(browser, ".plot"):
            scroll_to(browser, name)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.usefixtures("of_a_run")
def test_packed_fields_come_out_as_they_went_in(browser: Any, page: Path, downloads: Path) -> None:
    figure = scroll_to(browser, "field-planes")
    browser.execute_script("arguments[0].click()", figure.find_element("css selector", "[data-save='csv']"))
    path = downloads / "field-planes.csv"
    eventually(lambda: path.is_file() and path.stat().st_size, path.name)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["test set"] == "bulk" and row["series"] == "density, DFT"]
    entry = next(
        each for each in json.loads((page.parent / "sweep.json").read_bytes())["fields"] if each["set"] == "bulk"
    )
    plane, _ = middle_plane(entry)
    with np.load(page.parent / entry["file"]) as arrays:
        expected = plane.cut(arrays["reference"], SIZE)
    found = np.array([float(row["value"]) for row in rows])
    assert np.abs(found - expected[np.isfinite(expected)]).max() < 1e-4 * np.nanmax(expected)


def test_before_printing_every_figure_is_drawn(browser: Any) -> None:
    browser.refresh()
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    plots = len(names(browser, ".plot"))
    eventually(lambda: len(names(browser, ".plot[data-drawn]")) == plots, "all figures")


def test_the_console_holds_no_error(browser: Any) -> None:
    # Last, so that it has heard all of the above.
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


def test_the_page_of_a_table_is_drawn_and_its_error_rate_can_be_switched(
    table_sample: Any, tmp_path: Path, downloads: Path
) -> None:
    from selenium.webdriver.support.ui import Select

    (tmp_path / "summary.json").write_text(json.dumps(table_sample.table_summary("classification")))
    (tmp_path / "report.html").write_text(build_page(read_evidence(tmp_path)), encoding="utf-8")
    with opened(tmp_path / "report.html", downloads) as browser:
        for name in names(browser, ".plot"):
            assert scroll_to(browser, name).find_elements("css selector", "svg.main-svg"), name
        figure = scroll_to(browser, "pruning-classes")
        title = "return arguments[0].querySelector('.canvas')._fullLayout.yaxis.title.text"
        assert browser.execute_script(title, figure) == "error rate, %"
        Select(figure.find_elements("tag name", "select")[-1]).select_by_visible_text("log loss")
        eventually(lambda: browser.execute_script(title, figure) == "log loss", "the axis to be of the log loss")
        assert table_sample.foreign_words(browser.find_element("tag name", "body").text) == []
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

"""The page of a real sweep, and of a run alone: what the stages write is what the page reads."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
import pytest

from coreset.atomic import write_json
from coreset.errors import RequestError
from coreset.report.evidence import read_evidence
from coreset.report.page import build_page
from coreset.report.quantity import ENERGY, NRMSE, decimals

if TYPE_CHECKING:
    from conftest import Swept

FIGURES = {
    *("pruning-nrmse", "pruning-h1", "pruning-energy", "pruning-lost", "test-sets", "by-temperature", "by-composition"),
    *("cutoff-validation", "study-cutoff", "study-strata", "study-score-epoch", "study-score-runs", "training-time"),
    *("time-to-target", "validation-curves", "coverage-auc", "coverage-curves", "score-histogram", "strata-ccs"),
    *("score-distance", "score-plane", "score-space", "field-planes", "field-profiles"),
    *("error-spectrum", "error-spectrum-parts"),
    *("density-space", "error-space", "noise"),
}


def specs(page: str) -> dict[str, Any]:
    found = re.findall(r'<figure class="item plot" id="([^"]+)">.*?class="spec">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


@pytest.fixture(scope="module")
def alone(swept: "Swept", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `coreset run` for the same job, in a store of its own: others count what stands in the first."""
    from coreset.artifacts.executor import SerialExecutor
    from coreset.artifacts.materialize import materialize_all
    from coreset.summary import summarise

    folder = tmp_path_factory.mktemp("alone")
    store = folder / "artifacts"
    shutil.copytree(swept.session.store, store)
    executor = SerialExecutor()
    pipeline = replace(
        swept.sweep.pipeline, materialize=lambda stages: materialize_all(stages, root=store, executor=executor)
    )
    write_json(folder / "summary.json", summarise(pipeline, pipeline.run()))
    return folder


def test_a_sweep_fills_every_figure(swept: "Swept") -> None:
    page = build_page(read_evidence(swept.session.folder.path))
    found = specs(page)
    missing = re.findall(r'<p class="missing">(.*?)</p>', page)
    # A target that a tiny network does not reach is a figure without bars, not a missing one.
    assert set(found) | {"by-temperature", "by-composition"} >= FIGURES, missing
    assert all(spec["data"] for spec in found.values())


def test_curves_stand_where_the_sweep_has_them(swept: "Swept") -> None:
    spec = specs(build_page(read_evidence(swept.session.folder.path)))["pruning-nrmse"]
    columns = spec["layout"]["meta"]["columns"]
    ccs = {"test set": "bulk", "protocol": "steps", "figure": "nrmse"}
    (curve,) = (trace for trace in spec["data"] if trace.get("meta") == ccs and trace["name"] == "CCS")
    rows = [dict(zip(columns, row, strict=True)) for row in curve["customdata"]]
    assert [row["pruned"] for row in rows] == ["50%", "90%"]
    for row, rate, drawn in zip(rows, ("0.5", "0.9"), curve["y"], strict=True):
        cell = swept.figure(f"steps ccs {rate}")
        estimate = cell["tests"]["bulk"]["figures"]["nrmse"]
        assert row["value"] == drawn == pytest.approx(100 * estimate["value"], rel=1e-5)
        assert row["low"] == pytest.approx(100 * estimate["low"], rel=1e-5)
        assert row["high"] == pytest.approx(100 * estimate["high"], rel=1e-5)
        assert row["points kept"] == cell["kept"][0]


def test_a_run_alone_shows_its_rate_and_says_what_a_sweep_would_add(alone: Path) -> None:
    page = build_page(read_evidence(alone))
    summary = json.loads((alone / "summary.json").read_bytes())
    kept = summary["methods"]["ccs"]["kept"][0]
    assert f"{kept:,} points are kept" in page
    assert set(specs(page)) >= {"pruning-nrmse", "test-sets", "coverage-auc", "coverage-curves"}
    missing = " ".join(re.findall(r'<p class="missing">(.*?)</p>', page))
    for what in ("claims", "histogram", "fields", "recipes"):
        assert what in missing


def test_a_run_without_the_newest_figures_is_read_as_well(alone: Path, tmp_path: Path) -> None:
    summary = json.loads((alone / "summary.json").read_bytes())
    for by_method in summary["evaluation"].values():
        for evaluated in by_method.values():
            evaluated.pop("figures", None)
            evaluated.pop("differences", None)
    write_json(tmp_path / "summary.json", summary)
    evidence = read_evidence(tmp_path)
    (test, by_method), *_ = summary["evaluation"].items()
    cell = evidence.cell("random", evidence.rate)
    assert cell is not None
    assert evidence.figure(cell, test, "nrmse")["value"] == by_method["random"]["nrmse"]  # type: ignore[index]
    assert build_page(read_evidence(tmp_path))


def test_fields_outside_the_folder_are_not_opened(swept: "Swept", tmp_path: Path) -> None:
    shutil.copytree(swept.session.folder.path / "fields", tmp_path / "fields")
    sweep = json.loads(swept.session.folder.sweep.read_bytes())
    for path in ("../secret.npz", "/etc/passwd"):
        sweep["fields"][0]["file"] = path
        write_json(tmp_path / "sweep.json", sweep)
        with pytest.raises(RequestError, match="within that folder"):
            build_page(read_evidence(tmp_path))


def test_unknown_times_are_said_to_be_unknown(swept: "Swept", tmp_path: Path) -> None:
    sweep = json.loads(swept.session.folder.sweep.read_bytes())
    sweep["fields"] = []
    for row in sweep["costs"]:
        row["seconds"] = row["cpu_seconds"] = None
    for cell in sweep["cells"]:
        cell["training"]["seconds"] = [None] * cell["seeds"]
    write_json(tmp_path / "sweep.json", sweep)
    assert "not known" in build_page(read_evidence(tmp_path))


def test_digits_follow_the_interval() -> None:
    assert [decimals(half) for half in (0.0, 123.0, 4.2, 0.52, 0.052, 0.0011)] == [3, 0, 1, 2, 3, 4]
    estimate = {"value": 0.012345, "low": 0.0118, "high": 0.0129}
    assert NRMSE.text(estimate) == "1.234 ± 0.055"
    assert NRMSE.within(estimate) == "1.234 [1.180, 1.290]"
    assert NRMSE.within({"value": 0.01, "low": -0.1, "high": 0.12}, "+") == "+1 [-10, +12]"
    assert ENERGY.text({"value": 0.0016, "low": None, "high": None}) == "1.6"
    assert NRMSE.text(None) == ""


def sample_of(folder: Path, **change: Any) -> Path:
    cell = {"id": "x", "studies": ["methods"], "protocol": "steps", "method": "ccs", "rate": 0.9, "tests": {}}
    field = {"role": "test", "file": "x.npz", "arrays": {"reference": "a"}}
    sweep = {"name": "x", "method": "ccs", "test_order": [], "protocol_order": [], "cells": [cell], "fields": [field]}
    (folder / "sweep.json").write_text(json.dumps({**sweep, **change}))
    np.savez_compressed(folder / "x.npz", a=np.arange(400.0))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"cells": 3},
        {"cells": [3]},
        {"cells": [{}]},
        {"name": None},
        {"test_order": "bulk"},
        {"fields": [{"role": "test", "file": "x", "arrays": 3}]},
        {"prune": float("nan")},
    ],
    ids=range(7),
)
def test_figures_of_other_types_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    assert read_evidence(sample_of(tmp_path)).name == "x"
    with pytest.raises(RequestError, match=r"sweep\.json: expected the figures of a finished run"):
        read_evidence(sample_of(tmp_path, **change))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "3", '{"name": 1, "name": 2}'], ids=range(4))
@pytest.mark.parametrize("name", ["sweep.json", "summary.json"])
def test_json_that_nobody_writes_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RequestError, match=rf"{name}: expected the figures of a finished run"):
        read_evidence(tmp_path)


def test_any_changed_byte_of_a_field_is_found_or_harmless(tmp_path: Path) -> None:
    evidence = read_evidence(sample_of(tmp_path))
    content = (tmp_path / "x.npz").read_bytes()
    refused = 0
    for place in range(len(content)):
        (tmp_path / "x.npz").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            ((_, arrays),) = evidence.fields("test")
        except RequestError:
            refused += 1
        else:
            assert np.array_equal(arrays["reference"], np.arange(400.0))
    assert refused > len(content) // 2


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    evidence = read_evidence(sample_of(tmp_path))
    with ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("a", b"not an array")
    with pytest.raises(RequestError, match=r"x\.npz: expected the arrays that sweep\.json names"):
        evidence.fields("test")


@pytest.mark.parametrize("name", ["circle.npz", "a\0b", "x" * 300])
def test_a_name_that_no_file_has_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "circle.npz").symlink_to("circle.npz")
    field = {"role": "test", "file": name, "arrays": {"reference": "a"}}
    with pytest.raises(RequestError, match="within that folder"):
        read_evidence(sample_of(tmp_path, fields=[field])).fields("test")

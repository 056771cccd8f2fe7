"""`docs/results.py`: the committed page is what it makes of the committed sweeps, and its words follow from them."""

import gzip
import importlib.util
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
SWEEPS = ("al-sweep", "water-sweep", "crfeconi-sweep")
"""In the order of the Makefile."""


def load(path):
    spec = importlib.util.spec_from_file_location(f"coreset_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


results, sample = load(ROOT / "docs/results.py"), load(ROOT / "tests/report/sample.py")


def made(*arguments):
    return CliRunner().invoke(results.main, [str(each) for each in arguments])


def page(*arguments):
    result = made(*arguments)
    assert result.exit_code == 0, result.output or result.exception
    return result.stdout


@pytest.fixture(scope="module")
def sweep():
    return sample.sample_sweep("al-sweep")


@pytest.fixture
def write(tmp_path):
    """Writes figures as docs/sweeps has them, and returns the file."""

    def write(figures, name="sweep"):
        path = tmp_path / f"{name}.json.gz"
        path.write_bytes(gzip.compress(json.dumps(figures).encode()))
        return path

    return write


def rows(text, heading):
    """The cells of the first table after a heading, by its first column; where that repeats, the last."""
    lines = text.split(heading, 1)[1].split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append([each.strip() for each in line.strip("|").split("|")])
    return [[each.strip() for each in lines[start - 1].strip("|").split("|")], *table]


def test_the_committed_page_is_made_from_the_committed_sweeps():
    folder = ROOT / "docs/sweeps"
    found = [path for name in SWEEPS if (path := folder / f"{name}.json.gz").is_file()]
    noise = folder / "al-noise.json.gz"
    studies = [part for path in sorted(folder.glob("*-studies.json.gz")) for part in ("--studies", path)]
    assert found
    made_now = page(*found, *studies, *(["--noise", noise] if noise.is_file() else []))
    committed = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert made_now == committed, "docs/results.md is not what docs/results.py makes of docs/sweeps; run `make results`"


def test_a_folder_and_its_compressed_sweep_give_one_page(sweep, write, tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    assert page(tmp_path) == page(write(sweep))


def test_the_head_speaks_of_each_sweep(sweep, write):
    other = json.loads(json.dumps(sweep)) | {"name": "water-sweep", "date": "2027-01-02", "protocol_order": ["epochs"]}
    other["job"]["network"]["hidden"] = [7]
    other["machine"] = {"processor": "Another", "cores": 64, "memory_gib": 1}
    other["software"]["coreset-ray"] = "7.0"
    for cell in other["cells"]:
        cell["seeds"] = 3
    table = rows(page(write(sweep), write(other, "other")), "# Results")
    run = ["96 × 96", "3,000 steps; 10 epochs", "5", "Imaginary 3000, 2 cores", "0.1.0", "2026-11-24"]
    assert table[1] == ["Aluminium", *run]
    assert table[2] == ["Water", "7", "10 epochs", "3", "Another, 64 cores", "7.0", "2027-01-02"]


def test_a_sweep_of_epochs_alone_has_a_page(sweep, write):
    alone = sweep | {"protocol_order": ["epochs"], "protocols": {"epochs": {"epochs": 10}}, "time_to_target": None}
    alone["cells"] = [cell for cell in sweep["cells"] if cell["protocol"] == "epochs"]
    text = page(write(alone))
    assert rows(text, "# Results")[1][2] == "10 epochs"
    assert "50% pruned" not in text


@pytest.mark.parametrize("redraw", [True, False])
def test_what_a_seed_redraws_is_as_the_job_says(sweep, write, redraw):
    changed = json.loads(json.dumps(sweep))
    changed["job"]["sweep"]["redraw_scores"] = redraw
    text = page(write(changed))
    assert ("the scores behind it, and the initial weights" in text) == redraw
    assert ("so GraNd and loss keep the same points at every seed" in text) != redraw


def test_every_rate_stands_beside_its_points(sweep, write):
    text = page(write(sweep))
    kept = round(0.01 * sample.POINTS)
    for line in text.split("\n"):
        if "99% pruned" in line and line.startswith("| "):
            assert f"99% pruned ({kept:,})" in line
    for heading in ("### Settings of CCS", "### Cost", "### Protocol of equal epochs"):
        assert any(f"99% ({kept:,})" in row[1] for row in rows(text, heading)[1:])


def test_tables_say_how_many_networks_are_behind_them(sweep, write):
    changed = json.loads(json.dumps(sweep))
    for cell in changed["cells"]:
        for measured in cell["tests"].values():
            measured["figures"]["energy"]["seeds"] = 1
            for peer in measured["differences"].values():
                peer["energy"]["seeds"] = 1
    bulk = page(write(changed)).split("### Test set `bulk`", 1)[1].split("### Test set", 1)[0]
    assert bulk.count("Each figure is of 5 networks, one per seed.") == 2
    assert "Each figure is of one network. Energies of 6 snapshots." in bulk
    energies = rows(bulk, "ΔE")
    (random,) = (row for row in energies if row[0] == "random points")
    assert all("(1 network: no verdict)" in each for each in random[2:])
    assert "Each figure is of 5 coresets, one per seed" in page(write(changed))


def test_studies_stand_with_their_paired_differences(sweep, write):
    table = rows(page(write(sweep)), "### Settings of CCS")
    cells = {cell["id"]: cell for cell in sweep["cells"]}
    found = {(row[0], row[1].split()[0], row[2]): row[3:] for row in table[1:]}
    assert found["strata", "90%", "100"][1:] == ["the job's own", "5"]
    figure, against, seeds = found["β", "99%", "0.5"]
    difference = cells["steps ccs 0.99 cutoff=0.5"]["tests"]["bulk"]["differences"]["ccs"]["nrmse"]
    assert against.startswith(f"{100 * difference['value']:+.2f}"[:4])
    assert against.endswith(difference["verdict"])
    assert seeds == "3"
    assert "±" in figure
    assert {setting for setting, _, _ in found} == {"β", "strata", "epoch of the scores", "networks that score"}
    without = sweep | {"cells": [cell for cell in sweep["cells"] if "=" not in cell["id"]]}
    assert "### Settings of CCS" not in page(write(without))


def test_processor_time_to_the_target_is_the_share_of_the_steps(sweep, write):
    table = rows(page(write(sweep)), "### Cost")
    (row,) = (row for row in table if row[:2] == ["CCS", f"50% ({sample.POINTS // 2:,})"])
    cell = next(cell for cell in sweep["cells"] if cell["id"] == "steps ccs 0.5")
    steps = sweep["time_to_target"]["cells"][cell["id"]]["steps"]
    spent = [at / 3000 * each for at, each in zip(steps, cell["training"]["cpu_seconds"], strict=True)]
    assert row[2:4] == ["5 of 5", f"{sum(steps) / 5:,.0f}"]
    assert float(row[5]) == pytest.approx(sum(spent) / 5, abs=0.06)
    unknown = json.loads(json.dumps(sweep))
    for each in unknown["cells"]:
        each["training"]["cpu_seconds"] = [None] * each["seeds"]
    assert "not known" in page(write(unknown))


def test_pictures_are_shown_where_they_stand_beside_the_page(sweep, write, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    assert "![" not in page(write(sweep))
    (tmp_path / "al-h1.svg").write_text("<svg/>")
    assert re.findall(r"!\[.*?\]\((.*?)\)", page(write(sweep))) == ["figures/al-h1.svg"]


def test_what_is_said_of_noise_follows_from_the_figures(sweep, write):
    noise = sweep | {"name": "water-noise"}
    text = page(write(sweep), "--noise", write(noise, "noise")).split("## How much one training differs")[1]
    variants = {each["name"]: each["figures"] for each in sweep["noise"]["variants"]}
    assert "Water, CCS at 99% (7,465 points): 8 seeds" in text
    best = min(variants, key=lambda name: variants[name]["validation"]["mean"])
    quiet = min(variants, key=lambda name: variants[name]["validation"]["relative_sd"])
    assert f"The least validation error is that of *{best}*" in text
    assert f"The least spread of it is that of *{quiet}*" in text
    assert "The sweep of Aluminium trains by *averaged*." in text
    table = {row[0]: row[1:] for row in rows(text, "Pitman")[1:]}
    assert table["plain"][2] == table["plain"][5] == ""
    ratio = variants["cosine"]["bulk"]["relative_sd"] / variants["plain"]["bulk"]["relative_sd"]
    assert table["cosine"][5].startswith(f"× {ratio:.2f} [")


def test_the_recipe_of_a_sweep_is_found_by_all_that_a_recipe_says(sweep, write):
    noise = write(sweep, "noise")
    for training, told in (
        ({"schedule": "cosine", "average": 0.99, "keep": "best"}, "trains by *best by validation*."),
        ({"schedule": "constant", "average": 0.0, "keep": "last"}, "trains by *plain*."),
        ({"schedule": "constant", "average": 0.5, "keep": "last"}, "trains by none of these."),
    ):
        changed = json.loads(json.dumps(sweep))
        changed["job"]["training"] = training
        assert told in page(write(changed), "--noise", noise)


def test_what_is_no_sweep_is_refused_in_one_line(sweep, write, tmp_path):
    whole = write(sweep)
    (tmp_path / "text.gz").write_text("no gzip")
    without = write(sweep | {"noise": {"variants": []}}, "without")
    for arguments, told in (
        ([tmp_path / "nowhere"], "nowhere: expected the folder of a finished sweep"),
        ([tmp_path], "found nothing there"),
        ([tmp_path / "text.gz"], "text.gz: expected"),
        ([write([], "list")], "list.json.gz: expected"),
        ([whole, "--noise", tmp_path / "missing"], "missing: expected the folder of a finished sweep"),
        ([whole, "--noise", without], "expected a sweep with sweep.noise.recipes, found none"),
    ):
        result = made(*arguments)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert told in result.stderr
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


def test_the_short_answer_has_every_test_set_at_90_and_99_percent(sweep, write):
    told = rows(page(write(sweep)), "## Does CCS beat random points and GraNd?")[1:]
    by_id = {cell["id"]: cell for cell in sweep["cells"] if "methods" in cell["studies"]}
    assert [row[0] for row in told] == [f"Aluminium, {test}" for test in sweep["test_order"] for _ in (0, 1)]
    for row in told:
        test, rate = row[0].split(", ")[1], float(row[1].split("%")[0]) / 100
        cell = by_id[f"steps ccs {rate:g}"]
        found = cell["tests"][test]
        assert row[1].endswith(f"({cell['kept'][0]:,})")
        assert float(row[2].split(" ± ")[0]) == pytest.approx(100 * found["figures"]["nrmse"]["value"], abs=6e-4)
        for text, peer in zip(row[3:5], ("random", "grand"), strict=True):
            difference = found["differences"].get(peer, {}).get("nrmse")
            if difference is None:
                assert text == ""
                continue
            assert float(text.split()[0]) == pytest.approx(100 * difference["value"], rel=0.06, abs=6e-3)
            word = {"lower": "**better**", "higher": "**worse**", "tie": "tie"}[difference["verdict"]]
            assert text.endswith(word)
        assert row[5] == str(sweep["corpus"][f"test.{test}"]["groups"])


def test_studies_of_their_own_are_told_after_the_corpora_and_judge_what_a_sweep_left_out(sweep, write):
    without = json.loads(json.dumps(sweep))
    without["cells"] = [cell for cell in without["cells"] if "methods" in cell["studies"]]
    for cell in without["cells"]:
        cell["studies"] = ["methods"]
    other = write({**sweep, "name": "al-studies"}, "other")
    bare, studied = page(write(without)), page(write(without), "--studies", other)
    strata = re.compile(r"^\| The number of strata.*\| ([^|]+) \|$", re.MULTILINE)
    assert strata.search(bare)[1] == "not tested"
    assert strata.search(studied)[1] == strata.search(page(write(sweep)))[1] != "not tested"
    assert "## Settings of CCS: Aluminium" in studied and "## Settings" not in bare
    assert "has not been run yet" not in studied
    assert "has not been run yet" in page(write(without), "--studies", write(sweep, "older"))

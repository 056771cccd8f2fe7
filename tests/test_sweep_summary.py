"""Every figure of `sweep.json` against the shards that it comes from, by loops and by hand."""

import json
import math
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize_all
from coreset.corpus.store import Corpus
from coreset.learning.network import load
from coreset.stages.evaluation import predict
from coreset.stages.scoring import read_field
from coreset.sweep import Cell, Sweep, cell_id
from coreset.sweep_summary import _spectra_by_kind, summarise_sweep
from coreset.workflow import proxy_errors

FIGURES = ["nrmse", "nmae", "h1_seminorm", "h1_norm", "electrons_lost"]
TESTS = ["bulk", "alloy"]


def named(swept: Any) -> dict[str, Cell]:
    """The cells by id."""
    return {cell_id(cell, wanted): cell for cell, wanted in swept.products.cells.items()}


def values(swept: Any, cell: str, test: str, name: str) -> list[list[float]]:
    """A figure by seed and snapshot, from the files of the evaluation, or from the energies themselves."""
    own = named(swept)[cell]
    snapshots = [snapshot.name for snapshot in swept.session.split.tests[test].snapshots]
    if name != "energy":
        artifact = swept.products.evaluations[test][own]
        by_snapshot = [json.loads(artifact.path(snapshot).read_text())[name] for snapshot in snapshots]
        return [list(of_seed) for of_seed in zip(*by_snapshot, strict=True)]
    energies = swept.products.energies[test]
    chosen = [snapshot.name for snapshot in energies.points.snapshots]

    def of(made: list[Artifact]) -> list[dict[str, Any]]:
        return [json.loads(each.path(name).read_text()) for each, name in zip(made, chosen, strict=True)]

    return [
        [abs(a["free_energy"] - b["free_energy"]) / 4 for a, b in zip(of(model), of(energies.reference), strict=True)]
        for model in energies.models[own]
    ]


def stated(swept: Any) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Cell, test set, figure and what is stated of it, of all."""
    for cell in swept.figures["cells"]:
        for test, found in cell["tests"].items():
            for name, figure in found["figures"].items():
                yield cell["id"], test, name, figure


def mean(rows: list[list[float]]) -> float:
    return sum(sum(row) for row in rows) / sum(len(row) for row in rows)


def test_it_is_json_without_nan_and_the_same_when_read_again(swept: Any) -> None:
    text = json.dumps(swept.figures, allow_nan=False)
    assert json.loads(text) == swept.figures
    assert json.loads((swept.session.folder.path / "sweep.json").read_bytes()) == swept.figures


def test_no_path_and_no_host_is_told(swept: Any) -> None:
    assert "pseudopotentials" not in swept.figures["job"]["energy"]
    text = (swept.session.folder.path / "sweep.json").read_text()
    assert str(swept.session.job_file.parent) not in text
    assert "gaussians.zarr" not in text


def test_every_cell_is_told_once_with_its_settings(swept: Any) -> None:
    ids = [cell["id"] for cell in swept.figures["cells"]]
    assert len(set(ids)) == len(ids) == len(swept.products.cells)
    for cell in swept.figures["cells"]:
        own = named(swept)[cell["id"]]
        settings = ("protocol", "method", "rate", "cutoff", "strata", "score_epoch", "score_runs", "recipe")
        assert {name: cell[name] for name in settings} == {name: getattr(own, name) for name in settings}
        assert cell["kept"] == [6000 - round(6000 * own.rate)] * cell["seeds"]
        assert cell["seeds"] == swept.products.cells[own].seeds
        assert list(cell["tests"]) == TESTS
    # Of the cell that has the most.
    assert swept.figures["seed_names"] == [str(swept.sweep.pipeline.seed(run)) for run in range(3)]


def test_every_value_is_the_mean_over_snapshots_and_seeds(swept: Any) -> None:
    count = 0
    for cell, test, name, figure in stated(swept):
        rows = values(swept, cell, test, name)
        assert figure["value"] == pytest.approx(mean(rows), rel=1e-12)
        assert figure["by_seed"] == pytest.approx([statistics.fmean(row) for row in rows], rel=1e-12)
        snapshots = swept.session.split.tests[test].snapshots
        if name == "energy":
            snapshots = swept.products.energies[test].points.snapshots
        assert (figure["seeds"], figure["groups"]) == (len(rows), len({snapshot.group for snapshot in snapshots}))
        by_snapshot = [statistics.fmean(column) for column in zip(*rows, strict=True)]
        assert figure["by_snapshot"] == pytest.approx(by_snapshot, rel=1e-12)
        count += 1
    energies = 2 * 3  # on two test sets: full, random and CCS at 90%
    assert count == len(swept.figures["cells"]) * 2 * len(FIGURES) + energies


def test_every_interval_holds_its_value_and_is_symmetric(swept: Any) -> None:
    for _, _, _, figure in stated(swept):
        assert figure["low"] < figure["value"] < figure["high"]
        assert figure["high"] - figure["value"] == pytest.approx(figure["value"] - figure["low"], rel=1e-9)


def test_an_interval_over_single_frames_is_welchs(swept: Any) -> None:
    rows = np.array(values(swept, "steps full 0", "alloy", "nrmse"))
    of_seeds, of_groups = rows.mean(1).var(ddof=1) / 2, rows.mean(0).var(ddof=1) / 2
    freedom = max(1.0, (of_seeds + of_groups) ** 2 / (of_seeds**2 + of_groups**2))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(of_seeds + of_groups)
    figure = swept.figure("steps full 0")["tests"]["alloy"]["figures"]["nrmse"]
    assert figure["high"] - figure["value"] == pytest.approx(half, rel=1e-6)


def test_energies_are_those_of_the_rescaled_densities_of_the_first_seed(swept: Any) -> None:
    corpus = Corpus.open(swept.session.split.train.corpus)
    for cell, own in named(swept).items():
        found = swept.figure(cell)["tests"]["bulk"]
        wanted = own.protocol == "steps" and "methods" in swept.figure(cell)["studies"]
        wanted &= own.method == "full" or (own.method in ("random", "ccs") and own.rate == 0.9)
        assert ("energy" in found["figures"]) == ("energy_snapshots" in found) == wanted, cell
    cell = swept.figure("steps ccs 0.9")["tests"]["bulk"]
    # Three of five, evenly spread.
    assert cell["energy_snapshots"] == ["test/t0_T0150_0", "test/t1_T0150_0", "test/t2_T0450_1"]
    model = load(swept.products.models[named(swept)["steps ccs 0.9"]][0].path("model"))[0]
    expected = []
    for name in cell["energy_snapshots"]:
        (snapshot,) = corpus.select(name)
        energies = []
        for density in (predict([model], snapshot, swept.sweep.pipeline.descriptor)[0], corpus.density(snapshot)):
            shape = density.ravel().astype(np.float64) / density.mean(dtype=np.float64)
            energies.append(2.0 * np.mean(shape**2) * snapshot.electrons**2 / abs(np.linalg.det(snapshot.cell)))
        expected.append((energies[0] - energies[1]) / 4)
    assert cell["energy_signed"] == pytest.approx(expected, rel=1e-5)
    assert cell["figures"]["energy"]["by_snapshot"] == pytest.approx(np.abs(expected), rel=1e-5)
    assert len(cell["figures"]["energy"]["by_seed"]) == 1


def test_differences_are_paired_by_seed_with_the_method_at_the_same_rate_and_protocol(swept: Any) -> None:
    verdicts = set()
    for cell in swept.figures["cells"]:
        peers = {"full": f"{cell['protocol']} full 0"}
        for method in ("random", "random-snapshots", "grand", "ccs", "cut-random"):
            peers[method] = f"{cell['protocol']} {method} {cell['rate']:g}"
        peers = {method: peer for method, peer in peers.items() if peer in named(swept) and peer != cell["id"]}
        for test, found in cell["tests"].items():
            assert set(found["differences"]) == set(peers)
            for method, peer in peers.items():
                theirs = swept.figure(peer)["tests"][test]["figures"]
                assert set(found["differences"][method]) == set(found["figures"]) & set(theirs)
                for name, told in found["differences"][method].items():
                    mine, other = (values(swept, each, test, name) for each in (cell["id"], peer))
                    pairs = list(zip(mine, other, strict=False))  # the seeds that both have
                    assert told["seeds"] == len(pairs)
                    assert told["groups"] == found["figures"][name]["groups"]
                    by_pair = [[a - b for a, b in zip(*pair, strict=True)] for pair in pairs]
                    assert told["value"] == pytest.approx(mean(by_pair), rel=1e-9, abs=1e-12)
                    if told["low"] is not None:
                        side = "higher" if told["low"] > 0 else "lower" if told["high"] < 0 else "tie"
                        assert told["verdict"] == side
                        assert told["low"] <= told["value"] <= told["high"]
                    verdicts.add(told["verdict"])
    assert verdicts == {"lower", "higher", "tie"}


def test_a_paired_interval_is_not_that_of_two_means(swept: Any) -> None:
    """On two trajectories of one frame each, the interval of the differences by hand."""
    a, b = (np.array(values(swept, cell, "alloy", "nrmse"))[:2] for cell in ("steps ccs 0.9", "steps full 0"))
    rows = a - b
    of_seeds, of_groups = rows.mean(1).var(ddof=1) / 2, rows.mean(0).var(ddof=1) / 2
    freedom = max(1.0, (of_seeds + of_groups) ** 2 / (of_seeds**2 + of_groups**2))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(of_seeds + of_groups)
    told = swept.figure("steps ccs 0.9")["tests"]["alloy"]["differences"]["full"]["nrmse"]
    assert told["high"] - told["value"] == pytest.approx(half, rel=1e-6)


@pytest.mark.parametrize(
    ("test", "kind", "members"),
    [
        ("bulk", "by_temperature", {"150": [0, 1, 2], "450": [3, 4]}),
        ("alloy", "by_composition", {"Al4": [0], "Al2Mg2": [1]}),
    ],
)
def test_temperatures_and_compositions_divide_the_snapshots(
    test: str, kind: str, members: dict[str, list[int]], swept: Any
) -> None:
    for cell in swept.figures["cells"]:
        found = cell["tests"][test]
        assert set(found[kind]) == set(members)
        for name in FIGURES:
            rows = values(swept, cell["id"], test, name)
            for key, chosen in members.items():
                told = found[kind][key][name]
                assert told["value"] == pytest.approx(mean([[row[i] for i in chosen] for row in rows]), rel=1e-12)
                assert told["by_snapshot"] == [found["figures"][name]["by_snapshot"][i] for i in chosen]


def test_where_all_are_alike_nothing_is_divided(swept: Any) -> None:
    for cell in swept.figures["cells"]:
        assert cell["tests"]["alloy"]["by_temperature"] == {}
        assert cell["tests"]["bulk"]["by_composition"] == {}


def test_energies_are_divided_among_the_snapshots_that_have_one(swept: Any) -> None:
    found = swept.figure("steps full 0")["tests"]["bulk"]
    by_snapshot = found["figures"]["energy"]["by_snapshot"]
    assert found["by_temperature"]["150"]["energy"]["by_snapshot"] == by_snapshot[:2]
    assert found["by_temperature"]["450"]["energy"]["by_snapshot"] == by_snapshot[2:]
    # One seed and one trajectory: no interval.
    assert found["by_temperature"]["450"]["energy"]["low"] is None


def test_the_spectrum_adds_up_to_the_squared_error(swept: Any) -> None:
    """Parseval: norm² − seminorm² = ∫e², which the shells share out."""
    for cell in swept.figures["cells"]:
        for test in TESTS:
            found = cell["tests"][test]["spectrum"]
            norms, seminorms = (values(swept, cell["id"], test, name) for name in ("h1_norm", "h1_seminorm"))
            squared = [
                n**2 - s**2
                for of_n, of_s in zip(norms, seminorms, strict=True)
                for n, s in zip(of_n, of_s, strict=True)
            ]
            assert sum(found["power"]) == pytest.approx(statistics.fmean(squared), rel=1e-6)
            assert len(found["edges"]) == len(found["power"]) + 1 == len(found["reference"]) + 1
            assert found["edges"] == sorted(found["edges"])


@pytest.mark.parametrize(
    ("test", "kind", "sizes"),
    [("bulk", "by_temperature", {"150": 3, "450": 2}), ("alloy", "by_composition", {"Al4": 1, "Al2Mg2": 1})],
)
def test_the_spectrum_of_a_set_is_the_mean_of_its_parts(
    test: str, kind: str, sizes: dict[str, int], swept: Any
) -> None:
    for cell in swept.figures["cells"]:
        found = cell["tests"][test]["spectrum"]
        compared = cell["protocol"] == "steps" and "methods" in cell["studies"]
        assert (kind in found) == compared
        if compared:
            assert set(found[kind]) == set(sizes)
            parts = [np.array(found[kind][name]) * size for name, size in sizes.items()]
            np.testing.assert_allclose(np.sum(parts, axis=0) / sum(sizes.values()), found["power"], rtol=1e-9)
            assert not np.allclose(*found[kind].values())


def test_a_part_on_a_coarser_grid_has_no_power_in_the_far_shells(swept: Any) -> None:
    snapshots = swept.session.split.tests["alloy"]
    fine = {"edges": [0.0, 1.0, 2.0, 3.0], "power": [[4.0, 2.0, 1.0]], "reference": [1.0, 1.0, 1.0]}
    coarse = {"edges": [0.0, 1.0, 2.0], "power": [[8.0, 4.0]], "reference": [1.0, 1.0]}
    compositions = [snapshot.composition for snapshot in snapshots.snapshots]
    shards = [{"figures": {"spectrum": each}} for each in (fine, coarse)]
    told = _spectra_by_kind(SimpleNamespace(shards=shards), snapshots)  # type: ignore[arg-type]
    assert told["by_composition"] == dict(zip(compositions, ([4.0, 2.0, 1.0], [8.0, 4.0, 0.0]), strict=True))


def test_trainings_tell_steps_work_and_checks(swept: Any) -> None:
    weights = (6 * 4 + 6) * 8 + 8 * 8 + 8  # six neighbours, each with position, number and distance
    assert swept.sweep.pipeline.descriptor.length == 6 * 5
    for cell in swept.figures["cells"]:
        training, models = cell["training"], swept.products.models[named(swept)[cell["id"]]]
        figures = [load(model.path("model"))[1] for model in models]
        assert training["steps"] == [each["steps"] for each in figures]
        if cell["protocol"] == "steps":
            assert training["steps"] == [40] * cell["seeds"]
        else:
            assert training["steps"] == [2 * math.ceil(kept / 128) for kept in cell["kept"]]
        assert training["flops"] == [6 * weights * 128 * steps for steps in training["steps"]]
        for each, model in zip(figures, models, strict=True):
            assert [step for step, _ in each["validation"]][-1] == each["steps"]
            assert model.timings["model"]["cpu_seconds"] > 0
        assert training["validation"] == [each["validation"] for each in figures]
        # Of the steps alone: to describe the points is the first training's work, and theirs for all that follow.
        for unit in ("seconds", "cpu_seconds"):
            spent = [model.timings["model"][unit] - model.timings["model"][f"describe_{unit}"] for model in models]
            assert training[unit] == pytest.approx(spent)
            assert min(spent) > 0
        assert training["describe_seconds"] == [model.timings["model"]["describe_seconds"] for model in models]


def test_the_target_is_reached_at_the_first_check_that_is_low_enough(swept: Any) -> None:
    told = swept.figures["time_to_target"]
    last = [curve[-1][1] for curve in swept.figure("steps full 0")["training"]["validation"]]
    assert told["factor"] == 1.05
    assert told["target"] == pytest.approx(1.05 * sum(last) / 2, rel=1e-12)
    assert set(told["cells"]) == set(named(swept))
    reached = 0
    for cell in swept.figures["cells"]:
        found, training = told["cells"][cell["id"]], cell["training"]
        for run in range(cell["seeds"]):
            steps = None
            for step, error in training["validation"][run]:
                if error <= told["target"] and steps is None:
                    steps = step
            assert found["steps"][run] == steps
            if steps is None:
                assert found["flops"][run] is None and found["seconds"][run] is None
                continue
            reached += 1
            share = steps / training["steps"][run]
            assert found["flops"][run] == pytest.approx(share * training["flops"][run])
            assert found["seconds"][run] == pytest.approx(share * training["seconds"][run])
    assert 0 < reached < sum(cell["seeds"] for cell in swept.figures["cells"])


def test_noise_is_the_spread_over_seeds(swept: Any) -> None:
    variants = swept.figures["noise"]["variants"]
    assert [variant["name"] for variant in variants] == ["plain", "best"]
    for variant in variants:
        cell = swept.figure(variant["id"])
        for test in TESTS:
            by_seed, told = cell["tests"][test]["figures"]["nrmse"]["by_seed"], variant["figures"][test]
            assert told["by_seed"] == pytest.approx(by_seed)
            assert told["mean"] == pytest.approx(sum(by_seed) / 3)
            deviation = statistics.stdev(by_seed)
            assert told["sd"] == pytest.approx(deviation)
            assert told["relative_sd"] == pytest.approx(deviation / told["mean"])
            # Two degrees of freedom, where χ² is exponential: P(χ² > x) = exp(−x/2).
            assert told["low"] == pytest.approx(deviation * math.sqrt(2 / (-2 * math.log(0.025))))
            assert told["high"] == pytest.approx(deviation * math.sqrt(2 / (-2 * math.log(0.975))))
            assert told["seeds"] == 3
        # Of the weights that were kept: the last, or the best.
        errors = [[error for _, error in curve] for curve in cell["training"]["validation"]]
        kept = [min(each) if variant["name"] == "best" else each[-1] for each in errors]
        assert variant["figures"]["validation"]["by_seed"] == pytest.approx(kept)


def test_what_selection_costs_is_counted_in(swept: Any) -> None:
    told = {row["stage"]: row for row in swept.figures["costs"]}
    assert list(told) == [
        "scoring runs",
        "scoring",
        "proxies' coresets",
        "proxies for β",
        "proxies' errors",
        "selection",
    ]
    weights = 30 * 8 + 8 * 8 + 8
    points, batches = 6000, math.ceil(6000 / 128)
    assert told["scoring runs"]["flops"] == pytest.approx(2 * batches * 6 * weights * 128)
    assert told["scoring"]["flops"] == pytest.approx(2 * 4 * weights * points)
    assert told["proxies for β"]["flops"] == pytest.approx(2 * 2 * 10 * 6 * weights * 128)
    assert told["proxies' errors"]["flops"] == pytest.approx(2 * weights * 4000 * 4)
    runs, _ = swept.sweep.pipeline.score()
    for unit in ("seconds", "cpu_seconds"):
        spent = sum(json.loads((run.folder / "timings.json").read_text())["model"][unit] for run in runs)
        assert told["scoring runs"][unit] == pytest.approx(spent)
    proxies = swept.products.cutoffs[0.9][1].models
    assert told["proxies for β"]["seconds"] == pytest.approx(sum(m.timings["model"]["seconds"] for m in proxies))

    def seconds(*artifacts: Artifact) -> Any:
        return pytest.approx(sum(each["seconds"] for made in artifacts for each in made.timings.values()))

    found = swept.products.cutoffs[0.9][1]
    trained_on = [model.manifest["recipe"]["inputs"]["selection"] for model in proxies]
    assert [selection.digest for selection in found.selections] == trained_on
    assert told["proxies' coresets"]["seconds"] == seconds(*found.selections)
    assert told["proxies' errors"]["seconds"] == seconds(found.evaluation)
    own = swept.products.selections[named(swept)["steps ccs 0.9"]][0]
    assert told["selection"]["seconds"] == seconds(own)
    assert told["selection"]["seconds"] > 0


def test_times_that_are_not_known_are_null(swept: Any, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(swept.session.store, store)
    for timings in store.glob("*/timings.json"):
        timings.unlink()
    executor = SerialExecutor()
    pipeline = replace(
        swept.sweep.pipeline, materialize=lambda stages: materialize_all(stages, root=store, executor=executor)
    )
    sweep = Sweep(pipeline)
    figures = summarise_sweep(sweep, sweep.run(), tmp_path / "out", "coreset sweep small.yaml")
    assert {row[unit] for row in figures["costs"] for unit in ("seconds", "cpu_seconds")} == {None}
    for cell in figures["cells"]:
        for unit in ("seconds", "cpu_seconds", "describe_seconds"):
            assert cell["training"][unit] == [None] * cell["seeds"]
        reached = figures["time_to_target"]["cells"][cell["id"]]
        assert reached["seconds"] == [None] * cell["seeds"]
        known = swept.figures["time_to_target"]["cells"][cell["id"]]
        assert (reached["steps"], reached["flops"]) == (known["steps"], known["flops"])


def test_the_draw_of_a_method_that_no_cell_has_is_counted_too(swept: Any, run_sweep: Any, tmp_path: Path) -> None:
    made = run_sweep(
        swept.session.job_file,
        tmp_path / "out",
        "select.method=loss",
        "select.cutoff=0.3",
        "sweep={rates: [0.9], methods: [random], seeds: 1}",
        store=tmp_path / "store",
        engine=None,
    )
    assert {cell["method"] for cell in made.figures["cells"]} == {"full", "random"}
    assert made.figures["costs"][-1]["stage"] == "selection"
    assert made.figures["costs"][-1]["seconds"] > 0


def test_coverage_stands_beside_the_floor_of_the_whole_corpus(swept: Any) -> None:
    told = swept.figures["coverage"]
    assert set(told) == {"0.5", "0.9"}
    for by_method in told.values():
        assert list(by_method) == ["full", "random", "grand", "ccs", "cut-random"]
        floor = by_method["full"]["auc"]
        for method, found in by_method.items():
            assert found["auc"] >= floor
            assert ("difference" in found) == (method != "ccs")
            assert sum(np.diff(found["p"]) * found["r"][1:]) == pytest.approx(found["auc"], rel=1e-9)
    assert told["0.5"]["full"]["auc"] == told["0.9"]["full"]["auc"]


def test_coverage_is_paired_by_seed_and_its_interval_knows_seeds_and_trajectories(swept: Any) -> None:
    validation = swept.session.split.validation
    groups = np.array([list(validation.groups).index(snapshot.group) for snapshot in validation.snapshots])

    def by_seed_and_group(method: str) -> np.ndarray:
        """Mean distances; each of the four validation snapshots has 25 queries."""
        drawn = swept.products.coverages[0.9][method]
        distances = [np.min([np.load(each.path(shard["name"])) for shard in each.shards], axis=0) for each in drawn]
        by_snapshot = np.reshape(distances, (len(drawn), 4, 25)).mean(2)
        return np.stack([by_snapshot[:, groups == group].mean(1) for group in range(2)], axis=1)

    told = swept.figures["coverage"]["0.9"]
    own = by_seed_and_group("ccs")
    assert own.shape == (3, 2)  # three seeds, for studies ask for that many
    for method, other in ((method, by_seed_and_group(method)) for method in ("full", "random", "grand")):
        rows = other - own[: len(other)] if method != "full" else other - own
        of_seeds, of_groups = rows.mean(1).var(ddof=1) / len(rows), rows.mean(0).var(ddof=1) / 2
        freedom = max(1.0, (of_seeds + of_groups) ** 2 / (of_seeds**2 / (len(rows) - 1) + of_groups**2))
        half = stats.t.ppf(0.975, freedom) * math.sqrt(of_seeds + of_groups)
        difference = told[method]["difference"]
        assert (difference["seeds"], difference["groups"]) == (len(rows), 2)
        assert told[method]["queries"]["asked"] == 100
        assert difference["queries"]["enough"] in (True, False)
        assert difference["value"] == pytest.approx(rows.mean(), rel=1e-9)
        assert difference["high"] - difference["value"] == pytest.approx(half, rel=1e-6)
        assert told[method]["auc"] == pytest.approx(other.mean())
        assert (told[method]["seeds"], told[method]["groups"]) == other.shape
    assert {method: found["kept"] for method, found in told.items()} == {
        "full": 6000,
        **dict.fromkeys(["random", "grand", "ccs", "cut-random"], 600),
    }


def test_the_cuts_that_validation_cannot_tell_from_the_chosen_one_are_told(swept: Any) -> None:
    for rate, (cutoff, proxies) in swept.products.cutoffs.items():
        told = swept.figures["cutoffs"][f"{rate:g}"]
        # Two seeds on two trajectories of two frames each.
        errors = proxy_errors(proxies).reshape(2, 2, 2, 2).mean(3)
        other = 1 - proxies.cutoffs.index(cutoff)
        rows = errors[other] - errors[1 - other]
        of_seeds, of_groups = rows.mean(1).var(ddof=1) / 2, rows.mean(0).var(ddof=1) / 2
        freedom = max(1.0, (of_seeds + of_groups) ** 2 / (of_seeds**2 + of_groups**2))
        half = stats.t.ppf(0.975, freedom) * math.sqrt(of_seeds + of_groups)
        apart = abs(rows.mean()) > half
        assert told["ties"] == [beta for beta in proxies.cutoffs if beta == cutoff or not apart]


def test_sets_and_scores_are_counted(swept: Any) -> None:
    assert swept.figures["corpus"] == {
        "train": {"snapshots": 6, "groups": 3, "points": 6000},
        "validation": {"snapshots": 4, "groups": 2, "points": 4000},
        "test.bulk": {"snapshots": 5, "groups": 3, "points": 5000},
        "test.alloy": {"snapshots": 2, "groups": 2, "points": 2000},
    }
    histogram = swept.figures["scores"]["histogram"]
    assert histogram["all"]["points"] == 6000
    assert {label: each["points"] for label, each in histogram["selections"].items()} == dict.fromkeys(
        ["random", "grand", "ccs", "cut-random"], 600
    )


def test_fields_are_the_networks_of_the_first_seed_on_the_middle_snapshot(swept: Any) -> None:
    folder, corpus = swept.session.folder.path, Corpus.open(swept.session.split.train.corpus)
    test, alloy, training = swept.figures["fields"]
    assert [each["set"] for each in (test, alloy, training)] == ["bulk", "alloy", "train"]
    assert [each["role"] for each in (test, alloy, training)] == ["test", "test", "training"]
    assert test["snapshot"] == "test/t1_T0150_0"
    shown = ["steps full 0", "steps grand 0.9", "steps ccs 0.9"]
    for entry in (test, alloy):
        assert list(entry["arrays"]) == ["reference", *shown]
        (snapshot,) = corpus.select(entry["snapshot"])
        assert np.array_equal(np.array(entry["cell"]), snapshot.cell)
        assert np.array_equal(np.array(entry["positions"]), snapshot.positions)
        assert entry["numbers"] == snapshot.numbers.tolist()
        with np.load(folder / entry["file"], allow_pickle=False) as file:
            arrays = dict(file)
        assert set(arrays) == set(entry["arrays"].values())
        assert all(list(array.shape) == entry["grid"] for array in arrays.values())
        assert np.array_equal(arrays["reference"].ravel(), corpus.density(snapshot).ravel())
        for cell in shown:
            model = load(swept.products.models[named(swept)[cell]][0].path("model"))[0]
            expected = predict([model], snapshot, swept.sweep.pipeline.descriptor)[0]
            assert np.allclose(arrays[entry["arrays"][cell]].ravel(), expected, rtol=1e-6)
    (snapshot,) = corpus.select(training["snapshot"])
    assert snapshot.digest in {each.digest for each in swept.session.split.train.snapshots}
    with np.load(folder / training["file"], allow_pickle=False) as file:
        assert np.array_equal(file["score"].ravel(), read_field(swept.products.scores, snapshot.name, "grand"))
        assert np.array_equal(file["reference"].ravel(), corpus.density(snapshot).ravel())


def test_one_seed_alone_still_gives_figures(swept: Any, run_sweep: Any, tmp_path: Path) -> None:
    """Without checks, energies, studies and a second seed: what cannot be had is null or empty, and nothing fails."""
    made = run_sweep(
        swept.session.job_file,
        tmp_path / "out",
        "training.checks=0",
        "select.cutoff=0.3",
        "evaluation={methods: [ccs], steps: 2}",
        "sweep={rates: [0.9], methods: [ccs], seeds: 1}",
        "corpus.test={one: alloy/al_T0150}",
        store=swept.session.store.parent / "another",
        engine=None,
    )
    assert made.figures["time_to_target"] is None
    assert made.figures["noise"] == {"variants": []}
    assert made.figures["cutoffs"] == {"0.9": {"value": 0.3, "chosen": "stated in the job file"}}
    (full, own) = made.figures["cells"]
    assert own["training"]["validation"] == [[]]
    found = own["tests"]["one"]
    assert set(found["figures"]) == set(FIGURES)
    assert found["figures"]["nrmse"]["low"] is None
    assert found["differences"]["full"]["nrmse"]["verdict"] == "tie"
    assert found["by_temperature"] == found["by_composition"] == {}
    assert [row["stage"] for row in made.figures["costs"]] == ["scoring runs", "scoring", "selection"]
    text = json.dumps(made.figures, allow_nan=False)
    assert json.loads(text) == summarise_sweep(made.sweep, made.products, tmp_path / "out", "coreset sweep small.yaml")
    assert full["kept"] == [6000]

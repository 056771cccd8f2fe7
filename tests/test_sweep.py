"""What a sweep trains, what its cells share, what it may look at, and that it resumes to the same figures."""

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coreset import cli
from coreset.artifacts.executor import SerialExecutor, Work
from coreset.artifacts.manifest import Artifact
from coreset.artifacts.materialize import materialize_all
from coreset.artifacts.stage import Part, Place
from coreset.checks import check_sweep
from coreset.cli import command
from coreset.corpus.kept import read_kept
from coreset.distributed.executor import RayExecutor
from coreset.errors import RequestError
from coreset.job_file import load_job, sweep_command
from coreset.plan import Ledger, Rates, plan
from coreset.session import open_session
from coreset.stages import coverage as stage_coverage
from coreset.stages.selection import Selection, kept_files
from coreset.stages.training import Training
from coreset.summary import summarise
from coreset.sweep import Cell, Sweep, Wanted, cell_id
from coreset.workflow import Pipeline, proxy_errors

Picture = Callable[[Path], dict[str, bytes | None]]
RANDOM_ONLY = ("select.method=random", "evaluation.methods=[random]")


class Crash(BaseException):
    pass


class Counting(SerialExecutor):
    """Notes title and part of everything that it computes, and may crash after so many parts."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.done: list[tuple[str, str]] = []
        self.most = most

    def map(self, work: Work, parts: Sequence[tuple[str, Part]], place: Place, title: str) -> None:
        def counted(digest: str, part: Part, context: Any) -> None:
            if len(self.done) == self.most:
                raise Crash
            work(digest, part, context)
            self.done.append((title, part.name))

        super().map(counted, parts, place, title)


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing here may start Ray, nor see what `plan --calibrate` stored on this machine."""
    monkeypatch.setattr(RayExecutor, "_start", lambda self: pytest.fail("Ray was started"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-cache"))


@pytest.fixture
def sweep_of(swept: Any, tmp_path: Path) -> Callable[..., Sweep]:
    """The sweep of the job with some keys overridden; it makes nothing and finds β = 0.3 everywhere."""

    def make(*overrides: str, cutoff: float = 0.3) -> Sweep:
        job = load_job(swept.session.job_file, overrides)
        ledger = Ledger(tmp_path / "nowhere", swept.session.split.train.points)
        return Sweep(
            Pipeline(job, swept.session.split, ledger.materialize, swept.session.engine, lambda proxies: cutoff)
        )

    return make


def cells_of(sweep: Sweep, cutoff: float = 0.3) -> dict[str, Wanted]:
    """The cells by id; no two share one."""
    cells = sweep.cells(dict.fromkeys(sweep.rates, cutoff))
    named = {cell_id(cell, wanted): wanted for cell, wanted in cells.items()}
    assert len(named) == len(cells)
    return named


def cells(swept: Any, **settings: Any) -> list[Cell]:
    """The cells of a finished sweep that have these settings."""
    return [
        cell for cell in swept.products.cells if all(getattr(cell, name) == value for name, value in settings.items())
    ]


def recipe(artifact: Artifact) -> dict[str, Any]:
    """The parameters that an artifact was made with."""
    parameters: dict[str, Any] = artifact.manifest["recipe"]["parameters"]
    return parameters


# --- cells


def test_every_cell_is_a_method_at_a_rate_or_one_setting_changed(sweep_of: Callable[..., Sweep]) -> None:
    own = "strata=10 score_epoch=1 score_runs=2"
    assert list(cells_of(sweep_of())) == [
        "steps full 0",
        *(f"steps {method} {rate}" for rate in (0.5, 0.9) for method in ("random", "grand", "ccs", "cut-random")),
        "epochs full 0",
        "epochs random 0.9",
        "epochs ccs 0.9",
        f"steps ccs 0.9 cutoff=0.0 {own}",
        "steps ccs 0.9 cutoff=0.3 strata=5 score_epoch=1 score_runs=2",
        "steps ccs 0.9 cutoff=0.3 strata=10 score_epoch=2 score_runs=2",
        "steps ccs 0.9 cutoff=0.3 strata=10 score_epoch=1 score_runs=1",
        "steps ccs 0.9 cutoff=0.3 strata=10 score_epoch=1 score_runs=3",
        f"steps ccs 0.9 cutoff=0.3 {own} recipe=plain",
        f"steps ccs 0.9 cutoff=0.3 {own} recipe=best",
    ]


def test_what_several_studies_ask_for_stands_once_with_the_most_seeds(sweep_of: Callable[..., Sweep]) -> None:
    found = cells_of(sweep_of())
    assert found["steps ccs 0.9"].studies == ["methods", "cutoff", "strata", "score_epoch", "score_runs"]
    assert found["steps ccs 0.9"].seeds == 3
    assert found["steps ccs 0.5"] == Wanted(2, ["methods"])
    assert cells_of(sweep_of("sweep.studies.seeds=1"))["steps ccs 0.9"].seeds == 2


def test_a_setting_that_does_not_matter_to_a_method_is_not_its_own(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of()
    by_id = {cell_id(cell, wanted): cell for cell, wanted in sweep.cells(dict.fromkeys(sweep.rates, 0.3)).items()}
    settings = {name: (c.cutoff, c.strata, c.score_epoch, c.score_runs) for name, c in by_id.items()}
    assert settings["steps full 0"] == settings["steps random 0.9"] == (None, None, None, None)
    assert settings["steps grand 0.9"] == (None, None, 1, 2)
    assert settings["steps cut-random 0.9"] == (0.3, None, 1, 2)
    assert settings["steps ccs 0.9"] == (0.3, 10, 1, 2)


def test_studies_may_have_rates_that_no_method_is_compared_at(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of("sweep.studies.rates=[0.7]", "sweep.noise.rate=0.8", "sweep.epochs.rates=[0.6]")
    assert sweep.rates == (0.5, 0.6, 0.7, 0.8, 0.9)
    found = cells_of(sweep)
    assert found["steps ccs 0.7 cutoff=0.3 strata=10 score_epoch=1 score_runs=2"].studies == [
        "cutoff",
        "strata",
        "score_epoch",
        "score_runs",
    ]
    assert found["epochs ccs 0.6"].studies == ["methods"]


def test_what_is_left_out_is_not_asked_for(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of("sweep={rates: [0.5], methods: [random], seeds: 2, studies: {rates: [0.7]}, noise: {rate: 0.8}}")
    assert sweep.rates == (0.5,)
    assert cells_of(sweep) == {"steps full 0": Wanted(2, ["methods"]), "steps random 0.5": Wanted(2, ["methods"])}


# --- wrong requests


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["sweep.rates=[0.5]", "sweep.studies={rates: [0.5], cutoffs: [0.2, 0.6]}"],
            r"sweep\.studies\.cutoffs: .* 3,000 points that are kept at 0\.5, found 0\.6 of 6,000; leave it out",
        ),
        (["sweep.studies={rates: [0.9], strata: [601]}"], r"sweep\.studies\.strata: .* 600 .* at 0\.9, found 601"),
        (
            ["sweep.rates=[0.999]"],
            r"at the sweep's rate 0\.999: select\.prune: .* one point per stratum \(10\), found 6",
        ),
        (["select.cutoff=0.4", "sweep.rates=[0.3]"], r"at the sweep's rate 0\.3: select\.cutoff: .* found 0\.4"),
        # What a sweep compares decides, and not what a run compares.
        ([*RANDOM_ONLY, "sweep.rates=[0.999]"], r"at the sweep's rate 0\.999: select\.prune: .* one point per stratum"),
        (
            [*RANDOM_ONLY, "select.cutoff=0.4", "sweep={rates: [0.3], methods: [cut-random]}"],
            r"at the sweep's rate 0\.3: select\.cutoff",
        ),
        (
            ["energy={methods: [full, loss], rates: [0.9]}"],
            r"energy\.methods: .* full, random, grand, ccs, cut-random, found loss; leave them out",
        ),
        (["energy={rates: [0.9, 0.95]}"], r"energy\.rates: .* 0\.5, 0\.9, found 0\.95; .* add them to sweep\.rates"),
        (["energy={methods: [full], seeds: 3}"], r"energy\.seeds: expected at most sweep\.seeds, 2, found 3; lower it"),
        (["sweep.methods=[full, ccs]"], r"sweep\.methods.*expected methods that prune, found 'full'.* always trained"),
        (["sweep.epochs.methods=[full]"], r"sweep\.epochs\.methods.*found 'full', which is always trained"),
        (["training.checks=0"], r"sweep\.noise\.recipes\.best\.keep: .* training\.checks"),
    ],
)
def test_what_the_corpus_cannot_give_is_told_before_anything_is_made(
    overrides: list[str], expected: str, sweep_job: Path, tmp_path: Path, picture: Picture
) -> None:
    before = picture(tmp_path)

    def request() -> None:
        opened = open_session(sweep_job, tmp_path / "out", None, overrides)
        check_sweep(Sweep(opened.pipeline(lambda stages: pytest.fail("something was made"))), str(sweep_job))

    with pytest.raises(RequestError, match=expected):
        request()
    assert picture(tmp_path) == before


def test_the_job_that_is_swept_here_is_legal(swept: Any) -> None:
    check_sweep(swept.sweep, "job")


def test_energies_of_no_cell_are_a_mistake_where_they_are_stated_or_computed(
    sweep_of: Callable[..., Sweep], swept: Any
) -> None:
    default, lost = "energy={snapshots: 3}", "sweep={rates: [0.5], methods: [random]}"
    sweep = sweep_of(default, lost)
    with pytest.raises(RequestError, match=r"job: energy\.rates: expected rates of the sweep, 0\.5, found 0\.9, 0\.99"):
        check_sweep(sweep, "job")
    # Nobody asked for any; and of defaults that partly fit, those that do are taken.
    check_sweep(Sweep(replace(sweep.pipeline, engine=None)), "job")
    check_sweep(sweep_of(default, "sweep={rates: [0.9], methods: [random]}"), "job")


# --- what is shared


def test_selection_and_initialisation_of_a_seed_are_the_same_numbers_in_every_cell(swept: Any) -> None:
    pipeline = swept.sweep.pipeline
    for cell, wanted in swept.products.cells.items():
        models, selections = swept.products.models[cell], swept.products.selections[cell]
        assert len(models) == len(selections) == wanted.seeds
        assert [recipe(model)["seed"] for model in models] == [f"evaluation {run}" for run in range(wanted.seeds)]
        for run, selection in enumerate(selections):
            if cell.method == "full":
                assert selection is None
                assert "selection" not in models[run].manifest["recipe"]["inputs"]
            else:
                assert selection is not None
                assert recipe(selection)["seed"] == pipeline.seed(run)
                assert models[run].manifest["recipe"]["inputs"]["selection"] == selection.digest
    assert len({pipeline.seed(run) for run in range(5)}) == 5


def test_a_cell_trains_as_its_protocol_and_its_recipe_say(swept: Any) -> None:
    recipes = {"": {}, "plain": {"schedule": "constant", "average": 0.0}, "best": {"keep": "best"}}
    own = {"schedule": "cosine", "average": 0.8, "keep": "last", "checks": 4, "batch": 128}
    lengths = {"steps": {"epochs": None, "steps": 40}, "epochs": {"epochs": 2, "steps": None}}
    for cell, models in swept.products.models.items():
        for model in models:
            assert recipe(model)["length"] == lengths[cell.protocol]
            expected = own | recipes[cell.recipe]
            assert {name: recipe(model)["training"][name] for name in expected} == expected


def test_a_study_changes_one_setting(swept: Any) -> None:
    (own,) = cells(
        swept,
        **dict(
            zip(("protocol", "method", "rate", "recipe"), ("steps", "ccs", 0.9, ""), strict=True),
            cutoff=swept.products.cutoffs[0.9][0],
            strata=10,
            score_epoch=1,
            score_runs=2,
        ),
    )
    mine = recipe(swept.products.selections[own][0])
    for cell in cells(swept, protocol="steps", method="ccs", rate=0.9, recipe=""):
        theirs = recipe(swept.products.selections[cell][0])
        changed = {name for name in mine if mine[name] != theirs[name]}
        names = ("cutoff", "strata", "score_epoch", "score_runs")
        asked = {name for name in names if getattr(cell, name) != getattr(own, name)}
        assert changed == asked & {"cutoff", "strata"}
        assert len(asked) <= 1


def test_noise_is_measured_on_the_coresets_of_the_method(swept: Any) -> None:
    (plain,), (best,) = cells(swept, recipe="plain"), cells(swept, recipe="best")
    own = next(cell for cell in swept.products.cells if replace(plain, recipe="") == cell)
    digests = [[each.digest for each in swept.products.selections[cell]] for cell in (own, plain, best)]
    assert digests[0] == digests[1] == digests[2]


def test_studies_of_the_scores_share_the_runs_that_they_have_in_common(swept: Any) -> None:
    counted: list[Training] = []

    def look(stages: Any) -> list[Artifact]:
        counted.extend(stage for stage in stages if isinstance(stage, Training))
        return materialize_all(stages, root=swept.session.store, executor=Counting(most=0))

    scores = Sweep(replace(swept.sweep.pipeline, materialize=look)).score(swept.products.cells)
    assert list(scores) == [(1, 2), (2, 2), (1, 1), (1, 3)]
    # For each of three seeds 2 + 2 + 1 + 3 are asked for, and those of epoch 1 are the same three.
    assert len(counted) == 3 * 8
    assert len({stage.digest for stage in counted}) == 3 * 5
    models = {
        (each, seed): [v for k, v in drawn.manifest["recipe"]["inputs"].items() if k.startswith("model")]
        for each, by_seed in scores.items()
        for seed, drawn in enumerate(by_seed)
    }
    for seed in range(3):
        assert models[(1, 1), seed] == models[(1, 3), seed][:1]
        assert models[(1, 2), seed] == models[(1, 3), seed][:2]
        assert not set(models[(2, 2), seed]) & set(models[(1, 3), seed])
    assert len({model for each in models.values() for model in each}) == 3 * 5


def test_a_cell_ranks_by_the_scores_that_it_names_those_of_its_seed(swept: Any) -> None:
    scores = swept.sweep.score(swept.products.cells)
    used = set()
    for cell, selections in swept.products.selections.items():
        for run, selection in enumerate(selections):
            inputs = {} if selection is None else selection.manifest["recipe"]["inputs"]
            # Where nothing is cut, cut-random ranks nothing: it is random.
            ranks = cell.scores is not None and (cell.method != "cut-random" or cell.cutoff)
            assert inputs.get("scores") == (scores[cell.scores][run].digest if ranks else None)
            used.add(cell.scores)
    assert used == {None, *scores}
    assert swept.products.scores.digest == scores[1, 2][0].digest == swept.sweep.pipeline.score()[1].digest


def test_a_seed_keeps_points_of_its_own(swept: Any) -> None:
    """Also of GraNd, which draws nothing: its seeds differ by their scores alone."""
    train = swept.session.split.train
    for method in ("random", "grand", "ccs", "cut-random"):
        (cell,) = cells(swept, protocol="steps", method=method, rate=0.5)
        kept = [
            {
                (digest, index)
                for file in set(kept_files(selection, train).values())
                for digest, rows in read_kept(file).items()
                for index in rows.index.tolist()
            }
            for selection in swept.products.selections[cell]
        ]
        assert [len(points) for points in kept] == [3000, 3000]
        assert kept[0] != kept[1], method


def test_scores_that_are_not_redrawn_are_those_of_the_first_seed(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of("sweep.redraw_scores=false")
    found = cells_of(sweep)
    scores = sweep.score(sweep.cells(dict.fromkeys(sweep.rates, 0.3)))
    assert found["steps grand 0.9"].seeds == 2
    assert {len(by_seed) for by_seed in scores.values()} == {1}
    assert scores[sweep.own_scores][0].digest == sweep.pipeline.score()[1].digest


def test_scoring_runs_and_proxies_are_plain(swept: Any) -> None:
    """They neither average nor look at validation, whatever the compared trainings do."""
    plain = {"average": 0.0, "checks": 0, "keep": "last"}
    models, _ = swept.sweep.pipeline.score()
    proxies = [model for _, found in swept.products.cutoffs.values() for model in found.models]
    for kind, schedule in ((models, "constant"), (proxies, "cosine")):
        for model in kind:
            expected = plain | {"schedule": schedule}
            assert {name: recipe(model)["training"][name] for name in expected} == expected
            assert "validation" not in model.manifest["recipe"]["inputs"]


def test_where_nothing_is_cut_cut_random_is_random(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of(cutoff=0.0)
    products = sweep.run()
    by_method = {
        cell.method: cell
        for cell in products.cells
        if (cell.protocol, cell.rate, cell.recipe) == ("steps", 0.9, "") and cell.method != "ccs"
    }
    digests = {method: [model.digest for model in products.models[cell]] for method, cell in by_method.items()}
    assert digests["cut-random"] == digests["random"] != digests["grand"]


def test_a_run_of_the_same_job_shares_what_a_sweep_made(
    swept: Any, run_sweep: Any, sweep_job: Path, tmp_path: Path
) -> None:
    """Where scores are redrawn, a run's seeds share the first and a sweep's do not."""
    store = tmp_path / "store"
    shutil.copytree(swept.session.store, store)
    executor = Counting()
    pipeline = replace(
        swept.sweep.pipeline, materialize=lambda stages: materialize_all(stages, root=store, executor=executor)
    )
    products = pipeline.run()
    done = Counter(title for title, _ in executor.done)
    # The dataset, and of CCS a second network, on a coreset that a proxy for β had, and the errors of both.
    assert done == {
        "evaluation runs": 1,
        "evaluation": sum(len(points.snapshots) for points in pipeline.split.tests.values()),
        "extraction": 1,
    }
    (own,) = [
        cell
        for cell in cells(swept, protocol="steps", method="ccs", rate=0.9)
        if swept.products.cells[cell].seeds and "methods" in swept.products.cells[cell].studies
    ]
    mine, theirs = ([model.digest for model in made] for made in (products.models["ccs"], swept.products.models[own]))
    assert mine[0] == theirs[0]
    assert mine[1] not in theirs
    shared = run_sweep(sweep_job, tmp_path / "out", "sweep.redraw_scores=false", store=store).products
    assert mine == [model.digest for model in shared.models[own][:2]]
    assert products.cutoff == swept.products.cutoffs[0.9][0]
    # Its summary pairs the energies too.
    evaluation = summarise(pipeline, products)["evaluation"]["bulk"]
    told = evaluation["random"]["differences"]["energy"]
    assert told["value"] == pytest.approx(
        evaluation["random"]["figures"]["energy"]["value"] - evaluation["ccs"]["figures"]["energy"]["value"]
    )
    assert (told["seeds"], told["groups"]) == (1, 3)


def test_more_snapshots_cost_only_the_energies_of_the_new_ones(
    swept: Any, run_sweep: Any, sweep_job: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(swept.session.store, store)
    executor = Counting()
    again = run_sweep(sweep_job, tmp_path / "out", "energy.snapshots=5", store=store, executor=executor)
    old = {s.name for s in swept.products.energies["bulk"].points.snapshots}
    new = {s.name for s in again.products.energies["bulk"].points.snapshots} - old
    assert len(new) == 2
    # The reference, and one network of each of full, random and CCS.
    assert Counter(executor.done) == Counter({("energies", name): 4 for name in new})


# --- what it may look at


def test_beta_has_the_smallest_validation_error_at_each_rate(swept: Any) -> None:
    validation = [snapshot.name for snapshot in swept.session.split.validation.snapshots]
    assert set(swept.products.cutoffs) == {0.5, 0.9}
    for cutoff, proxies in swept.products.cutoffs.values():
        assert [shard["name"] for shard in proxies.evaluation.shards] == validation
        # Two seeds for each of two candidates, candidate after candidate.
        columns = np.array([shard["figures"]["nrmse"] for shard in proxies.evaluation.shards])
        means = {0.0: columns[:, :2].mean(), 0.3: columns[:, 2:].mean()}
        assert cutoff == min(means, key=lambda beta: means[beta])
        assert proxy_errors(proxies).shape == (2, 2, len(validation))
    assert {cell.cutoff for cell in cells(swept, method="cut-random", rate=0.9)} == {swept.products.cutoffs[0.9][0]}


def test_beta_is_chosen_for_a_sweep_even_if_no_run_takes_one(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of(*RANDOM_ONLY)
    _, scores = sweep.pipeline.score()
    assert {rate: cutoff for rate, (cutoff, _) in sweep.cutoffs(scores).items()} == {0.5: 0.3, 0.9: 0.3}


def test_other_test_sets_change_no_selection_no_cutoff_and_no_network(
    swept: Any, run_sweep: Any, write_gaussians: Callable[..., None], tmp_path: Path
) -> None:
    """With test densities that nobody has seen, only what is measured on them is computed anew."""
    train = [s.name for points in (swept.session.split.train, swept.session.split.validation) for s in points.snapshots]
    spare = [f"spare/x_T0200_{i}" for i in range(7)]  # has what the test sets had
    others = ["test/u0_T0250_0", "test/t1_T0150_0", "alloy/mg_T0150"]
    write_gaussians(tmp_path / "gaussians.zarr", [*sorted(train), *spare, *others], points=10)
    shutil.copy(swept.session.job_file, tmp_path / "small.yaml")
    shutil.copytree(swept.session.store, tmp_path / "store")
    executor = Counting()
    again = run_sweep(tmp_path / "small.yaml", tmp_path / "out", store=tmp_path / "store", executor=executor)
    known = {s.digest for points in swept.session.split.tests.values() for s in points.snapshots}
    assert not known & {s.digest for points in again.session.split.tests.values() for s in points.snapshots}
    assert {title for title, _ in executor.done} == {"evaluation", "energies", "fields"}
    assert {part for _, part in executor.done} == set(others)
    assert list(again.products.cells) == list(swept.products.cells)
    for kind in ("selections", "models"):
        mine, theirs = getattr(swept.products, kind), getattr(again.products, kind)
        assert {cell: [each and each.digest for each in made] for cell, made in mine.items()} == {
            cell: [each and each.digest for each in made] for cell, made in theirs.items()
        }
    assert again.figures["cutoffs"] == swept.figures["cutoffs"]
    assert again.figures["coverage"] == swept.figures["coverage"]
    one, other = (each.figure("steps full 0")["tests"]["bulk"]["figures"]["nrmse"] for each in (swept, again))
    assert one["value"] != other["value"]


# --- to resume is to run again


def timeless(figures: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(figures, dict):
        varying = {"date", "seconds", "cpu_seconds", "describe_seconds"}
        return {name: timeless(value) for name, value in figures.items() if name not in varying}
    return [timeless(each) for each in figures] if isinstance(figures, list) else figures


def test_interrupted_again_and_again_it_ends_with_the_same_figures(
    swept: Any, run_sweep: Any, sweep_job: Path, tmp_path: Path
) -> None:
    crashes, done = 0, 0
    while True:
        executor = Counting(most=45)
        try:
            again = run_sweep(sweep_job, tmp_path / "out", executor=executor)
        except Crash:
            crashes += 1
        else:
            break
        finally:
            done += len(executor.done)
        assert not (tmp_path / "out" / "sweep.json").exists()
    assert crashes > 4
    assert done == sum(len(Artifact(folder).shards) for folder in swept.session.store.iterdir())
    assert timeless(again.figures) == timeless(swept.figures)
    written = [json.loads((each.session.folder.path / "sweep.json").read_bytes()) for each in (again, swept)]
    texts = [json.dumps(timeless(each), sort_keys=True) for each in written]
    assert texts[0] == texts[1]
    for folder in swept.session.store.iterdir():
        other = again.session.store / folder.name
        assert (other / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes(), folder.name
    files = sorted(path.name for path in (swept.session.folder.path / "fields").iterdir())
    assert files == ["test-alloy.npz", "test-bulk.npz", "training.npz"]
    for name in files:
        one, other = (each.session.folder.path / "fields" / name for each in (swept, again))
        assert one.read_bytes() == other.read_bytes(), name


def test_a_second_sweep_computes_nothing(swept: Any, run_sweep: Any, sweep_job: Path, tmp_path: Path) -> None:
    executor = Counting(most=0)
    again = run_sweep(sweep_job, tmp_path / "out", store=swept.session.store, executor=executor)
    assert executor.done == []
    again.figures["date"] = swept.figures["date"]
    # Not even the times differ: they are those of the work.
    assert again.figures == swept.figures


# --- queries


def test_a_sweep_asks_until_the_differences_at_each_rate_are_known(
    sweep_of: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of("coverage.queries=auto")
    compared: list[Any] = []

    def enough(self: Pipeline, made: Any, keys: Any, queries: int, looks: int) -> bool:
        compared.append((keys, queries))
        return queries > 100

    monkeypatch.setattr(stage_coverage, "FIRST", 50)
    monkeypatch.setattr(Pipeline, "_enough", enough)
    covered = sweep.run().coverages
    methods = ("random", "grand", "ccs", "cut-random")
    at = {rate: {"full": (0.0, "full"), **{name: (rate, name) for name in methods}} for rate in (0.5, 0.9)}
    assert [queries for _, queries in compared] == [62, 125]
    assert all(keys == list(at.values()) for keys, _ in compared)
    assert {rate: list(found) for rate, found in covered.items()} == {rate: list(keys) for rate, keys in at.items()}


# --- plan


def test_a_plan_counts_what_a_sweep_makes(swept: Any, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "empty", swept.session.split.train.points)
    chosen = iter([cutoff for cutoff, _ in swept.products.cutoffs.values()])
    pipeline = replace(swept.sweep.pipeline, materialize=ledger.materialize, decide=lambda proxies: next(chosen))
    Sweep(pipeline).run()
    assert {stage.folder for stage, _ in ledger.entries} == {folder.name for folder in swept.session.store.iterdir()}
    assert not any(done for _, done in ledger.entries)
    assert list(tmp_path.iterdir()) == []
    empty = Ledger(tmp_path / "empty", ledger.points)
    without = replace(pipeline, materialize=empty.materialize, decide=lambda proxies: 0.3)
    energies = plan(without, empty, Rates(), 1, sweep=True)
    # Three of `bulk` and both of `alloy`: the reference and one network of full, random and CCS.
    assert energies["energies"] == energies["stages"]["energies"]["artifacts"] == 5 * 4
    assert plan(replace(without, engine=None), Ledger(tmp_path / "empty", 1), Rates(), 1)["energies"] is None
    for stage, _ in ledger.entries:
        if isinstance(stage, Selection):
            made = Artifact(swept.session.store / stage.folder).figures["kept"]
            (planned,) = Ledger(tmp_path / "empty", stage.train.points).materialize([stage])
            assert planned.figures["kept"] == made


def test_a_plan_of_a_finished_sweep_has_only_the_run_left(swept: Any) -> None:
    ledger = Ledger(swept.session.store, swept.session.split.train.points)
    pipeline = replace(swept.sweep.pipeline, materialize=ledger.materialize)
    figures = plan(pipeline, ledger, Rates(), 1, sweep=True)
    to_do = {title: row["artifacts"] - row["done"] for title, row in figures["stages"].items()}
    # The dataset, and of CCS a second network, which shares the first scores, and the errors of both on two test sets.
    assert {title: count for title, count in to_do.items() if count} == {
        "extraction": 1,
        "evaluation": 2,
        "evaluation runs": 1,
    }
    assert figures["energies"] == 0
    done = sum(row["done"] for row in figures["stages"].values())
    assert done == len(list(swept.session.store.iterdir()))


# --- the command line


def coreset(*arguments: Any) -> Any:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_plan_sweep_starts_nothing_and_leaves_no_trace(
    sweep_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    monkeypatch.chdir(tmp_path)
    whole, run = (coreset("plan", sweep_job, *option, "--json") for option in (["--sweep"], []))
    assert whole.exit_code == run.exit_code == 0, whole.output
    counts = [
        {name: row["artifacts"] for name, row in json.loads(each.stdout)["stages"].items()} for each in (whole, run)
    ]
    assert counts[0]["scoring runs"] == 15 and counts[1]["scoring runs"] == 2
    assert counts[0]["sweep runs"] > 30 and "sweep runs" not in counts[1]
    assert picture(tmp_path) == {}


def test_the_command_writes_the_figures_and_the_run_of_the_job(
    swept: Any, sweep_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(swept.session.store, tmp_path / "store")
    # In place of Ray: what is left to do is little.
    monkeypatch.setattr(command, "executor", lambda job: _Entered())
    arguments = ("sweep", sweep_job, "--out", "out", "--store", "store", "--set", "training.cache = 1.0")
    told = coreset(*arguments, "--json")
    assert told.exit_code == 0, (told.output, told.exception)
    figures = json.loads((tmp_path / "out" / "sweep.json").read_bytes())
    assert json.loads(told.stdout) == figures
    assert figures["command"] == f"coreset sweep {sweep_job} --out out --store store --set 'training.cache = 1.0'"
    assert [cell["id"] for cell in figures["cells"]] == [cell["id"] for cell in swept.figures["cells"]]
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["rows"] == figures["cells"][7]["kept"][0] == 600
    assert (tmp_path / "out" / "coreset" / "manifest.json").is_file()
    # Of the whole corpus both tell the same two networks.
    for test, found in figures["cells"][0]["tests"].items():
        own = summary["evaluation"][test]["full"]
        assert all(own[name] == found[name] for name in ("figures", "by_temperature", "by_composition"))
    assert sorted(path.name for path in (tmp_path / "out" / "fields").iterdir()) == [
        "test-alloy.npz",
        "test-bulk.npz",
        "training.npz",
    ]
    shown = coreset(*arguments)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    assert "Figures: out/sweep.json" in shown.stdout
    assert "coreset report out" in shown.stdout


class _Entered(SerialExecutor):
    def __enter__(self) -> "_Entered":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def test_the_recorded_command_does_not_tell_where_pseudopotentials_lie() -> None:
    def told(*overrides: str) -> list[str]:
        return shlex.split(sweep_command(Path("j o b.yaml"), None, Path("s"), overrides))

    start = ["coreset", "sweep", "j o b.yaml", "--store", "s"]
    assert told() == start
    assert told("energy.pseudopotentials=/home/me/psps", "energy.snapshots=2") == [
        *start,
        *("--set", "energy.pseudopotentials=DIR"),
        *("--set", "energy.snapshots=2"),
    ]
    *_, section = told('energy={pseudopotentials: "/home/me/psps", smearing: 2e-3, tests: [bulk]}')
    assert "home" not in section
    key, _, value = section.partition("=")
    assert (key, json.loads(value)) == ("energy", {"pseudopotentials": "DIR", "smearing": 0.002, "tests": ["bulk"]})


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (
            "energy={methods: [full, grand]}",
            "energy.methods: expected methods of evaluation.methods, full, random, ccs, ",
        ),
        ("energy={seeds: 3}", "energy.seeds: expected at most evaluation.seeds, 2, found 3"),
    ],
)
def test_energies_of_networks_that_a_run_does_not_train_are_a_wrong_request(
    stated: str, expected: str, sweep_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("run", "plan"):
        told = coreset(verb, sweep_job, "--set", stated)
        assert told.exit_code == 2, told.output
        assert expected in told.stderr
    assert not list(tmp_path.iterdir())


def test_an_illegal_study_is_a_wrong_request(sweep_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in (["sweep"], ["plan", "--sweep"]):
        told = coreset(*verb, sweep_job, "--set", "sweep.studies={rates: [0.5], cutoffs: [0.6]}")
        assert told.exit_code == 2
        assert "sweep.studies.cutoffs: expected cuts that leave the 3,000 points" in told.stderr
        assert not list(tmp_path.iterdir())

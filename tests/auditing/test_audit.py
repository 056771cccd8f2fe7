"""Audits of small sets, each figure against brute force, and what was planted is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial.distance import cdist

from coreset.artifacts.executor import SerialExecutor
from coreset.auditing.opening import Columns, described_alike, open_points
from coreset.auditing.request import Audit
from coreset.auditing.run import write_audit
from coreset.corpus import point_set, table_set
from coreset.corpus.described import describe_points
from coreset.corpus.store import Corpus
from coreset.corpus.tables import open_table
from coreset.distributed.executor import RayExecutor
from coreset.errors import RequestError
from coreset.numerics.descriptors import Descriptor
from coreset.report.audit import summary_of
from coreset.stages.space import Space
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request


def audited(
    out: Path,
    corpus: Path | str,
    against: Path | str | None = None,
    *,
    neighbours: int | None = None,
    features: tuple[str, ...] = (),
    snapshots: tuple[str | None, str | None] = (None, None),
    executor: Any = None,
    **options: Any,
) -> dict[str, Any]:
    columns = Columns(features)
    points = open_points(str(corpus), "CORPUS", snapshots[0], neighbours, columns)
    other = None if against is None else open_points(str(against), "--against", snapshots[1], neighbours, columns)
    points, reference = described_alike(points, other, neighbours is not None)
    given = {"queries": None, "scaling": "none", "near": 0.1, "seed": 0, **options}
    network = given.pop("network", None)
    audit = Audit(points, reference, Space.of(network), **given)
    return write_audit(audit, ("one", "other"), out, executor or SerialExecutor(), "coreset audit")


def rows_of(snapshots: Any, descriptor: Descriptor) -> np.ndarray:
    found = [describe_points(each, np.arange(each.points), descriptor).features for each in snapshots]
    return np.concatenate(found).astype(np.float64)


def cloud(rows: int, features: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


def write_parquet(path: Path, rows: np.ndarray, group: int = 100) -> Path:
    path.parent.mkdir(exist_ok=True)
    table = pa.table({f"x{i}": rows[:, i] for i in range(rows.shape[1])})
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.fixture(autouse=True)
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests look at the figures alone."""
    if "with_page" not in request.fixturenames:
        monkeypatch.setattr("coreset.auditing.run.build_audit_page", lambda figures: "page")


@pytest.fixture
def with_page() -> None:
    """The page is made."""


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    corpus, reference = cloud(900, 3, 0), cloud(200, 3, 1)
    corpus[700:720] = corpus[:20]
    corpus[800] = corpus[5]
    reference[150:160] = [8, 0, 0] + 0.01 * cloud(10, 3, 2)
    reference[0] = corpus[3]
    np.save(tmp_path / "corpus.npy", corpus)
    np.save(tmp_path / "reference.npy", reference)
    return tmp_path / "corpus.npy", tmp_path / "reference.npy"


def test_tables_auc_and_curve_are_those_of_brute_force(tables: tuple[Path, Path], tmp_path: Path) -> None:
    found = audited(tmp_path / "out", *tables)
    distances = cdist(np.load(tables[1]).astype(float), np.load(tables[0]).astype(float)).min(axis=1)
    area = found["coverage"]
    assert area["auc"] == pytest.approx(distances.mean(), rel=1e-12)
    assert area["queries"] == 200
    assert area["largest"] == pytest.approx(distances.max(), rel=1e-12)
    assert area["r"] == pytest.approx(np.sort(np.append(0.0, distances))[np.linspace(0, 200, 101).round().astype(int)])
    assert area["at_zero"] == 1 / 200
    low, high = area["interval"]
    assert low < area["auc"] < high
    assert area["sampling"] == {"half_width": 0.0, "enough": True}
    assert json.loads((tmp_path / "out/audit.json").read_bytes()) == json.loads(json.dumps(found))


@pytest.mark.usefixtures("with_page")
def test_the_page_says_the_whole_in_words_first(tables: tuple[Path, Path], tmp_path: Path) -> None:
    found = audited(tmp_path / "out", *tables)
    text = (tmp_path / "out/audit.html").read_text()
    assert f"finds its nearest point at {found['coverage']['auc']:.4g} on average (AUC_pr)" in text
    assert "21 points (2.3%) are exact copies of others" in text
    assert "Least covered is reference.npy, row 15" in text


def test_a_planted_hole_is_the_first_region_named_by_row_and_column(tables: tuple[Path, Path], tmp_path: Path) -> None:
    region = audited(tmp_path / "out", *tables)["uncovered"]["regions"][0]
    assert region["file"] == "reference.npy"
    assert 150 <= region["index"] < 160
    assert region["queries"] >= 10
    assert region["unusual"][0]["feature"] == "0"
    assert region["unusual"][0]["deviations"] > 6


def test_planted_copies_are_counted_and_named(tables: tuple[Path, Path], tmp_path: Path) -> None:
    exact = audited(tmp_path / "out", *tables)["duplicates"]["exact"]
    assert exact["copies"] == 21
    assert exact["values"] == 20
    assert exact["share"] == 21 / 900
    first = exact["examples"][0]
    assert first["points"] == 3
    assert [place["index"] for place in first["first"]] == [5, 705]


def test_copies_are_found_range_by_range(
    tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coreset.auditing import redundancy

    whole = audited(tmp_path / "out", *tables)["duplicates"]["exact"]
    monkeypatch.setattr(redundancy, "_TOGETHER", 50)
    assert audited(tmp_path / "out", *tables)["duplicates"]["exact"] == whole


def test_two_files_with_rows_in_common_are_named(tmp_path: Path) -> None:
    one, other = cloud(300, 2, 0), cloud(200, 2, 1)
    other[50:90] = one[100:140]
    write_parquet(tmp_path / "rows/a.parquet", one)
    write_parquet(tmp_path / "rows/b.parquet", other)
    found = audited(tmp_path / "out", tmp_path / "rows")
    assert found["duplicates"]["exact"]["pairs"] == [{"members": ["a.parquet", "b.parquet"], "points": 40}]
    assert found["left_out"] == "point"
    assert {each["name"] for each in found["contribution"]["file"]} == {"a.parquet", "b.parquet"}


def test_a_table_against_itself_leaves_each_point_out(tables: tuple[Path, Path], tmp_path: Path) -> None:
    rows = np.load(tables[0]).astype(float)
    apart = cdist(rows, rows)
    np.fill_diagonal(apart, np.inf)
    found = audited(tmp_path / "out", tables[0], queries=900)
    assert found["coverage"]["auc"] == pytest.approx(apart.min(axis=1).mean(), rel=1e-12)
    near = found["duplicates"]["near"]
    spacing = apart.min(axis=1)
    threshold = 0.1 * np.median(spacing[spacing > 0])
    assert near["threshold"] == pytest.approx(threshold)
    assert near["share"] == pytest.approx((spacing <= threshold).mean())
    assert near["low"] < near["share"] < near["high"]


@pytest.mark.usefixtures("with_page")
def test_an_ingested_table_is_audited_by_its_groups_and_features(tmp_path: Path) -> None:
    rows, day = cloud(400, 3, 0), np.repeat([f"day-{i}" for i in range(8)], 50)
    rows[day == "day-3"] += 9
    columns = {f"x{i}": rows[:, i] for i in range(3)} | {"y": rows.sum(axis=1), "day": day}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    corpus = tmp_path / "rows.zarr"
    request = Request(targets=("y",), features=("x*",), group="day")
    ingest_table(open_table(str(tmp_path / "rows.parquet")), request, corpus, SerialExecutor())
    found = audited(tmp_path / "out", corpus, queries=400)
    apart = cdist(rows.astype(float), rows.astype(float))
    apart[day[:, None] == day[None, :]] = np.inf
    assert found["corpus"]["features"] == 3
    assert found["left_out"] == "trajectory"
    assert found["coverage"]["auc"] == pytest.approx(apart.min(axis=1).mean(), rel=1e-9)
    assert found["uncovered"]["members"][0]["group"].endswith("day-3")
    assert set(found["contribution"]) == {"group"}  # each is one shard here, which would tell the same
    assert (found["dropped"]["kind"], found["dropped"]["parts"]) == ("group", 8)
    page = (tmp_path / "out/audit.html").read_text()
    assert "8 groups" in page
    assert "trajector" not in page.lower()


def test_a_place_in_a_table_is_a_row_of_the_users_own_file(tmp_path: Path) -> None:
    sizes, rng = {"a.parquet": 300, "sub/b.parquet": 260}, np.random.default_rng(0)
    files = {name: cloud(size, 3, number) for number, (name, size) in enumerate(sizes.items())}
    files["sub/b.parquet"][77] = files["sub/b.parquet"][191] = [9, 9, 9]
    files["sub/b.parquet"][200] = files["a.parquet"][150]
    (tmp_path / "t/sub").mkdir(parents=True)
    for name, rows in files.items():
        columns = {f"x{i}": rows[:, i] for i in range(3)} | {
            "y": rng.random(len(rows)),
            "day": np.arange(len(rows)) % 7,
        }
        pq.write_table(pa.table(columns), tmp_path / "t" / name)
    request = Request(targets=("y",), features=("x*",), group="day")
    ingest_table(open_table(str(tmp_path / "t")), request, tmp_path / "t.zarr", SerialExecutor())
    few = cloud(50, 3, 9)
    write_parquet(tmp_path / "few.parquet", few)
    for out, reference, features in (("files", "t", ("x*",)), ("ingested", "t.zarr", ())):
        one, other = tmp_path / "few.parquet", tmp_path / reference
        found = audited(tmp_path / out, one, other, queries=560, features=features)
        for region in found["uncovered"]["regions"]:
            # The distance that is told is that of the row which is named.
            row = files[region["file"]][region["index"]].astype(float)
            apart = cdist(row[None], few.astype(float)).min()
            assert region["distance"] == pytest.approx(apart, rel=1e-6)
        worst = found["uncovered"]["regions"][0]
        assert (worst["file"], worst["index"] in (77, 191)) == ("sub/b.parquet", True)
    copies = audited(tmp_path / "copies", tmp_path / "t.zarr", queries=560)["duplicates"]["exact"]["examples"]
    told = {frozenset((place["file"], place["index"]) for place in each["first"]) for each in copies}
    b = "sub/b.parquet"
    assert told == {frozenset({(b, 77), (b, 191)}), frozenset({(b, 200), ("a.parquet", 150)})}


@pytest.mark.usefixtures("with_page")
def test_the_headline_compares_what_is_comparable(tmp_path: Path) -> None:
    whole = cloud(1200, 3, 0)
    chosen = np.argsort(np.linalg.norm(whole, axis=1))[:100]  # the core of the cloud covers worse than points of it all
    np.save(tmp_path / "whole.npy", whole)
    np.save(tmp_path / "core.npy", whole[chosen])
    found = audited(tmp_path / "out", tmp_path / "core.npy", tmp_path / "whole.npy", queries=1200)
    random = found["random"]
    distances = cdist(whole.astype(float), whole[chosen].astype(float)).min(axis=1)
    # Queries that the corpus holds are at distance 0 from it, so the rest are farther on average.
    assert found["coverage"]["auc"] == pytest.approx(distances.mean())
    assert random["queries"] < 1200 - len(chosen) < found["coverage"]["queries"]
    assert random["corpus"] > distances.mean()
    told = (
        f"on average (AUC_pr). Over the {random['queries']:,} of 1,200 queries that neither holds it is "
        f"{random['corpus']:.4g}, worse than for {random['points']} random points of the reference "
        f"({random['value']:.4g})."
    )
    assert told in summary_of(found)
    assert told in (tmp_path / "out/audit.html").read_text()
    assert random["corpus"] > random["value"]


def test_subsets_halve_and_reach_what_brute_force_says(tables: tuple[Path, Path], tmp_path: Path) -> None:
    from coreset.numerics.keys import keys, stream
    from coreset.numerics.nested_subsets import deepest, levels

    corpus, reference = (np.load(path).astype(float) for path in tables)
    found = audited(tmp_path / "out", *tables)["size"]
    level = levels(keys(stream(0, b"table", b"/sizes"), 0, 900), deepest(900))
    for row in found["subsets"]:
        (chosen,) = (level >= k for k in range(level.max() + 1) if (level >= k).sum() == row["points"])
        assert row["value"] == pytest.approx(cdist(reference, corpus[chosen]).min(axis=1).mean(), rel=1e-12)
    whole = found["subsets"][-1]
    assert whole["points"] == 900 and whole["coverage"] == 1
    points = [row["points"] for row in found["reach"]]
    assert points == sorted(points) and points[-1] <= 900


@pytest.fixture
def trajectories(tmp_path: Path, write_gaussians: Callable[..., None]) -> Corpus:
    names = [f"train/s{group}_T{100 * (group + 1):04d}_{frame}" for group in range(3) for frame in range(2)]
    write_gaussians(tmp_path / "grids.zarr", [*names, "test/t0_T0150_0", "test/mg_T0700"], points=5)
    return Corpus.open(tmp_path / "grids.zarr")


def test_grids_against_themselves_leave_their_own_trajectory_out(trajectories: Corpus, tmp_path: Path) -> None:
    found = audited(tmp_path / "out", trajectories.path, neighbours=4, queries=10_000)
    rows = rows_of(trajectories.snapshots, Descriptor(4))
    groups = np.repeat([each.group for each in trajectories.snapshots], 125)
    apart = cdist(rows, rows)
    apart[groups[:, None] == groups[None, :]] = np.inf
    nearest = apart.min(axis=1)
    assert found["left_out"] == "trajectory"
    assert found["coverage"]["auc"] == pytest.approx(nearest.mean(), rel=1e-9)
    names = np.repeat([each.name for each in trajectories.snapshots], 125)
    radius = np.sort(nearest)[int(np.ceil(0.9 * len(nearest))) - 1] * (1 + 1e-12)
    for each in found["contribution"]["snapshot"]:
        rest = apart[:, names != each["name"]].min(axis=1)
        assert each["rise"] == pytest.approx((rest - nearest).mean(), abs=1e-9)
        assert each["alone"] == ((nearest <= radius) & (rest > radius)).mean()
    assert set(found["contribution"]) == {"snapshot", "trajectory", "composition"}
    # Each temperature is one trajectory's here, so it would tell the same.
    view = found["uncovered"]["views"][0]
    assert len(view["points"]) == len(view["distances"]) == 125


def test_whole_snapshots_are_left_out_in_the_order_that_costs_least(trajectories: Corpus, tmp_path: Path) -> None:
    """Of the queries that are asked, each step against trying every snapshot that is left."""
    found = audited(tmp_path / "out", trajectories.path, neighbours=4, queries=10_000)
    rows = rows_of(trajectories.snapshots, Descriptor(4))
    names = [each.name for each in trajectories.snapshots]
    groups = np.array([each.group for each in trajectories.snapshots])
    apart = cdist(rows, rows)
    apart[np.repeat(groups, 125)[:, None] == np.repeat(groups, 125)[None, :]] = np.inf
    of_each = apart.reshape(len(rows), len(names), 125).min(axis=2)
    kept = list(range(len(names)))
    dropped = found["dropped"]
    assert (dropped["kind"], dropped["parts"], dropped["queries"]) == ("snapshot", len(names), len(rows))
    assert dropped["auc"] == pytest.approx(of_each.min(axis=1).mean())
    for row in dropped["order"]:
        means = {part: of_each[:, [each for each in kept if each != part]].min(axis=1).mean() for part in kept}
        assert means[names.index(row["name"])] == pytest.approx(min(means.values()), rel=1e-9)
        kept.remove(names.index(row["name"]))
        assert row["points"] == 125 * len(kept)
        assert row["coverage"] == pytest.approx(dropped["auc"] / row["auc"])
    assert len({groups[part] for part in kept}) == 2  # else some query would have no point left
    for each in dropped["reach"]:
        assert each["parts"] == sum(row["coverage"] >= each["share"] for row in dropped["order"])


def test_a_snapshot_unlike_all_others_is_named_with_atom_and_place_and_helps_most(
    trajectories: Corpus, tmp_path: Path
) -> None:
    from coreset.numerics.grids import grid_points

    found = audited(
        tmp_path / "out", trajectories.path, trajectories.path, neighbours=4, snapshots=("train/*", "test/*")
    )
    region = found["uncovered"]["regions"][0]
    assert region["snapshot"] == "test/mg_T0700"
    (snapshot,) = trajectories.select("test/mg*")
    place = grid_points(snapshot.cell, snapshot.grid, np.array([region["index"]]))[0]
    assert [region[axis] for axis in "xyz"] == pytest.approx(place, abs=1e-5)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3) @ snapshot.cell
    apart = np.linalg.norm(snapshot.positions[:, None] + shifts - place, axis=2).min(axis=1)
    assert region["from_atom"] == pytest.approx(apart.min(), abs=1e-5)
    assert region["species"] == {12: "Mg", 13: "Al"}[int(snapshot.numbers[apart.argmin()])]
    helpful = found["uncovered"]["helpful"]
    assert helpful[0]["name"] == "test/mg_T0700"
    rows, queries = (rows_of(trajectories.select(f"{role}/*"), Descriptor(4)) for role in ("train", "test"))
    without = cdist(queries, rows).min(axis=1)
    names = np.repeat([each.name for each in trajectories.select("test/*")], 125)
    after = np.minimum(without, cdist(queries, queries[names == "test/mg_T0700"]).min(axis=1))
    assert helpful[0]["fall"] == pytest.approx((without - after).mean(), rel=1e-6)
    others = names != "test/mg_T0700"
    assert helpful[0]["others"] == pytest.approx((without - after)[others].mean(), abs=1e-6)
    assert {each["species"] for each in found["uncovered"]["species"]} == {"Al", "Mg"}
    assert found["uncovered"]["members"][0]["name"] == "test/mg_T0700"


def test_a_snapshot_that_nearly_repeats_another_is_named_and_so_is_one_of_the_reference(
    make_snapshot: Callable[..., Any], write_corpus: Callable[..., Corpus], tmp_path: Path
) -> None:
    from dataclasses import replace

    from coreset.corpus.snapshot import content_digest

    made = [make_snapshot(f"a_{seed}", seed, group=f"g{seed}") for seed in range(4)]
    first, density = made[0]
    moved = first.positions + 1e-5
    digest = content_digest(first.cell, first.numbers, moved, density)
    copy = replace(first, name="b_copy", group="g9", positions=moved, digest=digest)
    corpus = write_corpus(tmp_path / "c.zarr", [*made, (copy, density)])
    reference = write_corpus(tmp_path / "r.zarr", [made[2], make_snapshot("z", 9)])
    members = audited(tmp_path / "out", corpus.path, reference.path, neighbours=4)["duplicates"]["members"]
    assert sorted((each["name"], each["like"]) for each in members["near"]) == [("a_0", "b_copy"), ("b_copy", "a_0")]
    assert members["in_reference"] == [["a_2", "a_2"]]
    assert members["exact"] == []


def test_neither_the_cut_of_pieces_nor_of_files_changes_a_figure(
    tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.load(tables[0])
    write_parquet(tmp_path / "whole/all.parquet", rows, 900)
    for i, part in enumerate(np.split(rows, [123, 456])):
        write_parquet(tmp_path / f"cut/{i}.parquet", part, 50)
    whole = audited(tmp_path / "one", tmp_path / "whole", queries=300)
    monkeypatch.setattr(point_set, "AT_ONCE", 64)
    monkeypatch.setattr(table_set, "_NUMBERS", 3 * 37)
    cut = audited(tmp_path / "two", tmp_path / "cut", queries=300)
    assert (
        len(json.loads((next((tmp_path / "two/artifacts").glob("audit-*")) / "manifest.json").read_bytes())["shards"])
        > 9
    )
    for figure in ("coverage", "random", "size", "chosen", "dimension"):
        assert whole[figure] == cut[figure], figure
    for figure in ("copies", "values"):
        assert whole["duplicates"]["exact"][figure] == cut["duplicates"]["exact"][figure]
    assert whole["duplicates"]["near"] == cut["duplicates"]["near"]
    first = {"all.parquet": 0, "0.parquet": 0, "1.parquet": 123, "2.parquet": 456}
    told = [
        [
            (first[each["file"]] + each["index"], each["distance"], each["queries"])
            for each in found["uncovered"]["regions"]
        ]
        for found in (whole, cut)
    ]
    assert told[0] == told[1]


def test_running_again_computes_nothing(
    tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Callable[..., Any]
) -> None:
    first = audited(tmp_path / "out", *tables)
    before = picture(tmp_path / "out")

    class Idle(SerialExecutor):
        def map(self, *args: Any, **kwargs: Any) -> None:
            raise AssertionError("nothing is left to compute")

    monkeypatch.setattr("coreset.artifacts.materialize.SerialExecutor", Idle)
    assert audited(tmp_path / "out", *tables, executor=Idle()) == first
    assert picture(tmp_path / "out") == before


def test_more_queries_are_asked_until_auc_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coreset.auditing import request

    monkeypatch.setattr(request, "FIRST", 200)
    np.save(tmp_path / "c.npy", cloud(500, 2, 0))
    np.save(tmp_path / "r.npy", cloud(30_000, 2, 1))
    area = audited(tmp_path / "out", tmp_path / "c.npy", tmp_path / "r.npy")["coverage"]
    assert area["queries"] > 2000
    assert area["sampling"]["enough"]
    assert area["sampling"]["half_width"] < 0.01 * area["auc"]


def test_scaling_divides_by_the_spread_of_the_queries(tables: tuple[Path, Path], tmp_path: Path) -> None:
    corpus, reference = (np.load(path) for path in tables)
    scale = reference.std(0, dtype=np.float64).astype(np.float32)
    found = audited(tmp_path / "out", *tables, scaling="standard")
    expected = cdist((reference / scale).astype(float), (corpus / scale).astype(float)).min(axis=1).mean()
    assert found["coverage"]["auc"] == pytest.approx(expected, rel=1e-9)
    assert found["corpus"]["unit"] == ""


def test_the_embedding_is_the_last_hidden_layer(trajectories: Corpus, tmp_path: Path) -> None:
    import torch

    from coreset.learning.network import Architecture, Normalisation, build

    normalisation = Normalisation(torch.zeros(16), torch.full((16,), 5.0), 0.0, 1.0)
    model = build(Architecture(16, (7, 5), "gelu", "linear"), normalisation, seed="0")
    model.save(tmp_path / "network.safetensors", {})
    found = audited(
        tmp_path / "out", trajectories.path, trajectories.path, neighbours=4, snapshots=("train/*", "test/*"),
        network=tmp_path / "network.safetensors",
    )  # fmt: skip
    hidden = []
    for role in ("train", "test"):
        x = torch.from_numpy(rows_of(trajectories.select(f"{role}/*"), Descriptor(4)).astype(np.float32)) / 5
        first, second = [layer for layer in model.network if hasattr(layer, "weight")][:2]
        gelu = torch.nn.functional.gelu
        with torch.no_grad():
            one = gelu(x @ first.weight.T + first.bias)
            hidden.append(gelu(one @ second.weight.T + second.bias).numpy())
    assert found["coverage"]["auc"] == pytest.approx(cdist(hidden[1], hidden[0]).min(axis=1).mean(), rel=1e-4)
    assert found["space"]["space"] == "embedding"
    with pytest.raises(RequestError, match="expected a network of 20 features"):
        audited(tmp_path / "x", trajectories.path, neighbours=5, network=tmp_path / "network.safetensors")


@pytest.mark.parametrize(
    ("corpus", "against", "text"),
    [
        ("missing.npy", None, "CORPUS: .*missing.npy"),
        ("corpus.npy", "missing", "--against: .*missing"),
        ("corpus.npy", "narrow.npy", "expected points of the same 3 features"),
        ("corpus.npy", "grids.zarr", "expected points of the same 3 features"),
        ("one.npy", None, "expected two points or more, found 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(
    tables: tuple[Path, Path], trajectories: Corpus, tmp_path: Path, corpus: str, against: str | None, text: str
) -> None:
    np.save(tmp_path / "narrow.npy", cloud(9, 2, 0))
    np.save(tmp_path / "one.npy", cloud(1, 2, 0))
    with pytest.raises(RequestError, match=text):
        audited(tmp_path / "out", tmp_path / corpus, against and tmp_path / against)
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
def test_one_worker_and_two_write_the_same_bytes(
    trajectories: Corpus, tmp_path: Path, monkeypatch: Any, ray_executor: RayExecutor
) -> None:
    points = open_points(trajectories.path, "CORPUS", None, 4)
    pieces = [(piece,) for piece in points.pieces()]
    assert len(pieces) == 8
    monkeypatch.setattr(point_set.PointSet, "batches", lambda self: [(piece,) for piece in self.pieces()])
    serial = audited(tmp_path / "serial", trajectories.path, neighbours=4)
    audited(tmp_path / "ray", trajectories.path, neighbours=4, executor=ray_executor)
    for name in ("audit.json", "audit.html"):
        assert (tmp_path / "serial" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()
    assert serial["coverage"]["queries"] == 1000

"""The folder that people download: rows as the contracts say, whole or absent, the same bytes for the same job."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coreset.publishing.package import write_package
from coreset.publishing.verify import verify

COLUMNS = pa.schema(
    [
        ("snapshot", pa.string()),
        ("index", pa.int64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("z", pa.float64()),
        ("density", pa.float32()),
        ("score", pa.float32()),
        ("stratum", pa.int32()),
        ("weight", pa.float64()),
    ]
)
Picture = Callable[[Path], dict[str, bytes | None]]


def rows_of(built: Any) -> pa.Table:
    return pq.read_table(built.path / "part-00000.parquet")


def test_rows_have_the_columns_of_the_contract_and_lie_by_snapshot_then_index(built: Any) -> None:
    table = rows_of(built)
    assert table.schema.equals(COLUMNS)
    places = list(zip(table.column("snapshot").to_pylist(), table.column("index").to_pylist(), strict=True))
    assert places == sorted(set(places))
    assert len(places) == 240  # 20% of 10 snapshots of 120 points


def test_every_row_is_its_grid_point(built: Any, small_made: list[Any]) -> None:
    made = {snapshot.name: (snapshot, density) for snapshot, density in small_made}
    number = {snapshot.name: i for i, snapshot in enumerate(built.train.snapshots)}
    for row in rows_of(built).to_pylist():
        snapshot, density = made[row["snapshot"]]
        i, j, k = np.unravel_index(row["index"], snapshot.grid)
        nx, ny, nz = snapshot.grid
        place = i / nx * snapshot.cell[0] + j / ny * snapshot.cell[1] + k / nz * snapshot.cell[2]
        np.testing.assert_allclose([row["x"], row["y"], row["z"]], place, rtol=0, atol=1e-12)
        assert row["density"] == density[i, j, k]
        assert row["score"] == built.scores[number[row["snapshot"]], row["index"]]


def test_strata_and_weights_are_those_of_the_formula(built: Any) -> None:
    rows = rows_of(built).to_pylist()
    scores = np.sort(built.scores.ravel().astype(np.float64))
    rest = scores[: 1200 - 120]  # β = 0.1
    lo, hi = rest[0], rest[-1]
    population = Counter(np.minimum(11, np.floor((rest - lo) / (hi - lo) * 12)).astype(int).tolist())
    assert {row["stratum"] for row in rows} == set(population)
    taken = Counter(row["stratum"] for row in rows)
    for row in rows:
        assert lo <= row["score"] <= hi
        assert row["stratum"] == min(11, int((row["score"] - lo) / (hi - lo) * 12))
        assert row["weight"] == pytest.approx(population[row["stratum"]] / taken[row["stratum"]], rel=1e-12)
    # Weighted, the coreset counts every point that was not cut.
    assert sum(row["weight"] for row in rows) == pytest.approx(1080, rel=1e-12)


def test_a_method_without_scores_has_null_scores_and_weight_one(build: Any, tmp_path: Path) -> None:
    table = rows_of(build(tmp_path, "random"))
    assert table.schema.equals(COLUMNS)
    assert table.column("score").null_count == table.column("stratum").null_count == len(table) == 240
    assert set(table.column("weight").to_pylist()) == {1.0}


def test_snapshots_hold_what_another_descriptor_needs(built: Any) -> None:
    table = pq.read_table(built.path / "snapshots.parquet").to_pylist()
    assert [row["name"] for row in table] == [snapshot.name for snapshot in built.train.snapshots]
    for row, snapshot in zip(table, built.train.snapshots, strict=True):
        assert row["digest"] == snapshot.digest
        assert row["group"] == snapshot.group
        assert row["species"] == snapshot.numbers.tolist()
        assert row["positions"] == snapshot.positions.tolist()
        assert row["cell"] == snapshot.cell.tolist()
        assert tuple(row["grid"]) == snapshot.grid
        assert (row["electrons"], row["energy"]) == (snapshot.electrons, snapshot.energy)
        assert (row["temperature"], row["composition"]) == (snapshot.temperature, snapshot.composition)
        assert dict(row["source"]) == dict(snapshot.source)


def test_the_manifest_states_every_file_and_count_and_no_place(built: Any) -> None:
    text = (built.path / "manifest.json").read_text()
    manifest = json.loads(text)
    files = [name for shard in manifest["shards"] for name in shard["files"]]
    assert sorted([*files, "manifest.json"]) == sorted(entry.name for entry in built.path.iterdir())
    assert manifest["rows"] == 240
    counts = manifest["shards"][0]["figures"]["rows_by_snapshot"]
    assert counts == Counter(rows_of(built).column("snapshot").to_pylist())
    assert str(built.path.parent) not in text
    assert os.uname().nodename not in text


def test_the_card_tells_rows_and_settings(built: Any) -> None:
    card = (built.path / "README.md").read_text()
    assert card.startswith("---\n")
    for part in ("240 grid points out of 1,200, of 10 snapshots", "- prune: 0.8", "- strata: 12", "5 neighbours"):
        assert part in card


def test_the_same_job_gives_the_same_bytes_in_another_place(
    build: Any, tmp_path: Path, built: Any, picture: Picture
) -> None:
    assert picture(build(tmp_path).path) == picture(built.path)


def test_a_package_that_stands_is_not_touched(build: Any, tmp_path: Path) -> None:
    path = build(tmp_path).path
    before = {entry.name: entry.stat().st_mtime_ns for entry in path.iterdir()}
    build(tmp_path)
    assert {entry.name: entry.stat().st_mtime_ns for entry in path.iterdir()} == before


@pytest.mark.parametrize("name", ["part-00000.parquet", "snapshots.parquet", "README.md", "manifest.json"])
@pytest.mark.parametrize("damage", ["lost", "cut", "garbage", "a bit"])
def test_a_package_that_lost_something_is_written_again(
    name: str, damage: str, build: Any, tmp_path: Path, picture: Picture
) -> None:
    path = build(tmp_path).path
    before = picture(path)
    if damage == "lost":
        (path / name).unlink()
    elif damage == "a bit":
        content = bytearray((path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (path / name).write_bytes(content)
    else:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) // 2] if damage == "cut" else b"[1]")
    build(tmp_path)
    assert picture(path) == before


def test_what_a_link_leads_to_is_left_alone(build: Any, tmp_path: Path, picture: Picture) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(build(tmp_path).path, elsewhere)
    shutil.rmtree(tmp_path / "coreset")
    (tmp_path / "coreset").symlink_to(elsewhere)
    before = picture(elsewhere)
    package = build(tmp_path, seed=1).path
    assert not package.is_symlink() and picture(elsewhere) == before


def test_another_selection_replaces_the_package_whole(build: Any, tmp_path: Path, picture: Picture) -> None:
    old = picture(build(tmp_path).path)
    new = build(tmp_path, seed=1).path
    assert picture(new) != old
    assert len(list(verify(new))) == 3
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".tmp")] == []


def test_the_name_of_a_new_package_reaches_the_disk(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build(tmp_path)
    calls: list[tuple[str, Path]] = []
    real = os.replace

    def fsync(descriptor: int) -> None:
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))

    def replace(source: Path, target: Path) -> None:
        calls.append(("replace", target))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        patched.setattr(os, "replace", replace)
        write_package(made.path, made.extraction, made.train.snapshots, {**made.recipe, "name": "new"}, "new")
    assert calls[-2:] == [("replace", made.path), ("fsync", tmp_path)]


class Crash(BaseException):
    pass


def test_a_crash_at_any_call_leaves_a_package_that_is_whole_or_not_one_and_runs_again(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    old = build(tmp_path)
    before, old_card = picture(old.path), (old.path / "README.md").read_text()
    new = build(tmp_path / "other", seed=1)
    after, new_card = picture(new.path), (new.path / "README.md").read_text()
    for at in range(1, 100):
        calls: list[str] = []
        with monkeypatch.context() as patched:
            for name in ("fsync", "replace", "unlink", "rmdir"):
                real = getattr(os, name)

                def call(
                    *args: Any, name: str = name, real: Any = real, at: int = at, calls: Any = calls, **more: Any
                ) -> Any:
                    calls.append(name)
                    if len(calls) == at:
                        raise Crash
                    return real(*args, **more)

                patched.setattr(os, name, call)
            try:
                write_package(old.path, new.extraction, new.train.snapshots, new.recipe, new_card)
            except Crash:
                crashed = True
            else:
                crashed = False
        if not crashed:
            break
        found = picture(old.path) if old.path.exists() else {}
        assert found in (before, after) or "manifest.json" not in found
        write_package(old.path, new.extraction, new.train.snapshots, new.recipe, new_card)
        assert picture(old.path) == after
        write_package(old.path, old.extraction, old.train.snapshots, old.recipe, old_card)
        assert picture(old.path) == before
    assert at > 8

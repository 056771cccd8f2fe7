"""A coreset grows by what is new, point by point as brute force says, and stays a coreset."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import coreset
from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.materialize import materialize
from coreset.corpus.described import describe_points
from coreset.corpus.split import SnapshotSet
from coreset.errors import DataError, RequestError
from coreset.extending import extend_folder, request_of
from coreset.numerics.descriptors import Descriptor
from coreset.numerics.keys import SNAPSHOTS, keys, stream
from coreset.publishing.package import write_package
from coreset.publishing.verify import verify
from coreset.stages.extraction import Extraction
from coreset.stages.selection import Selection

DESCRIPTOR = Descriptor(neighbours=4)
RADIUS = 3.5


@pytest.fixture
def published(make_snapshot: Callable[..., Any], write_corpus: Callable[..., Any], tmp_path: Path) -> Path:
    """`coreset`: a fifth of two snapshots; `new.zarr`: three snapshots, of which it knows one."""
    made = [make_snapshot(f"a_{seed}", seed) for seed in range(2)]
    corpus = write_corpus(tmp_path / "old.zarr", made)
    train = SnapshotSet(corpus.path, corpus.snapshots)

    def finished(stage: Any) -> Any:
        return materialize(stage, root=tmp_path / "artifacts", executor=SerialExecutor())

    selection = finished(Selection(train, "random", {"prune": 0.8, "seed": 0}, None))
    extraction = finished(Extraction(train, selection, DESCRIPTOR, False))
    write_package(
        tmp_path / "coreset", extraction, train.snapshots, {"name": "small", "descriptor": {"neighbours": 4}}, "# small"
    )
    write_corpus(tmp_path / "new.zarr", [made[0], make_snapshot("b_5", 5), make_snapshot("b_6", 6)])
    return tmp_path


def extended(folder: Path, out: str = "grown", radius: float | None = None, **options: Any) -> dict[str, Any]:
    request = request_of(folder / "coreset", str(folder / "new.zarr"), options.get("snapshots"), radius, 0)
    return extend_folder(request, folder / out, folder / "store", SerialExecutor())


def test_what_is_added_is_what_brute_force_adds(published: Path) -> None:
    figures = extended(published, radius=RADIUS)
    assert list(verify(published / "grown"))
    points = coreset.open(published / "grown")
    table = points.to_pandas(descriptor=False)
    old = coreset.open(published / "coreset")
    assert len(points) == len(old) + figures["added"] == figures["rows"]
    kept = [np.stack(old.to_arrow().column("descriptor").to_numpy()).astype(float)]
    found = {name: set(rows["index"]) for name, rows in table.groupby("snapshot")}
    new = [points.known[name] for name in ("b_5", "b_6")]
    for snapshot in sorted(new, key=lambda each: int(stream(0, each.identity, SNAPSHOTS))):
        rows = describe_points(snapshot, np.arange(120), DESCRIPTOR).features.astype(float)
        expected = set()
        for i in np.argsort(keys(stream(0, snapshot.identity), 0, 120)):
            if min(np.sqrt(np.square(part - rows[i]).sum(axis=1)).min() for part in kept) > RADIUS:
                expected.add(int(i))
                kept.append(rows[[i]])
        assert found.get(snapshot.name, set()) == expected
    assert 0 < figures["added"] < figures["novel"] < 240
    added = table[table["snapshot"].isin(["b_5", "b_6"])]
    assert (added["weight"] == 1).all()
    assert added["stratum"].isna().all() and added["score"].isna().all()


def test_the_manifest_tells_where_both_come_from(published: Path) -> None:
    figures = extended(published)
    manifest = coreset.open(published / "grown").manifest
    before, source = manifest["sources"]
    old = json.loads((published / "coreset/manifest.json").read_bytes())
    assert before == {key: value for key, value in old.items() if key not in ("shards", "descriptor")}
    assert source["known"] == ["a_0"]
    assert source["snapshots"] == 2
    assert source["radius"] == figures["radius"]
    text = (published / "grown/README.md").read_text()
    assert text.startswith("# small")
    assert f"{figures['added']:,} of 240 points of 2 further snapshots" in text


def test_the_default_radius_is_the_median_spacing_of_the_coreset(published: Path) -> None:
    rows = np.stack(coreset.open(published / "coreset").to_arrow().column("descriptor").to_numpy()).astype(float)
    apart = np.sqrt(np.square(rows[:, None] - rows[None]).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    figures = extended(published)
    assert figures["radius"] == pytest.approx(np.median(apart.min(axis=1)), rel=1e-9)
    assert figures["radius_by"] == "median spacing"


def test_it_grows_again_and_by_nothing_where_all_is_covered(
    published: Path, make_snapshot: Callable[..., Any], write_corpus: Callable[..., Any]
) -> None:
    extended(published, radius=RADIUS)
    write_corpus(published / "more.zarr", [make_snapshot("c_7", 7)])
    request = request_of(published / "grown", str(published / "more.zarr"), None, 1e6, 0)
    figures = extend_folder(request, published / "twice", published / "store", SerialExecutor())
    assert figures["added"] == 0
    assert list(verify(published / "twice"))
    assert len(coreset.open(published / "twice").manifest["sources"]) == 4
    assert len(coreset.open(published / "twice").snapshots) == 5


def test_the_same_request_writes_the_same_bytes(published: Path, picture: Callable[..., Any]) -> None:
    extended(published, "one", 1.0)
    extended(published, "two", 1.0)
    assert picture(published / "one") == picture(published / "two")


def test_what_cannot_be_added_is_refused(
    published: Path, make_snapshot: Callable[..., Any], write_corpus: Callable[..., Any]
) -> None:
    snapshot, density = make_snapshot("b_5", 8)
    write_corpus(published / "odd.zarr", [(replace(snapshot, name="a_1"), density)])
    with pytest.raises(RequestError, match="a_1: expected a name that is new"):
        request_of(published / "coreset", str(published / "odd.zarr"), None, None, 0)
    with pytest.raises(RequestError, match="does not know, found none"):
        request_of(published / "coreset", str(published / "new.zarr"), "a_*", None, 0)
    with pytest.raises(RequestError, match="--out: expected another folder"):
        extended(published, "coreset")


def test_a_damaged_coreset_is_not_copied(published: Path) -> None:
    (published / "coreset/README.md").write_text("# smell")
    with pytest.raises(DataError, match="SHA-256"):
        extended(published)
    assert not (published / "grown").exists()


def test_the_verb(published: Path) -> None:
    from coreset.cli import main

    out = published / "grown"
    arguments = [
        "extend",
        str(published / "coreset"),
        str(published / "new.zarr"),
        "--out",
        str(out),
        "--radius",
        "1.5",
    ]
    made = CliRunner().invoke(main, [*arguments, "--snapshots", "b_5", "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["snapshots"] == 1
    assert list(verify(out))

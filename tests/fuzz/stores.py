"""Corpora, packages, selections, artifacts and checkpoints: what coreset itself has written."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import samples
import torch
from campaign import CHECKSUM, EXPLAINED, Target, same, what_json_says
from mutations import BYTES, JSON, TEXT

from coreset.artifacts.executor import SerialExecutor
from coreset.artifacts.manifest import Artifact, checksum, shard_record, verify_files
from coreset.artifacts.materialize import materialize
from coreset.artifacts.stage import Context, Part, Stage
from coreset.corpus.kept import read_kept, write_kept
from coreset.corpus.split import SnapshotSet
from coreset.corpus.store import Corpus
from coreset.errors import DataError
from coreset.learning.network import Architecture, Normalisation, build, load
from coreset.methods import Selected
from coreset.numerics.descriptors import Descriptor
from coreset.publishing.dataset import open_dataset
from coreset.publishing.index import stated_recipe, write_index
from coreset.publishing.package import write_package
from coreset.publishing.verify import verify
from coreset.stages.extraction import Extraction
from coreset.stages.importing import Import, read_listing
from coreset.stages.selection import Selection

ROOT, ARRAY, CHUNKS = "c.zarr/zarr.json", "c.zarr/train/a_0/zarr.json", "c.zarr/train/a_0/c/0/0/0"


def _read_corpus(folder: Path) -> dict[str, Any]:
    corpus = Corpus.open(folder / "c.zarr")
    found = {each.name: (each.to_json(), corpus.density(each)) for each in corpus.snapshots}
    return {"digest": corpus.digest, **found}


def _with_record(write: Callable[[Path], Any], folder: Path) -> None:
    """The file, and beside it what the manifest of its artifact states of it."""
    write(folder / "shard")
    (folder / "record.json").write_text(json.dumps(shard_record("x", folder / "shard", {})["files"]))


def _judge_shard(folder: Path, data: Any, right: Any) -> str:
    try:
        list(verify_files(folder, what_json_says(folder / "record.json")))
    except DataError:
        return CHECKSUM
    return "other data of the same checksum"


def _selected(seed: int) -> Selected:
    rng = np.random.default_rng(seed)
    index = np.sort(rng.choice(400, 60, replace=False))
    return Selected(index, rng.integers(0, 9, 60, np.int32), rng.uniform(1, 9, 60), rng.random(60, np.float32))


def _read_kept(folder: Path) -> dict[str, Any]:
    read_kept.cache_clear()
    return {digest: vars(selected) for digest, selected in read_kept(folder / "shard").items()}


def _write_network(path: Path) -> None:
    ones = torch.ones(4)
    build(Architecture(4, (7, 5), "gelu", "relu"), Normalisation(ones, ones, 0.04, 0.02), "a").save(path, {"seed": "a"})


def _read_network(folder: Path) -> dict[str, Any]:
    model, notes = load(folder / "shard")
    weights = {name: tensor.numpy().copy() for name, tensor in model.network.state_dict().items()}
    return {**asdict(model.architecture), "affine": [model.scale, model.shift], "notes": notes, "weights": weights}


DESCRIPTOR = Descriptor(neighbours=5)


def _write_package(folder: Path) -> None:
    scratch = folder / "scratch"
    samples.write_corpus(scratch / "c.zarr")
    corpus = Corpus.open(scratch / "c.zarr")
    train = SnapshotSet(corpus.path, corpus.snapshots)
    selection = Selection(train, "random", {"prune": 0.8, "seed": 0}, None)
    selected = materialize(selection, root=scratch, executor=SerialExecutor())
    extracted = materialize(Extraction(train, selected, DESCRIPTOR, False), root=scratch, executor=SerialExecutor())
    recipe = {"name": "small", "descriptor": asdict(DESCRIPTOR), "select": {"prune": 0.8}, "points": train.points}
    write_package(folder / "coreset", extracted, train.snapshots, recipe, "# A card\n")
    shutil.rmtree(scratch)


def _write_index(folder: Path) -> None:
    _write_package(folder)
    samples.write_corpus(folder / "c.zarr")
    write_index(folder / "index.parquet", open_dataset(folder / "coreset"))
    shutil.rmtree(folder / "coreset")


def _read_index(folder: Path) -> dict[str, Any]:
    path, corpus = folder / "index.parquet", Corpus.open(folder / "c.zarr")
    listing, recipe = read_listing(path, corpus), stated_recipe(path)
    chosen = tuple(each for each in corpus.snapshots if each.digest in listing.groups)
    kept = Import(SnapshotSet(corpus.path, chosen), listing, "").kept(chosen)
    return {"recipe": recipe, **{digest: vars(selected) for digest, selected in kept.items()}}


def _judge_index(folder: Path, data: Any, right: Any) -> str:
    """The rows have checksums; of the recipe, which says no more than how they came about, the footer has none."""
    rows, expected = ({key: value for key, value in each.items() if key != "recipe"} for each in (data, right))
    return EXPLAINED if same(rows, expected) else "other rows"


PACKAGE = {
    "coreset/manifest.json": JSON,
    "coreset/part-00000.parquet": BYTES,
    "coreset/snapshots.parquet": BYTES,
    "coreset/README.md": TEXT,
}


def _open_package(folder: Path) -> dict[str, Any]:
    dataset = open_dataset(folder / "coreset")
    table = dataset.to_arrow()
    return {
        "rows": len(dataset),
        "manifest": dataset.manifest,
        "snapshots": dataset.snapshots.to_pylist(),
        "table": {name: table.column(name).to_pylist() for name in table.column_names},
    }


def _judge_opened(folder: Path, data: Any, right: Any) -> str:
    try:
        list(verify(folder / "coreset"))
    except DataError:
        return CHECKSUM
    return "other data that verify finds good"


def _verified(folder: Path) -> dict[str, Any]:
    names = sorted(verify(folder / "coreset"))
    manifest = what_json_says(folder / "coreset" / "manifest.json")
    return {"manifest": manifest, **{name: (folder / "coreset" / name).read_bytes() for name in names}}


def _restate(folder: Path) -> None:
    """Sizes and checksums become those of the damaged files, where the manifest still has a place for them."""
    path = folder / "coreset" / "manifest.json"
    try:
        manifest = what_json_says(path)
        for shard in manifest["shards"]:
            for name in shard["files"]:
                file = path.with_name(name)
                (stated,) = shard_record("", file, {})["files"].values()
                shard["files"][name] = stated
        manifest["checksum"] = checksum(manifest)
        path.write_text(json.dumps(manifest))
    except (LookupError, OSError, RuntimeError, TypeError, ValueError, AttributeError):
        return


def _restated(folder: Path) -> list[Any]:
    list(verify(folder / "coreset"))
    return [_open_package(folder)]


@dataclass(frozen=True)
class Toy(Stage):
    """Shards of one line, and of a folder."""

    name: ClassVar[str] = "toy"
    suffix: ClassVar[str] = ""

    def parameters(self) -> dict[str, Any]:
        return {"scale": 3, "rates": [0.5, 0.25]}

    def inputs(self) -> dict[str, str]:
        return {"source": "0" * 64}

    def parts(self) -> list[Part]:
        return [Part(f"set/{number}", number) for number in range(3)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        file = path / "deep" / "value" if part.payload else path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(part.payload))
        return {"value": part.payload, "error": 0.1 + part.payload}

    def figures(self, shared: Any, records: Any, folder: Path) -> dict[str, Any]:
        return {"kept": 120, "rule": {"lo": 0.5, "draws": [[40, 4, "00ff", "ab"]]}}


def _write_artifact(folder: Path) -> None:
    made = materialize(Toy(), root=folder, executor=SerialExecutor())
    made.folder.rename(folder / "toy")


def _read_artifact(folder: Path) -> dict[str, Any]:
    made = Artifact(folder / "toy")
    places = {shard["name"]: made.path(shard["name"]) for shard in made.shards}
    inside = {name: os.path.relpath(place.resolve(), (folder / "toy").resolve()) for name, place in places.items()}
    assert not any(place.startswith("..") for place in inside.values()), "it leads outside"
    stated = {"digest": made.digest, "figures": made.figures, "shards": made.shards, "places": inside}
    return {"manifest": stated, "timings": made.timings}


def _judge_artifact(folder: Path, data: Any, right: Any) -> str:
    """Seconds and bytes have no checksum, and no result depends on them; nor has a manifest of an earlier version."""
    stated = what_json_says(folder / "toy" / "manifest.json")
    if not same(data["manifest"], right["manifest"]) and "checksum" in stated:
        return "other figures"
    said = what_json_says(folder / "toy" / "timings.json") if (folder / "toy" / "timings.json").is_file() else {}
    return EXPLAINED if data["timings"] == said else "other timings"


def _corpus(name: str, file: str, kind: Any) -> Target:
    return Target(name, lambda folder: samples.write_corpus(folder / "c.zarr"), {file: kind}, _read_corpus, places=True)


TARGETS = [
    _corpus("corpus-root", ROOT, JSON),
    _corpus("corpus-array", ARRAY, JSON),
    _corpus("corpus-chunks", CHUNKS, BYTES),
    Target(
        "kept",
        partial(_with_record, lambda path: write_kept(path, [(f"{n:064x}", _selected(n)) for n in range(3)])),
        {"shard": BYTES},
        _read_kept,
        _judge_shard,
    ),
    Target(
        "checkpoint", partial(_with_record, _write_network), {"shard": (*BYTES, *TEXT)}, _read_network, _judge_shard
    ),
    Target("package-open", _write_package, PACKAGE, _open_package, _judge_opened, places=True),
    Target("package-verify", _write_package, PACKAGE, _verified, places=True),
    Target(
        "package-restated",
        _write_package,
        PACKAGE,
        _restated,
        lambda folder, data, right: EXPLAINED,  # who restates every checksum may state anything
        restate=_restate,
        places=True,
    ),
    Target("index", _write_index, {"index.parquet": BYTES}, _read_index, _judge_index),
    Target(
        "manifest",
        _write_artifact,
        {"toy/manifest.json": JSON, "toy/timings.json": JSON},
        _read_artifact,
        _judge_artifact,
    ),
]

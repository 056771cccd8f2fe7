"""A digest hashes the recipe: every parameter, input and version, and nothing else."""

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.artifacts.manifest import Artifact, write_manifest
from coreset.artifacts.stage import Stage
from coreset.corpus.described_set import DescribedSet
from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet
from coreset.energies.engine import Settings
from coreset.learning.code import Code
from coreset.numerics.descriptors import Descriptor
from coreset.stages.asked import Asked
from coreset.stages.audit import Scan
from coreset.stages.coverage import Coverage
from coreset.stages.energy import HarrisFoulkes
from coreset.stages.evaluation import Evaluation
from coreset.stages.extension import Added, AddedPoints, Described, Novel
from coreset.stages.extraction import Extraction
from coreset.stages.fields import Fields
from coreset.stages.histogram import ScoreHistogram
from coreset.stages.random_subset import RandomSubset
from coreset.stages.scoring import Scoring
from coreset.stages.selection import Selection
from coreset.stages.space import Space
from coreset.stages.training import Length, Training


def test_the_digest_is_the_hash_of_the_recipe(toy: Any) -> None:
    recipe = '{"inputs":{"source":"%s"},"parameters":{"count":4,"folders":false,"scale":3},"stage":"toy","version":1}'
    expected = hashlib.sha256((recipe % ("0" * 64)).encode()).hexdigest()
    assert toy().digest == expected
    assert toy().folder == f"toy-{expected[:16]}"


@given(st.integers(1, 9), st.integers(-9, 9), st.sampled_from("ab"), st.booleans())
def test_equal_recipes_share_a_digest_and_others_do_not(
    toy: Any, other: Any, second: Any, count: int, scale: int, source: str, folders: bool
) -> None:
    stage = toy(count, scale, source, folders)
    assert toy(count, scale, source, folders, calls=["x"], before=print).digest == stage.digest
    changed = [
        toy(count + 1, scale, source, folders),
        toy(count, scale + 1, source, folders),
        toy(count, scale, source + "x", folders),
        toy(count, scale, source, not folders),
        other(count, scale, source, folders),
        second(count, scale, source, folders),
    ]
    assert len({stage.digest, *(each.digest for each in changed)}) == 7


def artifact(folder: Path, digest: str, kept: int = 7) -> Artifact:
    folder.mkdir(parents=True)
    write_manifest(folder / "manifest.json", {"digest": digest, "figures": {"kept": kept}, "shards": []})
    return Artifact(folder)


@pytest.fixture
def stages(
    make_snapshot: Callable[..., Any], squares: Callable[..., Any], tmp_path: Path
) -> dict[str, tuple[Stage, dict[str, Any], set[str]]]:
    """Of every stage: one, another value for each of its fields, and the fields that must not matter."""
    one, two = (make_snapshot(f"train/a_{seed}", seed)[0] for seed in range(2))
    a, b = SnapshotSet("here", (one,)), SnapshotSet("here", (one, two))
    x, y = artifact(tmp_path / "x", "x"), artifact(tmp_path / "y", "y")
    descriptor, wider = Descriptor(4), Descriptor(5)
    network = {"hidden": (8, 8), "activation": "gelu", "output": "relu"}
    settings = {"learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "constant", "batch": 8, "window": 64}
    settings |= {"average": 0.0, "checks": 5, "keep": "last"}
    code = Code("nets.py:Net", "{}", "0" * 64)
    engine = squares(Settings(cutoff=15.0, smearing=0.002))
    of_a, of_b = (DescribedSet.of(each, descriptor) for each in (a, b))
    embedding = Space(tmp_path / "network", "0" * 64)
    return {
        "training": (
            Training(a, descriptor, network, settings, Length(epochs=2), "score 0", a),
            {
                "train": b,
                "descriptor": wider,
                "network": {**network, "hidden": (8, 9)},
                "settings": {**settings, "batch": 9},
                "length": Length(steps=2),
                "seed": "score 1",
                "validation": b,
                "selection": x,
                "cache": 3.0,
                "what": "proxies",
                "code": code,
            },
            {"cache", "what"},
        ),
        "scoring": (
            Scoring(a, descriptor, (x,)),
            {"train": b, "descriptor": wider, "models": (y,), "precision": "bfloat16", "code": code},
            {"code"},
        ),
        "selection": (
            Selection(a, "ccs", {"prune": 0.5, "seed": 0}, x),
            {
                "train": b,
                "method": "grand",
                "settings": {"prune": 0.5, "seed": 1},
                "scores": y,
                "within": "group",
            },
            set(),
        ),
        "extraction": (
            Extraction(a, x, descriptor, False),
            {
                "train": b,
                "selection": y,
                "descriptor": wider,
                "with_descriptor": True,
            },
            set(),
        ),
        "coverage": (
            Coverage(a, x, a, 10, "none", descriptor),
            {
                "train": b,
                "selection": y,
                "against": b,
                "queries": 11,
                "scaling": "standard",
                "descriptor": wider,
                "estimated": True,
            },
            set(),
        ),
        "evaluation": (
            Evaluation(a, descriptor, (x,)),
            {"points": b, "descriptor": wider, "models": (y,), "code": code},
            {"code"},
        ),
        "energy": (
            HarrisFoulkes(a, engine, descriptor, x),
            {"points": b, "engine": replace(engine, settings=Settings(16.0, 0.002)), "descriptor": wider, "model": y},
            set(),
        ),
        "fields": (
            Fields(a, descriptor, (("full", x),)),
            {"points": b, "descriptor": wider, "models": (("full", y),)},
            set(),
        ),
        "histogram": (
            ScoreHistogram(x, a, "grand", (("ccs", x),)),
            {"scores": y, "train": b, "field": "loss", "selections": (("ccs", y),)},
            set(),
        ),
        "asked": (
            Asked(of_a, Space(), 10, b"/queries", 0),
            {"points": of_b, "space": embedding, "wanted": 11, "purpose": b"/probes", "seed": 1},
            set(),
        ),
        "scan": (
            Scan(of_a, Space(), x, x, "nothing", "none", 0),
            {
                "points": of_b,
                "space": embedding,
                "queries": y,
                "probes": y,
                "left_out": "point",
                "scaling": "standard",
                "seed": 1,
            },
            set(),
        ),
        "random": (
            RandomSubset(of_a, Space(), x, "none", 0, 9),
            {"points": of_b, "space": embedding, "queries": y, "scaling": "standard", "seed": 1, "limit": 10},
            set(),
        ),
        "described": (Described(of_a), {"points": of_b}, set()),
        "novel": (Novel(of_a, x, 1.0), {"points": of_b, "kept": y, "radius": 2.0}, set()),
        "added": (Added(of_a, x, 1.0, 0), {"points": of_b, "novel": y, "radius": 2.0, "seed": 1}, set()),
        "addition": (AddedPoints(a, x), {"train": b, "added": y}, set()),
    }


NAMES = ["training", "scoring", "selection", "extraction", "coverage", "evaluation"]
NAMES += ["energy", "fields", "histogram"]
NAMES += ["asked", "scan", "random", "described", "novel", "added", "addition"]


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_every_stage_is_in_its_recipe_but_those_that_change_no_byte(
    name: str, stages: dict[str, Any]
) -> None:
    stage, others, free = stages[name]
    assert set(others) == {field.name for field in fields(stage)}
    for field, value in others.items():
        same = replace(stage, **{field: value}).digest == stage.digest
        assert same == (field in free), field


@pytest.mark.parametrize("name", NAMES)
def test_no_recipe_knows_where_the_corpus_or_an_artifact_lies(
    name: str, stages: dict[str, Any], tmp_path: Path
) -> None:
    stage, _, _ = stages[name]

    def moved(value: Any) -> Any:
        if isinstance(value, SnapshotSet):
            return SnapshotSet("elsewhere", value.snapshots)
        if isinstance(value, DescribedSet):
            return replace(value, path="elsewhere")
        if isinstance(value, Artifact):
            target = tmp_path / "moved" / value.digest
            return Artifact(target) if target.exists() else artifact(target, value.digest)
        return tuple(map(moved, value)) if isinstance(value, tuple) else value

    there = replace(stage, **{field.name: moved(getattr(stage, field.name)) for field in fields(stage)})
    assert there != stage
    assert there.digest == stage.digest


@pytest.mark.parametrize("name", ["handedness", "distances", "neighbours", "tie_tolerance"])
def test_every_choice_of_the_descriptor_is_in_the_recipe(name: str, stages: dict[str, Any]) -> None:
    others = {"handedness": "free", "distances": True, "neighbours": 6, "tie_tolerance": 1e-4}
    for stage, _, _ in stages.values():
        holder = getattr(stage, "points", None) if not hasattr(stage, "descriptor") else stage
        if holder is not None:
            changed = replace(holder, descriptor=replace(holder.descriptor, **{name: others[name]}))
            other = changed if holder is stage else replace(stage, points=changed)
            assert other.digest != stage.digest


def test_names_contents_and_validation_groups_count_as_input(make_snapshot: Callable[..., Any]) -> None:
    snapshot: Snapshot = make_snapshot("train/a_0", 0)[0]
    there = SnapshotSet("c", (snapshot,))
    assert SnapshotSet("c", (replace(snapshot, name="train/b_0"),)).digest != there.digest
    assert SnapshotSet("c", (replace(snapshot, digest="0" * 64),)).digest != there.digest
    assert SnapshotSet("c", (replace(snapshot, energy=5.0),)).digest == there.digest


def test_the_groups_of_the_queries_are_in_the_recipe_of_coverage(stages: dict[str, Any]) -> None:
    stage, _, _ = stages["coverage"]
    (snapshot,) = stage.against.snapshots
    regrouped = SnapshotSet("here", (replace(snapshot, group="other"),))
    assert replace(stage, against=regrouped).digest != stage.digest

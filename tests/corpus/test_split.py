"""Whole groups, spread evenly, and nothing shared between training, validation and tests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreset.corpus.snapshot import Snapshot
from coreset.corpus.split import SnapshotSet, Split, split
from coreset.corpus.store import Corpus
from coreset.errors import RequestError


def snapshot(
    name: str, group: str, temperature: float | None = 300.0, composition: str = "Al", digest: str = ""
) -> Snapshot:
    return Snapshot(
        name=name,
        cell=np.eye(3),
        numbers=np.array([13]),
        positions=np.zeros((1, 3)),
        grid=(2, 3, 4),
        electrons=3.0,
        energy=None,
        group=group,
        temperature=temperature,
        composition=composition,
        source={},
        wrapped=0,
        digest=digest or f"{name:0>64}",
    )


def corpus_of(snapshots: Sequence[Snapshot]) -> Corpus:
    return Corpus("corpus.zarr", tuple(sorted(snapshots, key=lambda each: each.name)), "digest")


def trajectories(
    frames: Sequence[int], temperatures: Sequence[float | None], compositions: Sequence[str] = ()
) -> Corpus:
    """Trajectory i has so many frames at a temperature; two more frames of another one are for the test."""
    inside = [
        snapshot(f"train/t{i:02d}_{frame}", f"t{i:02d}", temperatures[i], compositions[i] if compositions else "Al")
        for i in range(len(frames))
        for frame in range(frames[i])
    ]
    return corpus_of([*inside, *(snapshot(f"test/x_{frame}", "x") for frame in range(2))])


def divide(corpus: Corpus, **settings: Any) -> Split:
    given = {"train": "train/*", "tests": {"bulk": "test/*"}, "validation": 0.2, **settings}
    return split(corpus, "job.yaml", **given)


GROUPS = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 3), min_size=n, max_size=n),
        st.lists(st.sampled_from([None, 100.0, 300.0, 1000.0]), min_size=n, max_size=n),
        st.lists(st.sampled_from(["Al", "AlO", "H2O"]), min_size=n, max_size=n),
    )
)


@given(GROUPS, st.floats(0.01, 0.9), st.sampled_from(["temperature", "composition"]), st.randoms(use_true_random=False))
def test_whole_groups_evenly_over_the_strata_whatever_the_order_of_the_corpus(
    groups: tuple[list[int], list[float | None], list[str]], share: float, stratify: Any, shuffle: Any
) -> None:
    corpus = trajectories(*groups)
    wanted = max(1, round(share * len(groups[0])))
    if wanted >= len(groups[0]):
        with pytest.raises(RequestError, match=r"corpus\.validation"):
            divide(corpus, validation=share, stratify=stratify)
        return
    found = divide(corpus, validation=share, stratify=stratify)
    train, validation = found.train, found.validation
    # Every training snapshot once, in order of name, and no group on both sides.
    assert sorted([*train.snapshots, *validation.snapshots], key=lambda s: s.name) == list(corpus.select("train/*"))
    for part in (train, validation):
        assert [s.name for s in part.snapshots] == sorted(s.name for s in part.snapshots)
    assert not set(train.groups) & set(validation.groups)
    assert len(validation.groups) == wanted
    # Along the strata, no stretch has more than its share by a whole group: so no stratum has.
    attribute = [
        ((groups[1][i] or 0.0) if stratify == "temperature" else 0.0, groups[2][i] if stratify == "composition" else "")
        for i in range(len(groups[0]))
    ]
    sizes = Counter(attribute)
    chosen = Counter(attribute[int(name[1:])] for name in validation.groups)
    for stratum, size in sizes.items():
        assert abs(chosen[stratum] - size * wanted / len(groups[0])) < 2
    for below in sorted(sizes):
        upto = sum(count for stratum, count in sizes.items() if stratum <= below)
        assert abs(sum(chosen[s] for s in sizes if s <= below) - upto * wanted / len(groups[0])) < 1
    shuffled = list(corpus.snapshots)
    shuffle.shuffle(shuffled)
    again = divide(
        replace(corpus, snapshots=tuple(sorted(shuffled, key=lambda s: s.name))), validation=share, stratify=stratify
    )
    assert list(again.validation.groups) == list(validation.groups)


def test_one_group_of_every_temperature_validates_where_the_share_allows_it() -> None:
    corpus = trajectories([2] * 20, [100.0 * (i // 5) for i in range(20)])
    found = divide(corpus, validation=0.2)
    assert sorted(group[0].temperature for group in found.validation.groups.values()) == [0.0, 100.0, 200.0, 300.0]
    assert len(found.validation.snapshots) == 8


def test_the_choice_within_a_temperature_is_hashed_not_the_first_by_name() -> None:
    corpus = trajectories([1] * 40, [float(i // 4) for i in range(40)])
    places = Counter(int(name[1:]) % 4 for name in divide(corpus, validation=0.25).validation.groups)
    assert sum(places.values()) == 10
    assert len(places) > 1


def test_sets_count_their_points_and_groups() -> None:
    found = divide(trajectories([3, 1, 2], [1.0, 2.0, 3.0]), validation=0.3)
    assert found.train.points + found.validation.points == 6 * 24
    assert found.tests["bulk"].points == 48
    assert {name: len(group) for name, group in found.tests["bulk"].groups.items()} == {"x": 2}
    assert found.tests["bulk"].corpus == "corpus.zarr"


def test_a_pattern_regroups_every_set() -> None:
    pairs = divide(
        corpus_of(
            [snapshot(f"train/p{i}-{j}_0", "same") for i in range(4) for j in range(2)]
            + [snapshot("test/q9-0_0", "same")]
        ),
        group=r"([pq]\d)-",
        validation=0.25,
    )
    assert set(pairs.train.groups) | set(pairs.validation.groups) == {"p0", "p1", "p2", "p3"}
    assert {name: len(group) for name, group in pairs.validation.groups.items()}.popitem()[1] == 2
    assert list(pairs.tests["bulk"].groups) == ["q9"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"train": "trian/*"}, r"no snapshot is named 'trian/\*'"),
        ({"tests": {"bulk": "tset/*"}}, r"no snapshot is named 'tset/\*'"),
        (
            {"validation": 0.95},
            "corpus.validation: expected a share that leaves groups on both sides, found 0.95 of 4 groups",
        ),
        ({"group": r"train/(t\d+)"}, r"corpus.group: .* found no match in 'test/x_0'"),
        ({"group": r"(zzz)?"}, r"corpus.group: .* found no match in"),
        ({"group": r"^(t)"}, r"corpus.validation: .* of 1 group;|corpus.test"),
        (
            {"tests": {"bulk": "test/*", "own": "train/t00*"}},
            "corpus.test.own: .* found the content of 'train/t00_0' again",
        ),
        ({"tests": {"bulk": "test/*", "more": "test/x_0"}}, "corpus.test.more: .* in corpus.test.bulk"),
    ],
)
def test_a_split_that_cannot_be_is_told_with_the_key(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(RequestError, match=expected):
        divide(trajectories([2, 1, 1, 2], [1.0, 2.0, 3.0, 4.0]), **settings)


@pytest.mark.parametrize("frames", [[1], [3]])
def test_a_single_trajectory_cannot_validate_itself(frames: list[int]) -> None:
    with pytest.raises(RequestError, match=r"found 0\.01 of 1 group; lower it, add trajectories"):
        divide(trajectories(frames, [300.0]), validation=0.01)


def test_the_same_content_under_two_names_is_found_across_sets_and_within_one() -> None:
    a, b = snapshot("train/a_0", "a"), snapshot("train/b_0", "b")
    for name, group in (("test/x_0", "x"), ("train/c_0", "c")):
        copy = snapshot(name, group, digest=a.digest)
        corpus = corpus_of([a, b, copy, snapshot("test/y_0", "y")])
        with pytest.raises(RequestError, match="found the content of") as caught:
            divide(corpus, validation=0.4)
        assert "'train/a_0'" in str(caught.value)
        assert repr(name) in str(caught.value)
        assert str(caught.value).startswith("job.yaml: corpus.")


@pytest.mark.parametrize("side", ["a", "b", "c"])
def test_a_trajectory_that_trains_or_validates_does_not_test(side: str) -> None:
    inside = [snapshot(f"train/{name}_0", name) for name in "abc"]
    corpus = corpus_of([*inside, snapshot(f"test/{side}_1", side)])
    with pytest.raises(RequestError, match=rf"corpus\.test\.bulk: .* found '{side}' in both"):
        divide(corpus, validation=0.34)


def test_the_digest_of_a_set_knows_names_contents_and_order_but_not_the_place() -> None:
    a, b = snapshot("train/a_0", "a"), snapshot("train/b_0", "b")
    digest = SnapshotSet("here", (a, b)).digest
    assert SnapshotSet("there", (a, b)).digest == digest
    others = [
        SnapshotSet("here", (a,)),
        SnapshotSet("here", (b, a)),
        SnapshotSet("here", (a, replace(b, digest="f" * 64))),
        SnapshotSet("here", (a, replace(b, name="train/c_0"))),
    ]
    assert len({digest, *(other.digest for other in others)}) == 5

import dataclasses
import os
import pickle
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coreset.corpus import store
from coreset.corpus.snapshot import Snapshot, content_digest
from coreset.corpus.store import Corpus, corpus_digest, finish, write_snapshot
from coreset.errors import DataError, RequestError, WorkError

NAMES = ["test/b_0", "train/a_0", "train/a_1"]


def make(name, seed=0, grid=(5, 4, 3)):
    rng = np.random.default_rng(seed)
    atoms = {"cell": np.diag([3.0, 4.0, 5.0]) / 3, "numbers": np.array([8, 1]), "positions": rng.uniform(size=(2, 3))}
    density = rng.uniform(size=grid).astype(np.float32)
    snapshot = Snapshot(
        name=name,
        **atoms,
        grid=grid,
        electrons=7.0,
        energy=None,
        group=name[:-2],
        temperature=300.0,
        composition="HO",
        source={"x.dens": "0"},
        wrapped=0,
        digest=content_digest(*atoms.values(), density),
    )
    return snapshot, density


def write(root, names=NAMES, **options):
    for seed, name in enumerate(names):
        write_snapshot(root, *make(name, seed), **options)
    return finish(root, names)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "c.zarr"
    write(path, inner=12)
    return path


def test_what_is_written_is_read(root):
    corpus = Corpus.open(root)
    assert [snapshot.name for snapshot in corpus.snapshots] == NAMES
    for seed, snapshot in enumerate(corpus.snapshots):
        expected, density = make(snapshot.name, seed)
        assert snapshot.to_json() == expected.to_json()
        found = corpus.density(snapshot)
        assert found.dtype == np.float32
        assert np.array_equal(found, density.ravel())
        corpus.verify(snapshot)


def test_any_zarr_reader_opens_it(root):
    group = zarr.open_group(str(root), mode="r")
    assert sorted(name for name, _ in group.members(max_depth=None)) == sorted([*NAMES, "test", "train"])
    array = group["train/a_0"]
    assert np.array_equal(array[...], make("train/a_0", 1)[1])
    assert array.attrs["units"] == "e/Bohr^3"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted))
def test_slices_are_those_of_the_whole(root, ends):
    corpus = Corpus.open(root)
    snapshot = corpus.snapshots[1]
    assert np.array_equal(corpus.density(snapshot, *ends), make("train/a_0", 1)[1].ravel()[slice(*ends)])


@pytest.mark.parametrize("inner", [1, 12, 13, 24, 59, 60, 10**9])
def test_the_size_of_slabs_changes_no_value(tmp_path, inner):
    write(tmp_path / "c", inner=inner)
    corpus = Corpus.open(tmp_path / "c")
    assert np.array_equal(corpus.density(corpus.snapshots[0]), make(NAMES[0], 0)[1].ravel())
    assert corpus.digest == corpus_digest(tuple(make(name, seed)[0] for seed, name in enumerate(NAMES)))


@pytest.mark.parametrize("ends", [(-1, 3), (4, 3), (0, 61)])
def test_a_range_outside_the_grid(root, ends):
    corpus = Corpus.open(root)
    with pytest.raises(RequestError, match="test/b_0: expected 0 <= start <= stop <= 60, found start="):
        corpus.density(corpus.snapshots[0], *ends)


def test_the_same_snapshots_give_the_same_bytes_in_any_order(root, tmp_path):
    other = tmp_path / "elsewhere" / "d"
    for seed, name in reversed(list(enumerate(NAMES))):
        write_snapshot(other, *make(name, seed), inner=12)
    finish(other, NAMES)
    assert contents(other) == contents(root)
    assert str(tmp_path).encode() not in b"".join(contents(root).values())


def test_writing_again_changes_nothing(root):
    before, times = contents(root), {path: path.stat().st_mtime_ns for path in root.rglob("c/0/0/0")}
    write_snapshot(root, *make(NAMES[1], 1), inner=12)
    assert contents(root) == before
    assert {path: path.stat().st_mtime_ns for path in root.rglob("c/0/0/0")} == times
    finish(root, NAMES)
    assert contents(root) == before


def test_other_content_replaces_and_takes_the_mark_away(root):
    write_snapshot(root, *make(NAMES[1], 7))
    with pytest.raises(RequestError, match="unfinished"):
        Corpus.open(root)
    finish(root, NAMES)
    corpus = Corpus.open(root)
    assert np.array_equal(corpus.density(corpus.snapshots[1]), make(NAMES[1], 7)[1].ravel())


def test_a_new_snapshot_takes_the_mark_away(root):
    write_snapshot(root, *make("train/z", 9))
    with pytest.raises(RequestError, match="unfinished"):
        Corpus.open(root)
    with pytest.raises(RequestError, match=r"holds 1 snapshots that the source does not have \(train/z\)"):
        finish(root, NAMES)


def test_finish_demands_every_snapshot(tmp_path):
    write_snapshot(tmp_path / "c", *make(NAMES[0]))
    with pytest.raises(WorkError, match=r"2 of 3 snapshots are not written \(train/a_0, train/a_1\); ingest again"):
        finish(tmp_path / "c", NAMES)
    with pytest.raises(WorkError, match="0 of 0 snapshots"):
        finish(tmp_path / "absent", [])


def test_equal_content_under_two_names_is_refused(tmp_path):
    for name in ("a", "b"):
        write_snapshot(tmp_path / "c", *make(name, 3))
    with pytest.raises(DataError, match="a and b have the same atoms, cell and density"):
        finish(tmp_path / "c", ["a", "b"])


def test_density_and_snapshot_must_belong_together(tmp_path):
    snapshot, density = make("a")
    for wrong in (density.astype(np.float64), density[:-1]):
        with pytest.raises(WorkError, match=r"a: expected float32 of shape \(5, 4, 3\)"):
            write_snapshot(tmp_path, snapshot, wrong)
    with pytest.raises(WorkError, match="a: expected the density whose digest is"):
        write_snapshot(tmp_path, snapshot, density + 1)
    assert not list(tmp_path.iterdir())


class Interruption(BaseException):
    """Stands for a signal: nothing in the code under test may catch it for good."""


@pytest.mark.parametrize("kill", [False, True], ids=["unwinding", "killed"])
def test_interrupted_at_every_step_it_is_refused_until_it_is_finished(tmp_path, monkeypatch, kill):
    """Every file-system step of an ingestion fails once; `killed` also leaves the temporary files behind."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the order of the steps is tested, not the disk
    write(tmp_path / "whole")
    steps = 0
    while True:
        folder, left = tmp_path / f"c{steps}", steps

        def step(real):
            def call(*arguments, **options):
                nonlocal left
                left -= 1
                if left == -1:
                    raise Interruption
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("replace", "fsync"):
                patch.setattr(os, name, step(getattr(os, name)))
            if kill:
                patch.setattr("coreset.atomic.remove", lambda path: None)
            try:
                write(folder)
            except Interruption:
                finished = False
            else:
                finished = True
        if finished:
            break
        if (folder / "zarr.json").exists():  # only the last fsync, that of the folder, comes after the mark
            assert contents(folder) == contents(tmp_path / "whole")
        else:
            with pytest.raises(RequestError):
                Corpus.open(folder)
        write(folder)
        assert contents(folder) == contents(tmp_path / "whole")
        shutil.rmtree(folder)
        steps += 1
    assert steps > 20


def test_what_cannot_be_opened(tmp_path, root):
    with pytest.raises(RequestError, match=r"absent: no such corpus; `coreset ingest SOURCE .*absent` makes one"):
        Corpus.open(tmp_path / "absent")
    with pytest.raises(RequestError, match=r"found a folder that holds some: .*c\.zarr$"):
        Corpus.open(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"expected a corpus, found a folder without zarr\.json"):
        Corpus.open(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="expected a corpus"):
        Corpus.open(tmp_path / "file")
    zarr.create_group(str(tmp_path / "other"))
    with pytest.raises(RequestError, match="found Zarr data of another kind"):
        Corpus.open(tmp_path / "other")
    with pytest.raises(RequestError, match="found Zarr data of another kind"):
        Corpus.open(root / "train/a_0")
    with pytest.raises(RequestError, match="nonsense://x: cannot be opened"):
        Corpus.open("nonsense://x")
    (root / "zarr.json").unlink()
    with pytest.raises(RequestError, match=r"c\.zarr: the corpus is unfinished, .* ingest again to finish"):
        Corpus.open(root)


def test_another_version_and_damaged_metadata(root):
    mark = root / "zarr.json"
    text = mark.read_text()
    mark.write_text(text.replace("coreset-corpus-1", "coreset-corpus-9"))
    with pytest.raises(RequestError, match="expected the format coreset-corpus-1, found coreset-corpus-9"):
        Corpus.open(root)
    mark.write_text(text[:-5])
    with pytest.raises(DataError, match=r"zarr\.json: expected JSON"):
        Corpus.open(root)
    mark.write_text(text.replace('"group": "train/a"', '"group": "train/b"', 1))
    with pytest.raises(DataError, match=r"zarr\.json: expected the digest"):
        Corpus.open(root)
    mark.write_text(text.replace('"electrons": 7.0', '"electrons": "many"', 1))
    with pytest.raises(DataError, match="the metadata of test/b_0 are damaged"):
        Corpus.open(root)


def test_opening_reads_one_file(root, monkeypatch):
    read = []
    real = fsspec.implementations.local.LocalFileSystem.cat_file
    monkeypatch.setattr(
        fsspec.implementations.local.LocalFileSystem,
        "cat_file",
        lambda self, path: read.append(path) or real(self, path),
    )
    Corpus.open(root)
    assert [Path(path) for path in read] == [root / "zarr.json"]


def test_every_flipped_byte_of_a_density_is_found_or_harmless(root):
    shard = root / "train/a_0/c/0/0/0"
    content = shard.read_bytes()
    for position in range(len(content)):
        shard.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        corpus = Corpus.open(root)
        with pytest.raises(DataError, match=r"train/a_0: .*c\.zarr/train/a_0/c/0/0/0 is"):
            corpus.density(corpus.snapshots[1])


def test_every_truncation_of_a_density_is_found(root):
    shard = root / "train/a_0/c/0/0/0"
    content = shard.read_bytes()
    for length in range(0, len(content), 7):
        shard.write_bytes(content[:length])
        corpus = Corpus.open(root)
        with pytest.raises(DataError, match="train/a_0/c/0/0/0 is"):
            corpus.density(corpus.snapshots[1])


def test_only_the_slabs_that_are_needed_are_read(root):
    shard = root / "train/a_0/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[5] ^= 0xFF  # in the first of five slabs
    shard.write_bytes(content)
    corpus = Corpus.open(root)
    assert np.array_equal(corpus.density(corpus.snapshots[1], 12, 60), make("train/a_0", 1)[1].ravel()[12:])
    with pytest.raises(DataError):
        corpus.density(corpus.snapshots[1], 11, 60)


def test_a_large_snapshot_is_cut_into_shards_that_are_written_one_by_one(root, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_POINTS", 24)
    cut = tmp_path / "cut.zarr"
    assert write(cut, inner=12) == Corpus.open(root).digest
    files = [path.relative_to(cut).as_posix() for path in sorted((cut / "train/a_0/c").rglob("*")) if path.is_file()]
    assert files == [f"train/a_0/c/{i}/0/0" for i in range(3)]
    corpus = Corpus.open(cut)
    for snapshot in corpus.snapshots:
        corpus.verify(snapshot)
    density = make("train/a_0", 1)[1].ravel()
    for start, stop in ((0, 60), (20, 30), (48, 60), (30, 30)):
        assert np.array_equal(corpus.density(corpus.snapshots[1], start, stop), density[start:stop])
    shard = cut / "train/a_0/c/1/0/0"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert len(corpus.density(corpus.snapshots[1], 0, 24)) == 24
    with pytest.raises(DataError, match="train/a_0/c/1/0/0 is damaged"):
        Corpus.open(cut).density(corpus.snapshots[1], 24, 30)
    with pytest.raises(DataError, match="train/a_0/c is damaged"):
        Corpus.open(cut).density(corpus.snapshots[1])


def test_missing_and_exchanged_files_are_found(root):
    corpus = Corpus.open(root)
    shutil.copytree(root / "train/a_0/c", root / "train/a_1/c", dirs_exist_ok=True)
    with pytest.raises(DataError, match="train/a_1: expected the digest"):
        corpus.verify(corpus.snapshots[2])
    (root / "train/a_0/c/0/0/0").unlink()
    with pytest.raises(DataError, match="train/a_0/c/0/0/0 is missing"):
        corpus.density(corpus.snapshots[1])
    shutil.copy(root / "train/a_1/zarr.json", root / "test/b_0/zarr.json")
    with pytest.raises(DataError, match="its metadata are not those of the corpus"):
        corpus.density(corpus.snapshots[0])
    shutil.rmtree(root / "test/b_0")
    with pytest.raises(DataError, match=r"test/b_0: .* is damaged"):
        corpus.density(corpus.snapshots[0])


def test_an_infinite_density_that_someone_stored_is_refused(root):
    zarr.open_array(str(root / "train/a_0"), mode="r+")[1, 2, 0] = np.inf
    corpus = Corpus.open(root)
    with pytest.raises(DataError, match=r"train/a_0/c/0/0/0: expected finite densities, found inf at point 18; copy"):
        corpus.density(corpus.snapshots[1], 5)


def test_select(root):
    corpus = Corpus.open(root)
    assert [snapshot.name for snapshot in corpus.select("train/*")] == ["train/a_0", "train/a_1"]
    assert [snapshot.name for snapshot in corpus.select("*")] == NAMES
    assert [snapshot.name for snapshot in corpus.select("test/b_0")] == ["test/b_0"]
    with pytest.raises(RequestError, match=r"no snapshot is named 'trian/a_0'; the nearest names are train/a_0"):
        corpus.select("trian/a_0")
    with pytest.raises(RequestError, match="the nearest names are "):
        corpus.select("?")


def test_the_digest_tells_names_contents_and_groups():
    first, second = make("a", 0)[0], make("b", 1)[0]
    digest = corpus_digest((first, second))
    assert corpus_digest((second, first)) == digest
    for change in ({"name": "c"}, {"group": "c"}, {"digest": "0" * 64}):
        assert corpus_digest((dataclasses.replace(first, **change), second)) != digest
    assert corpus_digest((dataclasses.replace(first, energy=-1.0), second)) == digest


def test_it_travels_to_workers(root):
    corpus = Corpus.open(root)
    expected = corpus.density(corpus.snapshots[0])
    other = pickle.loads(pickle.dumps(corpus))
    assert np.array_equal(other.density(other.snapshots[0]), expected)
    assert other.digest == corpus.digest


def test_it_is_read_from_an_object_store(root):
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/bucket/c.zarr", recursive=True)
    corpus = Corpus.open("memory://bucket/c.zarr")
    assert [snapshot.name for snapshot in corpus.snapshots] == NAMES
    assert np.array_equal(corpus.density(corpus.snapshots[1], 7, 31), make("train/a_0", 1)[1].ravel()[7:31])
    memory.rm("/bucket/c.zarr/zarr.json")
    with pytest.raises(RequestError, match="unfinished"):
        Corpus.open("memory://bucket/c.zarr")


def test_leftovers_are_removed(root):
    (root / f"train/{store.TEMPORARY}x").mkdir()
    (root / f"train/{store.TEMPORARY}x/zarr.json").write_text("{")
    (root / f"{store.TEMPORARY}y").write_text("half")
    before = {path: content for path, content in contents(root).items() if store.TEMPORARY not in path}
    finish(root, NAMES)
    assert contents(root) == before


ARRAY = "train/a_0/zarr.json"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"float32"', '"int32"'),
        ('"float32"', '"float64"'),
        ('"endian": "little"', '"endian": "big"'),
        ('"bitshuffle"', '"shuffle"'),
        ('"fill_value": "NaN"', '"fill_value": 0.0'),
        ('"electrons": 7.0', '"electrons": 7.5'),
        ('"energy": null', '"energy": -1.0'),
        ('"numbers": [8, 1]', '"numbers": [8, 2]'),
        ('"cell": [[1.0', '"cell": [[1.5'),
        ('"wrapped": 0', '"wrapped": 1e400'),
        ('"node_type": "array"', '"node_type": "group"'),
        ('"zarr_format": 3', '"zarr_format": 1e400'),
        ('"shape": [', '"shape": ["x", '),
        ('"codecs": [', '"codecs": [3, '),
        ('"attributes": {', '"attributes": 3, "x": {'),
        ('"attributes": {', '"x": ' + "[" * 100_000 + ', "attributes": {'),
    ],
    ids=range(16),
)
def test_metadata_of_an_array_that_are_not_those_of_the_corpus_are_found(root, old, new):
    text = (root / ARRAY).read_text()
    assert old in text
    (root / ARRAY).write_text(text.replace(old, new, 1))
    corpus = Corpus.open(root)
    with pytest.raises(DataError, match=rf"train/a_0: .*{ARRAY} is damaged"):
        corpus.density(corpus.snapshots[1])
    assert corpus.density(corpus.snapshots[0]).size == 60


@pytest.mark.parametrize(("old", "new"), [('"electrons": 7.0', '"electrons": 7.5'), ("[8, 1]", "[8, 2]")])
def test_metadata_of_the_corpus_that_are_not_those_of_the_array_are_found(root, old, new):
    (root / "zarr.json").write_text((root / "zarr.json").read_text().replace(old, new))
    corpus = Corpus.open(root)
    for snapshot in corpus.snapshots:
        with pytest.raises(DataError, match="its metadata are not those of the corpus"):
            corpus.density(snapshot)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"consolidated_metadata": {', '"consolidated_metadata": 3, "x": {'),
        ('"metadata": {', '"metadata": [], "x": {'),
        ('"train/a_0": {', '"train/a_0": 3, "x": {'),
        ('"train/a_0": {', '"../a_0": {'),
        ('"train/a_0": {', '"/a_0": {'),
        ('"numbers": [8, 1]', '"numbers": [8, ' + "9" * 30 + "]"),
        ('"electrons": 7.0', '"electrons": 1e400'),
        ('"electrons": 7.0', '"electrons": NaN'),
        ('"electrons": 7.0', '"electrons": 7.0, "electrons": 8.0'),
        ('"attributes": {', '"x": ' + "[" * 100_000 + ', "attributes": {'),
    ],
    ids=range(10),
)
def test_metadata_of_the_corpus_that_are_none_are_refused(root, old, new):
    text = (root / "zarr.json").read_text()
    assert old in text
    (root / "zarr.json").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=r"c\.zarr/zarr\.json: "):
        Corpus.open(root)


def test_folders_and_circles_of_links_in_the_place_of_files_are_named(root):
    corpus = Corpus.open(root)
    for name, circle in ((ARRAY, False), (ARRAY, True), ("train/a_0/c/0/0/0", False), ("train/a_0/c/0/0/0", True)):
        content = (root / name).read_bytes()
        (root / name).unlink()
        (root / name).symlink_to((root / name).name) if circle else (root / name).mkdir()
        with pytest.raises(DataError, match=f"train/a_0: .*{name} is"):
            Corpus.open(root).density(corpus.snapshots[1])
        (root / name).unlink() if circle else (root / name).rmdir()
        (root / name).write_bytes(content)
    (root / "zarr.json").unlink()
    (root / "zarr.json").mkdir()
    with pytest.raises(RequestError, match=r"zarr\.json: cannot be read"):
        Corpus.open(root)


@pytest.mark.parametrize("fails_at", ["cat_file", "exists"])
def test_what_a_client_of_an_object_store_raises_names_the_url(fails_at, monkeypatch):
    class NoCredentialsError(Exception):
        """As that of botocore, which is no OSError."""

    def fail(*_):
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(MemoryFileSystem, fails_at, fail)
    with pytest.raises(RequestError, match=r"memory://none/zarr\.json: cannot be read \(NoCredentialsError: Unable"):
        Corpus.open("memory://none")


def test_the_shipped_corpora_have_the_layout_that_is_demanded():
    for path in sorted((Path(__file__).parents[2] / "jobs" / "data").glob("*.zarr")):
        corpus = Corpus.open(path)
        corpus.verify(corpus.snapshots[0])

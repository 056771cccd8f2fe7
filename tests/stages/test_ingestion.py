"""Ingestion of native SPARC snapshots: what is written, what is refused, and that running again resumes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.corpus.naming import Naming
from coreset.corpus.sparc import Checks
from coreset.corpus.store import Corpus, corpus_digest
from coreset.errors import DataError, RequestError
from coreset.stages.ingestion import ingest, open_source

NATIVE = Path(__file__).parents[1] / "data"
SHIPPED = Path(__file__).parents[2] / "jobs" / "data"


def ingested(source: Path, destination: Path, inner: int = 65_536) -> Corpus:
    ingest(open_source(source, Checks(), Naming()), destination, SerialExecutor(), inner=inner)
    return Corpus.open(destination)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("material", ["al", "water", "crfeconi"])
def test_native_snapshots_give_the_shipped_densities(material: str, tmp_path: Path) -> None:
    corpus = ingested(NATIVE / material, tmp_path / "corpus.zarr")
    shipped = {snapshot.name: snapshot for snapshot in Corpus.open(SHIPPED / f"{material}.zarr").snapshots}
    for snapshot in corpus.snapshots:
        assert snapshot.to_json() == shipped[snapshot.name].to_json()


def test_resharding_changes_chunks_and_nothing_else(tmp_path: Path) -> None:
    corpus = ingested(NATIVE / "al", tmp_path / "one.zarr")
    finer = ingested(tmp_path / "one.zarr", tmp_path / "two.zarr", inner=5_000)
    assert finer.digest == corpus.digest
    assert files_of(tmp_path / "one.zarr").keys() == files_of(tmp_path / "two.zarr").keys()
    assert files_of(tmp_path / "one.zarr") != files_of(tmp_path / "two.zarr")
    for one, other in zip(corpus.snapshots, finer.snapshots, strict=True):
        assert np.array_equal(corpus.density(one), finer.density(other))


def test_a_bad_snapshot_stops_it_and_mending_it_resumes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(NATIVE / "al", source / "a")
    shutil.copytree(NATIVE / "water", source / "b")
    (bad,) = (source / "b").rglob("*.dens")
    whole = bad.read_text()
    lines = whole.splitlines(keepends=True)
    bad.write_text("".join(lines[:-40]))
    with pytest.raises(DataError, match=rf"{bad.name}, line \d+: .* truncated"):
        ingested(source, tmp_path / "corpus.zarr")
    with pytest.raises(RequestError, match="ingest again"):
        Corpus.open(tmp_path / "corpus.zarr")
    bad.write_text(whole)
    resumed = ingested(source, tmp_path / "corpus.zarr")
    fresh = ingested(source, tmp_path / "fresh.zarr")
    assert resumed.digest == fresh.digest
    assert files_of(tmp_path / "corpus.zarr") == files_of(tmp_path / "fresh.zarr")


@pytest.mark.parametrize("name", ["/{outside}/evil", "../evil", "a/../../evil"])
def test_a_corpus_whose_names_lead_outside_is_refused_unread(name: str, tmp_path: Path) -> None:
    """Its own metadata say so, and its digest is right: whoever made it meant it."""
    corpus = ingested(NATIVE / "al", tmp_path / "one.zarr")
    (snapshot,) = corpus.snapshots
    evil = replace(snapshot, name=name.format(outside=tmp_path / "outside"))
    mark = tmp_path / "one.zarr" / "zarr.json"
    root = json.loads(mark.read_bytes())
    root["attributes"]["digest"] = corpus_digest((evil,))
    members = root["consolidated_metadata"]["metadata"]
    members[evil.name] = members.pop(snapshot.name)
    mark.write_text(json.dumps(root))
    before = files_of(tmp_path)
    with pytest.raises(DataError, match="leads outside the corpus; do not trust this copy"):
        ingested(tmp_path / "one.zarr", tmp_path / "two.zarr")
    assert files_of(tmp_path) == before


def test_other_folders_are_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(RequestError, match="choose another folder"):
        ingested(NATIVE / "al", tmp_path / "thesis")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RequestError, match="found a file"):
        ingested(NATIVE / "al", tmp_path / "file")
    assert files_of(tmp_path) == {"thesis/chapter.txt": b"precious", "file": b"precious"}

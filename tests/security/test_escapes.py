"""Names in a manifest, a record or a corpus are data: none of them leads out of its folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coreset
from coreset.artifacts.manifest import Artifact, checksum
from coreset.corpus.store import Corpus
from coreset.errors import CoresetError, DataError, RequestError
from coreset.publishing.verify import verify
from coreset.report.evidence import read_evidence
from coreset.report.page import build_page
from coreset.stages.coverage import minima

OUTSIDE = ["{outside}", "../outside/secret", "deep/../../outside/secret", "link", "linked/secret"]
"""Ways to name a file outside: absolute, upwards, upwards behind a folder, a link to it, and a link to its folder."""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside" / "secret"


def lead_out(folder: Path, secret: Path) -> Callable[[str], str]:
    """Lays the links into a folder beside `outside`, and completes a name of OUTSIDE."""
    (folder / "link").symlink_to(secret)
    (folder / "linked").symlink_to(secret.parent)
    return lambda name: name.format(outside=secret)


def manifest_of(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    manifest["checksum"] = checksum(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole_run / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", OUTSIDE)
def test_distances_are_read_within_their_artifact(name: str, run: Path, secret: Path) -> None:
    folder = next((run / "artifacts").glob("coverage-*"))
    with secret.open("wb") as file:
        np.save(file, np.zeros(100))
    shutil.move(folder, folder := run.parent / "coverage")
    complete = lead_out(folder, secret)

    def change(manifest: dict[str, Any]) -> None:
        (stated,) = manifest["shards"][0]["files"].values()
        manifest["shards"][0]["files"] = {complete(name): stated}

    manifest_of(folder, change)
    with pytest.raises(DataError, match="leads outside the folder"):
        minima(Artifact(folder))


@pytest.mark.parametrize("name", ["/outside/secret", "../outside/secret", "link"])
def test_the_file_of_a_shard_is_within_its_artifact(name: str, run: Path, secret: Path) -> None:
    folder = next((run / "artifacts").glob("training-*"))
    secret.write_bytes(b"x")
    shutil.move(folder, folder := run.parent / "training")
    lead_out(folder, secret)

    def change(manifest: dict[str, Any]) -> None:
        (stated,) = manifest["shards"][0]["files"].values()
        manifest["shards"][0]["files"] = {name: stated}

    manifest_of(folder, change)
    with pytest.raises(DataError, match="leads outside the folder"):
        Artifact(folder).path("model")


@pytest.mark.parametrize("name", ["part-/../../../outside/secret", "part-link", "part-linked/secret"])
@pytest.mark.parametrize("read", [lambda path: coreset.open(path).to_arrow(), lambda path: list(verify(path))])
def test_a_dataset_reads_rows_within_its_folder(
    name: str, read: Callable[[Path], Any], run: Path, secret: Path
) -> None:
    folder = run / "coreset"
    shutil.copy(folder / "part-00000.parquet", secret)
    (folder / "part-link").symlink_to(secret)
    (folder / "part-linked").symlink_to(secret.parent)

    def change(manifest: dict[str, Any]) -> None:
        manifest["shards"][0]["name"] = name
        (stated,) = manifest["shards"][0]["files"].values()
        manifest["shards"][0]["files"] = {name: stated}

    manifest_of(folder, change)
    with pytest.raises(DataError, match="leads outside the folder"):
        read(folder)


def test_the_atoms_of_a_dataset_may_not_be_a_link(run: Path, secret: Path) -> None:
    path = run / "coreset" / "snapshots.parquet"
    shutil.move(path, secret)
    path.symlink_to(secret)
    for read in (lambda: coreset.open(run).to_arrow(), lambda: list(verify(run))):
        with pytest.raises(DataError, match="leads outside the folder"):
            read()


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_report_shows_fields_within_its_folder(name: str, swept: Any, secret: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(swept.session.folder.path, folder, ignore=shutil.ignore_patterns("artifacts"))
    complete = lead_out(folder, secret)
    sweep = json.loads((folder / "sweep.json").read_bytes())
    assert sweep["fields"]
    shutil.copy(folder / sweep["fields"][0]["file"], secret)
    for entry in sweep["fields"]:
        entry["file"] = complete(name)
    (folder / "sweep.json").write_text(json.dumps(sweep))
    with pytest.raises(RequestError, match="expected fields within that folder"):
        build_page(read_evidence(folder))


@pytest.mark.parametrize("name", ["../outside", "a/../../outside"])
def test_a_corpus_reads_densities_within_its_folder(name: str, small_corpus: Corpus, tmp_path: Path) -> None:
    from dataclasses import replace

    shutil.copytree(small_corpus.path, tmp_path / "c.zarr")
    snapshot = small_corpus.snapshots[0]
    shutil.move(tmp_path / "c.zarr" / snapshot.name, tmp_path / "outside")
    with pytest.raises(CoresetError):
        Corpus.unlisted(str(tmp_path / "c.zarr")).density(replace(snapshot, name=name))

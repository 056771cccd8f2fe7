"""`coreset publish`: from a run, and what its author states of it, to a folder, an object store, or a hub."""

from __future__ import annotations

import datetime
import tempfile
from dataclasses import dataclass
from pathlib import Path

from coreset.artifacts.manifest import MANIFEST
from coreset.atomic import parse_json
from coreset.errors import RequestError
from coreset.folder import RunFolder
from coreset.job_file import read_yaml
from coreset.publishing import push
from coreset.publishing.dataset import open_dataset
from coreset.publishing.metadata import Metadata, check_metadata
from coreset.publishing.package import Package
from coreset.publishing.publish import Evidence, Publication
from coreset.publishing.verify import verify
from coreset.report.evidence import read_evidence
from coreset.report.markdown import evidence_section
from coreset.urls import expect_no_secret


@dataclass(frozen=True)
class Published:
    """What was done."""

    rows: int
    unstated: list[str]
    """What the author has not stated."""
    stood: bool
    """Whether it was there already."""
    pushed: str
    """Address on a hub; empty where none was asked for."""


def publish(
    directory: Path, destination: str, metadata: Path | None, *, zarr: bool = False, push_to: str | None = None
) -> Published:
    """Publishes the coreset of a run: to a folder, or a URL that fsspec knows, and from there to a hub.

    The coreset is verified first. Raises RequestError for a wrong request, DataError for a damaged coreset.
    """
    dataset = open_dataset(directory)
    if "published" in dataset.manifest:
        raise RequestError(f"{directory}: expected the folder of a run, found a coreset that is published already.")
    stated = check_metadata(read_yaml(metadata, "metadata file"), str(metadata)) if metadata else Metadata()
    if push_to:
        push.check_repository(push_to)
        _expect_terms(stated, metadata, push_to)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for _ in verify(dataset.path):
        pass
    publication = Publication(dataset, stated, _evidence(dataset), zarr, today)
    if "://" in destination:
        if push_to:
            raise RequestError(f"--push: expected a folder as DEST, to be pushed, found {destination!r}.")
        return _publish_remotely(publication, destination)
    folder = Path(destination)
    stood = publication.stands(folder)
    if not stood:
        publication.write(folder)
    pushed = push.push(folder, push_to) if push_to else ""
    return Published(len(dataset), stated.unstated(), stood, pushed)


def _publish_remotely(publication: Publication, url: str) -> Published:
    expect_no_secret(url, "DEST")
    stood = push.remote_stands(url, publication.identity)
    if not stood:
        with tempfile.TemporaryDirectory(prefix="coreset-publish-") as scratch:
            folder = Path(scratch) / "coreset"
            publication.write(folder)
            push.upload(folder, url)
    return Published(len(publication.dataset), publication.metadata.unstated(), stood, "")


def _expect_terms(stated: Metadata, file: Path | None, push_to: str) -> None:
    """What strangers may do with it, and whom they are to thank, is to be said before they can see it."""
    lacking = [name for name in stated.unstated() if name in ("authors", "license")]
    if lacking:
        raise RequestError(
            f"--push {push_to}: expected authors and license, found no {' and no '.join(lacking)} in "
            f"{file or '--metadata, which was not given'}; state them there."
        )


def _evidence(dataset: Package) -> Evidence:
    """The evidence of the run that the coreset lies in; none for a coreset that was copied elsewhere.

    Raises RequestError where the figures are of another coreset, or of an older command.
    """
    run = RunFolder(dataset.path.parent)
    if dataset.path != run.coreset or not run.summary.is_file():
        return Evidence()
    evidence = read_evidence(run.path)
    summary = parse_json(run.summary.read_bytes())
    if not isinstance(summary, dict) or (summary.get("name"), summary.get("rows")) != (
        dataset.manifest.get("name"),
        len(dataset),
    ):
        raise RequestError(
            f"{run.summary}: expected the figures of the coreset beside it, found those of another (see "
            f"{dataset.path / MANIFEST}); run again."
        )
    if evidence.note:
        raise RequestError(f"{run.path}: expected the evidence of this coreset. {evidence.note}")
    text, pictures = evidence_section(evidence)
    return Evidence(text, pictures, summary)

"""`coreset publish`: a folder that can be uploaded as it is, whole or absent, its manifest written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq
import yaml

from coreset.artifacts.manifest import MANIFEST, shard_record, write_manifest
from coreset.atomic import canonical_json, replacing
from coreset.errors import CoresetError, RequestError
from coreset.publishing.arrays import write_arrays
from coreset.publishing.citation import NOT_STATED, citation_cff, citation_text, ro_crate
from coreset.publishing.croissant import croissant
from coreset.publishing.dataset import open_dataset
from coreset.publishing.index import INDEX, recipe_of, write_index
from coreset.publishing.metadata import Metadata
from coreset.publishing.package import CARD, DATA, Package
from coreset.publishing.published_card import Split, published_card
from coreset.publishing.verify import verify

CROISSANT = "croissant.json"
CRATE = "ro-crate-metadata.json"
CITATION = "CITATION.cff"
JOB = "job.yaml"
SUMMARY = "summary.json"
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Evidence:
    """What is known of the worth of a coreset: Markdown, the pictures that it shows, and the figures as JSON."""

    text: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """SVG by the file's name."""
    summary: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Publication:
    """What is to be published: a coreset as a run left it, what its author states of it, and the evidence."""

    dataset: Package
    metadata: Metadata
    evidence: Evidence
    zarr: bool
    date: str
    """Of the publication, unless the metadata state one."""

    @property
    def told(self) -> dict[str, str]:
        """Name, title, description, date and citation."""
        subject = self.dataset.subject()
        told = {"name": str(self.dataset.manifest.get("name", "coreset"))}
        told["title"] = self.metadata.title or subject.title
        told["description"] = self.metadata.description or subject.description
        told["date"] = self.metadata.date or self.date
        return told | {"citation": citation_text(self.metadata, told)}

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two publications the same, whatever the day."""
        evidence = canonical_json([self.evidence.text, dict(self.evidence.pictures), self.evidence.summary])
        return {
            "coreset": self.dataset.manifest["checksum"],
            "metadata": self.metadata.model_dump(mode="json"),
            "evidence": hashlib.sha256(evidence).hexdigest(),
            "zarr": self.zarr,
        }

    def stands(self, destination: Path) -> bool:
        """Whether the folder holds this publication, found whole.

        Raises RequestError where it holds anything else, DataError where it is damaged.
        """
        if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
            return False
        try:
            found = open_dataset(destination).manifest.get("published")
        except CoresetError:
            found = None
        if found != self.identity:
            held = "another publication" if found else "something else"
            raise RequestError(
                f"{destination}: expected a new folder, or one that holds this coreset as it would be published, found "
                f"{held}; choose another DEST, or remove it."
            )
        for _ in verify(destination):
            pass
        return True

    def write(self, destination: Path) -> None:
        """Writes the folder, all its files or none."""
        with replacing(destination) as fresh:
            fresh.mkdir()
            records = list(self._data(fresh))
            records += self._described(fresh, _stated(records))
            recipe = recipe_of(self.dataset.manifest)
            stated = {**recipe, "published": self.identity, "date": self.told["date"], "shards": records}
            write_manifest(fresh / MANIFEST, stated)
            if destination.is_dir():
                destination.rmdir()  # empty, see `stands`

    def _data(self, fresh: Path) -> Iterator[dict[str, Any]]:
        dataset = self.dataset
        (fresh / DATA).mkdir()
        for part, file in zip(dataset.parts, dataset.files, strict=True):
            name = f"{DATA}/{file.name}"
            shutil.copyfile(file, fresh / name)
            yield _record(fresh, name, part["figures"])
        for name, table in dataset.beside().items():
            pq.write_table(table, fresh / name, compression="zstd")
            yield _record(fresh, name, {"rows": table.num_rows})
        write_index(fresh / INDEX, dataset)
        yield _record(fresh, INDEX, {"rows": len(dataset)})
        if self.zarr:
            write_arrays(fresh / self._arrays, dataset)
            yield _record(fresh, self._arrays, {"rows": len(dataset)})

    @property
    def _arrays(self) -> str:
        """The folder of the rows as arrays."""
        return f"{self.dataset.noun}.zarr"

    def _described(self, fresh: Path, stated: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """What others read of it; the checksums after all that they are of. `stated` is what is said of the data."""
        told, manifest, listings = self.told, self.dataset.manifest, self.dataset.subject().listings
        splits = {name: _split(fresh, listing.pattern) for name, listing in listings.items()}
        schemas = {name: split.schema for name, split in splits.items()}
        others = [self._arrays] if self.zarr else []
        others += [SUMMARY] if self.evidence.summary is not None else []
        others += [JOB, MANIFEST, SUMS, CROISSANT, CRATE, CITATION]
        card = published_card(self.metadata, told, self.dataset, splits, self.evidence.text, others)
        listed = {
            name: each
            for name, each in stated.items()
            if any(fnmatchcase(name, listing.pattern) for listing in listings.values())
        }
        described = croissant(self.metadata, told, listed, listings, schemas)
        texts = {CARD: card, CITATION: citation_cff(self.metadata, told), JOB: _job(manifest)}
        texts |= {**self.evidence.pictures, CROISSANT: _json(described)}
        texts |= {SUMMARY: _json(self.evidence.summary)} if self.evidence.summary is not None else {}
        records = [_text(fresh, name, text) for name, text in texts.items()]
        stated = stated | _stated(records)
        crate = ro_crate(self.metadata, told, self.dataset.noun, stated, manifest.get("software", {}))
        records.append(_text(fresh, CRATE, _json(crate)))
        stated = stated | _stated(records)
        sums = "".join(f"{each['sha256']}  {name}\n" for name, each in sorted(stated.items()))
        yield from (*records, _text(fresh, SUMS, sums))


def _text(fresh: Path, name: str, text: str) -> dict[str, Any]:
    (fresh / name).parent.mkdir(exist_ok=True)
    (fresh / name).write_text(text, encoding="utf-8")
    return _record(fresh, name)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _record(fresh: Path, name: str, figures: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the manifest says of a file, or a folder of files, by its path within the publication."""
    record = shard_record(name, fresh / name, figures or {})
    parent = PurePosixPath(name).parent
    return record | {"files": {(parent / file).as_posix(): stated for file, stated in record["files"].items()}}


def _stated(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file of some records, by its name."""
    return {name: each for record in records for name, each in record["files"].items()}


def _split(fresh: Path, pattern: str) -> Split:
    files = sorted(fresh.glob(pattern))
    footers = [pq.read_metadata(file) for file in files]
    return Split(
        pattern=pattern,
        schema=pq.read_schema(files[0]).remove_metadata(),
        rows=sum(footer.num_rows for footer in footers),
        bytes_in_memory=sum(
            footer.row_group(group).total_byte_size for footer in footers for group in range(footer.num_row_groups)
        ),
        bytes_on_disk=sum(os.path.getsize(file) for file in files),
    )


def _job(manifest: Mapping[str, Any]) -> str:
    """The job file, but for what is particular to a machine."""
    job = dict(manifest.get("job", {}))
    corpus = {"source": "corpus.zarr", **job.pop("corpus", {})}
    content = {"name": job.pop("name", manifest.get("name", "coreset")), "corpus": corpus, **job}
    head = "# The job that made this coreset. corpus.source is where you keep the original corpus.\n"
    if "scores" in manifest or content.get("score", {}).get("method") == "file":
        content["score"] = {"method": "file", "path": "scores.parquet"}
        sha256 = manifest.get("scores", {}).get("sha256", NOT_STATED)
        head += f"# score.path is where you keep the scores, of SHA-256 {sha256}.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)

"""The card of a published coreset: front matter as the Hugging Face Hub reads it, then what a reader has to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from coreset.publishing.citation import NOT_STATED
from coreset.publishing.columns import hub_features, markdown_table
from coreset.publishing.metadata import LICENCES, Metadata
from coreset.publishing.package import Package
from coreset.publishing.subject import Subject

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))
_LARGER = ((1e8, "10M<n<100M"), (1e9, "100M<n<1B"), (1e10, "1B<n<10B"), (1e11, "10B<n<100B"), (1e12, "100B<n<1T"))


@dataclass(frozen=True)
class Split:
    """A table of the folder: its pattern, columns, rows, and bytes in memory and on disk."""

    pattern: str
    schema: pa.Schema
    rows: int
    bytes_in_memory: int
    bytes_on_disk: int


def published_card(
    metadata: Metadata,
    told: Mapping[str, str],
    dataset: Package,
    splits: Mapping[str, Split],
    evidence: str,
    others: Sequence[str],
) -> str:
    """The card. told: `title`, `description`, `citation`; others: files to be named beside the tables."""
    subject = dataset.subject()
    head = yaml.safe_dump(
        _front_matter(metadata, told, subject, splits), sort_keys=False, allow_unicode=True, width=100
    )
    sections = [
        f"---\n{head}---",
        f"# {told['title']}",
        told["description"],
        _stated(metadata),
        _files(dataset.noun, subject, splits, others),
        _curation(dataset.noun, subject, dataset.manifest),
        evidence,
        "## Columns",
        *(
            part
            for name, listing in subject.listings.items()
            for part in (
                f"`{listing.pattern}`, {listing.lead}:",
                markdown_table(splits[name].schema.names, listing.columns),
            )
        ),
        _use(subject),
        _limits(subject, metadata),
        f"## Licence\n\n{_licence(metadata)}",
        f"## Citation\n\n```text\n{told['citation']}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def size_category(rows: int) -> str:
    """How the Hub calls a number of rows."""
    return next((name for most, name in (*_SIZES, *_LARGER) if rows < most), "n>1T")


def _front_matter(
    metadata: Metadata, told: Mapping[str, str], subject: Subject, splits: Mapping[str, Split]
) -> dict[str, Any]:
    licence = LICENCES[metadata.license] if metadata.license else "unknown"
    rows = next(iter(splits))
    return {
        "pretty_name": told["title"],
        "license": licence,
        "size_categories": [size_category(splits[rows].rows)],
        "task_categories": [subject.task],
        "tags": list(dict.fromkeys((*metadata.keywords, "coreset", "data-pruning", *subject.tags))),
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": split.pattern}],
                **({"default": True} if name == rows else {}),
            }
            for name, split in splits.items()
        ],
        "dataset_info": [
            {
                "config_name": name,
                "features": hub_features(split.schema),
                "splits": [{"name": "train", "num_bytes": split.bytes_in_memory, "num_examples": split.rows}],
                "download_size": split.bytes_on_disk,
                "dataset_size": split.bytes_in_memory,
            }
            for name, split in splits.items()
        ],
    }


def _stated(metadata: Metadata) -> str:
    authors = "; ".join(
        author.full
        + (f" ({author.affiliation})" if author.affiliation else "")
        + (f", [ORCID {author.orcid}](https://orcid.org/{author.orcid})" if author.orcid else "")
        for author in metadata.authors
    )
    lines = [
        f"- Authors: {authors or NOT_STATED}",
        f"- Licence: {metadata.license or NOT_STATED}",
        *([f"- DOI: [{metadata.doi}](https://doi.org/{metadata.doi})"] if metadata.doi else []),
        *([f"- Home page: {metadata.homepage}"] if metadata.homepage else []),
    ]
    return "\n".join(lines)


def _files(noun: str, subject: Subject, splits: Mapping[str, Split], others: Sequence[str]) -> str:
    known = _OTHERS | {f"{noun}.zarr": f"the {noun} again, as Zarr v3 arrays"}
    rows = [
        *(
            f"| `{listing.pattern}` | {listing.title}, {splits[name].rows:,} rows |"
            for name, listing in subject.listings.items()
        ),
        f"| `index.parquet` | which {noun} of the original corpus these are, without the data |",
        *(f"| `{name}` | {known[name]} |" for name in others),
    ]
    return "\n".join(["## What is here", "", "| file | what it is |", "|---|---|", *rows])


_OTHERS = {
    "summary.json": "every figure of the evidence, with its interval",
    "job.yaml": "the job that made it; `corpus.source` is yours to fill in",
    "manifest.json": "recipe, software versions, and size and SHA-256 of every file",
    "SHA256SUMS": "the same checksums for `sha256sum -c`",
    "croissant.json": "Croissant metadata",
    "ro-crate-metadata.json": "RO-Crate metadata",
    "CITATION.cff": "how to cite it",
}


def _curation(noun: str, subject: Subject, manifest: Mapping[str, Any]) -> str:
    select, job = manifest.get("select", {}), manifest.get("job", {})
    score, points, one = job.get("score"), manifest.get("points"), noun.removesuffix("s")
    # An index may tell that there was a file, and not which.
    given = "scores" in manifest or (score or {}).get("method") == "file"
    sha256 = manifest.get("scores", {}).get("sha256", NOT_STATED)
    lines = [f"- {key}: {value}" for key, value in select.items()]
    if "cutoff" in manifest:
        lines.append(f"- cutoff β that was used: {manifest['cutoff']}")
    if given:
        lines.append(f"- score: one of each {one}, higher for harder, from a file of SHA-256 {sha256}")
    elif score:
        lines.append(
            f"- score: {score['method']}, the gradient norm of each {one}, averaged over {score['seeds']} networks "
            f"after epoch {score['epoch']}"
        )
    if "descriptor" in manifest:
        lines.append("- descriptor: " + ", ".join(f"{key} {value}" for key, value in manifest["descriptor"].items()))
    lines += [f"- {name}: {version}" for name, version in manifest.get("software", {}).items()]
    kept = f"{manifest['rows']:,} {noun}" + (f" out of {points:,}" if points else "")
    return (
        "## How it was curated\n\n"
        f"`coreset run` {'took the score of' if given else 'scored'} every {one} of the training set and kept {kept}. "
        f"{subject.set_aside}\n\n" + "\n".join(lines)
    )


def _use(subject: Subject) -> str:
    return f"""## Use

{subject.use}

`coreset verify FOLDER` checks every file. Whoever has the original corpus needs `index.parquet` alone:
`coreset import index.parquet CORPUS OUT` makes the same rows of it."""


def _limits(subject: Subject, metadata: Metadata) -> str:
    told = "\n".join(f"- {limit}" for limit in subject.limits)
    return f"## Known limits\n\n{told}" + (f"\n\n{metadata.limits.strip()}" if metadata.limits else "")


def _licence(metadata: Metadata) -> str:
    if metadata.license:
        return f"[{metadata.license}]({metadata.licence_url})."
    return f"The licence is {NOT_STATED}. Ask the authors before you use or share it."

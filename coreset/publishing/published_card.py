"""The card of a published coreset: front matter as the Hugging Face Hub reads it, then what a reader has to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from coreset.publishing.citation import NOT_STATED
from coreset.publishing.columns import POINTS, SNAPSHOTS, hub_features, markdown_table
from coreset.publishing.metadata import LICENCES, Metadata

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
    manifest: Mapping[str, Any],
    splits: Mapping[str, Split],
    evidence: str,
    others: Sequence[str],
) -> str:
    """The card. told: `title`, `description`, `citation`; others: files to be named beside the tables."""
    head = yaml.safe_dump(_front_matter(metadata, told, splits), sort_keys=False, allow_unicode=True, width=100)
    sections = [
        f"---\n{head}---",
        f"# {told['title']}",
        told["description"],
        _stated(metadata),
        _files(splits, others),
        _curation(manifest),
        evidence,
        "## Columns",
        "`data/part-*.parquet`, one row per point:",
        markdown_table(splits["points"].schema.names, POINTS),
        "`snapshots.parquet`, one row per snapshot, also of those of which no point was kept, so that any descriptor "
        "can be computed:",
        markdown_table(splits["snapshots"].schema.names, SNAPSHOTS),
        _use(),
        _limits(metadata),
        f"## Licence\n\n{_licence(metadata)}",
        f"## Citation\n\n```text\n{told['citation']}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def size_category(rows: int) -> str:
    """How the Hub calls a number of rows."""
    return next((name for most, name in (*_SIZES, *_LARGER) if rows < most), "n>1T")


def _front_matter(metadata: Metadata, told: Mapping[str, str], splits: Mapping[str, Split]) -> dict[str, Any]:
    licence = LICENCES[metadata.license] if metadata.license else "unknown"
    return {
        "pretty_name": told["title"],
        "license": licence,
        "size_categories": [size_category(splits["points"].rows)],
        "task_categories": ["tabular-regression"],
        "tags": list(
            dict.fromkeys(
                (*metadata.keywords, "coreset", "data-pruning", "electron-density", "density-functional-theory")
            )
        ),
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": split.pattern}],
                **({"default": True} if name == "points" else {}),
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


def _files(splits: Mapping[str, Split], others: Sequence[str]) -> str:
    rows = [
        f"| `{splits['points'].pattern}` | the points, {splits['points'].rows:,} rows |",
        f"| `snapshots.parquet` | their snapshots, {splits['snapshots'].rows:,} rows |",
        "| `index.parquet` | which points of the original corpus these are, without the data |",
        *(f"| `{name}` | {_OTHERS[name]} |" for name in others),
    ]
    return "\n".join(["## What is here", "", "| file | what it is |", "|---|---|", *rows])


_OTHERS = {
    "points.zarr": "the points again, as Zarr v3 arrays",
    "summary.json": "every figure of the evidence, with its interval",
    "job.yaml": "the job that made it; `corpus.source` is yours to fill in",
    "manifest.json": "recipe, software versions, and size and SHA-256 of every file",
    "SHA256SUMS": "the same checksums for `sha256sum -c`",
    "croissant.json": "Croissant metadata",
    "ro-crate-metadata.json": "RO-Crate metadata",
    "CITATION.cff": "how to cite it",
}


def _curation(manifest: Mapping[str, Any]) -> str:
    select, job = manifest.get("select", {}), manifest.get("job", {})
    score, points = job.get("score"), manifest.get("points")
    lines = [f"- {key}: {value}" for key, value in select.items()]
    if "cutoff" in manifest:
        lines.append(f"- cutoff β that was used: {manifest['cutoff']}")
    if score:
        lines.append(
            f"- score: {score['method']}, the gradient norm of each point, averaged over {score['seeds']} networks "
            f"after epoch {score['epoch']}"
        )
    if "descriptor" in manifest:
        lines.append("- descriptor: " + ", ".join(f"{key} {value}" for key, value in manifest["descriptor"].items()))
    lines += [f"- {name}: {version}" for name, version in manifest.get("software", {}).items()]
    kept = f"{manifest['rows']:,} points" + (f" out of {points:,}" if points else "")
    return (
        "## How it was curated\n\n"
        f"`coreset run` scored every point of the training snapshots and kept {kept}. Whole trajectories were set "
        "aside for validation and for the tests before anything was trained or scored; they are not in here.\n\n"
        + "\n".join(lines)
    )


def _use() -> str:
    return """## Use

```python
from datasets import load_dataset

points = load_dataset("FOLDER-OR-REPOSITORY", split="train")
snapshots = load_dataset("FOLDER-OR-REPOSITORY", "snapshots", split="train")
```

```python
import coreset  # pip install coreset-ray

points = coreset.open("FOLDER")
dataset = points.to_torch()  # pairs of descriptor and density; also to_ray, to_arrow, to_pandas, to_polars
```

```sql
select snapshot, count(*), avg(density) from 'FOLDER/data/*.parquet' group by snapshot
```

`coreset verify FOLDER` checks every file. Whoever has the original corpus needs `index.parquet` alone:
`coreset import index.parquet CORPUS OUT` makes the same rows of it."""


def _limits(metadata: Metadata) -> str:
    limits = [
        "The points were chosen to train on, not to average over: an average needs `weight`, and knows nothing of what "
        "the cutoff β removed.",
        "What the evidence says is of the networks of this job. Whether it holds for another model is to be tried.",
        "The densities are those of the valence electrons under the pseudopotentials of the original calculations, "
        "with their errors.",
        "Points of one snapshot, and snapshots of one group, are not independent: split by group.",
    ]
    told = "\n".join(f"- {limit}" for limit in limits)
    return f"## Known limits\n\n{told}" + (f"\n\n{metadata.limits.strip()}" if metadata.limits else "")


def _licence(metadata: Metadata) -> str:
    if metadata.license:
        return f"[{metadata.license}]({metadata.licence_url})."
    return f"The licence is {NOT_STATED}. Ask the authors before you use or share it."

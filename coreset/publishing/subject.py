"""What a publication says of its data: of grid points of densities, or of the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coreset.corpus.table_corpus import Layout
from coreset.publishing.columns import POINTS, SNAPSHOTS, Columns, row_columns


@dataclass(frozen=True)
class Listing:
    """A table of the folder: its files, what it holds, its columns, and the columns that tell its rows apart."""

    file_set: str
    pattern: str
    title: str
    lead: str
    columns: Columns
    key: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """What the card and the descriptions of a coreset say, beside figures and what its author states.

    task: as the Hugging Face Hub calls it; listings: by their names, the rows first; set_aside: what is not in here;
    use: the code of a card.
    """

    title: str
    description: str
    task: str
    tags: tuple[str, ...]
    listings: Mapping[str, Listing]
    set_aside: str
    use: str
    limits: tuple[str, ...]


_NOT_TO_AVERAGE = (
    "were chosen to train on, not to average over: an average needs `weight`, and knows nothing of what the cutoff β "
    "removed."
)
_OF_THIS_JOB = (
    "What the evidence says is of the networks of this job. Whether it holds for another model is to be tried."
)
_AS_GOOD = "selected so that a model trained on them comes as near as possible to one trained on all."


def points_subject(manifest: Mapping[str, Any], snapshots: int) -> Subject:
    """Of grid points of so many snapshots."""
    return Subject(
        title=f"{_name(manifest)}: a coreset of electron densities",
        description=f"{_kept(manifest, 'grid points')}, of {snapshots:,} snapshots of Kohn–Sham electron densities, "
        + _AS_GOOD,
        task="tabular-regression",
        tags=("electron-density", "density-functional-theory"),
        listings={
            "points": Listing(
                "data", "data/part-*.parquet", "the points", "one row per point", POINTS, ("snapshot", "index")
            ),
            "snapshots": Listing(
                "atoms",
                "snapshots.parquet",
                "their snapshots",
                "one row per snapshot, also of those of which no point was kept, so that any descriptor can be "
                "computed",
                SNAPSHOTS,
                ("name",),
            ),
        },
        set_aside="Whole trajectories were set aside for validation and for the tests before anything was trained or "
        "scored; they are not in here.",
        use="""```python
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
```""",
        limits=(
            f"The points {_NOT_TO_AVERAGE}",
            _OF_THIS_JOB,
            "The densities are those of the valence electrons under the pseudopotentials of the original calculations, "
            "with their errors.",
            "Points of one snapshot, and snapshots of one group, are not independent: split by group.",
        ),
    )


def rows_subject(manifest: Mapping[str, Any], layout: Layout) -> Subject:
    """Of the rows of a table."""
    return Subject(
        title=f"{_name(manifest)}: a pruned table",
        description=f"{_kept(manifest, 'rows')} of a table of {_counted(len(layout.features), 'feature')} and "
        f"{_counted(len(layout.targets), 'target')}{_classes(layout)}, {_AS_GOOD}",
        task=f"tabular-{layout.task}",
        tags=(f"tabular-{layout.task}",),
        listings={
            "rows": Listing(
                "data",
                "data/part-*.parquet",
                "what was kept of the table",
                "a row per kept row of the table",
                row_columns(layout),
                ("file", "row"),
            )
        },
        set_aside="Whole groups were set aside for validation and for the tests before anything was trained or scored; "
        "they are not in here.",
        use="""```python
from datasets import load_dataset

rows = load_dataset("FOLDER-OR-REPOSITORY", split="train")
```

```python
import coreset  # pip install coreset-ray

rows = coreset.open("FOLDER")
dataset = rows.to_torch()  # pairs of features and target; also to_ray, to_arrow, to_pandas
```

```sql
select stratum, count(*), sum(weight) from 'FOLDER/data/*.parquet' group by stratum
```""",
        limits=(
            f"The rows {_NOT_TO_AVERAGE}",
            _OF_THIS_JOB,
            "Features and targets are those of the original table as float32, with their errors.",
            "Rows of one group are not independent: split by group.",
        ),
    )


def _name(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("name", "coreset"))


def _kept(manifest: Mapping[str, Any], what: str) -> str:
    points = manifest.get("points")
    return f"{manifest['rows']:,} {what}" + (f" out of {points:,}" if points else "")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _classes(layout: Layout) -> str:
    return f" of {len(layout.classes):,} classes" if layout.classes else ""

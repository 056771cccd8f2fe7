"""A pruned table: its card, and `coreset.open` of its folder as torch, Ray, Arrow or pandas objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from coreset.artifacts.manifest import MANIFEST
from coreset.corpus.parquet import read_parquet, renamed, table_schema
from coreset.corpus.table_corpus import Layout
from coreset.errors import DataError
from coreset.publishing.package import Package

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from coreset.distributed.data import RayDataset


@dataclass(frozen=True)
class TableDataset(Package):
    """The rows of a table that were kept; where a row stood are its columns `file` and `row`.

    Reading raises DataError, naming the file, for one that is missing or damaged. Only `verify` compares every byte
    with the checksums.
    """

    @cached_property
    def layout(self) -> Layout:
        """Names of features and targets, the task, and the classes."""
        stated = self.manifest["layout"]
        names = (tuple(stated[name]) for name in ("ranges", "classes"))
        return Layout(tuple(stated["features"]), tuple(stated["targets"]), stated["task"], *names)

    def rows(self, file: Path) -> pa.Table:
        """The rows of one of the files."""
        if not file.is_file():
            raise DataError(f"{file}: expected by {MANIFEST}, found no file; copy the folder again.")
        return read_parquet(file, table_schema(self.layout), nullable=("score", "stratum"))

    def to_arrow(self) -> pa.Table:
        """All rows: file, row, group, features, targets, score, stratum, weight."""
        return pa.concat_tables(map(self.rows, self.files)).unify_dictionaries()

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a data frame; classes are a categorical column."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def to_torch(self) -> torch.utils.data.TensorDataset:
        """Pairs (x, y): features, shape [n, d], and targets, shape [n] or [n, o] of several, or numbers of classes."""
        import torch

        table, layout = self.to_arrow(), self.layout
        x = np.stack([table.column(name).to_numpy() for name in renamed(layout.features)], axis=1)
        targets = [table.column(name) for name in renamed(layout.targets)]
        if layout.classes:
            number = {name: i for i, name in enumerate(layout.classes)}
            y = np.array([number[name] for name in targets[0].to_pylist()], np.int64)
        else:
            y = np.stack([each.to_numpy() for each in targets], axis=1)
            y = y[:, 0].copy() if y.shape[1] == 1 else y
        return torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))

    def to_ray(self) -> RayDataset:
        """A Ray dataset, a block per file; a local Ray is started if none runs."""
        from coreset.distributed.data import dataset_on_any_ray

        placed = replace(self, path=self.path.absolute())  # a worker may stand in another folder
        return dataset_on_any_ray(placed.rows, placed.files)


def table_card(name: str, rows: int, points: int, groups: int, layout: Layout, recipe: dict[str, Any]) -> str:
    """Markdown with the YAML front matter that dataset hubs read."""
    settings = "\n".join(f"- {key}: {value}" for key, value in sorted(recipe["select"].items()) if key != "proxy")
    classes = f", one of {len(layout.classes)} classes" if layout.classes else ""
    return f"""---
pretty_name: {name}
tags: [coreset, tabular-{layout.task}]
configs:
  - config_name: default
    data_files: part-*.parquet
---

# {name}

{rows:,} rows out of {points:,}, of {groups} groups, selected so that a model trained on them comes as near as possible
to one trained on all.

## Selection

{settings}

The cutoff β that was used is {recipe["cutoff"]}. `manifest.json` holds the whole job, the versions of the software and
the SHA-256 of every file.

## Columns of part-*.parquet

| column | meaning |
|---|---|
| file, row | file of the source, and the row's number in it, from 0 |
| group | rows of one group are not independent |
| {_listed(renamed(layout.features))} | features, float32 |
| {_listed(renamed(layout.targets))} | target{classes} |
| score, stratum | importance score and its stratum; null where the method has none |
| weight | inverse inclusion probability within the stratum; 1 where there is none |

## Use

```python
import coreset

rows = coreset.open("this-folder")
dataset = rows.to_torch()  # pairs of features and target; also to_ray, to_arrow, to_pandas
```

`coreset verify this-folder` checks every file against the manifest.
"""


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, … {names[-1]} ({len(names)})"

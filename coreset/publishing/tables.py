"""A pruned table: its card, and `coreset.open` of its folder as torch, Ray, Arrow or pandas objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coreset.artifacts.manifest import MANIFEST
from coreset.corpus.parquet import footer, read_parquet, renamed, table_schema
from coreset.corpus.table_corpus import Layout
from coreset.errors import DataError
from coreset.publishing.arrays import values_of
from coreset.publishing.columns import describe_column, row_columns
from coreset.publishing.index import ROWS_INDEX
from coreset.publishing.package import Package
from coreset.publishing.subject import Subject, rows_subject

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

    noun: ClassVar[str] = "rows"
    index_schema: ClassVar[pa.Schema] = ROWS_INDEX

    @cached_property
    def layout(self) -> Layout:
        """Names of features and targets, the task, and the classes."""
        stated = self.manifest["layout"]
        names = (tuple(stated[name]) for name in ("ranges", "classes"))
        return Layout(tuple(stated["features"]), tuple(stated["targets"]), stated["task"], *names)

    def rows(self, file: Path, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None) -> pa.Table:
        """The rows of one of the files, or some of their columns, or of some row groups alone."""
        if not file.is_file():
            raise DataError(f"{file}: expected by {MANIFEST}, found no file; copy the folder again.")
        schema, nullable = table_schema(self.layout), ("score", "stratum")
        return read_parquet(file, schema, nullable=nullable, columns=columns, groups=groups)

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

    def subject(self) -> Subject:
        return rows_subject(self.manifest, self.layout)

    def beside(self) -> dict[str, pa.Table]:
        return {}

    def indices(self) -> Iterator[pa.Table]:
        for file in self.files:
            rows = self.rows(file, ROWS_INDEX.names)
            if len(rows):
                yield rows.select(ROWS_INDEX.names).combine_chunks()

    def arrays(self) -> Iterator[dict[str, np.ndarray]]:
        """See `Package.arrays`; `features` and `targets` are matrices, or numbers of classes."""
        known = {name: attributes.get("texts", ()) for name, attributes in self.array_attributes().items()}
        features, targets = renamed(self.layout.features), renamed(self.layout.targets)
        for rows in (piece for file in self.files for piece in self._pieces(file)):
            arrays = {name: values_of(rows.column(name), known[name]) for name in ("file", "row", "group")}
            arrays["features"] = np.stack([rows.column(name).to_numpy() for name in features], axis=1)
            if self.layout.classes:
                arrays["targets"] = values_of(rows.column(targets[0]), known["targets"])
            else:
                arrays["targets"] = np.stack([rows.column(name).to_numpy() for name in targets], axis=1)
            yield arrays | {name: values_of(rows.column(name)) for name in ("score", "stratum", "weight")}

    def _pieces(self, file: Path) -> Iterator[pa.Table]:
        """The rows of a file, a row group at a time; of one without, no rows once."""
        for groups in [[group] for group in range(footer(file).num_row_groups)] or [[]]:
            yield self.rows(file, groups=groups)

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        """Every file and every group, in order."""
        found: dict[str, set[str]] = {"file": set(), "group": set()}
        for file in self.files:
            rows = self.rows(file, list(found))
            for name, texts in found.items():
                texts.update(pc.unique(rows.column(name)).to_pylist())
        return {name: sorted(texts) for name, texts in found.items()}

    def array_attributes(self) -> Mapping[str, Mapping[str, Any]]:
        layout, known = self.layout, row_columns(self.layout)
        told: dict[str, dict[str, Any]] = {
            name: {"description": describe_column(name, known)}
            for name in ("file", "row", "group", "score", "stratum", "weight")
        }
        for name, texts in self._texts.items():
            told[name]["texts"] = texts
        told["features"] = {"description": "features", "columns": list(layout.features)}
        told["targets"] = {"description": "targets", "columns": list(layout.targets)}
        return told if not layout.classes else told | {"targets": {**told["targets"], "texts": list(layout.classes)}}

    def count(self, part: Mapping[str, Any], file: Path) -> int:
        total = sum(map(len, self._pieces(file)))
        if total != part["figures"].get("rows"):
            raise DataError(f"{file}: expected the number of rows that {MANIFEST} states, found {total}.")
        least = pc.min(self.rows(file, ["row"]).column("row")).as_py() if total else 0
        if least < 0:
            raise DataError(f"{file}: expected numbers of rows from 0 on, found {least}.")
        return total

    def expect_each_once(self) -> None:
        # Eight bytes for each row that was kept, however long the table was.
        found: dict[str, list[np.ndarray]] = {}
        for rows in (self.rows(file, ["file", "row"]) for file in self.files):
            names, numbers = rows.column("file"), rows.column("row")
            for name in pc.unique(names):
                found.setdefault(name.as_py(), []).append(numbers.filter(pc.equal(names, name)).to_numpy())
        for name, pieces in found.items():
            numbers = np.concatenate(pieces)
            numbers.sort()
            again = numbers[1:][np.diff(numbers) == 0]
            if len(again):
                raise DataError(
                    f"{self.path}: expected every row of the table once, found row {again[0]} of {name} twice."
                )


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

"""The dataset card: what the rows are, where they come from and how to use them."""

from __future__ import annotations

from typing import Any


def dataset_card(name: str, rows: int, points: int, snapshots: int, recipe: dict[str, Any]) -> str:
    """Markdown with the YAML front matter that dataset hubs read."""
    select = recipe["select"]
    descriptor = recipe["descriptor"]
    stored = "is stored" if recipe["job"]["output"]["descriptor"] else "is computed on reading"
    settings = "\n".join(f"- {key}: {value}" for key, value in sorted(select.items()) if key != "proxy")
    return f"""---
pretty_name: {name}
tags: [electron-density, density-functional-theory, coreset]
configs:
  - config_name: points
    data_files: part-*.parquet
    default: true
  - config_name: snapshots
    data_files: snapshots.parquet
---

# {name}

{rows:,} grid points out of {points:,}, of {snapshots} snapshots of Kohn–Sham electron densities, selected so that a
model trained on them comes as near as possible to one trained on all.

## Selection

{settings}

The cutoff β that was used is {recipe["cutoff"]}. `manifest.json` holds the whole job, the versions of the software and
the SHA-256 of every file.

## Columns of part-*.parquet

| column | meaning |
|---|---|
| snapshot, index | name of the snapshot; C-order index of the grid point |
| x, y, z | position, Bohr |
| density | electrons per cubic Bohr, valence electrons of the pseudopotential |
| score, stratum | importance score and its stratum; null where the method has none |
| weight | inverse inclusion probability within the stratum; 1 where there is none |

`snapshots.parquet` has the atoms, cell, grid and reference energy of every snapshot (atomic units), so that any
descriptor can be computed. The descriptor of this run ({descriptor["neighbours"]} neighbours,
distances: {descriptor["distances"]}) {stored}.

## Use

```python
import coreset

points = coreset.open("this-folder")
dataset = points.to_torch()  # pairs of descriptor and density; also to_ray, to_arrow, to_pandas
```

`coreset verify this-folder` checks every file against the manifest.
"""

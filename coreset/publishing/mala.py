"""Pruned snapshots for MALA (Materials Learning Algorithms): a pair of `.npy` files per snapshot.

MALA reads descriptors of shape (nx, ny, nz, features) from one file and targets of shape (nx, ny, nz, values) from
another. The points that are kept lie on no grid any more: they are written as (n, 1, 1, features) and (n, 1, 1, 1),
which MALA's data handler takes since it allows snapshots of different sizes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from coreset.atomic import replacing
from coreset.errors import RequestError
from coreset.publishing.arrays import matrix
from coreset.publishing.dataset import Dataset

LISTING = "snapshots.json"
UNITS = "1/Bohr^3"


def write_mala(dataset: Dataset, folder: Path) -> list[Path]:
    """Writes `<name>.in.npy`, `<name>.out.npy` and `<name>.index.npy` of every snapshot that has points.

    Descriptors begin with x, y, z (Bohr), which MALA cuts off unless it is told that there are none
    (`descriptors_contain_xyz`); then follow those of the job, float32. Targets are densities in 1/Bohr^3. The index
    file, which MALA does not read, has the C-order grid index of each point. `snapshots.json` lists the files.
    Returns the paths of the descriptor files. Raises RequestError where the folder exists.
    """
    if folder.exists():
        raise RequestError(f"{folder}: expected a new folder for MALA's files, found one that exists; name another.")
    listed = []
    with replacing(folder) as fresh:
        fresh.mkdir()
        for file in dataset.files:
            table = dataset.described(file)
            for snapshot, rows in dataset.runs(file, table):
                stem = snapshot.name.replace("/", "__")
                place = np.column_stack([rows.column(axis).to_numpy() for axis in "xyz"]).astype(np.float32)
                features = np.concatenate([place, matrix(rows.column("descriptor"))], axis=1)
                density = rows.column("density").to_numpy()
                np.save(fresh / f"{stem}.in.npy", features.reshape(len(rows), 1, 1, -1))
                np.save(fresh / f"{stem}.out.npy", density.reshape(-1, 1, 1, 1))
                np.save(fresh / f"{stem}.index.npy", rows.column("index").to_numpy())
                listed.append(
                    {
                        "snapshot": snapshot.name,
                        "digest": snapshot.digest,
                        "input": f"{stem}.in.npy",
                        "output": f"{stem}.out.npy",
                        "output_units": UNITS,
                        "points": len(rows),
                        "grid": list(snapshot.grid),
                    }
                )
        (fresh / LISTING).write_text(json.dumps(listed, indent=1) + "\n")
    return [folder / str(each["input"]) for each in listed]

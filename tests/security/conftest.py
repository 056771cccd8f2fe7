"""A pickle that leaves a mark when it is loaded, in every disguise that a file can give it."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@dataclass(frozen=True)
class Bomb:
    """Whoever unpickles it makes the folder `marker`."""

    marker: str

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


@dataclass(frozen=True)
class Pickles:
    """Writes pickles, and tells whether one was loaded."""

    marker: Path

    @property
    def bytes(self) -> bytes:
        return pickle.dumps(Bomb(str(self.marker)))

    @property
    def gone_off(self) -> bool:
        return self.marker.exists()

    def npy(self) -> bytes:
        """What `np.save` makes of objects."""
        held = np.empty(1, object)
        held[0] = Bomb(str(self.marker))
        file = io.BytesIO()
        np.save(file, held, allow_pickle=True)
        return file.getvalue()

    def npz(self, *names: str) -> bytes:
        """The same in a zip."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(f"{name}.npy", self.npy())
        return file.getvalue()

    def torch(self) -> bytes:
        """What `torch.load` would read."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", self.bytes)
            archive.writestr("archive/version", "3\n")
        return file.getvalue()

    def yaml(self) -> bytes:
        """A tag that a loader which is not safe would obey."""
        return f"name: !!python/object/apply:os.mkdir [{json.dumps(str(self.marker))}]\n".encode()

    def parquet(self, path: Path, schema: pa.Schema, rows: int = 2) -> None:
        """A table of this schema in which every column is of Ray's type for Python objects, which are pickles."""
        from ray.data._internal.object_extensions.arrow import ArrowPythonObjectArray

        column = ArrowPythonObjectArray.from_objects([Bomb(str(self.marker))] * rows)
        pq.write_table(pa.table(dict.fromkeys(schema.names, column)), path)

    def zarr(self, folder: Path, rows: int = 2) -> None:
        """An array of the second format whose filter is a pickle; Zarr takes one beside a filter that it knows."""
        folder.mkdir(parents=True)
        described = {
            "zarr_format": 2,
            "shape": [rows],
            "chunks": [rows],
            "dtype": "|O",
            "fill_value": "",
            "order": "C",
            "compressor": None,
            "filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}],
        }
        (folder / ".zarray").write_text(json.dumps(described))
        (folder / "0").write_bytes(self.bytes)


@pytest.fixture
def pickles(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Pickles:
    import numcodecs.pickles

    # A new numcodecs refuses pickles by itself, which older ones that we allow do not.
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    return Pickles(tmp_path_factory.mktemp("marker") / "gone-off")


Look = Callable[[], Any]

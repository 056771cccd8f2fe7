"""Pruned snapshots in the shapes that MALA's data handler checks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coreset
from coreset.errors import RequestError


def test_a_pair_of_files_per_snapshot_holds_its_points(built: Any, tmp_path: Path) -> None:
    points = coreset.open(built.path)
    written = points.to_mala(tmp_path / "mala")
    frame = points.to_pandas()
    assert len(written) == frame["snapshot"].nunique()
    listed = {each["snapshot"]: each for each in json.loads((tmp_path / "mala/snapshots.json").read_text())}
    for (name, rows), path in zip(frame.groupby("snapshot"), written, strict=True):
        features = np.load(path, allow_pickle=False)
        density = np.load(tmp_path / "mala" / listed[name]["output"], allow_pickle=False)
        index = np.load(str(path).replace(".in.npy", ".index.npy"), allow_pickle=False)
        # What MALA demands: four axes, and as many grid points in one file as in the other.
        assert features.ndim == density.ndim == 4
        assert features.shape[:3] == density.shape[:3] == (len(rows), 1, 1)
        assert features.dtype == density.dtype == np.float32
        assert np.array_equal(index, rows["index"])
        assert np.array_equal(density.ravel(), rows["density"])
        np.testing.assert_allclose(features[:, 0, 0, :3], rows[["x", "y", "z"]], rtol=1e-6)
        assert np.array_equal(features[:, 0, 0, 3:], np.stack(rows["descriptor"].tolist()))
        assert listed[name]["output_units"] == "1/Bohr^3"
        assert path.name == f"{str(name).replace('/', '__')}.in.npy"


def test_a_folder_that_exists_is_refused(built: Any, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="expected a new folder"):
        coreset.open(built.path).to_mala(tmp_path)

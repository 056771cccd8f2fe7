"""The corpora of `jobs/data` against their manifest, their card, and a fresh reading of the native files."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from coreset.corpus.sparc import list_snapshots, read_snapshot
from coreset.corpus.store import Corpus, finish, write_snapshot

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "jobs/data"
NATIVE = ROOT / "tests/data"
MANIFEST = list(csv.DictReader((SHIPPED / "manifest.csv").read_text().splitlines()))
MATERIALS = ["al", "water", "crfeconi"]


@pytest.mark.parametrize("material", MATERIALS)
def test_every_snapshot_has_the_values_of_the_manifest(material):
    corpus = Corpus.open(SHIPPED / f"{material}.zarr")
    rows = {row["path"].split("/", 1)[1]: row for row in MANIFEST if row["material"] == material}
    assert [snapshot.name for snapshot in corpus.snapshots] == sorted(rows)
    for snapshot in corpus.snapshots:
        row, density = rows[snapshot.name], corpus.density(snapshot)
        assert f"{density.min():.6e} {density.max():.6e}" == f"{row['rho_min']} {row['rho_max']}"
        assert (snapshot.composition, snapshot.electrons) == (row["formula"], float(row["n_electrons"]))
        assert snapshot.energy == pytest.approx(float(row["E_free_Ha"]), abs=1e-8)
        assert snapshot.temperature == float(row["T_target_K"])
        integral = density.sum(dtype=np.float64) * snapshot.volume / snapshot.points
        assert integral == pytest.approx(snapshot.electrons, rel=1e-6)
        corpus.verify(snapshot)


@pytest.mark.parametrize("material", MATERIALS)
def test_the_card_states_digest_and_size(material):
    folder = SHIPPED / f"{material}.zarr"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    row = re.search(rf"^\| `{material}\.zarr` \| (.*) \| `(.*)` \|$", (SHIPPED / "README.md").read_text(), re.MULTILINE)
    assert row is not None
    assert (row[1], row[2]) == (f"{size:,}", Corpus.open(folder).digest)


@pytest.mark.parametrize("material", MATERIALS)
def test_a_fresh_ingestion_equals_the_shipped_one(material, tmp_path):
    (files,) = list_snapshots(NATIVE / material)
    write_snapshot(tmp_path, *read_snapshot(files))
    finish(tmp_path, [files.name])
    fresh, shipped = Corpus.open(tmp_path), Corpus.open(SHIPPED / f"{material}.zarr")
    (same,) = shipped.select(files.name)
    assert fresh.snapshots[0].to_json() == same.to_json()
    assert np.array_equal(fresh.density(fresh.snapshots[0]), shipped.density(same))


def test_no_group_is_in_two_sets():
    for material in MATERIALS:
        corpus = Corpus.open(SHIPPED / f"{material}.zarr")
        sets = {(snapshot.group, snapshot.name.split("/")[0]) for snapshot in corpus.snapshots}
        assert len(sets) == len({group for group, _ in sets})
        assert len(sets) < len(corpus.snapshots) or material == "crfeconi"

"""The JSON that pymatgen makes of a Chgcar, alone and in a record; the density is ABINIT's."""

import gzip
import json
import re

import numpy as np
import pytest

from coreset.errors import DataError


@pytest.fixture(scope="module")
def chgcar(write_chgcar, tmp_path_factory):
    outputs = pytest.importorskip("pymatgen.io.vasp.outputs")
    path = write_chgcar(tmp_path_factory.mktemp("mp") / "CHGCAR", spin=True, augmentation=True)
    return outputs.Chgcar.from_file(str(path))


def test_what_monty_writes(chgcar, read_one, assert_same, alh, tmp_path):
    serialization = pytest.importorskip("monty.serialization")
    for name in ("mp-149.json.gz", "density.json", "anything.gz"):
        path = tmp_path / name.replace(".", "_") / name
        path.parent.mkdir()
        serialization.dumpfn(chgcar, path)
        snapshot, density = read_one(path)
        assert snapshot.name == {"mp-149.json.gz": "mp-149", "density.json": "density"}.get(name, "anything")
        assert_same((snapshot, density), alh)
        assert list(snapshot.source) == [name]


@pytest.fixture
def record(chgcar):
    from monty.json import MontyEncoder

    return {"fs_id": "6" * 24, "maggma_store_type": "S3", "data": json.loads(json.dumps(chgcar, cls=MontyEncoder))}


@pytest.mark.parametrize("indent", [None, 1])
def test_a_record_of_the_store(record, read_one, assert_same, alh, tmp_path, indent):
    path = tmp_path / "60b0.json.gz"
    path.write_bytes(gzip.compress(json.dumps(record, indent=indent).encode()))
    assert_same(read_one(path), alh)


def test_a_small_grid_is_no_other_case(record, read_one, tmp_path):
    total = record["data"]["data"]["total"]
    values = np.array(total["data"])[:2, :3, :1]
    values *= 4.0 / values.mean()
    total["data"] = values.tolist()
    path = tmp_path / "x.json"
    path.write_text(json.dumps(record))
    snapshot, density = read_one(path)
    assert snapshot.grid == (2, 3, 1)
    np.testing.assert_allclose(density * snapshot.volume, values, rtol=1e-6)


def shorten(record):
    record["data"]["data"]["total"]["data"][3][4].pop()


def hole(record):
    record["data"]["data"]["total"]["data"][3][4] = []


def lose(record):
    del record["data"]["poscar"]["structure"]["lattice"]


def missing(record):
    record["data"]["data"]["total"]["data"] = None


def odd(record):
    record["data"]["data"]["total"]["data"][3][4][5] = float("nan")


def more(record):
    record["data"]["data"]["total"]["data"][3][4][5] += 1000.0


def mixed(record):
    record["data"]["poscar"]["structure"]["sites"][0]["species"].append({"element": "Fe", "occu": 0.5})


def spoofed(record):
    record["data"]["data"]["total"]["data"] = 7_310_000_000_000_000 + 7


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorten, "data.total: expected numbers in three levels of brackets, all of the same lengths"),
        (hole, "data.total: expected numbers in three levels of brackets"),
        (missing, "data.total: expected numbers in three levels of brackets"),
        (spoofed, "data.total: expected numbers in three levels of brackets"),
        (lose, "expected a Chgcar of pymatgen as JSON"),
        (odd, "expected a Chgcar of pymatgen as JSON"),
        (mixed, "expected a Chgcar of pymatgen as JSON"),
        (more, r"integrates to 4\.2\d+ electrons, expected 4 \(the nearest whole number\)"),
    ],
)
def test_damage_is_named(record, read_one, tmp_path, damage, message):
    damage(record)
    path = tmp_path / "mp-1.json"
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}.*{message}"):
        read_one(path)


def test_a_truncated_text(record, read_one, tmp_path):
    path = tmp_path / "mp-1.json.gz"
    whole = json.dumps(record)
    for content in (gzip.compress(whole.encode())[:-9], gzip.compress(whole[: len(whole) // 2].encode()), b"", b"{}"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_one(path)

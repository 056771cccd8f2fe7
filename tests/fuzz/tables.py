"""Tables that others wrote, and the corpus that a table becomes."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import zarr
from campaign import EXPLAINED, Target
from mutations import BYTES, JSON, TEXT

from coreset.artifacts.executor import SerialExecutor
from coreset.corpus.split import SnapshotSet
from coreset.corpus.table_corpus import TableCorpus, read_rows, read_values
from coreset.corpus.tables import Table, open_table
from coreset.stages.table_importing import ImportRows, as_parquet, read_row_listing
from coreset.stages.table_ingestion import ingest_table
from coreset.stages.table_request import Request

ROWS = np.random.default_rng(5).normal(size=(400, 3)).astype(np.float32)
KINDS = np.random.default_rng(6).choice(["fcc", "bcc", "hcp"], 400)


def _write_parquet(folder: Path) -> None:
    columns = {"a": ROWS[:, 0], "b": ROWS[:, 1], "y": ROWS[:, 2], "kind": KINDS}
    pq.write_table(pa.table(columns), folder / "t.parquet", row_group_size=150, write_page_checksum=True)


def _write_npy(folder: Path) -> None:
    np.save(folder / "t.npy", ROWS)


def _write_zarr(folder: Path) -> None:
    group = zarr.open_group(folder / "t.zarr", mode="w", zarr_format=3)
    group.create_array(
        "x", data=ROWS, chunks=(400, 3), compressors=[zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]
    )


def _whole(table: Table) -> dict[str, Any]:
    names = [column.name for column in table.columns if column.kind == "number"]
    texts = [column.name for column in table.columns if column.kind == "text"]
    rows = [rows for block in table.blocks for rows in table.features(block, names)]
    labels = [piece[name].tolist() for name in texts for block in table.blocks for piece in table.pieces(block, [name])]
    return {"names": names, "texts": texts, "rows": np.concatenate(rows), "labels": labels}


def _read(name: str) -> Any:
    return lambda folder: _whole(open_table(str(folder / name)))


def _unprotected(folder: Path, data: Any, right: Any) -> str:
    """What other people wrote has no checksum, or none of its headers, which say how to read the rest."""
    return EXPLAINED


def _ingest(folder: Path) -> None:
    _write_parquet(folder)
    request = Request(("y",), ("a", "b"), group="kind", test=0.0)
    ingest_table(open_table(str(folder / "t.parquet")), request, folder / "c.zarr", SerialExecutor())
    (folder / "t.parquet").unlink()


def _read_corpus(folder: Path) -> dict[str, Any]:
    corpus = TableCorpus.open(str(folder / "c.zarr"))
    shards = {
        shard.name: (
            shard.group,
            shard.digest,
            read_values(shard, 0, shard.points),
            read_rows(shard, 0, shard.points),
        )
        for shard in corpus.snapshots
    }
    return {"digest": corpus.digest, "layout": vars(corpus.layout), **shards}


def _write_indices(folder: Path) -> None:
    _ingest(folder)
    rows = pa.table({"row": np.arange(60) * 7 % 400, "weight": np.linspace(1, 2, 60)})
    np.save(folder / "index.npy", rows.column("row").to_numpy())
    pyarrow.csv.write_csv(rows, folder / "index.csv")
    (folder / "scratch").mkdir()


def _read_indices(folder: Path) -> dict[str, Any]:
    corpus = TableCorpus.open(str(folder / "c.zarr"))
    table = SnapshotSet(corpus.path, corpus.snapshots, corpus.layout, corpus.files)
    found = {}
    for name in ("index.npy", "index.csv"):
        listing = read_row_listing(as_parquet(folder / name, corpus, folder / "scratch"), folder / name, corpus)
        kept = ImportRows(table, listing, "").kept(corpus.snapshots)
        found[name] = {shard.name: vars(selected) for shard, selected in kept}
    return found


SHARD = "c.zarr/train/fcc/000000"

TARGETS = [
    Target("table-parquet", _write_parquet, {"t.parquet": BYTES}, _read("t.parquet"), _unprotected, places=True),
    Target("table-npy", _write_npy, {"t.npy": BYTES}, _read("t.npy"), _unprotected, places=True),
    Target(
        "table-zarr",
        _write_zarr,
        {"t.zarr/zarr.json": JSON, "t.zarr/x/zarr.json": JSON, "t.zarr/x/c/0/0": BYTES},
        _read("t.zarr"),
        _unprotected,
        places=True,
    ),
    Target(
        "table-corpus",
        _ingest,
        {
            "c.zarr/zarr.json": JSON,
            f"{SHARD}/values/zarr.json": JSON,
            f"{SHARD}/values/c/0/0": BYTES,
            f"{SHARD}/rows/zarr.json": JSON,
            f"{SHARD}/rows/c/0": BYTES,
        },
        _read_corpus,
        places=True,
    ),
    Target("table-index", _write_indices, {"index.npy": BYTES, "index.csv": TEXT}, _read_indices, _unprotected),
]

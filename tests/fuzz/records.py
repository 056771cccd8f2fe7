"""Anyone's scores, and the small records of a run and of a machine."""

import ast
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import samples
import zarr
from campaign import EXPLAINED, REFUSED, Target, same, what_json_says
from mutations import BYTES, JSON
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore

from coreset.atomic import write_json
from coreset.calibration import Rates, stored_rates
from coreset.folder import RunFolder
from coreset.report.evidence import read_evidence
from coreset.report.status import stage_states
from coreset.stages import rows

SCORES = np.random.default_rng(0).lognormal(0.0, 1.0, 60)


def _scores(name: str, folder: Path) -> np.ndarray:
    return np.concatenate([shard.scores for shard in rows._shards(folder / name)()])


def _judge_npy(folder: Path, data: np.ndarray, right: Any) -> str:
    content = (folder / "a.npy").read_bytes()
    if content[:8] == b"\x93NUMPY\x01\x00":
        start = 10 + int.from_bytes(content[8:10], "little")
        header = content[10:start]
    else:
        start = 12 + int.from_bytes(content[8:12], "little")
        header = content[12:start]
    stated = ast.literal_eval(header.decode("latin1").strip())
    said = np.frombuffer(content[start:], np.dtype(stated["descr"]))
    (length,) = stated["shape"]
    return _as_said(said[:length], data) if len(said) == length else "other numbers than its length says"


def _as_said(said: np.ndarray, data: np.ndarray) -> str:
    real = said.dtype.kind == "f" and said.dtype.itemsize in (4, 8)
    return EXPLAINED if same(said.astype(said.dtype.newbyteorder("=") if real else float), data) else "other numbers"


def _write_zarr(folder: Path) -> None:
    zarr.create_array(LocalStore(folder / "a.zarr"), data=SCORES, chunks=(25,), compressors=[Crc32cCodec()])


def _judge_zarr(folder: Path, data: np.ndarray, right: Any) -> str:
    """The metadata as they stand, and chunks whose crc32c is right."""
    stated = what_json_says(folder / "a.zarr" / "zarr.json")
    shape, chunk = stated["shape"], stated["chunk_grid"]["configuration"]["chunk_shape"]
    chunk = chunk if isinstance(chunk, list) else [chunk]
    if (
        not isinstance(shape, list)
        or len(shape) != 1
        or [codec["name"] for codec in stated["codecs"]] != ["bytes", "crc32c"]
    ):
        return "another layout"
    endian = {"little": "<", "big": ">"}[stated["codecs"][0].get("configuration", {}).get("endian", "little")]
    parts = []
    for number in range(math.ceil(shape[0] / chunk[0])):
        content = (folder / "a.zarr" / "c" / str(number)).read_bytes()
        if google_crc32c.value(content[:-4]) != int.from_bytes(content[-4:], "little"):
            return "a damaged chunk"
        parts.append(np.frombuffer(content[:-4], np.dtype(stated["data_type"]).newbyteorder(endian)))
    return _as_said(np.concatenate(parts)[: shape[0]], data)


def _write_parquet(folder: Path) -> None:
    table = pa.table({"score": SCORES, "id": np.arange(60)})
    pq.write_table(table, folder / "a.parquet", use_dictionary=False, write_page_checksum=True, row_group_size=25)


def _judge_parquet(folder: Path, data: np.ndarray, right: np.ndarray) -> str:
    """Pages carry a CRC. The footer and the pages' headers have none: what they say is what the file says."""
    return EXPLAINED if not (set(data.tolist()) - set(right.tolist()) - {0.0}) else "numbers that no page holds"


RECORD = {
    "name": "small",
    "job_file": "/data/job.yaml",
    "job": {"name": "small", "score": {"epoch": 2}},
    "store": "/nowhere/artifacts",
    "state": "running",
    "error": None,
    "stages": [{"title": "training", "artifact": f"training-{n}"} for n in range(3)],
}


def _read_record(folder: Path) -> dict[str, Any]:
    record = RunFolder(folder / "run").read()
    if {"store", "stages"} <= record.keys() and all(
        stage.keys() >= {"title", "artifact"} for stage in record["stages"]
    ):
        stage_states(record)
    return record


def _judge_record(folder: Path, data: Any, right: Any) -> str:
    return EXPLAINED if data == what_json_says(folder / "run" / "run.json") else f"{data}"


def _write_rates(folder: Path) -> None:
    write_json(folder / "coreset" / "machine.json", {**asdict(Rates()), "slab": 0.5, "multiplications": 7})


def _read_rates(folder: Path) -> dict[str, Any]:
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return asdict(stored_rates())


def _judge_rates(folder: Path, data: Any, right: Any) -> str:
    if data == asdict(Rates()):
        return REFUSED  # counts as not measured, which `plan` tells
    said = what_json_says(folder / "coreset" / "machine.json")
    return EXPLAINED if data == {key: said[key] for key in data} else f"{data}"


def _cell(method: str, rate: float) -> dict[str, Any]:
    figures = {"nrmse": {"value": 0.01 + rate / 100, "low": 0.009, "high": 0.03}}
    return {
        "id": f"steps {method} {rate:g}",
        "studies": ["methods"],
        "protocol": "steps",
        "method": method,
        "rate": rate,
        "kept": [120, 120],
        "seeds": 2,
        "tests": {"bulk": {"figures": figures, "differences": {}}},
    }


def _write_sweep(folder: Path) -> None:
    (folder / "fields").mkdir()
    field = {"role": "test", "file": "fields/bulk.npz", "arrays": {"reference": "reference", "steps ccs 0.9": "p0"}}
    density = samples.snapshot("x_0", 0)[1]
    np.savez_compressed(folder / "fields" / "bulk.npz", reference=density, p0=density * 2)
    sweep = {
        "name": "small",
        "command": "coreset sweep small.yaml",
        "method": "ccs",
        "prune": 0.9,
        "test_order": ["bulk"],
        "protocol_order": ["steps"],
        "cells": [_cell("full", 0.0), _cell("ccs", 0.9), _cell("random", 0.9)],
        "fields": [{**field, "grid": [4, 5, 6]}],
        "job": {"name": "small"},
    }
    (folder / "sweep.json").write_text(json.dumps(sweep))
    (folder / "run.json").write_text(json.dumps({"state": "done", "job": {"name": "small"}}))


def _read_sweep(folder: Path) -> dict[str, Any]:
    evidence = read_evidence(folder)
    arrays = [found for _, found in evidence.fields("test")]
    return {"sweep": evidence.sweep, "compared": len(evidence.compared), "note": evidence.note, "fields": arrays}


def _judge_sweep(folder: Path, data: Any, right: Any) -> str:
    """Figures and record have no checksum; a field has."""
    if data["sweep"] != what_json_says(folder / "sweep.json"):
        return "other figures than the file says"
    known = [array.tobytes() for found in right["fields"] for array in found.values()]
    fine = all(array.tobytes() in known for found in data["fields"] for array in found.values())
    return EXPLAINED if fine else "other numbers in a field"


def _write_summary(folder: Path) -> None:
    evaluated = {
        "nrmse": 0.01,
        "low": 0.009,
        "high": 0.02,
        "difference": {"nrmse": 0.1, "low": 0, "high": 1, "verdict": "tie"},
    }
    summary = {
        "name": "small",
        "method": "ccs",
        "prune": 0.9,
        "steps": 100,
        "corpus": {"train": {"points": 240}},
        "cutoff": {"value": 0.3},
        "methods": {"full": {"kept": [240]}, "ccs": {"kept": [24]}},
        "evaluation": {"bulk": {"full": evaluated, "ccs": evaluated}},
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def _read_summary(folder: Path) -> dict[str, Any]:
    evidence = read_evidence(folder)
    return {"sweep": evidence.sweep, "compared": len(evidence.compared)}


def _judge_summary(folder: Path, data: Any, right: Any) -> str:
    said = what_json_says(folder / "summary.json")
    cells = [[cell["method"], cell["kept"]] for cell in data["sweep"]["cells"]]
    same = cells == [[method, trained["kept"]] for method, trained in said["methods"].items()]
    for cell in data["sweep"]["cells"]:
        for test, found in cell["tests"].items():
            stated = said["evaluation"][test][cell["method"]]
            same = same and found["figures"] == stated.get("figures", {"nrmse": {k: stated[v] for k, v in _SIDES}})
    return EXPLAINED if same and data["sweep"]["name"] == said["name"] else f"{data}"


_SIDES = (("value", "nrmse"), ("low", "low"), ("high", "high"))

TARGETS = [
    Target(
        "scores-npy",
        lambda folder: np.save(folder / "a.npy", SCORES),
        {"a.npy": BYTES},
        lambda folder: _scores("a.npy", folder),
        _judge_npy,
    ),
    Target(
        "scores-parquet",
        _write_parquet,
        {"a.parquet": BYTES},
        lambda folder: _scores("a.parquet", folder),
        _judge_parquet,
    ),
    Target(
        "scores-zarr",
        _write_zarr,
        {"a.zarr/zarr.json": JSON, "a.zarr/c/1": BYTES},
        lambda folder: _scores("a.zarr", folder),
        _judge_zarr,
        places=True,
    ),
    Target(
        "run-record",
        lambda folder: RunFolder(folder / "run").write(RECORD),
        {"run/run.json": JSON},
        _read_record,
        _judge_record,
        places=True,
    ),
    Target("calibration", _write_rates, {"coreset/machine.json": JSON}, _read_rates, _judge_rates),
    Target(
        "evidence-sweep",
        _write_sweep,
        {"sweep.json": JSON, "run.json": JSON, "fields/bulk.npz": BYTES},
        _read_sweep,
        _judge_sweep,
        places=True,
    ),
    Target("evidence-run", _write_summary, {"summary.json": JSON}, _read_summary, _judge_summary, places=True),
]

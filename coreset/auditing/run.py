"""An audit from its stages to its folder: artifacts, audit.json and audit.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coreset.artifacts.executor import Executor
from coreset.artifacts.materialize import Store
from coreset.atomic import write_bytes, write_json
from coreset.auditing.figures import figures
from coreset.auditing.request import Audit, run
from coreset.errors import RequestError
from coreset.report.audit import build_audit_page

FIGURES, PAGE, ARTIFACTS = "audit.json", "audit.html", "artifacts"


def write_audit(audit: Audit, names: tuple[str, str], folder: Path, executor: Executor, command: str) -> dict[str, Any]:
    """Computes what is missing, and writes the figures and the page; returns the figures."""
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--out: expected a folder, found the file {folder}; use another --out.")
    found = figures(run(audit, Store(folder / ARTIFACTS, executor)), names, command)
    write_json(folder / FIGURES, found)
    write_bytes(folder / PAGE, build_audit_page(found).encode())
    return found


def name_of(path: str, snapshots: str | None = None) -> str:
    """What a corpus is called: the last part of its path without its suffix, and the pattern of its snapshots."""
    parts = [part for part in path.rstrip("/").split("/") if part not in ("", ".", "..", "coreset")]
    name = parts[-1] if parts else "corpus"
    for suffix in (".zarr", ".npy", ".parquet"):
        name = name.removesuffix(suffix)
    return name if snapshots is None else f"{name}: {snapshots}"

"""Whether the figures of a folder are those that its last command asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coreset.atomic import parse_json

RECORD = "run.json"
"""What the last command in the folder was, and how it ended; a folder of figures alone has none."""
MACHINES = ("cluster", "corpus.source", "training.cache", "score.path", "energy.pseudopotentials")
"""Keys of a job that tell of a machine and change no figure: sweep.json leaves them out."""
NAMED = 3
"""So many differing keys are named, and the others counted."""

_ABSENT = object()


def staleness(folder: Path, sweep: Mapping[str, Any]) -> str:
    """One sentence if the folder's last command has not finished, or had another job; empty where all is well."""
    path = folder / RECORD
    if not path.is_file():
        return ""
    of = f"these figures are of {sweep['date']}" if "date" in sweep else "these figures are older"
    way = f"run {sweep['command']} again, or the command that you meant, and then coreset report"
    try:
        record = parse_json(path.read_bytes())
        state, job = record["state"], record["job"]
    except (ValueError, KeyError, TypeError):
        return f"{RECORD} is damaged, so whether these figures are those of the last command is not known; {way}."
    lapses = [] if state == "done" else [f"has not finished ({state})"]
    differing = sorted(differences(sweep["job"], job)) if "job" in sweep else []
    if differing:
        more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
        lapses.append(f"had another job (other values of {', '.join(differing[:NAMED])}{more})")
    return f"The last command in this folder {' and '.join(lapses)}: {of}; {way}." if lapses else ""


def differences(mine: Any, theirs: Any, key: str = "") -> Iterator[str]:
    """The dotted keys whose values differ between two jobs, but for what tells of a machine."""
    if key in MACHINES:
        return
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for name in {**mine, **theirs}:
            below = f"{key}.{name}" if key else name
            yield from differences(mine.get(name, _ABSENT), theirs.get(name, _ABSENT), below)
    elif mine != theirs:
        yield key

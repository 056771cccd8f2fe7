"""What produces parts on Ray: a task, an actor, or a map of Ray Data."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from coreset import errors
from coreset.artifacts.executor import Work
from coreset.artifacts.materialize import OUT_OF_MEMORY, is_of_memory
from coreset.artifacts.stage import Part
from coreset.distributed.context import RemoteContext
from coreset.errors import CoresetError, WorkError, brief


def produce(work: Work, digest: str, part: Part) -> None:
    """Produces the shard of one part."""
    work(digest, part, RemoteContext())


_unpacked: dict[tuple[str, str], Any] = {}
"""What the last task of this process shared with others of its stage."""


def _unpack(shared: list[Any], digest: str = "") -> Any:
    """What lies in the object store; the list keeps Ray from fetching it.

    It is unpacked once for all parts of one stage that come one after another, for it may hold a whole corpus's atoms;
    no longer, for what a stage caches for its parts must not pile up.
    """
    import ray

    key = (shared[0].hex(), digest)
    if key not in _unpacked:
        _unpacked.clear()
        _unpacked[key] = ray.get(shared[0])
    return _unpacked[key]


def produce_sharing(shared: list[Any], digest: str, part: Part) -> None:
    """Produces the shard of one part of a work that lies in the object store."""
    produce(_unpack(shared, digest), digest, part)


class PartActor:
    """Produces parts one after another; what a stage loads once, such as K networks, lives as long as they come."""

    def produce(self, shared: list[Any], digest: str, part: Part) -> None:
        """Produces the shard of one part."""
        produce_sharing(shared, digest, part)


def map_parts(work: Work, parts: Sequence[tuple[str, Part]]) -> Iterator[Part]:
    """Produces every part in a Ray Data map; yields each as it is done."""
    import ray
    import ray.data

    from coreset.distributed.data import quiet

    quiet()
    by_number = list(parts)
    # Not within the function, which Ray Data unpacks for every row: it would take time in the square of the parts.
    shared = [ray.put((work, by_number))]

    def attempt(row: dict[str, Any]) -> dict[str, Any]:
        work, listed = _unpack(shared)
        try:
            produce(work, *listed[row["number"]])
        except CoresetError as error:
            # As a value: Ray Data would keep no more of an exception than its text, amid its own.
            notes = list(getattr(error, "__notes__", ()))
            return {**row, "error": type(error).__name__, "message": str(error), "notes": notes, "trace": ""}
        except Exception as error:
            name = listed[row["number"]][1].name
            told = f"{name}: {type(error).__name__}: {brief(error)}"
            told = OUT_OF_MEMORY.format(what=name) if is_of_memory(error) else told
            trace = traceback.format_exc()
            return {**row, "error": WorkError.__name__, "message": told, "notes": [""], "trace": trace}
        return {**row, "error": "", "message": "", "notes": [""], "trace": ""}

    numbers = ray.data.from_items(
        [{"number": number} for number in range(len(by_number))], override_num_blocks=len(by_number)
    )
    for row in numbers.map(attempt).iter_rows():
        if row["error"]:
            failure = getattr(errors, row["error"])(row["message"])
            for note in filter(None, row["notes"]):
                failure.add_note(note)
            raise failure from (RuntimeError(row["trace"]) if row["trace"] else None)
        yield by_number[row["number"]][1]

"""What the parts of a corpus are called: of densities, or of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """Words, each for one and for many; `length` is the unit of distances, behind a comma."""

    member: tuple[str, str]
    group: tuple[str, str]
    length: str


_DENSITIES = Words(("snapshot", "snapshots"), ("trajectory", "trajectories"), ", Bohr")
_TABLE = Words(("shard", "shards"), ("group", "groups"), "")


def words_of(figures: Mapping[str, Any]) -> Words:
    """The words for what a summary, or a sweep, tells of."""
    return _TABLE if "table" in figures else _DENSITIES


def is_of_classes(figures: Mapping[str, Any]) -> bool:
    """Whether a summary tells of a table whose target is a class."""
    return bool(figures.get("table", {}).get("task") == "classification")


def counted(number: int, word: tuple[str, str]) -> str:
    """`1 group`, `2 groups`."""
    return f"{number:,} {word[number != 1]}"

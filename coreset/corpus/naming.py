"""What the name of a snapshot tells: its group (trajectory) and its temperature."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from coreset.errors import RequestError

GROUP = r"(.*?)(?:_\d+)?$"
"""A trailing frame number is left out: `al32_T0100_s0_1` belongs to `al32_T0100_s0`; others are their own group."""

TEMPERATURE = r"_T(\d+(?:\.\d+)?)(?![^_/])"
"""`al32_T0300_s0_0` was sampled at 300 K."""


@dataclass(frozen=True)
class Naming:
    """Regular expressions searched for in a name; the value is the first capturing group, else the whole match.

    Raises:
        RequestError: a pattern is not a regular expression.
    """

    group: str = GROUP
    temperature: str = TEMPERATURE

    def __post_init__(self) -> None:
        for field in ("group", "temperature"):
            try:
                re.compile(getattr(self, field))
            except re.error as error:
                raise RequestError(
                    f"{field}: expected a regular expression, found {getattr(self, field)!r} ({error})"
                ) from None

    def group_of(self, name: str) -> str:
        """Group of a snapshot: its points, and those of its group's other snapshots, are not independent.

        Raises:
            RequestError: the pattern does not match, or matches nothing but the empty text.
        """
        group = _first(self.group, name)
        if not group:
            raise RequestError(
                f"snapshot {name}: the group pattern {self.group!r} finds no group in this name; "
                "give a pattern that matches every name"
            )
        return group

    def temperature_of(self, name: str) -> float | None:
        """Temperature in K; None where the name states none.

        Raises:
            RequestError: the pattern matches something that is not a number.
        """
        text = _first(self.temperature, name)
        if text is None:
            return None
        try:
            return float(text)
        except ValueError:
            raise RequestError(
                f"snapshot {name}: the temperature pattern {self.temperature!r} finds {text!r}; expected a number (K)"
            ) from None


DEFAULT = Naming()


def _first(pattern: str, name: str) -> str | None:
    match = re.search(pattern, name)
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


def snapshot_name(relative: PurePosixPath) -> str:
    """Name of the snapshot whose density lies at this path below the source; a folder named like it is not repeated.

    `train/al32_T0100_s0_0/al32_T0100_s0_0.dens` and `train/al32_T0100_s0_0.dens` are both `train/al32_T0100_s0_0`.

    Raises:
        RequestError: a part of the name is reserved: it begins with `.` or `__`, or holds a character that a path or a
            store treats specially.
    """
    named = relative.parent if relative.parent.name == relative.stem else relative.with_suffix("")
    for part in named.parts:
        if part.startswith((".", "__")) or part == "zarr.json" or re.search(r"[\\:?#\x00-\x1f]", part):
            raise RequestError(
                f"{relative}: a snapshot cannot be named {part!r} (names begin with neither '.' nor '__' and hold no "
                r"'\', ':', '?', '#' or control character); rename the file"
            )
    return named.as_posix()


def expect_no_folder(places: Mapping[str, str]) -> None:
    """Raises RequestError where the name of one snapshot is also that of a folder of another; places by name."""
    for name in places:
        for folder in PurePosixPath(name).parents:
            if folder.as_posix() in places:
                raise RequestError(
                    f"{places[folder.as_posix()]}: the name {folder} is also that of the folder of {name}; rename one "
                    "of them"
                )

"""What the keys of a job file may hold, and the base of its sections."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from coreset.methods import METHODS


def _known_method(name: str) -> str:
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"expected one of {', '.join(METHODS)}, found {name!r}{hint}")
    return name


def _compiles(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:  # the latter two: a{9…9}, and (((… without end
        raise ValueError(f"expected a regular expression, found {pattern!r} ({error})") from None
    if groups != 1:
        raise ValueError(f"expected a regular expression with one (…) group that names the trajectory, found {groups}")
    return pattern


def _share_or_auto(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != "auto" and not (number and 0 <= value < 1):
        raise ValueError(f"expected 'auto' or a number of at least 0 and below 1, found {value!r}")
    return value


def _count_or_auto(value: Any) -> Any:
    if value != "auto" and not (isinstance(value, int) and not isinstance(value, bool) and value >= 2):
        raise ValueError(f"expected 'auto' or an integer of at least 2, found {value!r}")
    return value


def _prunes(name: str) -> str:
    if name == "full":
        raise ValueError("expected methods that prune, found 'full', which is always trained; leave it out")
    return name


def _plain_names(tests: dict[str, str]) -> dict[str, str]:
    for name in tests:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"expected names of letters, digits, '-' and '_', for files bear them, found {name!r}")
    return tests


MethodName = Annotated[str, AfterValidator(_known_method)]
PruningMethod = Annotated[MethodName, AfterValidator(_prunes)]
TestSets = Annotated[dict[str, str], AfterValidator(_plain_names)]
Pattern = Annotated[str, AfterValidator(_compiles)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Cutoff = Annotated[float, Field(ge=0, lt=1)]
CutoffOrAuto = Annotated[float | Literal["auto"], BeforeValidator(_share_or_auto)]
CountOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]
Division = Annotated[int, Field(ge=1)]
# Each network is planned, and each process asked for, by itself: one slip would keep a machine busy for hours.
Seeds = Annotated[int, Field(ge=1, le=1_000)]
Workers = Annotated[int, Field(ge=1, le=1_000_000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
"""Files and folders bear it, whose names have 255 bytes at most."""


class Section(BaseModel):
    """A section of a job file: frozen, strict about types, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

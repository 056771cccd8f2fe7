"""Reading a job file: YAML without surprises, overrides, and errors that name the line and the nearest known key."""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from coreset.config import Job
from coreset.errors import RequestError, brief

LARGEST = 1 << 17
"""Bytes of a job file. A job has some thousands; YAML is read at less than a megabyte per second."""
DEEPEST = 16
"""Levels of a job file. The deepest key of a job stands on the fifth."""


def load_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """Reads a job file and applies `key.path=value` overrides, values in YAML.

    Raises RequestError naming the file, the key, what was expected, what was found and the nearest known key.
    """
    text = _read(path, "job file")
    tree = _parse(text, str(path))
    if not isinstance(tree, dict):
        raise RequestError(f"{path}: expected keys such as 'name:' and 'corpus:', found {type(tree).__name__}.")
    for override in overrides:
        _override(tree, override)
    try:
        return Job.model_validate(tree)
    except ValidationError as error:
        raise RequestError(_explain(error, path, text, overrides)) from None


def read_yaml(path: Path, what: str) -> Any:
    """What another small YAML file holds, read as a job file is. Raises RequestError for one that cannot be read."""
    return _parse(_read(path, what), str(path))


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise RequestError(f"{path}: expected a {what}, found nothing there; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: expected a readable {what} in UTF-8, found {brief(error)}.") from None
    if len(content) > LARGEST:
        raise RequestError(f"{path}: expected a {what} of at most {LARGEST // 1024} KiB, found a longer one.")
    return text


def _parse(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: no tag makes more than a plain value
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or brief(error)
        raise RequestError(f"{place}{line}: expected YAML, found a mistake: {problem[:200]}.") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # What PyYAML lets through: dates that are none, tags on the wrong value, brackets without end.
        raise RequestError(
            f"{place}: expected YAML of plain values, found one that cannot be read ({brief(error)})."
        ) from None


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (a few bytes could grow to gigabytes) and without doubled keys (one would be lost).

    Neither nesting nor integers are without end.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias (*name); write the value out", problem_mark=mark)
        if self.depth == DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nesting beyond {DEEPEST} levels", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_yaml_int(self, node: Any) -> int:
        # Base 60, as 1:2:3 is, takes a time that grows with the square of the length.
        if len(self.construct_scalar(node)) > 80 or abs(value := super().construct_yaml_int(node)) >= 2**64:
            raise yaml.MarkedYAMLError(problem="an integer beyond 64 bits", problem_mark=node.start_mark)
        return int(value)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is no plain word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)

# YAML 1.1 reads 1e-3 as text, for want of a point; everybody means the number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)$|^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RequestError(f"--set {override}: expected key.path=value, such as select.prune=0.99.")
    *parents, last = key.strip().split(".")
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise RequestError(f"--set {override}: {parent!r} holds a value, not keys; check the path.")
    node[last] = _parse(text, f"--set {override}")


def sweep_command(job: Path, out: Path | None, store: str | Path | None, overrides: Sequence[str]) -> str:
    """The command of a sweep as it was given, to be typed again; where pseudopotentials lie is nobody's business."""
    given = [("--out", str(out)) if out else (), ("--store", str(store)) if store else ()]
    given += [("--set", _without_folder(each)) for each in overrides]
    return shlex.join(["coreset", "sweep", str(job), *(word for each in given for word in each)])


def _without_folder(override: str) -> str:
    """A legal override with DIR for the value of `energy.pseudopotentials`, set alone or with its whole section."""
    key, _, text = override.partition("=")
    if key.strip() == "energy.pseudopotentials":
        return f"{key}=DIR"
    section = _parse(text, f"--set {override}") if key.strip() == "energy" else None
    if isinstance(section, dict) and section.get("pseudopotentials") is not None:
        return f"{key}={json.dumps(section | {'pseudopotentials': 'DIR'}, ensure_ascii=False)}"
    return override


def _explain(error: ValidationError, path: Path, text: str, overrides: Sequence[str]) -> str:
    problem = error.errors(include_url=False)[0]
    location = [
        str(step) for step in problem["loc"] if not str(step).startswith(("constrained-", "function-", "literal["))
    ]
    location = [step for step in location if step not in ("float", "int", "str")]
    key = ".".join(location)[:200] or "the job"
    override = next(
        (each for each in reversed(overrides) if f"{key}.".startswith(f"{each.split('=')[0].strip()}.")), None
    )
    line = None if override else _line_of(text, location)
    place = f"--set {override}: {key}" if override else f"{path}:{line}: {key}" if line else f"{path}: {key}"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}."
        return f"{place}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{place}: expected this key, found none; add it."
    if problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")[:400]
        # What the whole job says of itself names its key already.
        return f"{place if location else path}: {message}{'' if message.endswith('?') else '.'}"
    message = re.sub("^(Input should be|String should have)", "expected", problem["msg"]).rstrip(".")
    return f"{place}: {message[:300]}, found {_SHORT.repr(problem['input'])}."


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


def _known_keys(location: Sequence[str]) -> list[str]:
    model: Any = Job
    steps = iter(location)
    for step in steps:
        model = model.model_fields[step].annotation
        if get_origin(model) is dict:
            next(steps, None)  # a name of the user's
            model = get_args(model)[1]
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def _line_of(text: str, location: Sequence[str]) -> int | None:
    """The line of a key in the job file; None for a key that only an override or a default has."""
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for step in location:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == step), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def job_record(job: Job) -> dict[str, Any]:
    """The job without what is particular to a machine: its paths and its cluster."""
    machines: dict[str, Any] = {
        "cluster": True,
        "corpus": {"source"},
        "training": {"cache"},
        "score": {"path"},
        "energy": {"pseudopotentials"},
    }
    return job.model_dump(mode="json", exclude=machines)

"""`docs/job-file.md` names every key of the job file, with its true default, and no other."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from coreset.config import Job
from coreset.job_file import load_job

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/job-file.md").read_text()
REQUIRED = object()


def fields(model=Job, prefix=""):
    """Dotted key and default of every leaf of the models."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            required = field.default is PydanticUndefined
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            yield f"{prefix}{name}", REQUIRED if required else default


def rows():
    """Key, default and owner of every row of the page's tables."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if re.fullmatch(r"`[a-z_.]+`", cells[0]) and line.startswith("|"):
            key, _, default, whose, _ = cells
            yield key.strip("`"), default, whose


def stated(default):
    return REQUIRED if default == "required" else yaml.safe_load(default.strip("`"))


def test_names_every_key_once_and_no_other():
    named = [key for key, _, _ in rows()]
    assert sorted(named) == sorted(key for key, _ in fields())


@pytest.mark.parametrize(("key", "default"), list(fields()), ids=[key for key, _ in fields()])
def test_states_the_true_default(key, default):
    found = {name: text for name, text, _ in rows()}
    assert stated(found[key]) == default


def test_says_whose_each_default_is():
    for key, default, whose in rows():
        assert whose in (("–",) if default == "required" else ("paper", "ours")), key


def test_keys_in_prose_exist():
    known = [key for key, _ in fields()]
    sections = set(Job.model_fields)
    for page in (ROOT / "docs").glob("*.md"):
        for key in re.findall(r"`([a-z]+(?:\.[a-z_]+)+)(?:: [^`]*)?`", page.read_text()):
            # figures of summary.json are dotted too, and some share a section's name; so does the file sweep.json
            if key.split(".")[0] in sections - {"coverage", "evaluation"} and not key.endswith(".json"):
                assert any(name == key or name.startswith(f"{key}.") for name in known), f"{page.name}: {key}"


def examples():
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            yield pytest.param(block, id=page.name)


@pytest.mark.parametrize("example", list(examples()))
def test_examples_are_job_files(example, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(example)
    load_job(path)


def test_shows_the_job_that_is_shipped(tmp_path):
    block = re.search(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "job.yaml"
    path.write_text(block[1])
    assert load_job(path) == load_job(ROOT / "jobs/al.yaml")

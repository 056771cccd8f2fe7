"""The container file, which is not built here: what it copies is there, and what it promises stands in it."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lines() -> list[str]:
    text = (ROOT / "cluster/Containerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def words_of(lines: list[str], instruction: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{instruction} ")]


def test_what_it_copies_is_there_and_enough_to_install(lines: list[str]) -> None:
    copied = [source for *sources, _ in words_of(lines, "COPY") for source in sources]
    assert all((ROOT / source).exists() for source in copied)
    assert {"pyproject.toml", "coreset", "constraints.txt"} <= set(copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["readme"] in copied


def test_every_package_has_the_version_of_the_tests(lines: list[str]) -> None:
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("-c constraints.txt" in line for line in installs)


def test_its_python_is_one_that_the_package_takes(lines: list[str]) -> None:
    (base,) = words_of(lines, "FROM")
    version = re.search(r"python:(\d+)\.(\d+)-slim", base[0])
    assert version and (int(version[1]), int(version[2])) >= (3, 11)


def test_it_runs_as_the_user_of_the_manifests_and_not_as_root(lines: list[str]) -> None:
    assert words_of(lines, "USER")[-1] == ["1000"]
    assert any("useradd --uid 1000" in line for line in lines)
    for manifest in (ROOT / "cluster/kuberay").glob("ray*.yaml"):
        assert "runAsUser: 1000" in manifest.read_text()


def test_no_secret_is_baked_in_and_usage_statistics_are_off(lines: list[str]) -> None:
    settings = [word for words in words_of(lines, "ENV") for word in words]
    assert "RAY_USAGE_STATS_ENABLED=0" in settings
    assert not [word for word in settings if re.search("TOKEN|SECRET|PASSWORD", word)]

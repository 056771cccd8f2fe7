"""The folder of a finished sweep, made of formulas, and the summary of a run on a table."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def sample() -> Any:
    """The module that writes it."""
    return _beside("sample")


@pytest.fixture(scope="session")
def table_sample() -> Any:
    """The module that makes the summaries."""
    return _beside("table_sample")


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"coreset_report_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

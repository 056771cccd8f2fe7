"""The folder of a finished sweep, made of formulas."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def sample() -> Any:
    """The module that writes it."""
    spec = importlib.util.spec_from_file_location("coreset_report_sample", Path(__file__).with_name("sample.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

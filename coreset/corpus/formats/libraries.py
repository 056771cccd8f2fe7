"""Libraries that only some formats need, imported when they are."""

from importlib import import_module
from typing import Any

from coreset.errors import RequestError


def require(module: str) -> Any:
    """The module. Raises RequestError, with the way to install it, where it is missing."""
    try:
        return import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise RequestError(
            f"{name}: expected this library, which a file of the source needs; pip install 'coreset-ray[formats]'"
        ) from None

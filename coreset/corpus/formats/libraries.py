"""Libraries that only some formats need, imported when they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from coreset.errors import RequestError


@contextmanager
def needed(library: str) -> Iterator[None]:
    """Around an import: raises RequestError, with the way to install it, where the library is missing."""
    try:
        yield
    except ImportError:
        raise RequestError(
            f"{library}: expected this library, which a file of the source needs; pip install 'coreset-ray[formats]'"
        ) from None

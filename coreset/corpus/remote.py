"""Corpora at URLs, such as `s3://…`: a read that fails is tried again, for networks fail now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, WrapperStore

T = TypeVar("T")

ATTEMPTS = 6
_FIRST_WAIT = 0.05
"""Seconds; each further wait is twice as long."""
_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
"""What trying again does not change."""


def patiently(read: Callable[[], T]) -> T:
    """What `read` returns, tried again after an OSError; the last of ATTEMPTS errors is raised."""
    for wait in _waits():
        try:
            return read()
        except _FINAL:
            raise
        except OSError:
            time.sleep(wait)
    return read()


def open_store(url: str) -> PatientStore:
    """The Zarr store at a URL that fsspec knows, for reading."""
    return PatientStore(FsspecStore.from_url(url, read_only=True))


class PatientStore(WrapperStore[FsspecStore]):
    """Reads as `patiently` does, each key by itself."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The bytes of a key, or None where there is none."""
        for wait in _waits():
            try:
                return await self._store.get(key, prototype, byte_range)
            except _FINAL:
                raise
            except OSError:
                await asyncio.sleep(wait)
        return await self._store.get(key, prototype, byte_range)


def _waits() -> Iterator[float]:
    return (_FIRST_WAIT * 2**attempt for attempt in range(ATTEMPTS - 1))

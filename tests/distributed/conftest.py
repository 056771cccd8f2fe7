"""One local Ray for all tests of this folder."""

from collections.abc import Iterator

import pytest

from coreset.distributed.executor import RayExecutor


@pytest.fixture(scope="session")
def ray_executor() -> Iterator[RayExecutor]:
    with RayExecutor(address="local", workers=2) as executor:
        yield executor

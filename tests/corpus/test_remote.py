"""A corpus behind a file system that fails one call in ten is read as if it did not."""

from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from coreset.corpus import remote
from coreset.corpus.remote import ATTEMPTS, patiently
from coreset.corpus.store import Corpus
from coreset.errors import DataError, RequestError


class Flaky(LocalFileSystem):  # type: ignore[misc]
    """Every tenth read fails; with `broken` each does."""

    protocol: ClassVar[str] = "flaky"
    calls: ClassVar[int] = 0
    failures: ClassVar[int] = 0
    broken: ClassVar[bool] = False

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **given: Any) -> Any:
        Flaky.calls += 1
        if Flaky.broken or Flaky.calls % 10 == 9:
            Flaky.failures += 1
            raise ConnectionResetError("the network is gone")
        return super().cat_file(path, start, end, **given)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    for name, value in (("calls", 0), ("failures", 0), ("broken", False)):
        monkeypatch.setattr(Flaky, name, value)
    monkeypatch.setattr(remote, "_FIRST_WAIT", 0.0)
    return Flaky


def test_a_corpus_is_read_whole_although_one_read_in_ten_fails(flaky: type[Flaky], small_corpus: Corpus) -> None:
    found = Corpus.open(f"flaky://{small_corpus.path}")
    assert found.digest == small_corpus.digest
    for snapshot in found.snapshots:
        assert np.array_equal(found.density(snapshot), small_corpus.density(snapshot))
        assert np.array_equal(found.density(snapshot, 7, 60), small_corpus.density(snapshot, 7, 60))
        found.verify(snapshot)
    assert flaky.failures >= 5


def test_a_file_system_that_always_fails_is_given_up_with_its_own_error(
    flaky: type[Flaky], small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Corpus.open(f"flaky://{small_corpus.path}")
    monkeypatch.setattr(flaky, "broken", True)
    with pytest.raises(OSError, match="the network is gone"):
        found.density(found.snapshots[0])
    assert flaky.failures >= ATTEMPTS


def test_what_is_missing_is_not_asked_for_again(flaky: type[Flaky], small_corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such corpus"):
        Corpus.open(f"flaky://{tmp_path}/none.zarr")
    assert flaky.calls == 1
    gone = Corpus.open(f"flaky://{small_corpus.path}")
    lost = Corpus(f"flaky://{tmp_path}", gone.snapshots, gone.digest)
    with pytest.raises((DataError, FileNotFoundError)):
        lost.density(gone.snapshots[0])


def test_the_last_error_is_raised_after_so_many_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_WAIT", 0.0)
    tried: list[int] = []

    def read(good: int) -> str:
        tried.append(1)
        if len(tried) < good:
            raise OSError(f"attempt {len(tried)}")
        return "read"

    assert patiently(lambda: read(ATTEMPTS)) == "read"
    tried.clear()
    with pytest.raises(OSError, match=f"attempt {ATTEMPTS}"):
        patiently(lambda: read(ATTEMPTS + 1))

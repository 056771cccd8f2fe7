"""A store at a URL, such as `s3://…`: objects that are put whole, and a mirror on this machine to read them by."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from coreset.atomic import TEMPORARY, files_below, json_bytes, make_folder, write_json
from coreset.errors import RequestError, WorkError, brief

T = TypeVar("T")
Item = TypeVar("Item")

_STREAMS = 8
"""Objects of one shard, or of one artifact, that are asked for at a time."""


@dataclass(frozen=True)
class RemotePath:
    """An object at a URL that fsspec knows, or the folder of all objects whose names begin with it and a slash.

    What fails is tried again, as reads of a corpus are. At last it raises OSError, naming the URL; FileNotFoundError
    at once where there is no such object.
    """

    url: str

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last word of the URL."""
        return self.url.rpartition("/")[2]

    @property
    def mirror(self) -> Path:
        """Where copies of what lies in this folder are kept on this machine; others of the user share them."""
        above, _, name = self.url.rpartition("/")
        return _mirrors() / hashlib.sha256(above.encode()).hexdigest()[:16] / name

    @property
    def size(self) -> int | None:
        """Bytes of the object; None where there is none."""
        try:
            found = self._ask(lambda fs, path: fs.info(path))
        except FileNotFoundError:
            return None
        return int(found["size"]) if found["type"] == "file" else None

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self.size is not None

    def read_bytes(self) -> bytes:
        """The object."""
        content: bytes = self._ask(lambda fs, path: fs.cat_file(path))
        return content

    def write_bytes(self, content: bytes) -> None:
        """Puts the object, in place of what stood there."""
        self._ask(lambda fs, path: fs.pipe_file(path, content))

    def fetch(self, path: Path) -> None:
        """Copies the object to a file."""
        self._ask(lambda fs, remote: fs.get_file(remote, str(path)))

    def put(self, path: Path) -> None:
        """Copies a file to the object, in place of what stood there."""
        self._ask(lambda fs, remote: fs.put_file(str(path), remote))

    def remove(self) -> None:
        """Removes the object; one that is gone already is no error."""
        try:
            self._ask(lambda fs, path: fs.rm_file(path))
        except FileNotFoundError:
            return

    def sizes(self) -> dict[str, int]:
        """Bytes of every object below this folder, by its name from there on."""
        found, path = self._ask(lambda fs, path: (fs.find(path, detail=True), path))
        return {name.removeprefix(path).lstrip("/"): int(each["size"]) for name, each in found.items()}

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on this machine in which what is to be put here is made."""
        make_folder(self.mirror)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self.mirror, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def take(self, path: Path) -> None:
        """Puts a file, or every file of a folder, here under its own name; what is put need not be fetched again."""
        files = {file.relative_to(path.parent).as_posix(): file for file in files_below(path)}
        in_parallel(lambda name: (self / name).put(files[name]), files)
        for name, file in files.items():
            kept = self.mirror / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, kept)

    def expect_writable(self, option: str) -> None:
        """Raises RequestError where nothing can be put, and removed again."""
        probe = self / f"{TEMPORARY}probe"
        try:
            probe.write_bytes(b"")
            probe.remove()
        except OSError as error:
            raise RequestError(f"{option}: expected a URL to write to, found that it cannot be: {error}") from None

    def _ask(self, call: Callable[[Any, str], T]) -> T:
        """What `call` returns, given the file system and the path in it."""
        from coreset.corpus.remote import patiently  # and Zarr with it

        def asked() -> T:
            try:
                fs = _filesystem("/".join(self.url.split("/")[:3]), os.getpid())
                return call(fs, fs._strip_protocol(self.url))
            except OSError:
                raise
            except Exception as error:
                # Clients have errors of their own for what is one of the network, or of the account.
                raise OSError(f"{type(error).__name__}: {brief(error)}") from error

        try:
            return patiently(asked)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.url}: {brief(error)}") from error
        except OSError as error:
            raise OSError(f"{self.url}: {brief(error)}") from error


Location = Path | RemotePath
"""Where an artifact lies."""


def located(place: str | Path, option: str) -> Location:
    """A path as it stands, or what a URL names. Raises RequestError for a URL that is no object store's."""
    url = str(place)
    if "://" not in url:
        return Path(place)
    protocol = url.partition("://")[0]
    if "::" in url or protocol in ("file", "local", "http", "https"):
        raise RequestError(
            f"{option}: expected a path, or the URL of an object store such as s3://bucket/prefix, found {url!r}."
        )
    try:
        _filesystem("/".join(url.split("/")[:3]), os.getpid())
    except (ImportError, ValueError, OSError) as error:
        raise RequestError(
            f"{option}: expected a URL that fsspec can open, found {url!r} ({brief(error)}); for s3:// install "
            "coreset-ray[s3]."
        ) from None
    return RemotePath(url.rstrip("/"))


def keep_json(place: Location, value: Any) -> None:
    """`write_json`, wherever it lies."""
    if isinstance(place, RemotePath):
        place.write_bytes(json_bytes(value))
    else:
        write_json(place, value)


def in_parallel(function: Callable[[Item], T], items: Iterable[Item]) -> list[T]:
    """`function` of each item, in their order: it waits for a network."""
    with ThreadPoolExecutor(_STREAMS) as pool:
        return list(pool.map(function, items))


@cache
def _filesystem(bucket: str, process: int) -> Any:
    """Of a URL's first part, in this process: a child's would have its parent's connections."""
    import fsspec

    # No listing is kept, for others write to the store meanwhile.
    return fsspec.core.url_to_fs(bucket, use_listings_cache=False)[0]


def _mirrors() -> Path:
    """The folder of all mirrors. Raises WorkError where others could write there."""
    folder = Path(tempfile.gettempdir()) / f"coreset-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise WorkError(
            f"{folder}: expected a folder that only you can use, for copies from the store, found another; remove it, "
            "or let TMPDIR name another place."
        )
    return folder

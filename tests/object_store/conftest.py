"""An S3 server on this machine, file systems that lose, double and hold back what is asked of them, and a toy stage."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from coreset.artifacts import remote
from coreset.artifacts.stage import Context, FindShard, Part, Stage
from coreset.corpus import remote as reads

try:
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem
except ImportError:
    S3FileSystem = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if S3FileSystem is None:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="needs s3fs, moto[s3], flask and flask-cors"))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


_numbers = count()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of an empty bucket; whoever asks for its URL finds server and credentials in the environment."""
    given = {
        "ENDPOINT_URL": server,
        "ACCESS_KEY_ID": "key",
        "SECRET_ACCESS_KEY": "s3cret",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "here"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "here"))
    monkeypatch.setattr(reads, "_FIRST_WAIT", 0.0)
    forget()
    name = f"bucket-{next(_numbers)}"
    fsspec.filesystem("s3").mkdir(name)
    yield name
    forget()


def forget() -> None:
    """Every file system, and with it the server that it knows."""
    remote._filesystem.cache_clear()
    for kind in (S3FileSystem, Faulty):
        kind.clear_instance_cache()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on this is another machine: it has no copy of anything."""
    numbers = count()

    def move() -> None:
        folder = tmp_path / f"machine-{next(numbers)}"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))

    return move


@pytest.fixture
def objects(bucket: str) -> Callable[[], dict[str, bytes]]:
    """Everything in the bucket, but the seconds that shards took."""

    def look() -> dict[str, bytes]:
        fs = fsspec.filesystem("s3", use_listings_cache=False)
        found = {name.partition("/")[2]: fs.cat_file(name) for name in fs.find(bucket)}
        return {name: content for name, content in found.items() if not name.endswith("/timings.json")}

    return look


class Faulty(S3FileSystem or object):  # type: ignore[misc]
    """S3 behind a bad network, at `faulty://…`."""

    protocol: ClassVar[Any] = "faulty"
    every: ClassVar[int] = 0
    """Every so many-th request fails: before it is sent and after it is answered, in turn. 0: none."""
    twice: ClassVar[bool] = False
    """Whether each PUT is sent once more, after the next one."""
    holds: ClassVar[Callable[[str], bool]] = staticmethod(lambda key: False)
    """Of which keys a PUT is answered at once and done when `release` is called."""
    calls: ClassVar[int] = 0
    failures: ClassVar[int] = 0
    held: ClassVar[list[Any]] = []
    again: ClassVar[list[Any]] = []

    async def _call_s3(self, method: str, *given: Any, **named: Any) -> Any:
        Faulty.calls += 1
        fails = bool(Faulty.every) and Faulty.calls % Faulty.every == 0
        Faulty.failures += fails
        if fails and Faulty.failures % 2:
            raise ConnectionResetError("the network is gone")
        if method == "put_object":
            body = named["Body"]
            named["Body"] = body if isinstance(body, bytes) else body.read()
            if Faulty.holds(named["Key"]):
                Faulty.held.append((method, given, named))
                return {"ETag": '"0"', "VersionId": None}
        answer = await super()._call_s3(method, *given, **named)
        if method == "put_object" and Faulty.twice:
            for late, more, other in Faulty.again:
                await super()._call_s3(late, *more, **other)
            Faulty.again[:] = [(method, given, named)]
        if fails:
            raise ConnectionResetError("the answer is lost")
        return answer


@pytest.fixture
def faulty(bucket: str, monkeypatch: pytest.MonkeyPatch) -> type[Faulty]:
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    for name in ("every", "calls", "failures"):
        monkeypatch.setattr(Faulty, name, 0)
    for name in ("held", "again"):
        monkeypatch.setattr(Faulty, name, [])
    return Faulty


def _nothing(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class Toy(Stage):
    """Part i holds 3i, in a file, or in two of a folder."""

    name: ClassVar[str] = "toy"
    suffix: ClassVar[str] = ".x"

    folders: bool = True
    calls: list[str] = field(default_factory=list)
    """Names of the parts that were computed."""
    before: Callable[[Part], None] = _nothing
    """Is called in `compute` before anything is written."""

    def parameters(self) -> dict[str, Any]:
        return {"folders": self.folders}

    def inputs(self) -> dict[str, str]:
        return {}

    def parts(self) -> list[Part]:
        return [Part(f"set/{number}[?*", number) for number in range(3)]

    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        self.calls.append(part.name)
        self.before(part)
        if self.folders:
            (path / "deep" / "er").mkdir(parents=True)
            (path / "deep" / "er" / "value").write_text(str(3 * part.payload))
            (path / "name").write_text(part.name)
        else:
            path.write_text(str(3 * part.payload))
        return {"value": 3 * part.payload}

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        """What stands in the shards themselves."""
        if self.folders:
            return {"values": [(find(record, "deep") / "deep" / "er" / "value").read_text() for record in records]}
        return {"values": [find(record).read_text() for record in records]}


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    return Toy

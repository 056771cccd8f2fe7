"""A toy stage: shards of which every byte follows from its parameters, and hooks to break it with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from coreset.artifacts.executor import Executor
from coreset.artifacts.manifest import TIMINGS
from coreset.artifacts.stage import Context, FindShard, Part, Stage


def _nothing(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class Toy(Stage):
    """Part i of a toy holds offset + scale · i; the offset comes from a scan."""

    name: ClassVar[str] = "toy"
    suffix: ClassVar[str] = ".txt"

    count: int = 4
    scale: int = 3
    source: str = "0" * 64
    folders: bool = False
    calls: list[str] = field(default_factory=list)
    """Names of the parts that were computed."""
    before: Callable[[Part], None] = _nothing
    """Is called in `compute` before anything is written."""
    after: Callable[[Part], None] = _nothing
    """Is called in `compute` when the shard is written under its temporary name."""

    def parameters(self) -> dict[str, Any]:
        return {"count": self.count, "scale": self.scale, "folders": self.folders}

    def inputs(self) -> dict[str, str]:
        return {"source": self.source}

    def prepare(self, executor: Executor) -> int:
        return executor.scan(int, range(5), lambda a, b: a + b)

    def parts(self) -> list[Part]:
        return [Part(f"set/{number}", number) for number in range(self.count)]

    def compute(self, part: Part, shared: int, path: Path, context: Context) -> dict[str, Any]:
        self.calls.append(part.name)
        self.before(part)
        value = shared + self.scale * part.payload
        if self.folders:
            (path / "deep").mkdir(parents=True)
            (path / "deep" / "value").write_text(str(value))
            (path / "name").write_text(part.name)
        else:
            path.write_text(str(value))
        self.after(part)
        return {"value": value}

    def figures(self, shared: int, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        return {"values": [record["figures"]["value"] for record in records], "offset": shared}


@dataclass(frozen=True)
class Other(Toy):
    """The same work under another name."""

    name: ClassVar[str] = "other"


@dataclass(frozen=True)
class Second(Toy):
    """The same work in another version."""

    version: ClassVar[int] = 2


@pytest.fixture(scope="session")
def picture(picture: Callable[[Path], dict[str, bytes | None]]) -> Callable[[Path], dict[str, bytes | None]]:
    """What must be equal from run to run: all but the seconds that each shard took."""

    def look(root: Path) -> dict[str, bytes | None]:
        return {name: content for name, content in picture(root).items() if Path(name).name != TIMINGS}

    return look


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    return Toy


@pytest.fixture(scope="session")
def other() -> type[Toy]:
    return Other


@pytest.fixture(scope="session")
def second() -> type[Toy]:
    return Second

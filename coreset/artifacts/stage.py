"""The nouns Part and Stage: what is computed, apart from where."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from coreset.atomic import canonical_json
from coreset.learning.team import Team

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Item = TypeVar("Item")

FindShard = Callable[..., Path]
"""`find(record, below="")`: a shard's file or folder on this machine, found to be what was written.

Of a folder only what lies `below` that name in it, where one is given.
"""

Place = Literal["task", "actor", "train", "data"]
"""Where a stage's parts run under Ray: plain tasks, an actor pool, one Ray Train worker group, Ray Data."""


@dataclass(frozen=True)
class Part:
    """The work behind one shard: the unit of retry, of resume and of parallelism."""

    name: str
    """Unique in its stage; a slash is allowed, as in a snapshot's name."""
    payload: Any = None
    """What `compute` needs beside the stage: small and picklable."""
    work: float = 1.0
    """Units that the progress bar counts for this part."""
    workers: int = 1
    """Processes that compute it together; more than one only in a Ray Train worker group."""
    reads: str = ""
    """What it reads before all else; a process that has read it makes the others that name the same, if it can."""

    @property
    def stem(self) -> str:
        """The part's name as one file name; no two names share one."""
        stem = self.name.replace("/", "__")
        if stem.replace("__", "/") == self.name:
            return stem
        return f"{stem}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


class Context(Protocol):
    """What a part may ask of the executor that runs it."""

    spent: dict[str, float]
    """Seconds of this part that are to be told, by name, see `timed`; and `peak_bytes`, see `peak_memory`."""
    team: Team
    """The processes that compute this part together; rank 0 writes the shard."""
    carried: dict[str, Any]
    """What parts of the same map carry over to those after them in this process."""

    @property
    def device(self) -> str:
        """Type of the device to compute on, as torch names it."""

    def read(self, reader: Callable[[Any], pa.Table], requests: Sequence[Any]) -> Iterator[pa.Table]:
        """The rows of `reader(request)` for each request, in order; table borders may fall anywhere."""

    def advance(self, units: float) -> None:
        """Tells the progress bar that so many units of work are done."""


@contextmanager
def timed(spent: MutableMapping[str, float], phase: str = "") -> Iterator[None]:
    """Notes in `spent` how many seconds (wall), and `cpu_seconds` of this process, the block takes.

    A phase, such as `describe_`, goes before both names.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    yield
    spent[f"{phase}seconds"] = time.perf_counter() - begin
    spent[f"{phase}cpu_seconds"] = time.process_time() - begin_cpu


def forget_peak_memory() -> None:
    """From here on `peak_memory` is of what follows, where the system (Linux) lets a process say so."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Bytes that this process has held resident at most, by itself; 0 where the system does not tell.

    What it shares with others, such as Ray's object store, is not its own.
    """
    try:
        # Not `ru_maxrss`, which counts what the parent held when it started this process.
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    most, shared = (int(status.split(f"{name}:")[1].split()[0]) for name in ("VmHWM", "RssShmem"))
    return 1024 * max(0, most - shared)


class Scanner(Protocol):
    """What a stage may ask before its parts are mapped."""

    def scan(self, function: Callable[[Item], T], items: Sequence[Item], merge: Callable[[T, T], T]) -> T:
        """Merges `function(item)` over all items; partials are small, and come in any order."""


@dataclass(frozen=True)
class Stage(ABC):
    """Frozen parameters and the digests of the inputs; the same stage gives the same bytes.

    `parameters` and `inputs` are the recipe: what is not in them must not change a byte of a shard.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    place: ClassVar[Place] = "task"
    suffix: ClassVar[str]
    """How a shard's name ends; a shard is one file or one folder."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The settings that decide the result, as JSON."""

    @abstractmethod
    def inputs(self) -> dict[str, str]:
        """The digests of what is read, by role."""

    def prepare(self, scanner: Scanner) -> Any:
        """What all parts share and one scan over the inputs finds, such as a selection rule; small and picklable."""
        return None

    @abstractmethod
    def parts(self) -> list[Part]:
        """The parts, in the order of the manifest."""

    @abstractmethod
    def compute(self, part: Part, shared: Any, path: Path, context: Context) -> dict[str, Any]:
        """Writes the shard at `path` (a file or a folder) and returns its figures, as JSON."""

    def figures(self, shared: Any, records: Iterable[dict[str, Any]], find: FindShard) -> dict[str, Any]:
        """The figures of the whole, from the shards' records in order of the parts, and what `find` gives of each."""
        return {}

    @property
    def title(self) -> str:
        """How progress and status call this stage."""
        return self.name

    def recipe(self) -> dict[str, Any]:
        """Everything that the digest hashes."""
        return {
            "stage": self.name,
            "version": self.version,
            "parameters": self.parameters(),
            "inputs": self.inputs(),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the recipe's canonical JSON."""
        return hashlib.sha256(canonical_json(self.recipe())).hexdigest()

    @property
    def folder(self) -> str:
        """The artifact's name in a store."""
        return f"{self.name}-{self.digest[:16]}"

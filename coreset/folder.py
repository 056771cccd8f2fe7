"""A run's own folder: locked while the run goes, with a record of what it does for `status` and `predict`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coreset.atomic import TEMPORARY, make_folder, parse_json, remove, write_json
from coreset.errors import RequestError, brief

RECORD = "run.json"
LOCK = ".lock"


_Path = Annotated[str, Field(pattern=r"^([^/\x00]{0,255}/)*[^/\x00]{0,255}$")]
"""Which no system call refuses for its form."""


class _Stage(BaseModel):
    model_config = ConfigDict(strict=True)

    title: str = ""
    artifact: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,200}$")] = ""


class _Record(BaseModel):
    """The types of what a record may hold; what it must hold depends on who asks."""

    model_config = ConfigDict(strict=True)

    name: str = ""
    job_file: _Path = ""
    job: dict[str, Any] = {}
    store: _Path = ""
    state: str = ""
    error: str | None = None
    where: str = ""
    log: str = ""
    stages: list[_Stage] = []


class RunFolder:
    """`DIR` of the contracts. Only one run at a time may hold it; the store may be shared."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def store(self) -> Path:
        """Where artifacts go unless the request says otherwise."""
        return self.path / "artifacts"

    @property
    def coreset(self) -> Path:
        """The pruned dataset."""
        return self.path / "coreset"

    @property
    def summary(self) -> Path:
        """Every figure that is shown."""
        return self.path / "summary.json"

    @property
    def sweep(self) -> Path:
        """Every figure of a sweep."""
        return self.path / "sweep.json"

    @property
    def log(self) -> Path:
        """What happened, event by event."""
        return self.path / "log.jsonl"

    def read(self) -> dict[str, Any]:
        """The record of the last run. Raises RequestError where there is none."""
        try:
            record: dict[str, Any] = parse_json((self.path / RECORD).read_bytes())
            _Record.model_validate(record)
        except (FileNotFoundError, NotADirectoryError):
            raise RequestError(
                f"{self.path}: expected the folder of a run, found no {RECORD} in it; give the folder that "
                "`coreset run` wrote (runs/<name> by default)."
            ) from None
        except OSError as error:
            raise RequestError(f"{self.path / RECORD}: cannot be read ({brief(error)}).") from None
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(map(str, problem["loc"])) or "the whole"
            raise RequestError(
                f"{self.path / RECORD}: {key}: expected the record of a run, found a damaged file ({problem['msg']}); "
                f"{self._way_out}."
            ) from None
        except ValueError as error:
            raise RequestError(
                f"{self.path / RECORD}: expected JSON, found a damaged file ({brief(error)}); {self._way_out}."
            ) from None
        return record

    @property
    def _way_out(self) -> str:
        """What was finished lies in the store, which needs no record; whose folder it is, nothing else tells."""
        return f"run with another --out and --store {self.store}, which goes on from what was finished"

    def write(self, record: dict[str, Any]) -> None:
        """Replaces the record."""
        write_json(self.path / RECORD, record)

    def expect_free_for(self, name: str) -> None:
        """Raises RequestError when the folder holds another job, or something else than a run."""
        above = next((parent for parent in self.path.absolute().parents if parent.exists()), self.path)
        if not above.is_dir():
            raise RequestError(
                f"{self.path}: expected a path below folders, found the file {above}; use another --out."
            )
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RequestError(f"{self.path}: expected a folder for the results, found a file; use another --out.")
        for written in (self.path / LOCK, self.log):
            # Both are opened where they stand, and what a link leads to would be written over.
            if written.is_symlink():
                raise RequestError(
                    f"{written}: expected a file of the run's own, found a link; remove it, or use another --out."
                )
        if (self.path / RECORD).is_file():
            held = self.read().get("name")
            if held != name:
                raise RequestError(
                    f"{self.path}: expected the folder of job {name!r} or a new one, found that of job {held!r}; "
                    "use another --out, or remove the folder."
                )
        elif any(entry.name != LOCK and not entry.name.startswith(TEMPORARY) for entry in self.path.iterdir()):
            raise RequestError(
                f"{self.path}: expected an empty folder or a run's, found other files; use another --out."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder. The lock ends with the process, however. Raises RequestError if another holds it."""
        make_folder(self.path)
        with (self.path / LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                raise RequestError(
                    f"{self.path}: expected a folder that no run uses, found it in use by {holder}; "
                    "wait for that run, or use another --out."
                ) from None
            except OSError as error:
                raise RequestError(
                    f"{self.path}: expected a file system with locks (flock), which keep a second run out, found one "
                    f"without ({brief(error)}); use another --out."
                ) from None
            lock.seek(0)
            lock.truncate()
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            for leftover in self.path.glob(f"{TEMPORARY}*"):
                remove(leftover)
            yield

    def in_use(self) -> bool:
        """Whether a run holds the folder at this moment."""
        try:
            with (self.path / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError:
            return False  # no run begins where it cannot lock its folder
        return False

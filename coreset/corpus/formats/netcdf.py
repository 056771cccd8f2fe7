"""NetCDF and HDF5 files, each read by netCDF4 in a process of its own: a damaged one can crash or hang the library.

A reader, `python -m coreset.corpus.formats.netcdf`, imports the library once, and forks for every file. It is asked by
a line of JSON, `names` of variables and the `bytes` of the file, which follow; it answers with another, the `status` of
the process that read, what it `said` if it failed, and the `bytes` of a `.npz` that follow: the arrays of these names,
the sizes of all dimensions and the attributes.
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import numpy as np

from coreset.corpus.formats.libraries import needed
from coreset.corpus.formats.streams import File
from coreset.errors import DataError, WorkError, brief

SECONDS = 2
"""Of the processor that may be used, and one more for every `RATE` bytes."""

RATE = 20_000_000


@dataclass(frozen=True)
class Contents:
    """What was asked for of a file, as far as it is there.

    Attributes:
        attributes: of the file, and as `variable.attribute` of its variables.
    """

    file: File
    digest: str
    arrays: dict[str, np.ndarray]
    sizes: dict[str, int]
    attributes: dict[str, Any]

    def array(self, name: str, axes: int) -> np.ndarray:
        """A variable of so many axes. Raises DataError where there is none."""
        if name not in self.arrays:
            raise DataError(f"{self.file}: expected the variable {name}, found none; it is of another kind, or damaged")
        found = self.arrays[name]
        if found.ndim != axes or found.dtype.kind not in "iuf":
            raise DataError(
                f"{self.file}, {name}: expected numbers along {axes} axes, found {found.dtype} {found.shape}"
            )
        return found


def contents(file: File, *names: str) -> Contents:
    """The variables of these names.

    Raises:
        RequestError: netCDF4 is not installed.
        DataError: the file is damaged.
    """
    with needed("netCDF4"):
        import netCDF4  # noqa: F401 - to be missed here, where it can be told
    content, digest = file.read()
    status, said, found = _reader(os.getpid()).ask(content, names)
    if status:
        told = said or f"status {status}"
        raise DataError(f"{file}: cannot be read as netCDF, for it is damaged ({told[:200]}); copy it again")
    with np.load(io.BytesIO(found), allow_pickle=False) as arrays:
        told = json.loads(arrays["told"].tobytes())
        return Contents(
            file, digest, {name: arrays[name] for name in names if name in arrays}, told["sizes"], told["attributes"]
        )


class _Reader:
    """The process that forks for every file: started when it is needed, ended when an answer does not come whole."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, content: bytes, names: tuple[str, ...]) -> tuple[int, str, bytes]:
        """Exit status, last line of what was said, and the `.npz` if the status is 0."""
        with self.lock:
            process, self.process = self.process, None
            if process is None or process.poll() is not None:
                process = _started()
            try:
                answer = _asked(process, content, names)
            except BaseException:  # of an interruption too: half an answer would be taken for the next one
                process.kill()
                process.communicate()
                raise
            self.process = process
            return answer


@cache
def _reader(process: int) -> _Reader:
    """That of a process: one that was forked from another does not share its reader."""
    return _Reader()


def _started() -> subprocess.Popen[bytes]:
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # a worker may have found the package by it alone
    return subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=here)


def _asked(process: subprocess.Popen[bytes], content: bytes, names: tuple[str, ...]) -> tuple[int, str, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    _write(process.stdin, {"names": names, "bytes": len(content)}, content)
    answer = process.stdout.readline()
    if not answer:
        raise WorkError(f"the process that reads netCDF ended ({process.wait()}); run again, with more memory.")
    told = json.loads(answer)
    return told["status"], told["said"], process.stdout.read(told["bytes"])


def _write(stream: IO[bytes], told: dict[str, Any], content: bytes) -> None:
    stream.write(json.dumps(told).encode() + b"\n")
    stream.write(content)
    stream.flush()


def main() -> None:
    """The reader: answers until nothing more is asked."""
    import netCDF4  # noqa: F401 - before the fork, so that it is imported once

    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        content = sys.stdin.buffer.read(asked["bytes"])
        with tempfile.TemporaryFile() as found, tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                os.dup2(said.fileno(), 1)  # the library may print
                os.dup2(said.fileno(), 2)
                os._exit(_read(content, asked["names"], found))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            found.seek(0)
            last = said.read().decode(errors="replace").strip().rsplit("\n", 1)[-1]
            answer = found.read() if status == 0 else b""
            _write(sys.stdout.buffer, {"status": status, "said": last, "bytes": len(answer)}, answer)


def _read(content: bytes, names: list[str], found: IO[bytes]) -> int:
    """Writes what is there of these names; returns an exit status. In the process that was forked."""
    import netCDF4

    seconds = SECONDS + len(content) // RATE
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    arrays: dict[str, np.ndarray] = {}
    try:
        with netCDF4.Dataset("in memory", memory=content) as dataset:
            dataset.set_auto_mask(False)
            attributes = {name: _plain(dataset.getncattr(name)) for name in dataset.ncattrs()}
            for name in {*names} & {*dataset.variables}:
                variable = dataset.variables[name]
                arrays[name] = np.asarray(variable[...])
                attributes |= {f"{name}.{each}": _plain(variable.getncattr(each)) for each in variable.ncattrs()}
            sizes = {name: len(dimension) for name, dimension in dataset.dimensions.items()}
        told = json.dumps({"sizes": sizes, "attributes": attributes}).encode()
        arrays["told"] = np.frombuffer(told, dtype=np.uint8)
        np.savez(found, allow_pickle=False, **arrays)
        found.flush()
    except Exception as error:  # the library raises many kinds
        print(f"{type(error).__name__}: {brief(error)}", file=sys.stderr, flush=True)
        return 1
    return 0


def _plain(attribute: Any) -> Any:
    return attribute.tolist() if isinstance(attribute, np.ndarray | np.generic) else str(attribute)


if __name__ == "__main__":
    main()

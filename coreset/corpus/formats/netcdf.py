"""NetCDF and HDF5 files, read by netCDF4 in a process of its own: a damaged file can crash that library, or hang it.

`python -m coreset.corpus.formats.netcdf NAME…` takes a file from its standard input and gives the arrays of these
names, the sizes of all dimensions and the attributes as a `.npz`.
"""

import io
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from coreset.corpus.formats.libraries import needed
from coreset.corpus.formats.streams import File
from coreset.errors import DataError, brief

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
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # a worker may have found the package by it alone
    command = [sys.executable, "-m", __name__, *names]
    made = subprocess.run(command, input=content, capture_output=True, env=here)
    if made.returncode:
        said = made.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        found = f"status {made.returncode}" if made.returncode < 0 or not said else said
        raise DataError(f"{file}: cannot be read as netCDF, for it is damaged ({found[:200]}); copy it again")
    with np.load(io.BytesIO(made.stdout), allow_pickle=False) as arrays:
        told = json.loads(arrays["told"].tobytes())
        return Contents(
            file, digest, {name: arrays[name] for name in names if name in arrays}, told["sizes"], told["attributes"]
        )


def main() -> None:
    """The process of its own."""
    import netCDF4

    content = sys.stdin.buffer.read()
    seconds = SECONDS + len(content) // RATE
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    arrays: dict[str, np.ndarray] = {}
    try:
        with netCDF4.Dataset("in memory", memory=content) as dataset:
            dataset.set_auto_mask(False)
            attributes = {name: _plain(dataset.getncattr(name)) for name in dataset.ncattrs()}
            for name in {*sys.argv[1:]} & {*dataset.variables}:
                found = dataset.variables[name]
                arrays[name] = np.asarray(found[...])
                attributes |= {f"{name}.{each}": _plain(found.getncattr(each)) for each in found.ncattrs()}
            sizes = {name: len(dimension) for name, dimension in dataset.dimensions.items()}
    except Exception as error:  # the library raises many kinds
        sys.exit(f"{type(error).__name__}: {brief(error)}")
    told = json.dumps({"sizes": sizes, "attributes": attributes}).encode()
    arrays["told"] = np.frombuffer(told, dtype=np.uint8)
    np.savez(sys.stdout.buffer, allow_pickle=False, **arrays)


def _plain(attribute: Any) -> Any:
    return attribute.tolist() if isinstance(attribute, np.ndarray | np.generic) else str(attribute)


if __name__ == "__main__":
    main()

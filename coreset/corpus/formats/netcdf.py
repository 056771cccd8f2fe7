"""NetCDF and HDF5 files, opened by netCDF4: from the disk where they lie there as they are, else from memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coreset.corpus.formats.libraries import needed
from coreset.corpus.formats.streams import File
from coreset.errors import CoresetError, DataError, brief


@contextmanager
def contents(file: File) -> Iterator[tuple[Any, dict[str, str]]]:
    """The open data set, and the SHA-256 of the file by its name.

    Raises:
        RequestError: netCDF4 is not installed.
        DataError: also for whatever the library raises while the data set is read.
    """
    with needed("netCDF4"):
        import netCDF4
    content, digest = file.read()
    try:
        with netCDF4.Dataset(file.name, memory=content) as dataset:
            dataset.set_auto_mask(False)
            yield dataset, {file.stored: digest}
    except CoresetError:
        raise
    except (OSError, RuntimeError, ValueError, IndexError, AttributeError, TypeError, MemoryError) as error:
        raise DataError(
            f"{file}: cannot be read as netCDF, for it is damaged ({brief(error)}); copy it again"
        ) from None


def variable(dataset: Any, name: str, file: File, axes: int) -> Any:
    """A variable of so many axes. Raises DataError where there is none."""
    if name not in dataset.variables:
        raise DataError(f"{file}: expected the variable {name}, found none; it is not of ABINIT, or damaged")
    found = dataset.variables[name]
    if found.ndim != axes:
        raise DataError(f"{file}, {name}: expected {axes} axes, found {found.ndim}")
    return found

"""The header of a `.npy` file, read without trust: nothing in it is evaluated but the literal that it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from coreset.errors import RequestError, brief


@dataclass(frozen=True)
class NpyHeader:
    """Shape and type of the array (C order), and the byte at which its values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int


def read_npy_header(file: BinaryIO, size: int, place: object) -> NpyHeader:
    """The header of an open file of `size` bytes. Raises RequestError, naming `place`, for anything but numbers."""
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = header(file)
        offset = file.tell()
    except (
        *(ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
        TokenError,
    ) as error:  # all that a header that is none can raise: NumPy has Python parse it
        raise RequestError(
            f"{place}: expected a .npy array of numbers, found a file that is none ({brief(error)})."
        ) from None
    if fortran and len(shape) > 1:
        raise RequestError(
            f"{place}: expected an array in C order, found Fortran order; save np.ascontiguousarray of it."
        )
    if dtype.hasobject or dtype.itemsize * math.prod(shape) != size - offset:
        raise RequestError(
            f"{place}: expected a .npy array of numbers, found {size - offset} bytes for shape {shape} of type {dtype}."
        )
    return NpyHeader(shape, dtype, offset)

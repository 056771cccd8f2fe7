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


def parse_npy_header(file: BinaryIO) -> tuple[NpyHeader, bool]:
    """The header that a file begins with, and whether the array is in Fortran order. Raises ValueError for others."""
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = header(file)
        return NpyHeader(shape, dtype, file.tell()), fortran
    except (
        *(ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
        TokenError,
    ) as error:  # all that a header that is none can raise: NumPy has Python parse it
        raise ValueError(brief(error)) from None


def read_npy_header(file: BinaryIO, size: int, place: object) -> NpyHeader:
    """The header of an open file of `size` bytes. Raises RequestError, naming `place`, for anything but numbers."""
    try:
        header, fortran = parse_npy_header(file)
    except ValueError as error:
        raise RequestError(f"{place}: expected a .npy array of numbers, found a file that is none ({error}).") from None
    shape, dtype = header.shape, header.dtype
    if fortran and len(shape) > 1:
        raise RequestError(
            f"{place}: expected an array in C order, found Fortran order; save np.ascontiguousarray of it."
        )
    held = size - header.offset
    if dtype.hasobject or dtype.itemsize * math.prod(shape) != held:
        raise RequestError(
            f"{place}: expected a .npy array of numbers, found {held} bytes for shape {shape} of type {dtype}."
        )
    return header

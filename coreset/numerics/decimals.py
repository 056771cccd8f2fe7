"""Decimal numbers in a text, to the last bit what `float` makes of them, and many times as fast.

A number of at most 18 digits whose value is m·10ᵉ, with m < 2⁵³ and |e| ≤ 22, is one correctly rounded product or
quotient of two exact doubles (Clinger, PLDI 1990). `float` reads the others, and what only Fortran writes: `1.5-100`.
"""

import math
import re

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numba import njit

_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_WITHOUT_LETTER = re.compile(rb"([-+]?(?:\d+\.?\d*|\.\d+))([-+]\d{3})")
"""An exponent of three digits leaves Fortran's `E17.11` no room for its letter."""

_POWERS = 10.0 ** np.arange(23)


class NotDecimal(ValueError):
    """A word that is no finite decimal number.

    Attributes:
        position: where it begins in the text.
        word: what stands there.
    """

    def __init__(self, position: int, word: str) -> None:
        super().__init__(word)
        self.position, self.word = position, word


def parse_decimals(text: bytes | memoryview, most: int) -> tuple[Float64[np.ndarray, " n"], int]:
    """The numbers at the beginning of a text, separated by white space, at most so many; and where the last one ends.

    Raises:
        NotDecimal: a word among them is no finite number.
    """
    most = min(most, (len(text) + 1) // 2)
    values = np.empty(most)
    others = np.empty((most, 3), dtype=np.int64)
    count, end, left = _scan(np.frombuffer(text, dtype=np.uint8), values, others, _POWERS)
    for index, first, stop in others[:left].tolist():
        values[index] = _float(bytes(text[first:stop]), first)
    return values[:count], end


def word_position(text: bytes | memoryview, index: int) -> int:
    """Where word `index` of a text begins, counted from 0; its length if there are fewer."""
    return int(_position(np.frombuffer(text, dtype=np.uint8), index))


def _float(word: bytes, position: int) -> float:
    if _NUMBER.fullmatch(word):
        value = float(word)
    elif match := _WITHOUT_LETTER.fullmatch(word):
        value = float(match[1] + b"E" + match[2])
    else:
        value = math.nan
    if not math.isfinite(value):
        raise NotDecimal(position, word[:40].decode("ascii", "backslashreplace"))
    return value


@njit(cache=True, nogil=True)
def _white(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


@njit(cache=True, nogil=True)
def _scan(
    text: UInt8[np.ndarray, " t"],
    values: Float64[np.ndarray, " n"],
    others: Int64[np.ndarray, "n 3"],
    powers: Float64[np.ndarray, "23"],
) -> tuple[int, int, int]:
    """Number of words, where the last one ends, and the number of those left to `float`: index, begin and end each."""
    size, at, end, count, left = len(text), 0, 0, 0, 0
    while count < len(values):
        while at < size and _white(text[at]):
            at += 1
        if at == size:
            break
        first = at
        negative = text[at] == 45
        if negative or text[at] == 43:
            at += 1
        mantissa, digits, scale, seen, point = 0, 0, 0, 0, False
        while at < size:
            byte = text[at]
            if 48 <= byte <= 57:
                seen += 1
                if digits > 0 or byte != 48:
                    digits += 1
                if digits <= 18:
                    mantissa = 10 * mantissa + (byte - 48)
                if point:
                    scale -= 1
            elif byte == 46 and not point:
                point = True
            else:
                break
            at += 1
        plain = seen > 0 and digits <= 18
        if plain and at < size and (text[at] == 69 or text[at] == 101):
            at += 1
            below = at < size and text[at] == 45
            if at < size and (text[at] == 45 or text[at] == 43):
                at += 1
            exponent, places = 0, 0
            while at < size and 48 <= text[at] <= 57:
                exponent = 10 * exponent + (text[at] - 48)
                places += 1
                at += 1
            plain = 0 < places < 5
            scale += -exponent if below else exponent
        plain = plain and (at == size or _white(text[at])) and mantissa < 9007199254740992
        if plain and (mantissa == 0 or -22 <= scale <= 22):
            value = float(mantissa)
            if mantissa != 0:
                value = value / powers[-scale] if scale < 0 else value * powers[scale]
            values[count] = -value if negative else value
        else:
            while at < size and not _white(text[at]):
                at += 1
            others[left, 0], others[left, 1], others[left, 2] = count, first, at
            left += 1
        count += 1
        end = at
    return count, end, left


@njit(cache=True, nogil=True)
def _position(text: UInt8[np.ndarray, " t"], index: int) -> int:
    inside, seen = False, -1
    for at in range(len(text)):
        white = _white(text[at])
        if not white and not inside:
            seen += 1
            if seen == index:
                return at
        inside = not white
    return len(text)

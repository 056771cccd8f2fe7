"""Text that is read once, from its beginning, by lines and by blocks of numbers; it knows the number of each line."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from coreset.corpus.formats.streams import Stream
from coreset.errors import DataError
from coreset.numerics.decimals import NotDecimal, parse_decimals, word_position

BLOCK = 1 << 20
"""Bytes that are parsed at a time."""

LONGEST = 1 << 16
"""Bytes of a line in a header, or of a number."""

NUMBER = r"[-+]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"
"""A decimal number. Its digits are not given back: a line of thousands would be divided in every way there is."""


@dataclass(frozen=True)
class Block:
    """Some numbers and the text they stand in, whose first line has number `line`."""

    values: Float64[np.ndarray, " n"]
    text: bytes
    line: int

    def place(self, index: int) -> str:
        """`line 12` for the line of number `index`."""
        return f"line {self.line + self.text.count(10, 0, word_position(self.text, index))}"


class Text:
    """A stream of text.

    Attributes:
        path: the file, to be named in messages.
        number: how many lines have been read to their end.
    """

    def __init__(self, stream: Stream, path: str) -> None:
        self.path, self.number = path, 0
        self._stream, self._read, self._at = stream, b"", 0

    def line(self) -> str | None:
        """The next line without its end; None behind the last. Raises DataError where it is not text."""
        end = self._read.find(b"\n", self._at)
        while end < 0 and len(self._read) - self._at < LONGEST:
            more = self._stream.read(BLOCK)
            if not more:
                break
            self._read, self._at = self._read[self._at :] + more, 0
            end = self._read.find(b"\n")
        if self._at == len(self._read):
            return None
        content = self._read[self._at : end if end >= 0 else None]
        self._at += len(content) + (end >= 0)
        self.number += 1
        place = f"{self.path}, line {self.number}: expected"
        if len(content) >= LONGEST:
            raise DataError(f"{place} a line of text, found one of more than {LONGEST:,} bytes")
        if b"\0" in content:
            raise DataError(f"{place} text, found a zero byte")
        try:
            return content.decode().rstrip("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"{place} text, found the byte 0x{content[error.start]:02x}") from None

    def blocks(self, count: int, what: str) -> Iterator[Block]:
        """The next `count` numbers, block by block, whatever lines they stand on.

        Raises:
            DataError: the text ends before, or within the last one; or a word is no finite number.
        """
        done, tail = 0, b""
        while True:
            more = self._stream.read(BLOCK)
            text = self._read[self._at :] + more
            cut = max(text.rfind(b"\n"), text.rfind(b" ")) + 1 if more else len(text)
            self._read, self._at, text = text[cut:], 0, text[:cut]
            line = self.number + 1
            if len(self._read) > LONGEST:
                raise DataError(f"{self.path}, line {line}: expected a number, found a word without end")
            try:
                values, end = parse_decimals(text, count - done)
            except NotDecimal as error:
                line += text.count(b"\n", 0, error.position)
                raise DataError(
                    f"{self.path}, line {line}: expected a finite number, found {error.word!r}; "
                    "copy or compute it again"
                ) from None
            done += len(values)
            if len(values):
                tail = (tail + b" " + text[max(0, end - LONGEST) : end])[-LONGEST:]
                yield Block(values, text[:end], line)
            if done == count or not more:
                break
            self.number += text.count(b"\n")
        if done < count:
            line += text.rstrip().count(b"\n")
            raise DataError(
                f"{self.path}, line {line}: the file ends after {done:,} of {count:,} {what}: it is truncated; "
                "copy or compute it again"
            )
        self.number += text.count(b"\n", 0, end)
        self._read = text[end:] + self._read or self._stream.read(1)
        widths = [len(word.lstrip(b"-+0")) for word in tail.split()[-2:]]
        if not self._read and len(widths) == 2 and widths[1] < widths[0]:
            raise DataError(
                f"{self.path}, line {self.number + 1}: the last number is cut off: the file is truncated; "
                "copy or compute it again"
            )

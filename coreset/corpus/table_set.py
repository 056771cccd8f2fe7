"""The rows of a table as a point set: chosen columns of numbers as they are in the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import fsspec
import numpy as np
from jaxtyping import Float32, Int64

from coreset.atomic import canonical_json
from coreset.corpus.point_set import AT_ONCE, Member, Piece, PointSet
from coreset.corpus.remote import patiently
from coreset.corpus.tables import Block, Table, open_table
from coreset.errors import RequestError

_NUMBERS = 160 * AT_ONCE
"""Numbers that are read at a time, at most."""
_BUFFER = 2**22


@dataclass(frozen=True)
class TableSet(PointSet):
    """Each file is a member. A row is known by its number in the whole table, so files may be cut in any way."""

    table: Table
    names: tuple[str, ...]
    """The columns that are features."""

    @classmethod
    def open(cls, path: str, features: Sequence[str] = (), ignore: Sequence[str] = ()) -> TableSet:
        """All columns of numbers, or those that match a glob of `features`, but those that match one of `ignore`.

        Reads every file once, for its SHA-256. Raises RequestError where there is no table, for a glob that matches
        nothing, for a column of text, and where no column is left.
        """
        table = open_table(path)
        dropped = {column.name for column in table.matching(ignore)} if ignore else set()
        found = table.matching(features) if features else tuple(c for c in table.columns if c.kind == "number")
        names = tuple(column.name for column in found if column.name not in dropped)
        if not names:
            raise RequestError(f"{path}: expected a column of numbers that is not ignored, found none.")
        table.matching(names, "number")
        files: dict[str, list[Block]] = {}
        for block in table.blocks:
            files.setdefault(block.file, []).append(block)
        members = tuple(
            Member(blocks[0].name.rpartition("#")[0], sum(block.rows for block in blocks), b"table", checksum(file))
            for file, blocks in files.items()
        )
        return cls(path, members, table, names)

    @property
    def kind(self) -> str:
        return "table"

    @property
    def member_kind(self) -> str:
        return "file"

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        """SHA-256 over the checksums of the files, in order; neither names nor paths enter."""
        return hashlib.sha256(canonical_json([member.digest for member in self.members])).hexdigest()

    def parameters(self) -> dict[str, Any]:
        return {"features": list(self.names)}

    @property
    def columns(self) -> list[str]:
        widths = {column.name: column.width for column in self.table.columns}
        return [name if widths[name] == 1 else f"{name}[{i}]" for name in self.names for i in range(widths[name])]

    def numbers(self, member: int, first: int, stop: int) -> Int64[np.ndarray, " n"]:
        start = int(self.offsets[member])
        return np.arange(start + first, start + stop, dtype=np.int64)

    def _named(self, member: int, position: int) -> dict[str, Any]:
        return {"file": self.members[member].name, "index": position}

    def pieces(self) -> Iterator[Piece]:
        most = max(1, _NUMBERS // len(self.columns))
        for number, blocks in enumerate(self._blocks):
            for block in blocks:
                for first in range(0, block.rows, most):
                    yield Piece(number, block.first + first, block.first + min(first + most, block.rows))

    def read(self, member: int, index: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        found = [np.empty((0, len(self.columns)), np.float32)]
        for block in self._blocks[member]:
            low, high = np.searchsorted(index, [block.first, block.first + block.rows])
            if low < high:
                found += self._some(block, index[low:high])
        return np.concatenate(found)

    def _some(self, block: Block, index: Int64[np.ndarray, " n"]) -> Iterator[Float32[np.ndarray, "m d"]]:
        """Some rows of a block, by their ascending numbers in the file; what lies after the last is not read."""
        first = block.first
        for rows in self.table.features(block, self.names):
            low, high = np.searchsorted(index, [first, first + len(rows)])
            yield rows[index[low:high] - first]
            first += len(rows)
            if high == len(index):
                return

    @cached_property
    def _blocks(self) -> list[list[Block]]:
        files: dict[str, list[Block]] = {}
        for block in self.table.blocks:
            files.setdefault(block.file, []).append(block)
        return list(files.values())


def checksum(path: str) -> str:
    """SHA-256 of a file, or of the names and contents of all files below a folder."""
    filesystem, root = fsspec.core.url_to_fs(path)
    files = sorted(filesystem.find(root)) if filesystem.isdir(root) else [root]
    digest = hashlib.sha256()
    for file in files:
        size = filesystem.size(file)
        digest.update(f"{file[len(root) :]}\0{size}\0".encode())
        with patiently(partial(filesystem.open, file, "rb")) as opened:
            while content := opened.read(_BUFFER):
                digest.update(content)
    return digest.hexdigest()

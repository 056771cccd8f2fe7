"""Files of a source: on the disk or inside a tar, compressed or not, read as streams and never unpacked to the disk."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from coreset.corpus.formats.libraries import needed
from coreset.errors import DataError, brief

HEAD = 65_536
"""Bytes at the beginning of a file by which its format is recognised."""

COMPRESSIONS = {
    ".gz": b"\x1f\x8b",
    ".xz": b"\xfd7zXZ\0",
    ".bz2": b"BZh",
    ".lz4": b"\x04\x22\x4d\x18",
    ".zst": b"\x28\xb5\x2f\xfd",
}
"""The suffix that is usual, and the bytes that tell."""

_EXPANDED, _RATIO = 2**29, 20
"""Bytes that any file may hold, and how many times its own size a larger one may: numbers as text shrink to a third."""

_TAR = slice(257, 262)
"""Where the name of the format, `ustar`, stands in a tar."""


@dataclass(frozen=True)
class File:
    """A file below a source.

    Attributes:
        path: the file on the disk, or the tar that holds it.
        relative: its path below the source, or below the tar's name without suffixes.
        member: its name in the tar; None for a file on the disk.
    """

    path: Path
    relative: PurePosixPath
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @property
    def stored(self) -> str:
        """Its own name, with the suffix of its compression."""
        return self.relative.name

    @property
    def name(self) -> str:
        """Its own name without the suffix of a compression."""
        return plain(self.relative).name

    def beside(self, name: str) -> "File | None":
        """The file of this name in the same folder, compressed or not."""
        for suffix in ("", *COMPRESSIONS):
            relative = self.relative.with_name(name + suffix)
            if self.member is None:
                path = self.path.with_name(name + suffix)
                if path.is_file():
                    return File(path, relative)
            else:
                member = str(PurePosixPath(self.member).with_name(name + suffix))
                found = _members(self.path).get(member)
                if found is not None:
                    return File(self.path, relative, found)
        return None

    def neighbours(self) -> list["File"]:
        """All files in the same folder, in order of name."""
        if self.member is None:
            names = sorted(path for path in self.path.parent.iterdir() if path.is_file())
            return [File(path, self.relative.with_name(path.name)) for path in names]
        folder = PurePosixPath(self.member).parent
        return [
            File(self.path, self.relative.with_name(PurePosixPath(name).name), member)
            for name, member in sorted(_members(self.path).items())
            if PurePosixPath(name).parent == folder
        ]

    @contextmanager
    def open(self) -> Iterator["Stream"]:
        """Its content, decompressed.

        Raises:
            DataError: while reading, for a compressed file or a tar that is damaged.
        """
        with self._raw() as raw, damaged(str(self)):
            yield Stream(raw)

    def read(self) -> tuple[bytes, str]:
        """The whole content and `Stream.digest`."""
        with self.open() as stream:
            return stream.read_all(str(self)), stream.digest()

    @contextmanager
    def _raw(self) -> Iterator[BinaryIO]:
        if self.member is None:
            with self.path.open("rb") as file:
                yield file
            return
        with damaged(str(self.path)), _archive(self.path) as archive:
            for info in archive:
                if info.name == self.member and info.isreg():
                    yield cast(BinaryIO, archive.extractfile(info))
                    return
        raise DataError(f"{self.path}: expected the member {self.member}, which is not there any more; ingest again")


class Stream:
    """A file's content, decompressed; and the checksum of its bytes as they are stored."""

    def __init__(self, raw: BinaryIO) -> None:
        self._stored = _Hashed(raw)
        buffered = io.BufferedReader(self._stored, HEAD)
        self._content = _expand(cast(BinaryIO, buffered), buffered.peek(8)[:8])

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end; all that is left by default."""
        return self._content.read(size)

    def read_all(self, place: str) -> bytes:
        """All that is left. Raises DataError, naming the place, for what a few bytes would fill the memory with."""
        pieces, size = [], 0
        while piece := self.read(1 << 20):
            pieces.append(piece)
            size += len(piece)
            if size > max(_EXPANDED, _RATIO * self._stored.size):
                raise DataError(
                    f"{place}: expected a file that expands {_RATIO}-fold at most, found {self._stored.size} bytes "
                    f"that hold {size} or more; decompress it yourself if that is right"
                )
        return b"".join(pieces)

    def digest(self) -> str:
        """SHA-256 of the file as it is stored, read to its end, so that a checksum there is compared too."""
        while self._content.read(1 << 20):
            pass
        while self._stored.read(1 << 20):
            pass
        return self._stored.sha256.hexdigest()


class _Hashed(io.RawIOBase):
    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self.sha256, self.size = raw, hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._raw.read(len(buffer))
        buffer[: len(content)] = content
        self.sha256.update(content)
        self.size += len(content)
        return len(content)


class _Member(tarfile.TarInfo):
    """TarFile takes a header that is damaged or missing for the end, and would leave out what follows."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the mark of the end
                raise
            raise tarfile.ReadError(f"{error} at byte {archive.offset}, before the end is marked") from None


class _Zstandard(io.RawIOBase):
    """The library's own reader takes a file that ends too early for a whole one."""

    def __init__(self, stored: BinaryIO) -> None:
        with needed("zstandard"):
            import zstandard
        self._stored, self._decompressor = stored, zstandard.ZstdDecompressor()
        self._frame, self._ready, self._behind = self._decompressor.decompressobj(), b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._frame.eof:
                self._behind = self._frame.unused_data or self._stored.read(16_384)
                if not self._behind:
                    return 0
                self._frame = self._decompressor.decompressobj()
            stored, self._behind = self._behind or self._stored.read(16_384), b""
            if not stored:
                raise EOFError("the compressed data end too early")
            self._ready = self._frame.decompress(stored)
        some, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(some)] = some
        return len(some)


def walk(source: Path) -> Iterator[tuple[File, bytes]]:
    """Every file of a source and the first `HEAD` bytes of its content: the file itself, a tree, and tars within it.

    Hidden files and folders are left out. Links are followed, since corpora are often assembled by them.
    """
    for path, relative in files_of(source):
        if not path.is_file():  # a link that leads nowhere, a device
            continue
        file = File(path, relative)
        with file.open() as stream:
            head = stream.read(HEAD)
        if head[_TAR] != b"ustar":
            yield file, head
            continue
        below = PurePosixPath() if path == source else plain(relative).with_suffix("")
        with damaged(str(path)), _archive(path) as archive:
            for info in archive:
                name = PurePosixPath(info.name.lstrip("/"))
                if info.isreg() and not any(part.startswith(".") and part != ".." for part in name.parts):
                    member = File(path, below / name, info.name)
                    with damaged(str(member)):
                        yield member, Stream(cast(BinaryIO, archive.extractfile(info))).read(HEAD)


def files_of(source: Path) -> list[tuple[Path, PurePosixPath]]:
    """The file itself, or the files of a tree, in order of name, each with its path below the source.

    Hidden files and folders are left out, and links to a folder that contains them.
    """
    if not source.is_dir():
        return [(source, PurePosixPath(source.name))]
    found = []
    for parent, folders, files in os.walk(source, followlinks=True):
        here = Path(parent).resolve()
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not here.is_relative_to(Path(parent, name).resolve())
        ]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return [(path, PurePosixPath(path.relative_to(source))) for path in sorted(found)]


def plain(relative: PurePosixPath) -> PurePosixPath:
    """The path without the suffix of a compression."""
    return relative.with_suffix("") if relative.suffix in COMPRESSIONS else relative


@contextmanager
def damaged(place: str) -> Iterator[None]:
    """Turns what the readers of compressed files and archives raise into a DataError that names the place."""
    try:
        yield
    except (EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise _damage(place, error) from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # of a library that need not be there
            raise
        raise _damage(place, error) from None


def _damage(place: str, error: Exception) -> DataError:
    return DataError(f"{place}: cannot be decompressed, for it is damaged ({brief(error)}); copy it again")


def _expand(stored: BinaryIO, start: bytes) -> BinaryIO:
    kind = next((suffix for suffix, magic in COMPRESSIONS.items() if start.startswith(magic)), None)
    if kind == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stored))
    if kind == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(stored))
    if kind == ".bz2":
        return cast(BinaryIO, bz2.BZ2File(stored))
    if kind == ".lz4":
        with needed("lz4"):
            import lz4.frame
        return cast(BinaryIO, lz4.frame.LZ4FrameFile(stored))
    if kind == ".zst":
        return io.BufferedReader(_Zstandard(stored), HEAD)
    return stored


@contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    """The tar, for one pass from its beginning; one that is not compressed is not read where it need not be."""
    with path.open("rb") as raw:
        compressed = raw.read(8).startswith(tuple(COMPRESSIONS.values()))
        raw.seek(0)
        stream: Any = Stream(raw) if compressed else raw
        with tarfile.TarFile.open(fileobj=stream, mode="r|" if compressed else "r:", tarinfo=_Member) as archive:  # type: ignore[call-overload]
            yield archive


@lru_cache(maxsize=16)
def _members(path: Path) -> dict[str, str]:
    """The name in the tar of each file, by its normalised path."""
    with damaged(str(path)), _archive(path) as archive:
        return {str(PurePosixPath(info.name)): info.name for info in archive if info.isreg()}

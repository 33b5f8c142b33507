"""Images of a zip archive, read in place."""

import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from posixpath import basename
from typing import IO, Any

from deepdepixelate.data.sources.listing import Listing
from deepdepixelate.data.sources.lists import PARTITIONS
from deepdepixelate.data.sources.names import brief, is_hidden, is_image_name, unsafe
from deepdepixelate.data.sources.places import (
    check_size,
    open_file,
    reporting_failures,
    retrying,
    stamp_of,
)
from deepdepixelate.data.sources.source import RejectedImageError
from deepdepixelate.errors import UserError
from deepdepixelate.limits import LIST_BYTES
from deepdepixelate.locations import Location

_LOCAL_HEADER = struct.Struct("<4s22x2H")
"""Signature and lengths of name and extra field of an entry's local header (APPNOTE.TXT, 4.3.7).
The lengths may differ from those of the central directory."""

_BLOCK_SIZE, _BLOCKS = 2**19, 8
"""A thread reads an archive at a URL in blocks of so many bytes, and keeps so many of them."""

_BAD_DIRECTORY = (
    zipfile.BadZipFile,
    struct.error,
    ValueError,
    OverflowError,
    LookupError,
    NotImplementedError,  # an entry claims a version of the format that is unknown
    EOFError,
)
"""Exceptions that ``zipfile`` raises for damaged directories, on purpose or not."""


@dataclass(frozen=True)
class ZippedImages:
    """The images of a zip archive. Their names leave out the folders in the archive.

    Attributes:
        path: of the archive.
    """

    path: Location

    def list(self) -> Listing:
        """What the archive holds; UserError if it is damaged."""
        listing = _opened(self.path).listing
        return Listing(list(listing.names), list(listing.left_out))

    def read(self, name: str) -> bytes:
        return _opened(self.path).read(name)

    def lists(self) -> dict[str, bytes]:
        """The partition lists in the archive, by name; UserError if one is damaged."""
        opened = _opened(self.path)
        try:
            return {name: opened.read_entry(entry) for name, entry in opened.lists.items()}
        except RejectedImageError as error:
            raise UserError(f"{self.path}: its partition list is {error}.") from error

    def stamp(self, name: str) -> str:
        entry = _opened(self.path).entries.get(name)
        return f"{entry.file_size} {entry.CRC:08x}" if entry else "no longer in the archive"


@dataclass
class _OpenZip:
    """The directory of an archive, and the files through which its threads read it."""

    path: Location
    size: int
    entries: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    listing: Listing = field(default_factory=Listing)
    lists: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    of_thread: threading.local = field(default_factory=threading.local)

    def read(self, name: str) -> bytes:
        """The bytes of an image; RejectedImageError if damaged."""
        if (entry := self.entries.get(name)) is None:
            raise RejectedImageError("no longer in the archive")
        return self.read_entry(entry)

    def read_entry(self, entry: zipfile.ZipInfo) -> bytes:
        """The content of an entry; RejectedImageError if damaged.

        ``zipfile`` is not used for this: it reads under a lock, and trusts the sizes.
        """
        header = self._read_at(entry.header_offset, _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise RejectedImageError("damaged in the archive: no file at its offset")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        data = self._read_at(start, entry.compress_size)
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, entry.file_size + 1)
            except zlib.error as error:
                raise RejectedImageError(f"damaged in the archive: {error}") from error
        if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
            raise RejectedImageError("damaged in the archive: wrong size or CRC-32")
        return data

    def _read_at(self, offset: int, size: int) -> bytes:
        if not isinstance(self.path, Path):
            return retrying(self.path, lambda: self._read_file(offset, size))
        try:
            if hasattr(os, "pread"):
                return os.pread(self._file().fileno(), size, offset)
            return self._read_file(offset, size)
        except OSError as error:
            raise RejectedImageError(f"cannot be read: {error.strerror or error}") from error

    def _read_file(self, offset: int, size: int) -> bytes:
        file = self._file()
        file.seek(offset)
        data = file.read(size)
        if len(data) != (expected := max(0, min(size, self.size - offset))):
            raise OSError(f"{len(data):,} bytes received instead of {expected:,}")
        return data

    def _file(self) -> IO[bytes]:
        """The file that this thread reads; one at a URL keeps the blocks that were read last."""
        if not hasattr(self.of_thread, "file"):
            blocks: dict[str, Any] = {
                "block_size": _BLOCK_SIZE,
                "cache_type": "blockcache",
                "cache_options": {"maxblocks": _BLOCKS},
            }
            self.of_thread.file = (
                self.path.open("rb")
                if isinstance(self.path, Path)
                else self.path.open("rb", **blocks)
            )
        file: IO[bytes] = self.of_thread.file
        return file


def _opened(path: Location) -> _OpenZip:
    """An archive, opened once in a process: reading the directory of CelebA's takes a second."""
    return _open_zip(path, stamp_of(path) if isinstance(path, Path) else "")


@lru_cache(maxsize=4)
def _open_zip(path: Location, stamp: str) -> _OpenZip:
    options: dict[str, Any] = {} if isinstance(path, Path) else {"cache_type": "none"}
    try:
        with reporting_failures(path), open_file(path, **options) as file:
            size = file.seek(0, os.SEEK_END)
            directory = zipfile.ZipFile(_Limited(file)).infolist()
    except (OSError, *_BAD_DIRECTORY) as error:
        raise UserError(
            f"{path} is not a complete zip archive ({brief(error)}); the download may have "
            "been cut short. Download it again."
        ) from error
    opened = _OpenZip(path, size)
    for entry in sorted(directory, key=lambda each: each.filename):
        path_inside = entry.filename.replace("\\", "/")
        if is_hidden(path_inside) or path_inside.endswith("/"):
            continue
        name = basename(path_inside)
        known = opened.lists if name in PARTITIONS else opened.entries
        if reason := _unusable(entry, path_inside, known.get(name)):
            opened.listing.leave_out(path_inside, reason)
        else:
            known[name] = entry
    opened.listing.names.extend(opened.entries)
    opened.listing.check_count(path)
    return opened


def _unusable(entry: zipfile.ZipInfo, path: str, same: zipfile.ZipInfo | None) -> str | None:
    if reason := unsafe(path):
        return reason
    if not is_image_name(path) and basename(path) not in PARTITIONS:
        return "not a JPEG, PNG, WebP or BMP file"
    if same:
        return f"has the same name as {same.filename}, which is used"
    if entry.flag_bits & 0x1:
        return "encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compression method {entry.compress_type}, expected 0 (stored) or 8 (deflated)"
    try:
        check_size(max(entry.file_size, entry.compress_size))
    except RejectedImageError as error:
        return str(error)
    return "damaged in the archive: no file at its offset" if entry.header_offset < 0 else None


class _Limited:
    """A file that ``zipfile`` reads a directory from: no more than LIST_BYTES at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek: Callable[..., int] = file.seek
        self.tell: Callable[[], int] = file.tell
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > LIST_BYTES:
            raise zipfile.BadZipFile(
                f"its directory has {size:,} bytes, more than the limit of {LIST_BYTES:,}"
            )
        return self._file.read(LIST_BYTES if size < 0 else size)

    def close(self) -> None:
        self._file.close()

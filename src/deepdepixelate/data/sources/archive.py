"""Images of a zip archive."""

import lzma
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from deepdepixelate.data.sources.folder import is_image_name
from deepdepixelate.data.sources.source import RejectedImageError
from deepdepixelate.errors import UserError

_DAMAGED_ENTRY = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    OSError,
)


@dataclass(frozen=True)
class ZippedImages:
    """The images of a zip archive, read in place. Folders in the archive are left out of the names.

    Attributes:
        path: of the archive.
    """

    path: Path

    @property
    def names(self) -> list[str]:
        """The names; UserError if the archive is damaged."""
        return list(_opened(self.path).entries)

    def read(self, name: str) -> bytes:
        archive = _opened(self.path)
        entry = archive.entries[name]
        try:
            if entry.compress_type == zipfile.ZIP_STORED and hasattr(os, "pread"):
                return _read_stored(archive.file, entry)
            return archive.file.read(entry)
        except _DAMAGED_ENTRY as error:
            raise RejectedImageError(f"damaged in the archive: {error}") from error

    def stamp(self, name: str) -> str:
        entry = _opened(self.path).entries[name]
        return f"{entry.file_size} {entry.CRC:08x}"


class _OpenZip(NamedTuple):
    file: zipfile.ZipFile
    entries: dict[str, zipfile.ZipInfo]


def _opened(path: Path) -> _OpenZip:
    """An archive, opened once in a process: reading the directory of CelebA's takes a second."""
    try:
        status = path.stat()
        return _open_zip(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=4)
def _open_zip(path: Path, size: int, changed: int) -> _OpenZip:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not a complete zip archive ({error}); the download may have been cut "
            "short. Download it again."
        ) from error
    entries = {
        PurePosixPath(entry.filename).name: entry
        for entry in archive.infolist()
        if is_image_name(entry.filename)
    }
    return _OpenZip(archive, entries)


def _read_stored(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read an uncompressed entry, as in CelebA's archive, without ``zipfile``'s lock.

    This takes a third of the time. The lengths of name and extra field are at offset 26 of the
    local header (APPNOTE.TXT, 4.3.7) and may differ from the central directory's.
    """
    assert archive.fp is not None  # noqa: S101 - it is open
    descriptor = archive.fp.fileno()
    header = os.pread(descriptor, 30, entry.header_offset)
    name_length, extra_length = struct.unpack("<2H", header[26:30])
    start = entry.header_offset + 30 + name_length + extra_length
    data = os.pread(descriptor, entry.file_size, start)
    if zlib.crc32(data) != entry.CRC:
        raise zipfile.BadZipFile(f"bad CRC-32 for {entry.filename}")
    return data

"""Files and folders, local or at a URL: listing, reading and stamps."""

import os
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from upath import UPath

from deepdepixelate.data.sources.source import RejectedImageError
from deepdepixelate.errors import UserError
from deepdepixelate.files import Location
from deepdepixelate.limits import ENCODED_BYTES, LIST_BYTES, SOURCE_IMAGES

Result = TypeVar("Result")

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_LONGEST_LINE = 4096
_ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt; doubled before the third

_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: control characters, bytes that are not UTF-8, line separators."""


@dataclass
class Listing:
    """What a folder, archive or table holds.

    Attributes:
        names: of the images.
        left_out: name and reason of each file that is ignored, except hidden ones.
        stamps: of remote files by name; asking for each one later would take long.
    """

    names: list[str] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    stamps: dict[str, str] = field(default_factory=dict)

    def leave_out(self, name: str, reason: str) -> None:
        """Note a file that is ignored."""
        self.left_out.append({"name": printable(name), "reason": reason})

    def check_count(self, place: object) -> None:
        """Raise UserError if there are more files than SOURCE_IMAGES."""
        if len(self.names) + len(self.left_out) > SOURCE_IMAGES:
            raise UserError(
                f"{place} has more than {SOURCE_IMAGES:,} files, which is the limit: use a part."
            )


def is_image_name(path: str) -> bool:
    """Whether a path has the suffix of an image."""
    return PurePosixPath(path).suffix.lower() in _IMAGE_SUFFIXES


def is_hidden(path: str) -> bool:
    """Whether a file is hidden, or one that macOS or Windows adds to folders and archives."""
    parts = PurePosixPath(path).parts
    return any(part.startswith(".") and part not in ("..", ".") for part in parts) or (
        bool({"__MACOSX", "Thumbs.db", "desktop.ini"}.intersection(parts))
    )


def without_suffix(path: str) -> str:
    """A path without the suffix of an image: lists may name images in another format."""
    return path[: path.rindex(".")] if is_image_name(path) else path


def unsafe(path: str) -> str | None:
    """Why a path of a file inside a folder, archive or table is refused; None if it is not."""
    if path.startswith("/") or ".." in PurePosixPath(path).parts or path[1:2] == ":":
        return "its path leaves the folder"
    if any(unicodedata.category(character) in _UNPRINTABLE for character in path):
        return "its name has control characters or is not UTF-8"
    return None


def printable(name: str) -> str:
    """A name with escapes in the place of characters that cannot be printed."""
    return "".join(
        ascii(each)[1:-1] if unicodedata.category(each) in _UNPRINTABLE else each for each in name
    )


def brief(text: object) -> str:
    """The first line of an error message, or text from a file, in a form that can be printed."""
    return printable((str(text).splitlines() or [type(text).__name__])[0][:200])


def list_files(folder: Location, *, subfolders: bool, links: bool = False) -> Listing:
    """List the regular files of a folder that are not hidden, relative to it and sorted.

    Links to files inside the folder count as files. Links that leave it, broken links, links to
    folders, and anything that is not a regular file are left out.

    Args:
        folder: local or remote.
        subfolders: whether to list the files of sub-folders, too.
        links: whether to follow links to files outside the folder.

    Raises:
        UserError: the folder cannot be read, or holds too many files.
    """
    listing = Listing()
    if isinstance(folder, Path):
        _list_local(folder, listing, subfolders=subfolders, links=links)
    else:
        _list_remote(folder, listing, subfolders=subfolders)
    listing.names.sort()
    return listing


def _list_local(root: Path, listing: Listing, *, subfolders: bool, links: bool) -> None:
    allowed = Path("/") if links else Path(os.path.realpath(root))
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            if not folder:
                raise UserError(f"{root} cannot be read: {error.strerror}.") from error
            listing.leave_out(folder, f"cannot be read: {error.strerror}")
            continue
        for entry in entries:
            name = folder + entry.name
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if subfolders:
                    waiting.append(f"{name}/")
            elif reason := unsafe(name) or _unusable(entry, allowed):
                listing.leave_out(name, reason)
            else:
                listing.names.append(name)
        listing.check_count(root)


def _unusable(entry: "os.DirEntry[str]", root: Path) -> str | None:
    if not entry.is_symlink():
        return None if entry.is_file() else "not a regular file"
    try:
        target = Path(os.path.realpath(entry.path))
        if not target.exists():
            return "a broken link"
        if not target.is_relative_to(root):
            return "a link that leaves the folder"
        return None if target.is_file() else "a link to something that is not a regular file"
    except OSError as error:
        return f"a link that cannot be followed: {error.strerror}"


def _list_remote(folder: UPath, listing: Listing, *, subfolders: bool) -> None:
    depth = None if subfolders else 1
    found: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        found = retrying(folder, lambda: folder.fs.find(folder.path, maxdepth=depth, detail=True))
    root = folder.path.rstrip("/") + "/"
    for path, info in found.items():
        name = path.removeprefix(root)
        if not name or name == path or is_hidden(name):
            continue
        if reason := unsafe(name):
            listing.leave_out(name, reason)
            continue
        listing.names.append(name)
        if stamp := _stamp(info):
            listing.stamps[name] = stamp
    listing.check_count(folder)


def exists(place: Location) -> bool:
    """Whether there is a file or folder; UserError if a server cannot be reached."""
    if isinstance(place, Path):
        return place.exists()
    return retrying(place, lambda: _exists(place))


def _exists(place: UPath) -> bool:
    try:
        place.fs.info(place.path)
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            raise error.__cause__ from error  # fsspec hides a refused connection
        return False
    return True


def read_image(place: Location) -> bytes:
    """The bytes of an image file.

    Raises:
        RejectedImageError: it is missing, too large or not a regular file, or cannot be read.
        UserError: a server cannot be reached.
    """
    if not isinstance(place, Path):
        return retrying(place, lambda: _read_remote_image(place))
    try:
        status = place.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RejectedImageError("cannot be read: not a regular file")
        check_size(status.st_size)
        with place.open("rb") as file:
            return file.read(ENCODED_BYTES)
    except OSError as error:
        raise RejectedImageError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name with a zero byte
        raise RejectedImageError(f"cannot be read: {error}") from error


def _read_remote_image(place: UPath) -> bytes:
    try:
        content: bytes = place.fs.cat_file(place.path, start=0, end=ENCODED_BYTES + 1)
    except FileNotFoundError:
        raise RejectedImageError("cannot be read: no such file") from None
    except Exception:
        if place.fs.info(place.path).get("size") == 0:  # servers refuse a range of an empty file
            return b""
        raise
    if len(content) > ENCODED_BYTES:
        raise RejectedImageError(f"more bytes than the limit of {ENCODED_BYTES:,}")
    return content


def check_size(size: int) -> None:
    """Raise RejectedImageError for an image file of more than ENCODED_BYTES."""
    if size > ENCODED_BYTES:
        raise RejectedImageError(f"{size:,} bytes, more than the limit of {ENCODED_BYTES:,}")


def read_list(path: Location, kind: str, content: bytes | None = None) -> Iterator[str]:
    """The lines of a text file in UTF-8, with or without a byte-order mark.

    Args:
        path: of the file.
        kind: what it should be, for messages.
        content: of the file, if it was read already.

    Raises:
        FileNotFoundError: there is no file.
        UserError: it cannot be read or is not text, or the file or a line is too long.
    """
    if content is None:
        try:
            with reporting_failures(path), path.open("rb") as file:
                content = file.read(LIST_BYTES + 1)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as {kind}: {error}") from error
    if len(content) > LIST_BYTES:
        raise UserError(f"{path} cannot be read as {kind}: more than {LIST_BYTES:,} bytes")
    return _lines(path, content, kind)


def _lines(path: Location, content: bytes, kind: str) -> Iterator[str]:
    lines = TextIOWrapper(BytesIO(content), encoding="utf-8-sig")
    for number in range(1, SOURCE_IMAGES + 1):
        try:
            line = lines.readline(_LONGEST_LINE)
        except ValueError as error:
            raise UserError(f"{path} cannot be read as {kind}: {error}") from error
        if not line:
            return
        if len(line) == _LONGEST_LINE:
            raise UserError(
                f"{path}, line {number}: longer than {_LONGEST_LINE:,} characters; it cannot be "
                f"read as {kind}."
            )
        yield line.rstrip("\n")
    raise UserError(f"{path} cannot be read as {kind}: more than {SOURCE_IMAGES:,} lines")


def stamp_of(place: Location) -> str:
    """Changes when the file does: its size, and its time of change or its ETag."""
    if isinstance(place, Path):
        try:
            status = place.stat()
        except (OSError, ValueError):
            return "cannot be read"
        return f"{status.st_size} {status.st_mtime_ns}"
    try:
        info = retrying(place, lambda: place.fs.info(place.path))
    except FileNotFoundError:
        return "cannot be read"
    return _stamp(info) or str(info.get("size"))


def _stamp(info: Mapping[str, Any]) -> str | None:
    """The size and the version of a remote file; None if its server gives no version."""
    marks = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "created")
    version = next((info[mark] for mark in marks if info.get(mark)), None)
    return None if version is None else f"{info.get('size')} {version}"


def retrying(place: UPath, action: Callable[[], Result]) -> Result:
    """Do something with a remote file, up to three times.

    Raises:
        FileNotFoundError, RejectedImageError, UserError: raised by ``action``.
        UserError: it failed three times for another reason.
    """
    for attempt in range(_ATTEMPTS - 1):
        try:
            return action()
        except (FileNotFoundError, RejectedImageError, UserError, ImportError):
            break
        except Exception:
            time.sleep(_PAUSE * 2**attempt)
    with reporting_failures(place):
        return action()


@contextmanager
def reporting_failures(place: Location) -> Iterator[None]:
    """Turn errors of a remote file system into UserError; its libraries raise many kinds."""
    try:
        yield
    except (FileNotFoundError, RejectedImageError, UserError):
        raise
    except ImportError as error:
        extra = str(place).startswith("s3://")
        remedy = 'pip install "deepdepixelate[s3]"' if extra else "Install its package with pip"
        raise UserError(f"{place} cannot be read: {brief(error)}. {remedy}.") from error
    except Exception as error:
        if isinstance(place, Path):
            raise
        raise UserError(
            f"{place} cannot be read: {brief(error)}. Check the address, the network and the "
            "credentials, then run the same command again."
        ) from error

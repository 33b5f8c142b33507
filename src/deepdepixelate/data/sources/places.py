"""Files, local or at a URL: reading and stamps."""

import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO, Any, TypeVar

from upath import UPath

from deepdepixelate.data.sources.names import brief
from deepdepixelate.data.sources.source import RejectedImageError
from deepdepixelate.errors import UserError
from deepdepixelate.limits import ENCODED_BYTES, LIST_BYTES, SOURCE_IMAGES
from deepdepixelate.locations import Location

Result = TypeVar("Result")


_LONGEST_LINE = 4096
_ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt; doubled before the third


def exists(place: Location) -> bool:
    """Whether there is a file or folder; UserError if a server cannot be reached."""
    if isinstance(place, Path):
        return place.exists()
    return retrying(place, lambda: _exists(place))


def _exists(place: UPath) -> bool:
    try:
        place.fs.info(place.path)
    except FileNotFoundError as error:
        if _failure(error):
            raise
        return False
    return True


def _failure(error: Exception) -> BaseException | None:
    """What failed; None if a file is missing, and nothing else is wrong.

    fsspec reports a refused connection and a missing bucket as a missing file, too.
    """
    if not isinstance(error, FileNotFoundError):
        return error
    cause = error.__cause__
    is_refused = isinstance(cause, OSError) and cause.errno is not None
    return cause if is_refused or type(cause).__name__ == "NoSuchBucket" else None


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


def open_file(place: Location, **options: Any) -> IO[bytes]:
    """Open a file for reading; UserError for a pipe or a device, which might never end."""
    if isinstance(place, Path) and place.exists() and not (place.is_file() or place.is_dir()):
        raise UserError(f"{place} is not a regular file. Move it, or put the real file there.")
    file: IO[bytes] = place.open("rb", **options)
    return file


def read_list(
    path: Location, kind: str, content: bytes | None = None, *, missing: str
) -> Iterator[str]:
    """The lines of a text file in UTF-8, with or without a byte-order mark.

    Args:
        path: of the file.
        kind: what it should be, for messages.
        content: of the file, if it was read already.
        missing: what to do if there is no file, for the message.

    Raises:
        UserError: it is missing, cannot be read or is not text, or the file or a line is too long.
    """
    if content is None:
        try:
            with reporting_failures(path), open_file(path) as file:
                content = file.read(LIST_BYTES + 1)
        except FileNotFoundError:
            raise UserError(f"{path} is missing. {missing}") from None
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
    return stamp_in(info) or str(info.get("size"))


def stamp_in(info: Mapping[str, Any]) -> str | None:
    """Size and version of a remote file as fsspec describes it; None without a version."""
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
        except (RejectedImageError, UserError, ImportError):
            break
        except Exception as error:
            if _failure(error) is None:
                break
            time.sleep(_PAUSE * 2**attempt)
    with reporting_failures(place):
        return action()


@contextmanager
def reporting_failures(place: Location, action: str = "read") -> Iterator[None]:
    """Turn errors of a remote file system into UserError; its libraries raise many kinds.

    Args:
        place: the file or folder. Errors of local ones stay, and FileNotFoundError of both.
        action: what was tried, for the message: read or written.
    """
    try:
        yield
    except (RejectedImageError, UserError):
        raise
    except ImportError as error:
        extra = str(place).startswith("s3://")
        remedy = 'pip install "deepdepixelate[s3]"' if extra else "Install its package with pip"
        raise UserError(f"{place} cannot be {action}: {brief(error)}. {remedy}.") from error
    except Exception as error:
        if isinstance(place, Path) or (failure := _failure(error)) is None:
            raise
        raise UserError(
            f"{place} cannot be {action}: {brief(failure)}. Check the address, the network and the "
            "credentials, then run the same command again."
        ) from error

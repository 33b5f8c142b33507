"""Files of stored datasets: on a local disk, or at a URL of fsspec such as ``s3://bucket/folder``.

Errors of a local disk are OSError, those of a remote file system UserError; a file that is missing
is FileNotFoundError in both.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from deepdepixelate.data.sources.places import reporting_failures
from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write, make_folder, user_path
from deepdepixelate.locations import Location

_CACHE = "DEEPDEPIXELATE_CACHE"
"""Environment variable: the folder for local copies of remote shards."""

_BLOCK = 1024**2  # bytes that are read at a time


def prepare(folder: Location) -> None:
    """Make a folder; in an object store, forget what was listed, as others may write there."""
    if isinstance(folder, Path):
        make_folder(folder)
    else:
        with reporting_failures(folder):
            folder.fs.invalidate_cache()


def size_of(path: Location) -> int | None:
    """Size of a file in bytes; None if there is no file."""
    try:
        if isinstance(path, Path):
            return path.stat().st_size if path.is_file() else None
        with reporting_failures(path):
            path.fs.invalidate_cache(path.parent.path)
            return int(path.fs.info(path.path)["size"])
    except FileNotFoundError:
        return None


def read(path: Location) -> bytes:
    """Content of a file."""
    return b"".join(_blocks(path))


def sha256_of(path: Location) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Location) -> Iterator[bytes]:
    with reporting_failures(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def find(folder: Location, *patterns: str) -> list[Location]:
    """The files in a folder whose names match a pattern."""
    with reporting_failures(folder):
        return [path for pattern in patterns for path in folder.glob(pattern)]


def remove(path: Location) -> None:
    """Remove a file, if it is there."""
    with reporting_failures(path, "written"):
        path.unlink(missing_ok=True)


def write(path: Location, content: bytes) -> None:
    """Write a file that appears when it is complete, and is synced to the disk."""
    if isinstance(path, Path):
        with atomic_write(path) as file:
            file.write(content)
    else:
        with reporting_failures(path, "written"):
            path.fs.pipe_file(path.path, content)


@contextmanager
def temporary_file(path: Location) -> Iterator[Path]:
    """A local name for a file that ``put`` moves to ``path``; what is left there is removed."""
    beside = path.parent if isinstance(path, Path) else Path(tempfile.gettempdir())
    temporary = beside / f"{path.name}.{uuid4().hex}.tmp"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def put(temporary: Path, path: Location) -> None:
    """Move a complete temporary file to its place, where it appears at once.

    A local file is not synced to the disk, as that would take most of the time: ``matches`` finds a
    shard that a power failure has damaged.
    """
    if isinstance(path, Path):
        temporary.replace(path)
    else:
        with reporting_failures(path, "written"):
            path.fs.put_file(str(temporary), path.path)


def local_copy(path: Location, sha256: str) -> Path:
    """The file itself if it is local, or a copy in the folder for copies, made once.

    A copy that has another SHA-256 by now is made again.

    The folder is ``deepdepixelate`` in the user's cache folder, or that of the environment variable
    DEEPDEPIXELATE_CACHE.

    Raises:
        UserError: the remote file cannot be read or does not have this SHA-256, or the copy cannot
            be written.
    """
    if isinstance(path, Path):
        return path
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "deepdepixelate"
    place = user_path(os.environ.get(_CACHE) or default) / f"{sha256}.npy"
    if place.is_file() and sha256_of(place) == sha256:
        return place
    digest = hashlib.sha256()
    try:
        with atomic_write(place) as file:
            for block in _blocks(path):
                digest.update(block)
                file.write(block)
            if digest.hexdigest() != sha256:
                raise UserError(
                    f"{path} is damaged. Find all damaged shards with: kedro run --pipeline verify"
                )
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing. Find all missing shards with: kedro run --pipeline verify"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path} could not be copied to {place.parent}: {error.strerror or error}. Make room, "
            f"or name another folder in the environment variable {_CACHE}."
        ) from error
    return place


def absolute(path: Location) -> Location:
    """A path that other processes can use."""
    return path.absolute() if isinstance(path, Path) else path

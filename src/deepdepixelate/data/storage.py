"""Files of stored datasets: on a local disk, or at a URL of fsspec such as ``s3://bucket/folder``.

Errors of remote file systems, whose libraries raise many kinds, become OSError.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from deepdepixelate.errors import UserError, first_line
from deepdepixelate.files import atomic_write, make_folder, user_path
from deepdepixelate.locations import Location

_CACHE = "DEEPDEPIXELATE_CACHE"
"""Environment variable: the folder for local copies of remote shards."""


@contextmanager
def remote_errors(path: Location) -> Iterator[None]:
    """Turn the errors of a remote file system into OSError."""
    try:
        yield
    except (OSError, UserError):
        raise
    except ImportError as error:
        raise OSError(
            f'{first_line(error)}; for s3://: pip install "deepdepixelate[s3]"'
        ) from error
    except Exception as error:
        if isinstance(path, Path):
            raise
        raise OSError(first_line(error)) from error


def prepare(folder: Location) -> None:
    """Make a folder; in an object store, forget what was listed, as others may write there."""
    if isinstance(folder, Path):
        make_folder(folder)
    else:
        with remote_errors(folder):
            folder.fs.invalidate_cache()


def size_of(path: Location) -> int | None:
    """Size of a file in bytes; None if there is no file."""
    with remote_errors(path):
        try:
            if isinstance(path, Path):
                return path.stat().st_size if path.is_file() else None
            path.fs.invalidate_cache(path.parent.path)
            return int(path.fs.info(path.path)["size"])
        except FileNotFoundError:
            return None


def read(path: Location) -> bytes:
    """Content of a file; FileNotFoundError if there is none."""
    with remote_errors(path):
        content: bytes = path.read_bytes()
        return content


def open_binary(path: Location) -> BufferedReader:
    """Open a file for reading."""
    file: BufferedReader = path.open("rb")  # type: ignore[assignment]  # or a file like it
    return file


def sha256_of(path: Location) -> str:
    """SHA-256 of a file's content."""
    with remote_errors(path), open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(folder: Location, *patterns: str) -> list[Location]:
    """The files in a folder whose names match a pattern."""
    with remote_errors(folder):
        return [path for pattern in patterns for path in folder.glob(pattern)]


def remove(path: Location) -> None:
    """Remove a file, if it is there."""
    with remote_errors(path):
        path.unlink(missing_ok=True)


def write(path: Location, content: bytes) -> None:
    """Write a file that appears when it is complete, and is synced to the disk."""
    if isinstance(path, Path):
        with atomic_write(path) as file:
            file.write(content)
    else:
        with remote_errors(path):
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
        with remote_errors(path):
            path.fs.put_file(str(temporary), path.path)


def local_copy(path: Location, sha256: str) -> Path:
    """The file itself if it is local, or a copy in the folder for copies, made once.

    The folder is ``deepdepixelate`` in the user's cache folder, or that of the environment variable
    DEEPDEPIXELATE_CACHE.

    Raises:
        UserError: the remote file does not have this SHA-256.
        OSError: it cannot be read, or the copy cannot be written.
    """
    if isinstance(path, Path):
        return path
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "deepdepixelate"
    place = user_path(os.environ.get(_CACHE) or default) / f"{sha256}.npy"
    if not place.is_file():
        with atomic_write(place) as file:
            with remote_errors(path), path.open("rb") as remote:
                shutil.copyfileobj(remote, file, 8 * 1024**2)
            file.flush()
            if sha256_of(Path(file.name)) != sha256:
                raise UserError(
                    f"{path} is damaged. Find all damaged shards with: kedro run --pipeline verify"
                )
    return place


def absolute(path: Location) -> Location:
    """A path that other processes can use."""
    return path.absolute() if isinstance(path, Path) else path

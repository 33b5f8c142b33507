"""Files that are either whole or not there, and paths as people write them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from deepdepixelate.errors import UserError


def user_path(written: object) -> Path:
    """The path that a setting means: ``~`` and ``$HOME`` are looked up, as a shell does."""
    # Path.expanduser raises where ~name is a file, and nobody's home.
    return Path(os.path.expanduser(os.path.expandvars(str(written))))  # noqa: PTH111


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        UserError: one of them is a file, or a link that leads nowhere.
        OSError: see ``Path.mkdir``.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = next(place for place in (path, *path.parents) if os.path.lexists(place))
        kind, remedy = "a file", "Move it away, or name another folder."
        if there.is_symlink():
            kind, remedy = "a link that leads nowhere", "Make, or mount, what it leads to."
        raise UserError(f"{there} is no folder but {kind}. {remedy}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write in binary that takes its name only when it is complete and on the disk.

    The bytes go to a temporary file in the same folder (made if missing), which is flushed, synced
    and renamed over ``path`` at the end of the ``with`` block; if the block fails, the temporary
    file is removed and what was at ``path`` stays as it was.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{uuid4().hex}.tmp")  # short, however long the name is
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Put renames and removals in a folder on the disk, where the system can (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

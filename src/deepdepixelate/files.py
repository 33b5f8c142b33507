"""Atomic writes, paths as users write them, and files of other installed packages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from deepdepixelate.errors import UserError

FACE_RECOGNITION = "face_recognition_models"
"""The distribution with dlib's weights (CC0). Its code, which needs ``pkg_resources``, is not
imported."""


def user_path(written: object) -> Path:
    """A path with ``~`` and ``$NAME`` expanded, as a shell does."""
    # Path.expanduser raises an error if ~name is a file and not a user.
    return Path(os.path.expanduser(os.path.expandvars(str(written))))  # noqa: PTH111


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless they exist.

    Raises:
        UserError: one of them is a file or a broken link.
        OSError: see ``Path.mkdir``.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = next(place for place in (path, *path.parents) if os.path.lexists(place))
        kind, remedy = "a file", "Move it, or choose another folder."
        if there.is_symlink():
            kind, remedy = "a broken link", "Create or mount its target."
        raise UserError(f"{there} is not a folder but {kind}. {remedy}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file for writing that appears at ``path`` only when it is complete.

    The bytes go to a temporary file in the same folder (made if missing). At the end of the
    ``with`` block, it is flushed, synced to disk and renamed to ``path``. If the block fails, the
    temporary file is removed and an existing file at ``path`` stays as it was.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{uuid4().hex}.tmp")  # short: path may have the longest name
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
    """Sync renames and removals in a folder to disk; POSIX only."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find_file(distribution: str, name: str, *, install: str) -> Path:
    """Path of a file of an installed distribution, such as weights. Its code is not imported.

    Args:
        distribution: its name for pip.
        name: path of the file inside the distribution, with forward slashes.
        install: how to install the distribution, for the message.

    Raises:
        UserError: the distribution is not installed, or the file is missing.
    """
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(name)))
    except metadata.PackageNotFoundError:
        raise UserError(f"the package {distribution} is not installed: {install}") from None
    if not path.is_file():
        raise UserError(
            f"the package {distribution} lacks its file {name}: {reinstall(distribution)}"
        )
    return path


def reinstall(distribution: str) -> str:
    """The command that reinstalls a distribution, for messages."""
    return f"pip install --force-reinstall --no-deps {distribution}"

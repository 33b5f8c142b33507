"""Files that other installed distributions bring along, such as weights."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from deepdepixelate.errors import UserError


def find_file(distribution: str, name: str, *, install: str) -> Path:
    """Where a file of an installed distribution lies; none of its code is imported.

    Args:
        distribution: as pip calls it.
        name: of the file inside the distribution, with forward slashes.
        install: what to do where the distribution is missing, for the message.

    Raises:
        UserError: the distribution is not installed, or its file is gone.
    """
    try:
        listed = files(distribution) or []
    except PackageNotFoundError:
        raise UserError(f"the package {distribution} is not installed: {install}") from None
    for each in listed:
        path = Path(str(each.locate()))
        if each.as_posix() == name and path.is_file():
            return path
    raise UserError(f"the package {distribution} lacks its file {name}: {reinstall(distribution)}")


def reinstall(distribution: str) -> str:
    """The command that reinstalls a distribution, for messages."""
    return f"pip install --force-reinstall --no-deps {distribution}"

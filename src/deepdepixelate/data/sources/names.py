"""Names of files from folders, archives, tables and servers, which may be hostile."""

import unicodedata
from posixpath import splitext

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: control characters, bytes that are not UTF-8, line separators."""


def is_image_name(path: str) -> bool:
    """Whether a path has the suffix of an image."""
    return splitext(path)[1].lower() in _IMAGE_SUFFIXES


def is_hidden(path: str) -> bool:
    """Whether a file is hidden, or one that macOS or Windows adds to folders and archives."""
    parts = path.split("/")
    return any(part.startswith(".") and part not in ("..", ".") for part in parts) or (
        bool({"__MACOSX", "Thumbs.db", "desktop.ini"}.intersection(parts))
    )


def without_suffix(path: str) -> str:
    """A path without the suffix of an image: lists may name images in another format.

    Unicode is normalised (NFC), as file systems write accents differently.
    """
    stem = path[: path.rindex(".")] if is_image_name(path) else path
    return unicodedata.normalize("NFC", stem)


def unsafe(path: str) -> str | None:
    """Why a path of a file inside a folder, archive or table is refused; None if it is not."""
    if path.startswith("/") or ".." in path.split("/") or path[1:2] == ":":
        return "its path leaves the folder"
    if not path.isprintable() and any(unicodedata.category(each) in _UNPRINTABLE for each in path):
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

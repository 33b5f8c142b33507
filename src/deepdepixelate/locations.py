"""Paths and URLs as users write them."""

from pathlib import Path

from upath import UPath

from deepdepixelate.errors import UserError
from deepdepixelate.files import user_path

Location = Path | UPath
"""A local path, or the URL of a file or folder, such as ``s3://bucket/folder``."""


def location(written: object) -> Location:
    """A path as ``user_path``, or a URL as it is; UserError if its protocol is unknown."""
    text = str(written)
    if "://" not in text:
        return user_path(text)
    try:
        url = UPath(text)
    except ValueError as error:
        raise UserError(f"{text} is not a URL that can be read: {error}.") from error
    return Path(url.path) if url.protocol in ("file", "local") else url

"""Paths and URLs as users write them."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from upath import UPath

from deepdepixelate.errors import UserError
from deepdepixelate.files import user_path

Location = Path | UPath
"""A local path, or the URL of a file or folder, such as ``s3://bucket/folder``."""


def location(written: object) -> Location:
    """A path as ``user_path``, or a URL as it is.

    Raises:
        UserError: its protocol is unknown, it is a chain of URLs, or it holds a password, which
            reports, manifests and MLflow would show.
    """
    text = str(written)
    if "://" not in text:
        return user_path(text)
    if chain := re.search(r"::([\w+.-]+://.*)", text):
        raise UserError(f"{text} is a chain of URLs. Give the last one: {chain[1]}")
    try:
        if (parts := urlsplit(text)).password is not None:
            raise UserError(
                f"{parts.scheme}://…@{parts.hostname}{parts.path} holds a password, and addresses "
                "are recorded. Leave it out, and set the environment variable FSSPEC_HTTP to "
                '{"headers": {"Authorization": "Basic …"}}, or that of your storage.'
            )
        url = UPath(text)
    except ValueError as error:
        raise UserError(f"{text} is not a URL that can be read: {error}.") from error
    return Path(url.path) if url.protocol in ("file", "local") else url

"""Enlarging a user's own photographs. Imports neither Kedro nor MLflow."""

from typing import Literal

FormatName = Literal["png", "jpeg", "webp"]
"""File formats for enlargements."""

Faces = Literal["ignore", "put_back", "files"]
"""What happens to the faces of a photograph, see ``photographs.enhance.enhance``."""

AUTO = "auto"
"""The model that stands for the one that fits the file."""

MEGAPIXELS = 24.0
"""Default limit: larger photographs are refused."""

ZOOM_MEGAPIXELS = 4.0
"""Default size limit of the part that the page enlarges."""

QUALITY = 95
"""Default quality of JPEG and WebP files."""


class UnreadableImageError(Exception):
    """The file is not an image, is damaged, or is too large to decode; the message says which."""

"""Enlarging a user's own photographs. Imports neither Kedro nor MLflow."""

from typing import Literal

FormatName = Literal["png", "jpeg", "webp"]
"""File formats for enlargements."""

MEGAPIXELS = 24.0
"""Default limit: larger photographs are refused."""

QUALITY = 95
"""Default quality of JPEG and WebP files."""


class UnreadableImageError(Exception):
    """The file is not an image, is damaged, or is too large to decode; the message says which."""

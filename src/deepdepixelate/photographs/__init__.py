"""Enlarging a user's own photographs. Knows neither Kedro nor MLflow."""

from typing import Literal

FormatName = Literal["png", "jpeg", "webp"]
"""What enlargements may be written as."""

TILE = 256
"""Default side of a tile, in LR pixels, without its overlap."""

MEGAPIXELS = 24.0
"""Default limit: larger photographs are refused."""

QUALITY = 95
"""Default quality of JPEG and WebP files."""

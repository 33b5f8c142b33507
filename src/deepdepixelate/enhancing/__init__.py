"""Enlarging a person's own photographs. Knows neither Kedro nor MLflow."""

from typing import Literal

FormatName = Literal["png", "jpeg", "webp"]
"""What enlargements may be written as."""

TILE = 256
"""Side of a tile in LR pixels, before its overlap, where nobody says otherwise."""

MEGAPIXELS = 24.0
"""Photographs of more are refused, where nobody says otherwise."""

QUALITY = 95
"""Of JPEG and WebP files, where nobody says otherwise."""

"""Enlarging a person's own photographs. Knows neither Kedro nor MLflow."""

TILE = 256
"""Side of a tile in LR pixels, before its overlap, where nobody says otherwise."""

MEGAPIXELS = 24.0
"""Photographs of more are refused, where nobody says otherwise."""

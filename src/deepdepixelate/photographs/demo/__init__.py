"""A page to try the generators on a photograph. Knows neither Kedro nor MLflow."""

MEGAPIXELS = 1.0
"""The part of a photograph that is enlarged has at most as many, where nobody says otherwise."""

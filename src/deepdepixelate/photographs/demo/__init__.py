"""A web page to try the generators on a photograph. Imports neither Kedro nor MLflow."""

MEGAPIXELS = 1.0
"""Default size limit of the part of a photograph that is enlarged."""

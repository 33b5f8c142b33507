"""Distances between images, as networks see them. Knows neither Kedro nor MLflow."""

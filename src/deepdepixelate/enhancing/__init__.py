"""Enlarging a person's own photographs. Knows neither Kedro nor MLflow."""

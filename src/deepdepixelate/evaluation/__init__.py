"""Scoring enlargements against originals, and showing them. Knows neither Kedro nor MLflow."""

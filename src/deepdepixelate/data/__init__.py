"""Faces on disk: their sources, LR, and pixels as shards. Knows neither Kedro nor MLflow."""

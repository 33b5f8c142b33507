"""Training: crops, objectives, the loop, checkpoints. Knows neither Kedro nor MLflow."""

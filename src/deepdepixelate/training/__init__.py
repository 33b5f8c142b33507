"""Training: crops, losses, updates, the loop and checkpoints; independent of Kedro and MLflow."""

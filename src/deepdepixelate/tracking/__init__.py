"""All of MLflow: what a run records, what it was made from, and models that others serve."""

"""A web page to try the generators on a photograph. Imports neither Kedro nor MLflow."""

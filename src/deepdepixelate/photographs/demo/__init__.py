"""A web page to try the generators on a photograph. Imports neither Kedro nor MLflow."""

import os

# Set before Gradio is imported: it would send statistics and look for newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

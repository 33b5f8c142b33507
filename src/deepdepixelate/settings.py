"""Kedro's settings of this project."""

import os

from omegaconf.resolvers import oc

from deepdepixelate.config_loader import ProjectConfigLoader
from deepdepixelate.hooks import CheckHooks, SummaryHooks
from deepdepixelate.tracking.hooks import TrackingHooks
from deepdepixelate.tracking.lineage_hooks import LineageHooks

# No telemetry.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")

# The summary at the end replaces the lines that MLflow prints about a run on a server.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

# Notice an unreachable server within seconds, not minutes; what was not sent is kept.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

# Log processor, memory and GPU usage over time.
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")


_TRACKING = TrackingHooks()

HOOKS = (CheckHooks(), _TRACKING, LineageHooks(), SummaryHooks())

# TrackingHooks calls this plugin's hooks. Its name depends on the release.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow", "kedro_mlflow")

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    "custom_resolvers": {"tracking_uri": _TRACKING.tracking_uri, "oc.env": oc.env},
}

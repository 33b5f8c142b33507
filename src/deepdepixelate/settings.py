"""Kedro's settings of this project."""

import os

from omegaconf.resolvers import oc

from deepdepixelate.config_loader import ProjectConfigLoader
from deepdepixelate.hooks import ParameterHooks, PreflightHooks, SummaryHooks
from deepdepixelate.tracking.hooks import TrackingHooks
from deepdepixelate.tracking.lineage_hooks import LineageHooks

# Nothing that runs here reports to anybody.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")

# The lines with which MLflow names a server's page of the run; the summary at the end is ours.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

# A server that is gone is noticed within seconds, not minutes; what was not sent is kept meanwhile.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

# Processor, memory and GPU over time, beside the curves of each run.
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")


_TRACKING = TrackingHooks()

HOOKS = (ParameterHooks(), PreflightHooks(), _TRACKING, LineageHooks(), SummaryHooks())

# TrackingHooks calls them. The one plugin has two names, as its releases do.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow", "kedro_mlflow")

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    "custom_resolvers": {"tracking_uri": _TRACKING.tracking_uri, "oc.env": oc.env},
}

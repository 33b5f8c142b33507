"""Kedro's settings of this project."""

import os

from omegaconf.resolvers import oc

from deepdepixelate.config_loader import ProjectConfigLoader
from deepdepixelate.hooks import CheckHooks
from deepdepixelate.summary import SummaryHooks
from deepdepixelate.tracking.hooks import TrackingHooks

os.environ.setdefault("DO_NOT_TRACK", "1")  # no telemetry; tracking.hooks does so for MLflow

_TRACKING = TrackingHooks()

HOOKS = (CheckHooks(), _TRACKING, SummaryHooks())

# TrackingHooks calls this plugin's hooks. Its name depends on the release.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow", "kedro_mlflow")

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    "custom_resolvers": {"tracking_uri": _TRACKING.tracking_uri, "oc.env": oc.env},
}

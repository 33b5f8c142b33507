"""What the project's commands import, sooner or later; see ``processes``."""

import contextlib
import gc
import io
import os
from importlib import import_module

STARTED_WITH = frozenset(os.environ)
"""Names of the environment's variables; the imports below may set more."""

# Not the project's settings: they set variables, where the command's environment has none.
MODULES = (
    "git",
    "IPython",
    "kedro.framework.cli.cli",
    "kedro_datasets.json",
    "kedro_datasets.pandas",
    "kedro_datasets.plotly",
    "kedro_mlflow.framework.hooks",
    "kedro_viz.integrations.kedro.hooks",
    "matplotlib.pyplot",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "plotly.graph_objects",
    "scipy.stats",
    "skimage.metrics",
    "torch._dynamo",
    "deepdepixelate.cli",
    "deepdepixelate.hooks",
    "deepdepixelate.pipeline_registry",
)

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for module in MODULES:
        import_module(module)
gc.freeze()  # pages stay shared with the commands' processes

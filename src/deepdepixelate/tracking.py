"""What the nodes tell MLflow, and what they learn from it: curves, the run's id, the commit."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow

from deepdepixelate.models.weights import Weights
from deepdepixelate.training.loop import Log


def logger(stage: str) -> Log:
    """A callable that logs ``<stage>.<metric>`` at a step to the active MLflow run, if any."""

    def log(step: int, metrics: Mapping[str, float]) -> None:
        if mlflow.active_run() is not None:
            named = {f"{stage}.{name}": value for name, value in metrics.items()}
            mlflow.log_metrics(named, step=step)

    return log


def provenance() -> dict[str, Any]:
    """Which run, commit and versions are at work now."""
    run = mlflow.active_run()
    return {
        "mlflow_run_id": None if run is None else run.info.run_id,
        "git_commit": git_commit(),
        "versions": {name: version(name) for name in ("deepdepixelate", "torch", "numpy")},
    }


def sign(weights: Weights) -> Weights:
    """Weights whose provenance also says which run, commit and versions made them."""
    return replace(weights, provenance={**weights.provenance, **provenance()})


@cache
def git_commit() -> str | None:
    """The commit of the project, ``-dirty`` where files were changed since; None outside git."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()

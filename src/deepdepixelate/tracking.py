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
from deepdepixelate.training.loop import TrackedRun


class StageRecord:
    """One training's part of the active MLflow run, if there is one.

    Attributes:
        run: what the training loop is told: the run's id, and whom to tell of an earlier one.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._active = mlflow.active_run() is not None
        self._earlier: str | None = None
        self._logged = False
        self.run = TrackedRun(_run_id(), self._resumed)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log ``<stage>.<metric>`` at a step."""
        self._logged = True
        if self._active:
            named = {f"{self._stage}.{name}": value for name, value in metrics.items()}
            mlflow.log_metrics(named, step=step)

    def _resumed(self, run_id: str, update: int) -> None:
        self._earlier = run_id
        if self._active and run_id != _run_id():
            mlflow.set_tag(f"{self._stage}.continues_run", run_id)
            mlflow.set_tag(f"{self._stage}.continues_after_update", update)

    def sign(self, weights: Weights) -> Weights:
        """Weights whose provenance also says which run, commit and versions made them."""
        maker = provenance()
        if not self._logged:  # nothing was trained in this run: an earlier one's result is reused
            maker["mlflow_run_id"] = self._earlier
        elif self._earlier is not None:
            maker["continues_mlflow_run_id"] = self._earlier
        return replace(weights, provenance={**weights.provenance, **maker})


def _run_id() -> str | None:
    run = mlflow.active_run()
    return None if run is None else str(run.info.run_id)


def provenance() -> dict[str, Any]:
    """Which run, commit and versions are at work now."""
    return {
        "mlflow_run_id": _run_id(),
        "git_commit": git_commit(),
        "versions": {name: version(name) for name in ("deepdepixelate", "torch", "numpy")},
    }


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

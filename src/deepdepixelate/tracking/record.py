"""The record of a training in an MLflow run, and the provenance of results."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import mlflow
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException

from deepdepixelate.models.weights import Weights
from deepdepixelate.parameters import TrainingParameters
from deepdepixelate.tracking.outbox import OUTBOX
from deepdepixelate.tracking.store import active_run_id

if TYPE_CHECKING:  # these import torch, which the hooks of a run without training do not need
    from deepdepixelate.training.distributed import Ranks
    from deepdepixelate.training.trainer import Log, TrackedRun

Result = TypeVar("Result")

_POINTS_AT_ONCE = 900
"""With the tags, fewer than the 1,000 entries that MLflow accepts in one request."""


class StageRecord:
    """One training's part of an MLflow run; logs nothing if there is no run.

    Attributes:
        run: the run's id for the checkpoints, and the callback for a resumed training.
    """

    def __init__(self, stage: str, run_id: str | None, last_step: int = 0) -> None:
        """Write to a run.

        Args:
            stage: the prefix of the metrics.
            run_id: the MLflow run.
            last_step: the last step that the run already has; no step up to it is logged again.
        """
        from deepdepixelate.training.trainer import TrackedRun

        self._stage = stage
        self._client = mlflow.MlflowClient()
        self._last_step = last_step
        self._earlier: str | None = None
        self._logged = False
        self._points: list[Metric] = []
        self._tags: list[RunTag] = []
        self.run = TrackedRun(run_id, self._resumed)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log ``<stage>.<metric>`` at a step; points are kept until MLflow accepts them."""
        self._logged = True
        if self.run.run_id is not None and step > self._last_step:
            now = int(time.time() * 1000)
            self._points += [
                Metric(f"{self._stage}.{name}", value, now, step) for name, value in metrics.items()
            ]
            OUTBOX.send(f"curves of {self._stage}", self._send)

    def _resumed(self, run_id: str, update: int) -> None:
        self._earlier = run_id
        if self.run.run_id is not None and run_id != self.run.run_id:
            self._tags += [
                RunTag(f"{self._stage}.continues_run", run_id),
                RunTag(f"{self._stage}.continues_after_update", str(update)),
            ]
            OUTBOX.send(f"curves of {self._stage}", self._send)

    def _send(self) -> None:
        while self._points or self._tags:
            points, tags = self._points[:_POINTS_AT_ONCE], self._tags
            self._client.log_batch(str(self.run.run_id), points, tags=tags)
            del self._points[: len(points)]
            self._tags = []

    def sign(self, weights: Weights) -> Weights:
        """Add the run, commit and versions that made weights to their provenance."""
        maker = provenance()
        if not self._logged:  # an earlier run trained them
            maker["mlflow_run_id"] = self._earlier
        elif self._earlier is not None:
            maker["continues_mlflow_run_id"] = self._earlier
        return replace(weights, provenance={**weights.provenance, **maker})


@contextmanager
def open_record(
    tracking_uri: str, stage: str, run_id: str | None
) -> Iterator[tuple["Log", "TrackedRun"]]:
    """Continue a record in another process, which may have been restarted."""
    mlflow.set_tracking_uri(tracking_uri)
    last_step = 0
    if run_id is not None:
        with suppress(MlflowException):  # at worst, some points are logged twice
            history = mlflow.MlflowClient().get_metric_history(run_id, f"{stage}.loss")
            last_step = max((point.step for point in history), default=0)
    record = StageRecord(stage, run_id, last_step)
    try:
        yield record.log, record.run
    finally:
        OUTBOX.conclude(run_id)


def train(
    stage: str,
    training: Callable[["Log", "TrackedRun", "Ranks"], Result],
    settings: TrainingParameters,
) -> tuple[Result, StageRecord]:
    """Run a training on the configured devices, and record it in the active MLflow run."""
    from deepdepixelate.training import launch

    record = StageRecord(stage, active_run_id())
    opener = partial(open_record, mlflow.get_tracking_uri(), stage, record.run.run_id)
    job = launch.Job(training, opener, settings.sync_batch_norm)
    return launch.run(job, settings, record.log, record.run), record


def provenance() -> dict[str, Any]:
    """The MLflow run, commit and package versions of this process."""
    return {
        "mlflow_run_id": active_run_id(),
        "git_commit": git_commit(),
        "versions": {name: version(name) for name in ("deepdepixelate", "torch", "numpy")},
    }


@cache
def git_commit() -> str | None:
    """The project's commit, with ``-dirty`` if files were changed; None outside a repository."""
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

"""What the nodes tell MLflow, and what they learn from it: curves, the run's id, the commit."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from deepdepixelate.models.weights import Weights
from deepdepixelate.parameters import TrainingParameters
from deepdepixelate.tracking.outbox import OUTBOX
from deepdepixelate.training import launch
from deepdepixelate.training.distributed import Ranks
from deepdepixelate.training.trainer import Log, TrackedRun

Result = TypeVar("Result")

_POINTS_AT_ONCE = 1000
"""What MLflow takes in one request."""


class StageRecord:
    """One training's part of an MLflow run; without a run it keeps nothing.

    Attributes:
        run: what the training loop is told: the run's id, and whom to tell of an earlier one.
    """

    def __init__(self, stage: str, run_id: str | None, last_step: int = 0) -> None:
        """Write to a run.

        Args:
            stage: the prefix of the metrics.
            run_id: the MLflow run.
            last_step: what this run holds already, after a restart: not logged again.
        """
        self._stage = stage
        self._client = mlflow.MlflowClient()
        self._last_step = last_step
        self._earlier: str | None = None
        self._logged = False
        self._unsent: list[Metric] = []
        self._tags: dict[str, str] = {}
        self.run = TrackedRun(run_id, self._resumed)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log ``<stage>.<metric>`` at a step; what cannot be sent is kept until it can."""
        self._logged = True
        if self.run.run_id is not None and step > self._last_step:
            now = int(time.time() * 1000)
            points = [
                Metric(f"{self._stage}.{name}", value, now, step) for name, value in metrics.items()
            ]
            self._unsent += points
            self._send()

    def _send(self) -> None:
        OUTBOX.send(f"curves of {self._stage}", partial(self._send_to, str(self.run.run_id)))

    def _send_to(self, run_id: str) -> None:
        for name in list(self._tags):
            self._client.set_tag(run_id, name, self._tags[name])
            del self._tags[name]
        while self._unsent:
            self._client.log_batch(run_id, self._unsent[:_POINTS_AT_ONCE])
            del self._unsent[:_POINTS_AT_ONCE]

    def _resumed(self, run_id: str, update: int) -> None:
        self._earlier = run_id
        if self.run.run_id is not None and run_id != self.run.run_id:
            self._tags |= {
                f"{self._stage}.continues_run": run_id,
                f"{self._stage}.continues_after_update": str(update),
            }
            self._send()

    def sign(self, weights: Weights) -> Weights:
        """Weights whose provenance also says which run, commit and versions made them."""
        maker = provenance()
        if not self._logged:  # nothing was trained by this process: it is in an earlier record
            maker["mlflow_run_id"] = self._earlier
        elif self._earlier is not None:
            maker["continues_mlflow_run_id"] = self._earlier
        return replace(weights, provenance={**weights.provenance, **maker})


def active_record(stage: str) -> StageRecord:
    """A record in the active MLflow run, if there is one."""
    return StageRecord(stage, _run_id())


@contextmanager
def open_record(
    tracking_uri: str, stage: str, run_id: str | None
) -> Iterator[tuple[Log, TrackedRun]]:
    """The same record in another process, where it may go on after a restart."""
    mlflow.set_tracking_uri(tracking_uri)
    last_step = 0
    if run_id is not None:
        with suppress(MlflowException):  # at the worst, some points are there twice
            history = mlflow.MlflowClient().get_metric_history(run_id, f"{stage}.loss")
            last_step = max((point.step for point in history), default=0)
    record = StageRecord(stage, run_id, last_step)
    try:
        yield record.log, record.run
    finally:
        OUTBOX.conclude(str(run_id))


def train(
    stage: str,
    training: Callable[[Log, TrackedRun, Ranks], Result],
    settings: TrainingParameters,
) -> tuple[Result, StageRecord]:
    """Run a training where its settings say, on the record of the active MLflow run."""
    record = active_record(stage)
    opener = partial(open_record, mlflow.get_tracking_uri(), stage, record.run.run_id)
    job = launch.Job(training, opener, settings.sync_batch_norm)
    return launch.run(job, settings, record.log, record.run), record


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

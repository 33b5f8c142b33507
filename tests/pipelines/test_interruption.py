"""Ctrl-C and SIGTERM, sent to real runs."""

import os
import signal
import time
from pathlib import Path
from unittest.mock import patch

import mlflow
import pytest
from finished_project import prepared_project
from kedro_project import Project
from mlflow.entities import Run
from processes import Process

pytestmark = pytest.mark.slow

PARAMETERS = (
    "pretrain.updates=400,pretrain.checkpoint_every=50,pretrain.validate_every=200,"
    "pretrain.batch_size=2,pretrain.crop_size=32,pretrain.generator.blocks=1,"
    "pretrain.generator.channels=8,training.log_every=10,training.batch_norm_updates=2"
)
ARGUMENTS = ["run", "--pipeline", "pretrain", "--params", PARAMETERS]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return prepared_project(tmp_path_factory)


def run_until(project: Project, sign: str, number: signal.Signals) -> tuple[int, str]:
    """Start a training and send it a signal as soon as its output shows a sign of progress."""
    log = project.path.parent / f"{number.name}.log"
    process = Process("kedro", *ARGUMENTS, folder=project.path, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while sign not in read(log) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, number)
        code = process.wait(60)
    finally:
        process.kill()
    return code, read(log)


def read(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def runs(project: Project) -> list[Run]:
    client = mlflow.MlflowClient(f"sqlite:///{project.path}/mlflow.db")
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id], "tags.pipeline = 'pretrain'", order_by=["start_time ASC"]
    )
    return list(found)


def steps(project: Project, run: Run) -> list[int]:
    client = mlflow.MlflowClient(f"sqlite:///{project.path}/mlflow.db")
    history = client.get_metric_history(run.info.run_id, "pretrain.loss")
    return [point.step for point in history]


def test_a_stopped_training_is_closed_as_killed_and_continued(prepared: Project) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        code, output = run_until(prepared, "loss=", number)
        assert code == 128 + number, output
        assert f"pretrain was stopped by {number.name} after update" in output
        assert "Traceback" not in output
        assert "error" not in output.lower()
        assert "--from-nodes" not in output
    outcome = prepared.kedro(*ARGUMENTS)
    outcome.assert_success()
    assert "resumes after update" in outcome.output

    first, second, third = runs(prepared)
    statuses = [run.info.status for run in (first, second, third)]
    assert statuses == ["KILLED", "KILLED", "FINISHED"]
    assert second.data.tags["pretrain.continues_run"] == first.info.run_id
    assert third.data.tags["pretrain.continues_run"] == second.info.run_id
    logged = [*steps(prepared, first), *steps(prepared, second), *steps(prepared, third)]
    assert logged == list(range(10, 401, 10))


def test_a_signal_before_any_training_closes_the_run_too(prepared: Project) -> None:
    """SIGTERM while the data is verified or the networks are built, outside the loop."""
    arguments = [*ARGUMENTS[:-1], PARAMETERS + ",training.seed=1"]
    outcome = prepared.kedro(*arguments, before=stop_when_data_is_verified)
    assert outcome.code == 128 + signal.SIGTERM, outcome.output
    assert "Stopped by SIGTERM" in outcome.stderr
    assert runs(prepared)[-1].info.status == "KILLED"


def stop_when_data_is_verified() -> None:
    from deepdepixelate.data.shards import ImagePairs

    patch.object(ImagePairs, "verify", lambda _: os.kill(os.getpid(), signal.SIGTERM)).start()

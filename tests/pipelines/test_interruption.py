"""Ctrl-C and SIGTERM, sent to real runs."""

import os
import signal
import subprocess
import sys
import time

import mlflow
import pytest
from kedro_project import Project, make_project
from mlflow.entities import Run

pytestmark = pytest.mark.slow

PARAMETERS = (
    "pretrain.updates=400,pretrain.checkpoint_every=50,pretrain.validate_every=200,"
    "pretrain.batch_size=2,pretrain.crop_size=32,pretrain.generator.blocks=1,"
    "pretrain.generator.channels=8,training.log_every=10,training.batch_norm_updates=2"
)
ARGUMENTS = ["run", "--pipeline", "pretrain", "--params", PARAMETERS]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("interruption") / "project")
    project.kedro("run", "--pipelines", "ingest,degrade").assert_success()
    return project


def run_until(project: Project, sign: str, number: signal.Signals) -> tuple[int, str]:
    """Start a training and send it a signal as soon as its output shows a sign of progress."""
    log = project.path.parent / f"{number.name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro", *ARGUMENTS],
            cwd=project.path,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while sign not in log.read_text() and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(number)
            code = process.wait(timeout=60)
        finally:
            process.kill()
    return code, log.read_text()


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
    driver = (
        "import os, signal, sys; from deepdepixelate.data.shards import ImagePairs;"
        "ImagePairs.verify = lambda pairs: os.kill(os.getpid(), signal.SIGTERM);"
        "from kedro.framework.cli import main; main()"
    )
    arguments = [*ARGUMENTS[:-1], PARAMETERS + ",training.seed=1"]
    process = subprocess.run(
        [sys.executable, "-c", driver, *arguments],
        cwd=prepared.path, capture_output=True, text=True, timeout=120, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.returncode == 128 + signal.SIGTERM, process.stdout + process.stderr
    assert "Stopped by SIGTERM" in process.stderr
    assert runs(prepared)[-1].info.status == "KILLED"

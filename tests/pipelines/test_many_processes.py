"""Trainings on several processes of this machine, started, killed, stopped and joined for real."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from finished_project import prepared_project
from kedro_project import Outcome, Project, copy_of
from mlflow.entities import Run
from processes import Process
from small_trainings import SMALL_TRAINING, assert_same_weights
from torch.distributed.launcher.api import LaunchConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return prepared_project(tmp_path_factory)


@pytest.fixture(scope="module")
def alone(data: Project) -> Project:
    """The reference: both trainings on one process."""
    project = another(data, "alone")
    train(project, "pretrain,train_gan").assert_success()
    return project


def another(project: Project, name: str) -> Project:
    return copy_of(project, project.path.with_name(name))


def train(
    project: Project,
    pipelines: str,
    extra: str = "training.seed=0",
    before: Callable[[], object] | None = None,
) -> Outcome:
    parameters = f"{SMALL_TRAINING},{extra}"
    return project.kedro("run", "--pipelines", pipelines, "--params", parameters, before=before)


def fork_workers() -> None:
    """Let those of a training, too, begin with their imports done; signals do not reach them."""
    original: Callable[[LaunchConfig], None] = LaunchConfig.__post_init__

    def forking(config: LaunchConfig) -> None:
        original(config)
        config.start_method = "forkserver"

    patch.object(LaunchConfig, "__post_init__", forking).start()


@contextmanager
def started(folder: Path, name: str, *arguments: str) -> Iterator[tuple[Process, Path]]:
    log = folder / "output.log"
    log.write_text("")
    process = Process(name, *arguments, folder=folder, stdout=log, stderr=log)
    try:
        yield process, log
    finally:
        process.kill()


def wait_for(condition: Callable[[], object], process: Process, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def all_runs(project: Project) -> list[Run]:
    client = mlflow.MlflowClient(f"sqlite:///{project.path}/mlflow.db")
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.pipeline LIKE '%pretrain%'")
    return list(found)


def only_run(project: Project) -> tuple[Run, list[int]]:
    """The run of the training, and the steps of its loss."""
    client = mlflow.MlflowClient(f"sqlite:///{project.path}/mlflow.db")
    (run,) = all_runs(project)
    history = client.get_metric_history(run.info.run_id, "pretrain.loss")
    return run, [point.step for point in history]


def test_two_processes_make_the_weights_of_one_though_one_of_them_dies(
    data: Project, alone: Project
) -> None:
    project = another(data, "two")
    parameters = f"{SMALL_TRAINING},training.devices=2"
    command = ("kedro", "run", "--pipelines", "pretrain,train_gan", "--params", parameters)
    with started(project.path, *command) as (process, log):
        checkpoints = project.path / "data/06_models/sample/checkpoints/pretrain"
        wait_for(lambda: any(checkpoints.glob("*/update-*.pt")), process, log)
        workers(process)[-1].send_signal(signal.SIGKILL)
        assert process.wait(180) == 0, log.read_text()
    assert "in each of 2 processes" in log.read_text()
    for name in ("srresnet", "srgan", "discriminator"):
        assert_same_weights(alone, project, name)
    histories = [
        pd.read_csv(each.path / "data/08_reporting/sample/pretrain_history.csv")
        for each in (alone, project)
    ]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-4)
    run, steps = only_run(project)
    assert run.info.status == "FINISHED"
    assert steps == list(range(5, 61, 5))


def test_a_batch_that_cannot_be_shared_is_told(data: Project) -> None:
    project = another(data, "uneven")
    extra = "pretrain.batch_size=3,training.devices=2,training.max_restarts=0"
    outcome = train(project, "pretrain", extra, before=fork_workers)
    outcome.assert_readable_error("batch_size must be a multiple of the 2 processes")


def workers(process: Process) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


ENDLESS = SMALL_TRAINING.replace("updates=60", "updates=99999").replace("every=", "every=9999")
"""No point of the curves, and no checkpoint, for a long time."""


def test_a_stopped_training_leaves_a_checkpoint(data: Project) -> None:
    """Ctrl-C reaches all processes of a terminal; a scheduler may tell all, or the first one."""
    project = another(data, "stopped")
    parameters = f"{ENDLESS},training.devices=2"
    command = ("kedro", "run", "--pipeline", "pretrain", "--params", parameters)
    checkpoints = project.path / "data/06_models/sample/checkpoints/pretrain"
    done = 0
    for send, number in (
        (os.killpg, signal.SIGINT),
        (os.killpg, signal.SIGTERM),
        (os.kill, signal.SIGTERM),
    ):
        with started(project.path, *command) as (process, log):
            # Once a speed is shown, both processes take steps and handle signals.
            wait_for(lambda: re.search(r"/99999 .*<\d", log.read_text()), process, log)
            send(process.pid, number)
            assert process.wait(120) == 128 + number, log.read_text()
        output = " ".join(log.read_text().split())
        assert "Traceback" not in output
        assert "forcefully" not in output  # TorchElastic's word when it kills
        assert f"pretrain resumes after update {done} " in output or not done
        told = re.search(rf"pretrain was stopped by {number.name} after update (\d+) of", output)
        assert told is not None, output
        done = int(told[1])
        (path,) = checkpoints.glob(f"*/update-{done:09d}.pt")
        assert torch.load(path, weights_only=True)["update"] == done
        assert {run.info.status for run in all_runs(project)} == {"KILLED"}


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_what_the_writer_alone_meets_is_told_at_once(data: Project) -> None:
    project = another(data, "unwritable")
    checkpoints = project.path / "data/06_models/sample/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "pretrain").symlink_to("/proc")  # where nobody can make a folder, not even root
    outcome = train(project, "pretrain", "training.devices=2", before=fork_workers)
    outcome.assert_readable_error("update-000000010.pt could not be written", "Make room")
    assert "Connection closed" not in outcome.output
    (shard,) = (project.path / "data/05_model_input/sample/hr/val").glob("shard-00000.npy")
    shard.write_bytes(shard.read_bytes()[:-1] + b"X")
    (checkpoints / "pretrain").unlink()
    outcome = train(project, "pretrain", "training.devices=2", before=fork_workers)
    outcome.assert_readable_error("shard-00000.npy is damaged")


def test_a_second_host_joins_at_the_rendezvous(data: Project, alone: Project) -> None:
    project = another(data, "hosts")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{probe.getsockname()[1]}"
    parameters = f"{SMALL_TRAINING},training.hosts=2,training.rendezvous={rendezvous}"
    first = ("kedro", "run", "--pipeline", "pretrain", "--params", parameters)
    second = ("deepdepixelate", "worker", "--rendezvous", rendezvous)
    elsewhere = data.path.with_name("elsewhere")
    elsewhere.mkdir()
    with (
        started(project.path, *first) as (process, log),
        started(elsewhere, *second) as (helper, helper_log),
    ):
        assert process.wait(180) == 0, log.read_text() + helper_log.read_text()
        assert helper.wait(60) == 0, helper_log.read_text()
    assert_same_weights(alone, project, "srresnet")
    assert only_run(project)[1] == list(range(5, 61, 5))

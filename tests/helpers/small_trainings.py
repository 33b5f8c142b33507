"""Trainings of the sample that take seconds, and the comparison of their weights."""

import re
import subprocess
import sys
import time
from pathlib import Path

import hosts
import numpy as np
import pytest
from finished_project import prepared_project
from hosts import Host
from kedro_project import Project, copy_of
from safetensors.numpy import load_file

SMALL_TRAINING = (
    "pretrain.updates=60,pretrain.checkpoint_every=10,pretrain.validate_every=30,"
    "pretrain.batch_size=4,pretrain.crop_size=32,pretrain.generator.blocks=1,"
    "pretrain.generator.channels=8,train_gan.updates=10,train_gan.crop_size=32,"
    "train_gan.batch_size=4,train_gan.discriminator.channels=4,train_gan.discriminator.dense=8,"
    "training.log_every=5,training.batch_norm_updates=4,training.precision=fp32"
)

TOLERANCE = 1e-4
"""Of a weight after a training on two processes, against one: sums in another order."""

_PORT = 29500


def trained_on_one_process(factory: pytest.TempPathFactory) -> Project:
    """A project with the ``srresnet`` that trainings on several processes must come to, too."""
    project = prepared_project(factory)
    project.kedro("run", "--pipeline", "pretrain", "--params", SMALL_TRAINING).assert_success()
    return project


def trained_on_two_hosts(factory: pytest.TempPathFactory) -> Project:
    """The same on two hosts. A training that was disturbed must come to the same bits."""
    project = prepared_project(factory)
    with hosts.two_hosts(project.path.parent) as (first, second):
        run = TwoHostTraining(project, first, second)
        process, worker = run.start_first(), run.start_second()
        assert process.wait(300) == 0, run.log.read_text()
        assert worker.wait(60) == 0, run.log.read_text()
        run.log.unlink()  # copies of the project begin their own
    return project


class TwoHostTraining:
    """A training that is under way on both hosts, until the block ends.

    Attributes:
        project: its folder.
        log: what both hosts print.
    """

    def __init__(self, project: Project, first: Host, second: Host) -> None:
        self.project, self.log = project, project.path / "output.log"
        self._first, self._second = first, second

    def start_first(self) -> subprocess.Popen[bytes]:
        meet = f"training.hosts=2,training.rendezvous={self._first.address}:{_PORT}"
        return self._start(
            self._first, "kedro", "run", "--pipeline", "pretrain",
            "--params", f"{SMALL_TRAINING},{meet}",
        )  # fmt: skip

    def start_second(self) -> subprocess.Popen[bytes]:
        meet = f"{self._first.address}:{_PORT}"
        return self._start(self._second, "deepdepixelate", "worker", "--rendezvous", meet)

    def _start(self, host: Host, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            folder = self.project.path
            return host.start(sys.executable, "-m", *command, folder=folder, output=output)

    def wait_for_update(self, least: int, seconds: float = 180) -> float:
        """Wait until the first host has done so many updates more; return the seconds it took."""
        start, before = time.monotonic(), self.updates()
        while self.updates() < before + least:
            assert time.monotonic() < start + seconds, self.log.read_text()
            time.sleep(0.1)
        return time.monotonic() - start

    def updates(self) -> int:
        """How many updates the first host has printed, those of repeated ones included."""
        return len(set(re.findall(r"\| (\d+/60) \[(\d\d:\d\d)", self.log.read_text())))


def untrained_copy(project: Project, path: Path) -> Project:
    """A project with the data of another one, and without its networks and checkpoints."""
    copy = copy_of(project, path)
    for file in (path / "data/06_models/sample").rglob("*.*"):
        file.unlink()
    return copy


def assert_same_weights(
    first: Project, second: Project, name: str, tolerance: float = TOLERANCE
) -> None:
    for (key, left), right in zip(
        _weights(first, name).items(), _weights(second, name).values(), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance, err_msg=key)


def _weights(project: Project, name: str) -> dict[str, np.ndarray]:
    return dict(load_file(project.path / f"data/06_models/sample/{name}.safetensors"))

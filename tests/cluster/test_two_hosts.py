"""One training on two hosts that have nothing in common but a link and a folder."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hosts
import pytest
from hosts import Host
from kedro_project import Project
from small_trainings import (
    SMALL_TRAINING,
    assert_same_weights,
    trained_on_one_process,
    untrained_copy,
)

REASON = hosts.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

PORT = 29500


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return trained_on_one_process(tmp_path_factory)


class Training:
    """A training that is under way on both hosts, until the block ends.

    Attributes:
        project: its folder.
        log: what both hosts print.
    """

    def __init__(self, project: Project, first: Host, second: Host) -> None:
        self.project, self.log = project, project.path / "output.log"
        self._first, self._second = first, second

    def start_first(self) -> subprocess.Popen[bytes]:
        meet = f"training.hosts=2,training.rendezvous={self._first.address}:{PORT}"
        return self._start(
            self._first, "kedro", "run", "--pipeline", "pretrain",
            "--params", f"{SMALL_TRAINING},{meet}",
        )  # fmt: skip

    def start_second(self) -> subprocess.Popen[bytes]:
        meet = f"{self._first.address}:{PORT}"
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


@contextmanager
def training(reference: Project, folder: Path) -> Iterator[tuple[Training, Host, Host]]:
    project = untrained_copy(reference, folder / "project")
    with hosts.two_hosts(folder) as (first, second):
        yield Training(project, first, second), first, second


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.long)])
def test_a_link_that_fails_delays_the_training(
    alone: Project, tmp_path: Path, seconds: float
) -> None:
    with training(alone, tmp_path) as (run, _, second):
        process, worker = run.start_first(), run.start_second()
        run.wait_for_update(3)
        second.switch_link("down")
        time.sleep(seconds)
        second.switch_link("up")
        print(f"next update after {run.wait_for_update(1):.1f} s")
        assert process.wait(180) == 0, run.log.read_text()
        assert worker.wait(60) == 0, run.log.read_text()
        assert_same_weights(alone, run.project, "srresnet")


@pytest.mark.long
@pytest.mark.parametrize("killed", ["the worker's command", "the host"])
def test_another_worker_takes_the_place_of_a_dead_one(
    alone: Project, tmp_path: Path, killed: str
) -> None:
    with training(alone, tmp_path) as (run, _, second):
        process, worker = run.start_first(), run.start_second()
        run.wait_for_update(12)
        worker.kill() if killed != "the host" else second.kill_all()
        time.sleep(2)
        worker = run.start_second()
        print(f"next update after {run.wait_for_update(1):.1f} s")
        assert process.wait(300) == 0, run.log.read_text()
        assert worker.wait(60) == 0, run.log.read_text()
        assert_same_weights(alone, run.project, "srresnet")


@pytest.mark.long
def test_the_same_command_resumes_after_the_first_host_died(alone: Project, tmp_path: Path) -> None:
    with training(alone, tmp_path) as (run, first, _):
        _, worker = run.start_first(), run.start_second()
        run.wait_for_update(12)
        first.kill_all()
        assert worker.wait(120) != 0, run.log.read_text()
        process, worker = run.start_first(), run.start_second()
        print(f"next update after {run.wait_for_update(1):.1f} s")
        assert process.wait(300) == 0, run.log.read_text()
        assert worker.wait(60) == 0, run.log.read_text()
        assert_same_weights(alone, run.project, "srresnet")
        assert "resumes after update" in run.log.read_text()

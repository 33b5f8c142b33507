"""One training on two hosts that have nothing in common but a link and a folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hosts
import pytest
from hosts import Host
from kedro_project import Project
from small_trainings import (
    TwoHostTraining,
    assert_same_weights,
    trained_on_one_process,
    trained_on_two_hosts,
    untrained_copy,
)

REASON = hosts.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return trained_on_two_hosts(tmp_path_factory)


@contextmanager
def training(reference: Project, folder: Path) -> Iterator[tuple[TwoHostTraining, Host, Host]]:
    project = untrained_copy(reference, folder / "project")
    with hosts.two_hosts(folder) as (first, second):
        yield TwoHostTraining(project, first, second), first, second


def test_two_hosts_train_as_one_process_does(
    undisturbed: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert_same_weights(trained_on_one_process(tmp_path_factory), undisturbed, "srresnet")


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.long)])
def test_a_link_that_fails_delays_the_training(
    undisturbed: Project, tmp_path: Path, seconds: float
) -> None:
    with training(undisturbed, tmp_path) as (run, _, second):
        process, worker = run.start_first(), run.start_second()
        run.wait_for_update(3)
        second.switch_link("down")
        time.sleep(seconds)
        second.switch_link("up")
        print(f"next update after {run.wait_for_update(1):.1f} s")
        assert process.wait(180) == 0, run.log.read_text()
        assert worker.wait(60) == 0, run.log.read_text()
        assert_same_weights(undisturbed, run.project, "srresnet", tolerance=0)


@pytest.mark.long
@pytest.mark.parametrize("killed", ["the worker's command", "the host"])
def test_another_worker_takes_the_place_of_a_dead_one(
    undisturbed: Project, tmp_path: Path, killed: str
) -> None:
    with training(undisturbed, tmp_path) as (run, _, second):
        process, worker = run.start_first(), run.start_second()
        run.wait_for_update(12)
        worker.kill() if killed != "the host" else second.kill_all()
        time.sleep(2)
        worker = run.start_second()
        print(f"next update after {run.wait_for_update(1):.1f} s")
        assert process.wait(300) == 0, run.log.read_text()
        assert worker.wait(60) == 0, run.log.read_text()
        assert_same_weights(undisturbed, run.project, "srresnet", tolerance=0)


@pytest.mark.long
def test_the_same_command_resumes_after_the_first_host_died(
    undisturbed: Project, tmp_path: Path
) -> None:
    with training(undisturbed, tmp_path) as (run, first, _):
        _, worker = run.start_first(), run.start_second()
        run.wait_for_update(12)
        first.kill_all()
        assert worker.wait(120) != 0, run.log.read_text()
        assert "lost the connection" in run.log.read_text()
        assert "c10::Error" not in run.log.read_text()  # traces of C++ around the message
        process, worker = run.start_first(), run.start_second()
        print(f"next update after {run.wait_for_update(1):.1f} s")
        assert process.wait(300) == 0, run.log.read_text()
        assert worker.wait(60) == 0, run.log.read_text()
        assert_same_weights(undisturbed, run.project, "srresnet", tolerance=0)
        assert "resumes after update" in run.log.read_text()

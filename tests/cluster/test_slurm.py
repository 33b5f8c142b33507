"""The batch scripts of docs/how-to/many-hosts.md, on a real Slurm of two nodes."""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hosts
import pytest
import slurm
from kedro_project import PROJECT, Project
from slurm import Cluster
from small_trainings import (
    SMALL_TRAINING,
    assert_same_weights,
    trained_on_two_hosts,
    untrained_copy,
)

REASON = hosts.missing() or slurm.missing()
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with (
        hosts.two_hosts(tmp_path) as nodes,
        slurm.slurm_cluster(tmp_path / "slurm", nodes) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return trained_on_two_hosts(tmp_path_factory)


def documented_script(title: str, *changes: tuple[str, str]) -> str:
    """The batch script of a section, with what differs here."""
    text = (PROJECT / "docs/how-to/many-hosts.md").read_text()
    section = text.split(f"{title}\n", 1)[1]
    script = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    assert script is not None
    found = script[1]
    for old, new in changes:
        assert old in found
        found = found.replace(old, new)
    return found


def submit(cluster: Cluster, project: Project, script: str) -> str:
    """Submit a batch script; return the number of the job."""
    (project.path / "train.sbatch").write_text(script)
    options = ("--parsable", "--output=job.log")
    job = cluster.run("sbatch", *options, "train.sbatch", folder=project.path, PATH=PATH)
    return job.strip()


def wait_for_checkpoint(project: Project, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    folder = project.path / "data/06_models/sample/checkpoints/pretrain"
    while not any(folder.glob("*/update-*.pt")):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


@pytest.mark.parametrize("stopped_by", ["time limit", "requeue"])
def test_the_documents_script_is_stopped_and_finishes(
    cluster: Cluster, undisturbed: Project, tmp_path: Path, stopped_by: str
) -> None:
    project = untrained_copy(undisturbed, tmp_path / "project")
    script = documented_script(
        "### Slurm",
        ("--nodes=4", "--nodes=2"),
        ("#SBATCH --gpus-per-node=8\n", ""),
        ("--env celeba ", ""),
        ("training.hosts=$SLURM_NNODES", f"{SMALL_TRAINING},training.hosts=$SLURM_NNODES"),
    )
    job = submit(cluster, project, script)
    log = project.path / "job.log"
    wait_for_checkpoint(project, log, 180)
    if stopped_by == "requeue":
        cluster.run("scontrol", "requeue", job)
    else:  # as Slurm does before the time limit: all steps get the signal, the script does not
        cluster.run("scancel", "--signal=TERM", job)
    assert cluster.wait_for(job, "PENDING", "REQUEUED", seconds=120)
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # not after two minutes
    assert cluster.wait_for(job, "COMPLETED", "FAILED", seconds=300) == "COMPLETED", log.read_text()
    output = " ".join(log.read_text().split())
    assert "pretrain was stopped by SIGTERM after update" in output
    assert "pretrain resumes after update" in output
    assert_same_weights(undisturbed, project, "srresnet", tolerance=0)

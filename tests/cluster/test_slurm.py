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
from kedro_project import PROJECT, Project, make_project
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


def submit(cluster: Cluster, project: Project, script: str, **environment: str) -> str:
    """Submit a batch script; return the number of the job."""
    (project.path / "job.sbatch").write_text(script)
    options = ("--parsable", "--output=job.log")
    job = cluster.run(
        "sbatch", *options, "job.sbatch", folder=project.path, PATH=PATH, **environment
    )
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


def test_the_documents_script_starts_ray(cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    stages = ("--pipelines", "ingest,degrade")
    small = "ingest.limit_per_split=12,ingest.images_per_shard=1"  # enough tasks for both nodes
    local, project = make_project(tmp_path / "local"), make_project(tmp_path / "project")
    local.kedro("run", *stages, "--params", small).assert_success()

    def run(parameters: str) -> tuple[str, str]:
        """The state in which a job ends, and what it printed."""
        script = documented_script(
            "and stops the cluster:",
            ("--nodes=4", "--nodes=2"),
            ("--env celeba ", ""),
            ("engine=ray", f"{parameters},engine=ray"),
        )
        job = submit(cluster, project, script, RAY_gcs_rpc_server_reconnect_timeout_s="20")
        state = cluster.wait_for(job, "COMPLETED", "FAILED", seconds=300)
        logs = [project.path / "job.log", *project.path.glob("slurm-*.out")]
        return state, "".join(log.read_text() for log in logs)

    state, output = run("ingest.width=1")
    assert state == "FAILED", output
    assert "the crop of 176x216 pixels is larger" in output
    state, output = run(small)  # the job before left nothing behind that it meets
    assert state == "COMPLETED", output
    assert files_in(project, "data/05_model_input") == files_in(local, "data/05_model_input")
    for node in ("host-a", "host-b"):
        assert list((cluster.folder / f"ray-{node}").glob("session_*/logs/worker-*")), node


def files_in(project: Project, folder: str) -> dict[str, bytes]:
    """The content of every file in a folder, by its path there."""
    root = project.path / folder
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}

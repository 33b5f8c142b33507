"""Slurm on hosts of this machine: a controller and its nodes, real daemons with real jobs."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hosts import Host

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")

_CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={first.name}({first.address})
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=60
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

_OWN_PROCESSES = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""A node sees its own processes only: ``ray stop`` kills all of Ray's that it sees."""

_OWN_RAY = 'mkdir -p /tmp/ray && mount --bind "$0" /tmp/ray && { "$@" & wait; }'
"""Ray's files about its processes, too, are those of one node. The shell reaps orphans, as init."""


def missing() -> str | None:
    """Why Slurm cannot be started here; None if it can."""
    if lacking := [each for each in _PROGRAMS if shutil.which(each) is None]:
        return f"{', '.join(lacking)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    return None


@dataclass(frozen=True)
class Cluster:
    """A running cluster; its commands run on the first node, which has the controller.

    Attributes:
        folder: of the configuration, the logs and the state.
        first: the first node.
    """

    folder: Path
    first: Host

    def run(self, *command: str, folder: Path | None = None, **environment: str) -> str:
        """Run a command of Slurm; CalledProcessError if it fails."""
        return subprocess.run(
            self.first.command(*command), cwd=folder, check=True, capture_output=True, text=True,
            env={**os.environ, "SLURM_CONF": f"{self.folder}/slurm.conf", **environment},
        ).stdout  # fmt: skip

    def state(self, job: str) -> str:
        """The state of a job, such as ``RUNNING``."""
        shown = self.run("scontrol", "show", "job", job).split()
        return next(each.partition("=")[2] for each in shown if each.startswith("JobState="))

    def wait_for(self, job: str, *states: str, seconds: float) -> str:
        """Wait until a job is in one of these states."""
        deadline = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            assert time.monotonic() < deadline, f"{state}: {self.run('scontrol', 'show', 'job')}"
            time.sleep(0.5)
        return state


@contextmanager
def slurm_cluster(folder: Path, nodes: Sequence[Host]) -> Iterator[Cluster]:
    """Start munge, the controller on the first node, and a daemon on each; stop them at the end."""
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "state").mkdir()
    lines = [f"NodeName={each.name} NodeAddr={each.address} CPUs=2\n" for each in nodes]
    text = _CONFIGURATION.format(first=nodes[0], folder=folder) + "".join(lines)
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "seed-file")]
    started: list[subprocess.Popen[bytes]] = []
    with (folder / "daemons.log").open("ab") as log:

        def start(*command: str) -> None:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))

        try:
            start("munged", "--foreground", "--force", f"--key-file={key}", *munge,
                  f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log")  # fmt: skip
            configuration = ("-D", "-f", f"{folder}/slurm.conf")
            start(*nodes[0].command("slurmctld", *configuration))
            for node in nodes:
                daemon = ("slurmd", "-N", node.name, *configuration)
                ray = folder / f"ray-{node.name}"
                ray.mkdir()
                own = (*_OWN_PROCESSES, "sh", "-c", _OWN_RAY, str(ray))
                start(*node.command(*own, *daemon))
            cluster = Cluster(folder, nodes[0])
            _wait_until_idle(cluster, len(nodes))
            yield cluster
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()


def _wait_until_idle(cluster: Cluster, nodes: int) -> None:
    deadline = time.monotonic() + 60
    idle = ""
    while len(idle.split()) < nodes:
        assert time.monotonic() < deadline, (cluster.folder / "daemons.log").read_text()
        time.sleep(0.5)
        with suppress(subprocess.CalledProcessError):
            idle = cluster.run("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N")

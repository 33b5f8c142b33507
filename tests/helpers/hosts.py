"""Hosts on this machine: Linux network namespaces, each with an address, a name and a link."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import psutil


@dataclass(frozen=True)
class Host:
    """One host.

    Attributes:
        name: what ``hostname`` prints in it.
        address: IPv4, on the link to the other hosts.
        namespace: the network namespace.
        names: the file that is ``/etc/hosts`` in it.
    """

    name: str
    address: str
    namespace: str
    names: Path

    def command(self, *arguments: str) -> list[str]:
        """The command that runs a command on this host."""
        prepare = f"hostname {self.name} && mount --bind {shlex.quote(str(self.names))} /etc/hosts"
        return [
            "nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--uts", "--mount",
            "sh", "-c", f'{prepare} && exec "$@"', "sh", *arguments,
        ]  # fmt: skip

    def start(
        self, *arguments: str, folder: Path, output: IO[Any], **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a command on this host."""
        return subprocess.Popen(
            self.command(*arguments), cwd=folder, stdout=output, stderr=output,
            env={**os.environ, "COLUMNS": "200", **environment}, start_new_session=True,
        )  # fmt: skip

    def switch_link(self, state: str) -> None:
        """Take the link ``down`` or ``up``."""
        ip("-n", self.namespace, "link", "set", "uplink", state)

    def kill_all(self) -> None:
        """Kill all processes of the host at once, as when its power fails."""
        found = ip("netns", "pids", self.namespace).split()
        for number in map(int, found):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(number).kill()


@cache
def missing() -> str | None:
    """Why hosts cannot be made here; None if they can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    if lacking := [each for each in ("ip", "nsenter", "unshare") if shutil.which(each) is None]:
        return f"network namespaces need {' and '.join(lacking)} (Debian: iproute2, util-linux)"
    probe = f"probe-{os.getpid()}"
    try:
        ip("netns", "add", probe)
        ip("netns", "del", probe)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made: {error.stderr}"
    return None


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts and the link between them; removed at the end, with all of their processes."""
    names = folder / "hosts"
    addresses = {"host-a": "10.77.0.1", "host-b": "10.77.0.2"}
    lines = [f"{address} {name}\n" for name, address in addresses.items()]
    names.write_text("127.0.0.1 localhost\n" + "".join(lines))
    first, second = (
        Host(name, address, f"{name}-{os.getpid()}", names) for name, address in addresses.items()
    )
    try:
        for host in (first, second):
            ip("netns", "add", host.namespace)
            ip("-n", host.namespace, "link", "set", "lo", "up")
        end = ("name", "uplink", "netns")
        ip("link", "add", *end, first.namespace, "type", "veth", "peer", *end, second.namespace)
        for host in (first, second):
            ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "uplink")
            host.switch_link("up")
        yield first, second
    finally:
        for host in (first, second):
            with suppress(subprocess.CalledProcessError):
                host.kill_all()
                ip("netns", "del", host.namespace)


def ip(*arguments: str) -> str:
    """Run Debian's ``ip``; CalledProcessError if it fails."""
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout

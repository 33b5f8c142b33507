import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from processes import Process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(
    folder: Path, database: str, port: int, *, artifacts: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
    """An MLflow server on a database, stopped afterwards with its children.

    Its artifacts are in a folder, or at a URL.
    """
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", database,
        "--artifacts-destination", artifacts or str(folder / "artifacts"),
    ]  # fmt: skip
    log = folder / "log"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output,
            env={**os.environ, **quiet, **(environment or {})}, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/health", process, log, seconds=90)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_it_answers(
    url: str, process: "subprocess.Popen[bytes] | Process", log: Path, seconds: float
) -> None:
    """Wait for a server that was just started; where it ends or takes too long, show its log."""
    deadline = time.monotonic() + seconds
    while not _answers(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=10) as answer:  # noqa: S310 (loopback)
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False

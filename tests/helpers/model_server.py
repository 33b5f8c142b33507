"""MLflow's server of a registered generator, and images to send to it."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

import mlflow
import psutil
from local_server import free_port, wait_until_it_answers
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.models.weights import Weights
from deepdepixelate.tracking.outbox import OUTBOX
from deepdepixelate.tracking.registry import register_generator, registered_name


def register(weights: Weights, folder: Path) -> str:
    """Register a generator in a database in a folder; the URI of its model.

    MLflow's environment variable MLFLOW_TRACKING_URI must name the database, ``database_in``.
    """
    location = (folder / "artifacts").as_uri()
    experiment = mlflow.create_experiment("served", artifact_location=location)
    with mlflow.start_run(experiment_id=experiment, log_system_metrics=False) as run:
        register_generator("srgan", weights, "sample")
        OUTBOX.conclude(run.info.run_id)
    return f"models:/{registered_name('srgan', 'sample')}/1"


def database_in(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


@contextmanager
def model_server(
    model: str, folder: Path, *, workers: int = 1, python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:  # fmt: skip
    """``mlflow models serve``, stopped afterwards: its address, and its process.

    Args:
        model: URI of the model.
        folder: of the database; gets the log.
        workers: processes that answer.
        python: of the environment in which it runs, without the PYTHONPATH of this process.
        environment: more variables.
    """
    port, log = free_port(), folder / "serve.log"
    path = f"{Path(python).parent}:{os.environ['PATH']}"  # MLflow looks for uvicorn there
    variables = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": path,
        "MLFLOW_TRACKING_URI": database_in(folder),
        **(environment or {}),
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [python, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local",
             "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)],
            cwd=folder, stdout=output, stderr=output, env=variables, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(f"{address}/ping", process, log, seconds=180)
        yield address, process
    finally:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class PeakMemory:
    """The most memory that a process and its children have in a block, in bytes."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._over, self.bytes = process, Event(), 0
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.bytes = max(self.bytes, memory_of(self._process))


def memory_of(process: psutil.Process) -> int:
    """The resident set of a process and its children, in bytes."""
    each = [process, *process.children(recursive=True)]
    return sum(int(one.memory_info().rss) for one in each)


def file_of(pixels: NDArray[Any], kind: str = "PNG", mode: str | None = None) -> bytes:
    """An encoded image, for which pixels may be converted to another mode of Pillow."""
    file, image = BytesIO(), Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(file, kind)
    return file.getvalue()


def base64_of(file: bytes) -> str:
    return base64.b64encode(file).decode()

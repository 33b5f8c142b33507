import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from processes import Process

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def assert_success(self) -> None:
        assert self.code == 0, self.output

    def assert_readable_error(self, *parts: str) -> None:
        """One message that holds these parts, and no traceback."""
        assert self.code != 0
        assert "Traceback" not in self.output, self.output
        message = " ".join(self.output.partition("Error: ")[2].split())
        for part in parts:
            assert part in message, self.output


@dataclass(frozen=True)
class Project:
    """A project's configuration in a folder of its own, and its ``kedro`` command."""

    path: Path

    def kedro(
        self, *arguments: str, before: Callable[[], object] | None = None, **environment: str
    ) -> Outcome:
        """Run a command in a process that need not import anything."""
        return run("kedro", *arguments, folder=self.path, before=before, **environment)

    def kedro_from_scratch(self, *arguments: str, **environment: str) -> Outcome:
        """Run a command as a shell does."""
        return run_from_scratch("kedro", *arguments, folder=self.path, **environment)


def run(
    name: str,
    *arguments: str,
    folder: Path,
    before: Callable[[], object] | None = None,
    **environment: str,
) -> Outcome:
    """Run ``kedro`` or ``deepdepixelate`` in a process that need not import anything."""
    with TemporaryDirectory() as temporary:
        stdout, stderr = Path(temporary, "stdout"), Path(temporary, "stderr")
        process = Process(
            name, *arguments, folder=folder, stdout=stdout, stderr=stderr,
            environment=environment, before=before,
        )  # fmt: skip
        try:
            code = process.wait(500)
        finally:
            process.kill()
        return Outcome(code, stdout.read_text(), stderr.read_text())


def run_from_scratch(name: str, *arguments: str, folder: Path, **environment: str) -> Outcome:
    """Run ``kedro`` or ``deepdepixelate`` as a shell does."""
    process = subprocess.run(
        [sys.executable, "-m", name, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "COLUMNS": "200", **environment},
    )
    return Outcome(process.returncode, process.stdout, process.stderr)


def make_project(path: Path) -> Project:
    """A project that has run nothing yet; it shares the code with this one."""
    (path / "src").mkdir(parents=True)
    (path / "src/deepdepixelate").symlink_to(PROJECT / "src/deepdepixelate")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, path)
    shutil.copytree(PROJECT / "conf", path / "conf")
    return Project(path)


def copy_of(project: Project, path: Path) -> Project:
    """A project with all that another one has made."""
    shutil.copytree(project.path, path, symlinks=True)
    return Project(path)


@contextmanager
def mlflow_as_before() -> Iterator[None]:
    """Undo what is done to MLflow's address within: a call of ``set_tracking_uri`` lasts."""
    uri = "mlflow.tracking._tracking_service.utils._tracking_uri"
    with patch.dict(os.environ), patch(uri, None):
        yield

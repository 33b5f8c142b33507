import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A copy of the project's configuration in a folder of its own, and its ``kedro`` command."""

    path: Path

    def kedro(self, *arguments: str, **environment: str) -> "Outcome":
        process = subprocess.run(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=500,
            env={**os.environ, "COLUMNS": "200", **environment},
        )
        return Outcome(process.returncode, process.stdout + process.stderr)


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str

    def assert_success(self) -> None:
        assert self.code == 0, self.output

    def assert_readable_error(self, *parts: str) -> None:
        """One message that holds these parts, and no traceback."""
        assert self.code != 0
        assert "Traceback" not in self.output, self.output
        message = " ".join(self.output.partition("Error: ")[2].split())
        for part in parts:
            assert part in message, self.output


def make_project(path: Path) -> Project:
    path.mkdir()
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, path)
    shutil.copytree(PROJECT / "conf", path / "conf")
    shutil.copytree(PROJECT / "src", path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return Project(path)

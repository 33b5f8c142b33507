"""MLflow's database in the project's folder: set up by one process at a time, wherever it lies."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock

from deepdepixelate.errors import UserError

_DATABASE, _ARTIFACTS = "mlflow.db", "mlruns"

SERVER_VARIABLE = "MLFLOW_TRACKING_URI"
"""Names a tracking server to use instead."""

_ARTIFACT_ROOT_VARIABLE = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""Where MLflow puts artifacts of new experiments; otherwise in the working directory."""

_PATIENCE = 10
"""Seconds within which a server must answer."""

_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns in which MLflow keeps absolute paths."""


class ProjectStore:
    """Where the runs of the project in a folder are recorded."""

    def __init__(self, project: Path) -> None:
        self._database = project / _DATABASE
        self._artifacts = project / _ARTIFACTS

    @property
    def uri(self) -> str:
        """The server that the environment names, or the database in the project's folder."""
        return os.environ.get(SERVER_VARIABLE) or f"sqlite:///{self._database}"

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Within it, this process alone may create the database and the experiment.

        Two first runs at the same time would both create its tables, and one would fail. Before,
        the database is checked, and adapted to a project that was moved or copied: MLflow would go
        on writing to where it was. Of a server it is only asked whether it answers.

        Raises:
            UserError: the database is damaged, or not MLflow's; or the server does not answer.
        """
        if server := os.environ.get(SERVER_VARIABLE):
            _knock(server)
            yield
            return
        os.environ[_ARTIFACT_ROOT_VARIABLE] = str(self._artifacts)
        with FileLock(self._database.with_name(f"{_DATABASE}.lock")):
            if self._database.is_file() and self._database.stat().st_size:
                self._adapt()
            yield

    def _adapt(self) -> None:
        from mlflow.utils.uri import resolve_uri_if_local

        here = str(resolve_uri_if_local(str(self._artifacts)))
        try:
            with closing(sqlite3.connect(self._database)) as connection, connection:
                ((first,),) = connection.execute(
                    "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
                ).fetchall()
                before = str(first).removesuffix("/0")
                if before == here or not before.endswith(f"/{_ARTIFACTS}"):
                    return
                for table, column in _LOCATIONS:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                        f"WHERE substr({column}, 1, ?) = ?",
                        (here, len(before) + 1, len(before) + 1, f"{before}/"),
                    )
        except (sqlite3.DatabaseError, ValueError) as error:
            raise UserError(
                f"{self._database} is damaged, or no database of MLflow ({error}). Move it away: "
                "the next run makes a new one. Weights and reports in data/ do not depend on it."
            ) from error


def _knock(server: str) -> None:
    """Ask a server at once: MLflow would try for minutes."""
    if not server.startswith(("http://", "https://")):
        return
    import requests

    try:
        requests.get(f"{server.rstrip('/')}/health", timeout=_PATIENCE)
    except requests.RequestException as error:
        raise UserError(
            f"the MLflow server {server} (environment variable {SERVER_VARIABLE}) does not answer: "
            f"{type(error).__name__}. Start it, or unset the variable: runs are then recorded in "
            f"{_DATABASE}."
        ) from error

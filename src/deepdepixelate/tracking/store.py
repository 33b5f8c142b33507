"""MLflow's tracking store: a database in the project's folder, or a server."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import mlflow
import requests
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import resolve_uri_if_local

from deepdepixelate.errors import UserError, first_line

_DATABASE, _ARTIFACTS = "mlflow.db", "mlruns"

SERVER_VARIABLE = "MLFLOW_TRACKING_URI"
"""The environment variable that names a tracking server."""

_ARTIFACT_ROOT_VARIABLE = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""The environment variable that MLflow reads for the artifacts of new experiments."""

_LOCAL_PAGE = "http://127.0.0.1:5000"
"""Where ``kedro mlflow ui`` serves MLflow's pages."""

_TIMEOUT = 10
"""Seconds within which a server must answer."""

_UNDAMAGED = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)
"""SQLite's errors that do not mean damage."""

_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns in which MLflow keeps absolute paths."""


class ProjectStore:
    """The tracking store of the project in a folder."""

    def __init__(self, project: Path) -> None:
        self._database = project / _DATABASE
        self._artifacts = project / _ARTIFACTS

    @property
    def uri(self) -> str:
        """The server named by the environment, or the database in the project's folder."""
        return os.environ.get(SERVER_VARIABLE) or f"sqlite:///{self._database}"

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Check the store, and lock it while MLflow creates the database and the experiment.

        Without the lock, two concurrent first runs would both create the tables, and one would
        fail. The paths in the database are updated if the project was moved or copied: MLflow
        would continue to write to the old folder. A server is only checked.

        Raises:
            UserError: the database is damaged, in use, or not MLflow's; or the server does not
                answer, or answers with an error.
        """
        if os.environ.get(SERVER_VARIABLE):
            with self.answering():
                yield
            return
        os.environ[_ARTIFACT_ROOT_VARIABLE] = str(self._artifacts)
        with FileLock(self._database.with_name(f"{_DATABASE}.lock")):
            if self._database.is_file() and self._database.stat().st_size:
                self._relocate()
            yield

    def use(self) -> None:
        """Let MLflow read this store, outside a run.

        Raises:
            UserError: there is none, or see ``setting_up``.
        """
        if not os.environ.get(SERVER_VARIABLE) and not self._database.is_file():
            raise UserError(
                f"there is no {_DATABASE} in {self._database.parent}. Run the command in the "
                f"project's folder, or name the MLflow server in {SERVER_VARIABLE}."
            )
        with self.setting_up():
            mlflow.set_tracking_uri(self.uri)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Start a run within it: raises UserError if the server does not answer, or fails."""
        if (why := unreachable(self.uri)) is not None:
            raise self._error(f"does not answer: {why}")
        try:
            yield
        except MlflowException as error:
            if not os.environ.get(SERVER_VARIABLE):
                raise
            raise self._error(f"answers with an error: {first_line(error)}") from error

    def _error(self, problem: str) -> UserError:
        return UserError(
            without_password(
                f"the MLflow server {self.uri} (environment variable {SERVER_VARIABLE}) {problem}. "
                f"Check the server, or unset the variable to record runs in {_DATABASE}."
            )
        )

    def _relocate(self) -> None:
        """Replace the project's former folder in the database."""
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
            if getattr(error, "sqlite_errorcode", None) in _UNDAMAGED:
                raise UserError(
                    f"{self._database} cannot be used now: {error}. Close the program that uses "
                    "it, or mend its permissions."
                ) from error
            raise UserError(
                f"{self._database} is damaged, or not MLflow's ({error}). Move it away: the next "
                "run creates a new one. Weights and reports in data/ do not depend on it."
            ) from error


def active_run_id() -> str | None:
    """The id of MLflow's active run, if there is one."""
    run = mlflow.active_run()
    return None if run is None else str(run.info.run_id)


def describe_active_run() -> str | None:
    """The address of the active run's page, and how to open it if it is not on a server."""
    run = mlflow.active_run()
    if run is None:
        return None
    place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    server = os.environ.get(SERVER_VARIABLE, "")
    if server.startswith(("http://", "https://")):
        return f"{without_password(server).rstrip('/')}/{place}"
    return f"{_LOCAL_PAGE}/{place} (start the page with: kedro mlflow ui)"


def unreachable(uri: str) -> str | None:
    """Why a server does not answer; None if it does. MLflow's own requests retry for minutes."""
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        status = requests.get(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT).status_code
    except requests.RequestException as error:
        return type(error).__name__
    return f"status {status}" if status >= 500 else None


def without_password(text: str) -> str:
    """Remove user and password from the addresses in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)

"""MLflow's database in the project's folder: set up by one process at a time, wherever it lies."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock

from deepdepixelate.errors import UserError, first_line

_DATABASE, _ARTIFACTS = "mlflow.db", "mlruns"

SERVER_VARIABLE = "MLFLOW_TRACKING_URI"
"""Names a tracking server to use instead."""

_ARTIFACT_ROOT_VARIABLE = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""Where MLflow puts artifacts of new experiments; otherwise in the working directory."""

_PATIENCE = 10
"""Seconds within which a server must answer."""

_UNDAMAGED = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
)
"""Errors of databases that are not damaged."""

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
            UserError: the database is damaged, or not MLflow's; or the server does not answer, or
                with an error.
        """
        if os.environ.get(SERVER_VARIABLE):
            with self.answering():
                yield
            return
        os.environ[_ARTIFACT_ROOT_VARIABLE] = str(self._artifacts)
        with FileLock(self._database.with_name(f"{_DATABASE}.lock")):
            if self._database.is_file() and self._database.stat().st_size:
                self._adapt()
            yield

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around what cannot do without MLflow: the beginning of a run.

        Raises:
            UserError: the server does not answer, or with an error.
        """
        if (silence := knock(self.uri)) is not None:
            raise self._error(f"does not answer: {silence}")
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if not os.environ.get(SERVER_VARIABLE):
                raise
            raise self._error(f"answers with an error: {first_line(error)}") from error

    def _error(self, told: str) -> UserError:
        return UserError(
            without_password(
                f"the MLflow server {self.uri} (environment variable {SERVER_VARIABLE}) {told}. "
                f"See to it, or unset the variable: runs are then recorded in {_DATABASE}."
            )
        )

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
            if getattr(error, "sqlite_errorcode", None) in _UNDAMAGED:
                raise UserError(
                    f"{self._database} cannot be used now: {error}. Close the program that holds "
                    "it, or mend its permissions."
                ) from error
            raise UserError(
                f"{self._database} is damaged, or no database of MLflow ({error}). Move it away: "
                "the next run makes a new one. Weights and reports in data/ do not depend on it."
            ) from error


def knock(uri: str) -> str | None:
    """Why a server does not answer; None if it does. MLflow itself would try for minutes."""
    if not uri.startswith(("http://", "https://")):
        return None
    import requests

    try:
        status = requests.get(f"{uri.rstrip('/')}/health", timeout=_PATIENCE).status_code
    except requests.RequestException as error:
        return type(error).__name__
    return f"status {status}" if status >= 500 else None


def without_password(text: str) -> str:
    """A text, the addresses in it without user and password."""
    return re.sub(r"//[^/@\s]*@", "//", text)

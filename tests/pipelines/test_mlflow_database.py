"""The MLflow database of a project: made once, and found wherever the project lies."""

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from kedro_project import Project, copy_of, make_project

from deepdepixelate.errors import UserError
from deepdepixelate.tracking.store import ProjectStore

pytestmark = pytest.mark.slow

INGEST = ("run", "--pipeline", "ingest", "--params", "ingest.limit_per_split=2")


def runs(project: Path) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_two_first_runs_at_a_time_share_the_database(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (project.path / "conf/other").mkdir()  # with data of its own: only the database is shared
    (project.path / "conf/other/globals.yml").write_text("dataset: other\n")
    with ThreadPoolExecutor(2) as threads:
        for outcome in threads.map(
            lambda env: project.kedro(*INGEST, "--env", env), ("base", "other")
        ):
            outcome.assert_success()
    assert len(runs(project.path)) == 2


class TestAProjectWithARecord:
    @pytest.fixture(scope="class")
    @staticmethod
    def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
        """Its first run was started in a folder below."""
        project = make_project(tmp_path_factory.mktemp("first") / "project")
        (project.path / "notebooks").mkdir()
        below = Project(project.path / "notebooks")
        below.kedro(*INGEST).assert_success()
        return project

    def test_has_it_in_its_own_folder_wherever_the_run_is_started(self, project: Project) -> None:
        assert list((project.path / "notebooks").iterdir()) == []
        (run,) = runs(project.path)
        assert run.info.artifact_uri.startswith(f"{project.path}/mlruns/")

    def test_takes_it_along_when_it_is_moved(self, project: Project, tmp_path: Path) -> None:
        moved = copy_of(project, tmp_path / "elsewhere" / "project")
        hidden = project.path.rename(project.path.with_name("hidden"))
        try:
            with ProjectStore(moved.path).setting_up():
                pass
            (run,) = runs(moved.path)
            assert run.info.artifact_uri.startswith(f"{moved.path}/mlruns/")
            moved.kedro(*INGEST).assert_success()
            assert not project.path.exists()
            for each in runs(moved.path):
                assert each.info.artifact_uri.startswith(f"{moved.path}/mlruns/")
        finally:
            hidden.rename(project.path)


@pytest.mark.parametrize("kind", ["cut short", "another database", "no database"])
def test_a_database_that_cannot_be_used_is_named_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE orders (number INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?)", [(n,) for n in range(5000)])
    if kind == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    elif kind == "no database":
        path.write_bytes(b"minutes of the meeting " * 100)
    before = path.read_bytes()
    with (
        pytest.raises(UserError, match="Move it away") as caught,
        ProjectStore(tmp_path).setting_up(),
    ):
        pass
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_database_that_another_program_holds_is_not_called_damaged(tmp_path: Path) -> None:
    """Who moves it away loses the record of all runs."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE experiments (experiment_id, artifact_location)")
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(UserError, match=r"database is locked\. Close the program") as caught,
            ProjectStore(tmp_path).setting_up(),
        ):
            pass
    assert "damaged" not in str(caught.value)

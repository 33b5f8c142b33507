"""The record on an MLflow server whose database is PostgreSQL, all of it started here."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import sqlalchemy
from kedro_project import Project, make_project
from local_server import free_port, mlflow_server

from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.weights import load_weights

pytestmark = pytest.mark.slow

TINY = (
    "ingest.limit_per_split=4,pretrain.updates=6,train_gan.updates=4,training.log_every=2,"
    "pretrain.batch_size=2,pretrain.generator.blocks=1,pretrain.generator.channels=8,"
    "pretrain.validate_every=6,train_gan.validate_every=4,training.batch_norm_updates=2,"
    "evaluate.faces_shown=1,evaluate.examples_shown=1,evaluate.identity=off"
)


def postgres_programs() -> Path:
    """The newest PostgreSQL's programs: Debian keeps them off the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        pytest.skip("PostgreSQL is not installed")
    return installed[-1].parent


def as_postgres() -> list[str]:
    """How to run a program as somebody else than root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    if shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    return ["runuser", "-u", "postgres", "--"]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URI of a database of a PostgreSQL of our own, which is stopped and removed afterwards."""
    programs, user = postgres_programs(), as_postgres()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own are closed to other users
    try:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        port, data = free_port(), folder / "data"

        def run(program: str, *arguments: str) -> None:
            command = [*user, str(programs / program), "-D", str(data), *arguments]
            log = folder / "output"
            with log.open("a") as output:  # a pipe would stay open as long as the server runs
                code = subprocess.run(command, cwd=folder, stdout=output, stderr=output).returncode
            assert code == 0, log.read_text()

        run("initdb", "--auth=trust", "--username=mlflow", "--encoding=UTF8", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {port} -k {folder}"
        run("pg_ctl", "start", "--wait", "--log", str(folder / "log"), "-o", options)
        try:
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server on that database."""
    port = free_port()
    with mlflow_server(tmp_path_factory.mktemp("server"), database, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def project(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose whole chain was run against the server."""
    project = make_project(tmp_path_factory.mktemp("postgres") / "project")
    outcome = project.kedro("run", "--params", TINY, MLFLOW_TRACKING_URI=server)
    outcome.assert_success()
    for chatter in ("INFO mlflow", "View run", "egistered model", "Created version"):
        assert chatter not in outcome.output
    assert "mlflow.db" not in {path.name for path in project.path.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server)
        yield project


def test_the_record_is_complete(project: Project, server: str, database: str) -> None:
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    run = client.get_run(found.info.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["pretrain.updates"] == "6"
    assert run.data.tags["dataset"] == "sample"
    history = client.get_metric_history(run.info.run_id, "pretrain.loss")
    assert [point.step for point in history] == [2, 4, 6]
    for metric in ("train_gan.loss", "test.bicubic.psnr_y", "test.srgan.ssim_y"):
        assert metric in run.data.metrics
    assert run.inputs is not None
    datasets = {logged.dataset.name for logged in run.inputs.dataset_inputs}
    assert datasets == {"sample/train", "sample/val", "sample/test"}
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id, "evaluation")}
    assert "evaluation/evaluation.json" in artifacts

    with sqlalchemy.create_engine(database).connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT run_uuid, status FROM runs")).all()
        assert [tuple(row) for row in rows] == [(run.info.run_id, "FINISHED")]
        names = connection.execute(sqlalchemy.text("SELECT name FROM registered_models")).scalars()
        assert sorted(names) == ["deepdepixelate-srgan-sample", "deepdepixelate-srresnet-sample"]


def test_a_model_comes_back_from_the_server(project: Project, server: str) -> None:
    model = mlflow.pyfunc.load_model("models:/deepdepixelate-srgan-sample/1")
    weights = load_weights(project.path / "data/06_models/sample/srgan.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    expected = Enlarger(weights, device="cpu", precision="fp32")(image)
    np.testing.assert_array_equal(model.predict(image), expected)

"""The record on an MLflow server with PostgreSQL and an S3 store, all of it started here."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import fsspec
import mlflow
import numpy as np
import pytest
import sqlalchemy
from kedro_project import Outcome, Project, copy_of, make_project
from kedro_project import run as run_command
from local_server import free_port, mlflow_server
from PIL import Image
from processes import Process

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


class Stack:
    """An MLflow server that can be stopped and started again.

    Attributes:
        address: of the server.
        database: URI of its database.
        store: the file system of its artifacts.
    """

    def __init__(self, folder: Path, database: str, s3_server: str) -> None:
        self._folder, self._port = folder, free_port()
        self._keys = {
            "AWS_ENDPOINT_URL": s3_server,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._up = ExitStack()
        self.address = f"http://127.0.0.1:{self._port}"
        self.database = database
        self.store = fsspec.filesystem(
            "s3", key="key", secret="secret", endpoint_url=s3_server,  # noqa: S106
            use_listings_cache=False,
        )  # fmt: skip
        self.store.mkdir("runs")

    def start(self) -> None:
        server = mlflow_server(
            self._folder,
            self.database,
            self._port,
            artifacts="s3://runs/here",
            environment=self._keys,
        )
        self._up.enter_context(server)

    def stop(self) -> None:
        self._up.close()


@pytest.fixture(scope="module")
def stack(
    database: str, s3_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("server"), database, s3_server)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def project(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose whole chain was run against the server; only that knows S3."""
    project = make_project(tmp_path_factory.mktemp("postgres") / "project")
    outcome = project.kedro("run", "--params", TINY, MLFLOW_TRACKING_URI=stack.address)
    outcome.assert_success()
    for chatter in ("INFO mlflow", "View run", "egistered model", "Created version"):
        assert chatter not in outcome.output
    assert "mlflow.db" not in {path.name for path in project.path.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", stack.address)
        yield project


def test_the_record_is_complete(project: Project, stack: Stack) -> None:
    client = mlflow.MlflowClient(stack.address)
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
    stored = {path.partition("/artifacts/")[2] for path in stack.store.find("runs/here")}
    assert artifacts <= stored

    with sqlalchemy.create_engine(stack.database).connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT run_uuid, status FROM runs")).all()
        assert [tuple(row) for row in rows] == [(run.info.run_id, "FINISHED")]
        names = connection.execute(sqlalchemy.text("SELECT name FROM registered_models")).scalars()
        assert sorted(names) == ["deepdepixelate-srgan-sample", "deepdepixelate-srresnet-sample"]


def test_a_model_comes_back_from_the_server(project: Project) -> None:
    model = mlflow.pyfunc.load_model("models:/deepdepixelate-srgan-sample/1")
    weights = load_weights(project.path / "data/06_models/sample/srgan.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    expected = Enlarger(weights, device="cpu", precision="fp32")(image)
    np.testing.assert_array_equal(model.predict(image), expected)


def test_a_second_person_scores_and_uses_the_model_by_its_name(
    project: Project, stack: Stack, tmp_path: Path
) -> None:
    second = make_project(tmp_path / "second")
    data = "data/05_model_input"
    shutil.copytree(project.path / data, second.path / data)
    name = "deepdepixelate-srgan-sample"

    def evaluate(model: str) -> Outcome:
        parameters = f"{TINY},evaluate.registered.srgan=models:/{model}"
        command = ("run", "--pipeline", "evaluate_registered", "--params", parameters)
        return second.kedro(*command)

    evaluate(f"{name}/77").assert_readable_error(f"the model models:/{name}/77", stack.address)
    outcome = evaluate(f"{name}@latest")
    outcome.assert_success()
    assert f"--model models:/{name}/1" in outcome.output
    reporting = "data/08_reporting/sample"
    first, other = (
        json.loads((each / "evaluation.json").read_text())
        for each in (project.path / reporting, second.path / reporting / "registered")
    )
    assert other["sets"] == first["sets"]
    of_srgan = other["provenance"]["weights"]["srgan"]
    assert of_srgan["registered_model"] == f"models:/{name}/1"
    client = mlflow.MlflowClient(stack.address)
    run = client.get_run(other["provenance"]["mlflow_run_id"])
    assert run.data.tags["evaluates.srgan.run"] == of_srgan["mlflow_run_id"]
    assert not (second.path / "data/06_models").exists()

    Image.new("RGB", (20, 16), "gray").save(second.path / "photo.png")
    command = ("enhance", "photo.png", "--model", f"models:/{name}@latest")
    enlarged = run_command("deepdepixelate", *command, folder=second.path)
    enlarged.assert_success()
    with Image.open(second.path / f"enhanced/photo-{name}-1-4x.png") as image:
        assert image.size == (80, 64)


@pytest.mark.long
def test_four_runs_at_a_time_are_recorded_though_the_server_restarts(
    project: Project, stack: Stack
) -> None:
    """Four commands, each with its own folder; the server is gone for a while in the middle."""
    client = mlflow.MlflowClient(stack.address)
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    before = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    copies = [copy_of(project, project.path.with_name(f"project-{number}")) for number in range(4)]
    with ExitStack() as running:
        started = []
        for number, copy in enumerate(copies):
            log = copy.path / "output.log"
            parameters = f"{TINY},training.seed={number + 1},pretrain.updates=60"
            process = Process(
                "kedro", "run", "--pipelines", "pretrain,evaluate", "--params", parameters,
                folder=copy.path, stdout=log, stderr=log,
                environment={"MLFLOW_TRACKING_URI": stack.address},
            )  # fmt: skip
            running.callback(process.kill)
            started.append((process, log))
        for _, log in started:
            wait_for("/60 [", log)
        stack.stop()
        for process, log in started:
            wait_for(") fails: ", log)
            os.kill(process.pid, signal.SIGSTOP)  # or it would end before the server is back
        stack.start()
        for process, _ in started:
            os.kill(process.pid, signal.SIGCONT)
        for process, log in started:
            assert process.wait(300) == 0, log.read_text()
    found = client.search_runs([experiment.experiment_id])
    new = [run for run in found if run.info.run_id not in before]
    assert len(new) == len(copies)
    for run in new:
        assert run.info.status == "FINISHED"
        points = client.get_metric_history(run.info.run_id, "pretrain.loss")
        assert [point.step for point in points] == list(range(2, 61, 2))
        assert "test.srresnet.psnr_y" in run.data.metrics
    versions = client.search_model_versions("name = 'deepdepixelate-srresnet-sample'")
    assert sorted(int(each.version) for each in versions) == list(range(1, len(copies) + 2))
    assert len({each.run_id for each in versions}) == len(versions)


def wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + 240
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)

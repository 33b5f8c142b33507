"""A real MLflow server that is killed, and sometimes comes back, while a run goes on."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
import pytest
from finished_project import prepared_project
from kedro.io import DataCatalog
from kedro_project import Outcome, Project
from local_server import free_port, mlflow_server
from processes import Process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="kills a group of processes"),
]

TINY = (
    "pretrain.updates=4,pretrain.validate_every=2,"
    "pretrain.validation_images=2,train_gan.updates=4,train_gan.validate_every=2,"
    "train_gan.validation_images=2,training.log_every=1,training.batch_norm_updates=1,"
    "evaluate.faces_shown=1,evaluate.examples_shown=1,evaluate.identity=off"
)


def wait_before_saving(moments: Path) -> None:
    """Before a dataset is saved that a file names, rename that file and wait till it is gone."""
    original = DataCatalog.save

    def save(catalog: DataCatalog, name: str, data: Any) -> None:
        moment = moments / name
        if moment.exists():
            now = moment.rename(moment.with_suffix(".now"))
            while now.exists():
                time.sleep(0.02)
        original(catalog, name, data)

    patch.object(DataCatalog, "save", save).start()


class Server:
    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._up = ExitStack()
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        database = f"sqlite:///{self._folder}/mlflow.db"
        self._process = self._up.enter_context(mlflow_server(self._folder, database, self._port))

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._up.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return prepared_project(tmp_path_factory)


def run(
    project: Project,
    server: Server,
    moments: Mapping[str, Callable[[], None]],
    stages: str,
    params: str = TINY,
) -> Outcome:
    """Run stages; before these datasets are saved, do what is said."""
    folder = project.path / "moments"
    folder.mkdir(exist_ok=True)
    for name in moments:
        (folder / name).touch()
    log = folder / "output.log"
    log.write_text("")
    process = Process(
        "kedro", "run", "--pipelines", stages, "--params", params,
        folder=project.path, stdout=log, stderr=log,
        environment={
            "COLUMNS": "2000", "MLFLOW_TRACKING_URI": server.address,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        },
        before=partial(wait_before_saving, folder),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    try:
        while process.poll() is None:
            assert time.monotonic() < deadline, log.read_text()
            for moment in folder.glob("*.now"):
                moments[moment.stem]()
                moment.unlink()
            time.sleep(0.02)
    finally:
        process.kill()
    assert not [name for name in moments if (folder / name).exists()], log.read_text()
    return Outcome(process.wait(0), log.read_text(), "")


def test_what_an_outage_kept_back_is_sent_when_the_server_answers(
    prepared: Project, server: Server
) -> None:
    moments = {
        "srresnet": server.kill, "train_gan_history": server.start,
        "evaluation": server.kill, "report": server.start,
    }  # fmt: skip
    outcome = run(prepared, server, moments, "pretrain,train_gan,evaluate")
    outcome.assert_success()
    assert "WARNING" not in outcome.output, outcome.output
    assert "answers again" in outcome.output
    client = mlflow.MlflowClient(server.address)
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    (run_found,) = client.search_runs([experiment.experiment_id])
    found = client.get_run(run_found.info.run_id)
    assert found.info.status == "FINISHED"
    assert {"pretrain.updates", "train_gan.updates", "evaluate.faces_shown"} <= set(
        found.data.params
    )
    assert {"test.srgan.psnr_y", "train_gan.loss", "pretrain.loss"} <= set(found.data.metrics)
    for stage in ("pretrain", "train_gan"):
        history = client.get_metric_history(found.info.run_id, f"{stage}.loss")
        assert [point.step for point in history] == [1, 2, 3, 4]
    files = {
        file.path
        for folder in ("models", "curves", "evaluation")
        for file in client.list_artifacts(found.info.run_id, folder)
    }
    assert files == {
        "models/srresnet.safetensors", "models/srgan.safetensors",
        "curves/pretrain_curves.html", "curves/train_gan_curves.html",
        "evaluation/scores.csv", "evaluation/evaluation.json",
        "evaluation/comparison.png", "evaluation/report.html",
    }  # fmt: skip
    assert found.inputs is not None
    data = {logged.dataset.name for logged in found.inputs.dataset_inputs}
    assert data == {"sample/train", "sample/val", "sample/test"}
    assert found.data.tags["evaluates.srgan.digest"]
    models = {model.name for model in client.search_registered_models()}
    assert models == {"deepdepixelate-srgan-sample", "deepdepixelate-srresnet-sample"}


def test_a_run_ends_well_without_the_server_and_says_once_what_is_lost(
    prepared: Project, server: Server
) -> None:
    start = time.time()
    restart = f"{TINY},pretrain.restart=true"
    outcome = run(prepared, server, {"srresnet": server.kill}, "pretrain", restart)
    outcome.assert_success()
    data = prepared.path / "data"
    assert (data / "06_models/sample/srresnet.safetensors").stat().st_mtime > start
    assert (data / "08_reporting/sample/pretrain_curves.json").stat().st_mtime > start
    (told,) = re.findall(r"WARNING +(.*)", outcome.output)
    for part in (
        server.address,
        "the file data/06_models/sample/srresnet.safetensors",
        "the model deepdepixelate-srresnet-sample",
        "the parameters of pretrain.plot_curves",
        "the end of the run",
        "log-artifact --run-id",
    ):
        assert part in told
    assert "Written:" in outcome.output


def test_an_error_of_the_run_itself_is_told_though_the_server_is_gone(
    prepared: Project, server: Server
) -> None:
    history = prepared.path / "data/08_reporting/sample/pretrain_history.csv"

    def kill_and_break() -> None:
        server.kill()
        history.unlink(missing_ok=True)
        history.mkdir()

    outcome = run(prepared, server, {"pretrain_history": kill_and_break}, "pretrain")
    assert outcome.code != 0
    assert history.name in outcome.output
    assert "MlflowException" not in outcome.output
    assert outcome.output.count("did not record everything") == 1

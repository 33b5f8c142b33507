"""What MLflow holds after a training, an evaluation of it by itself, and the training once more."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from kedro_project import Outcome, Project, make_project
from mlflow.entities import DatasetInput, Run, RunInputs, RunOutputs
from PIL import Image

from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.weights import Weights, load_weights
from deepdepixelate.tracking import lineage

pytestmark = pytest.mark.slow

TINY = (
    "ingest.limit_per_split=4,pretrain.updates=6,train_gan.updates=4,training.log_every=2,"
    "pretrain.batch_size=2,pretrain.generator.blocks=1,pretrain.generator.channels=8,"
    "pretrain.validate_every=6,train_gan.validate_every=4,training.batch_norm_updates=2"
)
FEW = "evaluate.faces_shown=1,evaluate.examples_shown=1,evaluate.identity=off"
CHATTER = re.compile(
    r"INFO mlflow|WARNING mlflow|FutureWarning|UserWarning|[Rr]egistered model|Created version|"
    r"View run|🏃|🧪|[Ss]ignature"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("record") / "project")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def outcomes(project: Project, benchmark: Path) -> list[Outcome]:
    """A training, an evaluation by itself, and half of the training again, already finished."""
    commands = [
        ("--pipelines", "ingest,degrade,pretrain,train_gan", "--params", TINY),
        ("--pipeline", "evaluate", "--params", f"evaluate.benchmarks.noise={benchmark},{FEW}"),
        ("--pipeline", "train_gan", "--params", TINY),
    ]
    outcomes = []
    for arguments in commands:
        outcomes.append(project.kedro("run", *arguments))
        outcomes[-1].assert_success()
    return outcomes


@pytest.fixture(scope="module")
def client(project: Project, outcomes: list[Outcome]) -> Iterator[mlflow.MlflowClient]:
    uri = f"sqlite:///{project.path}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield mlflow.MlflowClient(uri)


@pytest.fixture(scope="module")
def runs(client: mlflow.MlflowClient) -> list[Run]:
    """The training, the evaluation and the training again."""
    experiment = client.get_experiment_by_name("deepdepixelate")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
    return [client.get_run(run.info.run_id) for run in found]


def manifest(project: Project, kind: str, split: str) -> dict[str, Any]:
    path = project.path / f"data/05_model_input/sample/{kind}/{split}/manifest.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def digest(project: Project, kind: str, split: str) -> str:
    shards = manifest(project, kind, split)["shards"]
    lines = "".join(f"{shard['sha256']} {shard['count']}\n" for shard in shards)
    return hashlib.sha256(lines.encode()).hexdigest()


def weights(project: Project, name: str) -> Weights:
    return load_weights(project.path / f"data/06_models/sample/{name}.safetensors")


def inputs(run: Run) -> RunInputs:
    assert run.inputs is not None
    return run.inputs


def outputs(run: Run) -> RunOutputs:
    assert run.outputs is not None
    return run.outputs


def parsed(text: str | None) -> Any:
    assert text is not None
    return json.loads(text)


def context(logged: DatasetInput) -> str:
    return next(tag.value for tag in logged.tags if tag.key == "mlflow.data.context")


def test_mlflow_does_not_talk_into_the_output(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert not CHATTER.search(outcome.output), outcome.output


def test_a_training_has_its_splits_as_inputs(project: Project, runs: list[Run]) -> None:
    logged = {context(each): each.dataset for each in inputs(runs[0]).dataset_inputs}
    assert set(logged) == {"train", "validation"}
    for split, dataset in (("train", logged["train"]), ("val", logged["validation"])):
        hr, lr = (digest(project, kind, split) for kind in ("hr", "lr"))
        assert dataset.name == f"sample/{split}"
        assert dataset.digest == f"{hr[:16]}-{lr[:16]}"
        profile = parsed(dataset.profile)
        assert (profile["hr_digest"], profile["lr_digest"]) == (hr, lr)
        assert profile["images"] == manifest(project, "hr", split)["count"] == 4
        folder = project.path / f"data/05_model_input/sample/hr/{split}"
        assert parsed(dataset.source)["uri"] == str(folder)
        schema = parsed(dataset.schema)["mlflow_tensorspec"]
        assert json.loads(schema["targets"])[0]["tensor-spec"]["shape"] == [-1, 216, 176, 3]
        assert json.loads(schema["features"])[0]["tensor-spec"]["shape"] == [-1, 54, 44, 3]


def test_an_evaluation_has_test_and_benchmarks_as_inputs(
    project: Project, benchmark: Path, runs: list[Run]
) -> None:
    logged = {each.dataset.name: each for each in inputs(runs[1]).dataset_inputs}
    assert set(logged) == {"sample/test", "noise"}
    assert context(logged["sample/test"]) == "test"
    assert context(logged["noise"]) == "benchmark"
    expected = digest(project, "hr", "test")[:16] + "-" + digest(project, "lr", "test")[:16]
    assert logged["sample/test"].dataset.digest == expected
    noise = logged["noise"].dataset
    assert parsed(noise.profile)["images"] == 2
    assert parsed(noise.source)["uri"] == str(benchmark)
    changed = lineage.describe_benchmark("noise", {"hr": benchmark, "lr": benchmark}, 4)
    assert changed.digest.split("-")[0] == noise.digest.split("-")[0]
    assert changed.digest != noise.digest


def test_an_evaluation_and_its_training_know_each_other(project: Project, runs: list[Run]) -> None:
    training, evaluation, _ = runs
    for name in ("srresnet", "srgan"):
        assert evaluation.data.tags[f"evaluates.{name}.run"] == training.info.run_id
        assert evaluation.data.tags[f"evaluates.{name}.digest"] == weights(project, name).digest
    description = evaluation.data.tags["mlflow.note.content"]
    assert f"/runs/{training.info.run_id})" in description
    assert f"{evaluation.data.metrics['test.srgan.psnr_y']:.2f}" in description
    key = f"evaluated_by.{evaluation.info.run_id[:8]}"
    assert training.data.tags[key] == evaluation.info.run_id
    scored = {model.model_id for model in inputs(evaluation).model_inputs}
    assert scored == {model.model_id for model in outputs(training).model_outputs}
    assert not [tag for tag in training.data.tags if tag.endswith(".run")]


def test_another_evaluation_adds_its_link(client: mlflow.MlflowClient, runs: list[Run]) -> None:
    training = runs[0].info.run_id
    origin = {"digest": "0", "mlflow_run_id": training}
    with mlflow.start_run(experiment_id=runs[0].info.experiment_id) as another:
        lineage.link_evaluation({"srgan": origin}, {})
    tags = client.get_run(training).data.tags
    links = {value for key, value in tags.items() if key.startswith("evaluated_by.")}
    assert links == {runs[1].info.run_id, another.info.run_id}


def test_weights_whose_training_run_is_not_here_are_named_by_their_digest_alone(
    client: mlflow.MlflowClient, runs: list[Run], caplog: pytest.LogCaptureFixture
) -> None:
    experiment = runs[0].info.experiment_id
    deleted = client.create_run(experiment).info.run_id
    client.delete_run(deleted)
    lost = {
        "srresnet": {"digest": "1", "mlflow_run_id": deleted},
        "srgan": {"digest": "2", "mlflow_run_id": "0" * 32},
        "untracked": {"digest": "3", "mlflow_run_id": None},
    }
    caplog.set_level(logging.WARNING, logger="deepdepixelate")
    with mlflow.start_run(experiment_id=experiment) as run:
        lineage.link_evaluation(lost, {})
    assert not caplog.records
    tags = client.get_run(run.info.run_id).data.tags
    links = {name: value for name, value in tags.items() if name.startswith("evaluates.")}
    assert links == {
        "evaluates.srresnet.digest": "1",
        "evaluates.srgan.digest": "2",
        "evaluates.untracked.digest": "3",
    }
    assert "mlflow.note.content" not in tags


def scores(run: Run, prefix: str) -> str:
    psnr, st_lpips = (run.data.metrics[f"{prefix}.{name}"] for name in ("psnr_y", "st_lpips"))
    return f"PSNR {psnr:.2f}\N{NO-BREAK SPACE}dB, ST-LPIPS {st_lpips:.3f}"


@pytest.mark.parametrize("name", ["srresnet", "srgan"])
def test_a_generator_is_registered_once(
    project: Project, client: mlflow.MlflowClient, runs: list[Run], name: str
) -> None:
    """The training that ran again found itself finished: that is no new version."""
    registered = f"deepdepixelate-{name}-sample"
    (version,) = client.search_model_versions(f"name='{registered}'")
    assert version.run_id == runs[0].info.run_id
    assert version.tags["weights_digest"] == weights(project, name).digest
    images = np.random.default_rng(0).integers(0, 256, (2, 10, 12, 3), np.uint8)
    expected = Enlarger(weights(project, name), device="cpu", precision="fp32")(images)
    for uri in (f"models:/{registered}@latest", f"runs:/{runs[0].info.run_id}/{name}"):
        np.testing.assert_array_equal(mlflow.pyfunc.load_model(uri).predict(images), expected)
    stage = {"srresnet": "pretrain", "srgan": "train_gan"}[name]
    test, validation, architecture = str(version.description).split("\n\n")
    assert test == f"Test: {scores(runs[1], f'test.{name}')}"
    assert validation == f"Validation: {scores(runs[0], f'{stage}.val')}"
    assert architecture.startswith("4x, 1 blocks of 8 channels")


@pytest.mark.parametrize(("name", "stage"), [("srresnet", "pretrain"), ("srgan", "train_gan")])
def test_a_model_has_the_figures_that_are_about_it(
    client: mlflow.MlflowClient, runs: list[Run], name: str, stage: str
) -> None:
    training, evaluation, _ = runs
    models = [client.get_logged_model(each.model_id) for each in outputs(training).model_outputs]
    (model,) = (model for model in models if model.name == name)
    metrics = {metric.key: metric for metric in model.metrics or ()}
    figures = {(metric.run_id, key, metric.value) for key, metric in metrics.items()}
    validated = {key for key in training.data.metrics if key.startswith(f"{stage}.val.")}
    scored = {key for key in evaluation.data.metrics if f".{name}." in key}
    assert {f"{stage}.val.psnr_y"} <= validated
    assert {f"test.{name}.psnr_y", f"noise.{name}.ssim_y"} <= scored
    assert figures == {
        (run.info.run_id, key, run.data.metrics[key])
        for run, keys in ((training, validated), (evaluation, scored))
        for key in keys
    }
    for key in scored:  # nothing was logged to the run a second time
        assert len(client.get_metric_history(evaluation.info.run_id, key)) == 1


def test_a_training_on_earlier_weights_says_so(project: Project, runs: list[Run]) -> None:
    training, _, again = runs
    assert again.data.tags["starts_from.srresnet.run"] == training.info.run_id
    assert again.data.tags["starts_from.srresnet.digest"] == weights(project, "srresnet").digest


def test_curves_are_logged_as_a_page_that_works_without_a_network(
    client: mlflow.MlflowClient, runs: list[Run], tmp_path: Path
) -> None:
    files = [file.path for file in client.list_artifacts(runs[0].info.run_id, "curves")]
    assert files == ["curves/pretrain_curves.html", "curves/train_gan_curves.html"]
    for file in files:
        page = Path(client.download_artifacts(runs[0].info.run_id, file, str(tmp_path))).read_text()
        assert "validation PSNR" in page
        assert not re.search(r"<script[^>]* src=", page)


def test_runs_are_named_after_what_was_changed(runs: list[Run]) -> None:
    assert runs[0].info.run_name == "ingest.limit_per_split=4, pretrain.updates=6, pretrain.batc…"
    assert runs[0].data.tags["kedro_command"] == (
        f"kedro run --pipelines ingest,degrade,pretrain,train_gan --params {TINY}"
    )
    assert runs[1].data.tags["dataset"] == "sample"
    assert runs[1].data.tags["runner"] == "SequentialRunner"

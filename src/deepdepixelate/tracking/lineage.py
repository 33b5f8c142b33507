"""What an MLflow run was made from: data sets as its inputs, and links to the runs before it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source_registry import get_dataset_source_from_json
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import LifecycleStage, LoggedModelInput, Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.evaluation.benchmarks import hr_folder
from deepdepixelate.photographs.reading import image_files

CONTEXTS = {"train": "train", "val": "validation", "test": "test"}
"""What MLflow calls the use of each split."""

_NOT_THERE = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


class ImageSet(Dataset):
    """A set of HR images and their LR, as MLflow lists it: described, not read.

    ``digest`` is the beginnings of the HR and the LR digest, as MLflow keeps 36 characters.
    """

    def __init__(
        self, name: str, hr_digest: str, lr_digest: str, directory: Path, profile: Mapping[str, Any]
    ) -> None:
        self._profile = {**profile, "hr_digest": hr_digest, "lr_digest": lr_digest}
        source = get_dataset_source_from_json(json.dumps({"uri": str(directory)}), "local")
        super().__init__(source, name)

    @property
    def profile(self) -> dict[str, Any]:
        return self._profile

    @property
    def schema(self) -> TensorDatasetSchema:
        """LR in, HR out; -1 stands for any number of images, and for sizes that vary."""
        lr, hr = (self._profile.get(f"{kind}_shape", (-1, -1, 3)) for kind in ("lr", "hr"))
        return TensorDatasetSchema(features=_images("lr", lr), targets=_images("hr", hr))

    def _compute_digest(self) -> str:
        return "-".join(self._profile[kind][:16] for kind in ("hr_digest", "lr_digest"))

    def to_dict(self) -> dict[str, str]:
        return {
            **super().to_dict(),
            "schema": json.dumps(self.schema.to_dict()),
            "profile": json.dumps(self.profile),
        }


def describe_pairs(dataset: str, pairs: ImagePairs) -> ImageSet:
    """A split of the project's own data, named ``<dataset>/<split>``, from its manifests."""
    hr, lr = pairs.hr.manifest, pairs.lr.manifest
    return ImageSet(
        f"{dataset}/{hr.split}",
        hr.digest,
        lr.digest,
        pairs.hr.directory,
        {
            "images": hr.count,
            "scale": pairs.scale,
            "hr_shape": list(hr.shape),
            "lr_shape": list(lr.shape),
            "degradation": lr.details.get("kernel"),
        },
    )


def describe_benchmark(name: str, folders: Mapping[str, Any], scale: int) -> ImageSet:
    """A benchmark's folders (``hr``, ``lr`` or None), named as it is; its files are hashed."""
    directory = Path(folders["hr"])
    hr = image_files(hr_folder(directory))
    lr = None if folders["lr"] is None else image_files(Path(folders["lr"]))
    made = f"made from HR, {scale}x smaller"
    return ImageSet(
        name,
        _digest(hr),
        hashlib.sha256(made.encode()).hexdigest() if lr is None else _digest(lr),
        directory,
        {"images": len(hr), "scale": scale, "lr": made if lr is None else str(folders["lr"])},
    )


def log_input(images: ImageSet, context: str) -> None:
    """Add a set of images to the active run's inputs."""
    mlflow.log_input(images, context=context)


def link_weights(relation: str, weights: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Tag the active run with the weights that it uses and the runs that made them.

    Tags: ``<relation>.<name>.digest``, and ``<relation>.<name>.run`` where another run made them
    that is in this tracking store: those of the packaged weights, say, are not. Their models become
    the active run's inputs.

    Args:
        relation: ``evaluates`` or ``starts_from``.
        weights: by name their ``digest`` and ``mlflow_run_id`` (which may be None or missing).

    Returns:
        By name, the runs that were linked.
    """
    run = mlflow.active_run()
    if run is None:
        return {}
    tags = {f"{relation}.{name}.digest": origin["digest"] for name, origin in weights.items()}
    makers = {
        name: str(maker)
        for name, origin in weights.items()
        if (maker := origin.get("mlflow_run_id")) not in (None, run.info.run_id)
        and _is_here(str(maker))
    }
    tags |= {f"{relation}.{name}.run": maker for name, maker in makers.items()}
    if makers:
        tags["mlflow.note.content"] = _describe(relation, makers, run.info.experiment_id)
    mlflow.set_tags(tags)
    for name, maker in makers.items():
        _add_model(run.info.run_id, name, maker)
    return makers


def link_evaluation(weights: Mapping[str, Mapping[str, Any]]) -> None:
    """Link the active run, an evaluation, with the runs whose weights it scored, both ways.

    Each of those gets a tag of its own for each evaluation, ``evaluated_by.<first 8 of its id>``,
    so that evaluations at the same time do not overwrite each other's.
    """
    makers = link_weights("evaluates", weights)
    run = mlflow.active_run()
    if run is None:
        return
    evaluation = run.info.run_id
    for maker in sorted(set(makers.values())):
        mlflow.MlflowClient().set_tag(maker, f"evaluated_by.{evaluation[:8]}", evaluation)


def add_scores(metrics: Iterable[str]) -> None:
    """Make metrics of the active run, an evaluation, those of the models that they are about.

    Args:
        metrics: as ``<set>.<generator>.<metric>``, logged before.
    """
    run = mlflow.active_run()
    if run is None:
        return
    client = mlflow.MlflowClient()
    recorded = client.get_run(run.info.run_id)
    made = [] if recorded.outputs is None else recorded.outputs.model_outputs
    used = [] if recorded.inputs is None else recorded.inputs.model_inputs
    for model_id in [each.model_id for each in made] + [each.model_id for each in used]:
        name = client.get_logged_model(model_id).name
        of_model = [metric for metric in metrics if metric.split(".")[1] == name]
        add_metrics(run.info.run_id, model_id, of_model)


def add_metrics(run_id: str, model_id: str, metrics: Iterable[str]) -> None:
    """Make the last points of metrics of a run those of a logged model, too."""
    client = mlflow.MlflowClient()
    points = [client.get_metric_history(run_id, metric)[-1] for metric in metrics]
    client.log_batch(
        run_id,
        [
            Metric(point.key, point.value, point.timestamp, point.step, model_id, run_id=run_id)
            for point in points
        ],
    )


def _is_here(run_id: str) -> bool:
    """Whether a run is in this tracking store, and not deleted."""
    try:
        found = mlflow.MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != _NOT_THERE:
            raise
        return False
    return bool(found.info.lifecycle_stage == LifecycleStage.ACTIVE)


def _describe(relation: str, makers: Mapping[str, str], experiment: str) -> str:
    """The run's description in MLflow's pages, with the runs to click on."""
    links = [
        f"{name} of run [{maker[:8]}](#/experiments/{experiment}/runs/{maker})"
        for name, maker in makers.items()
    ]
    return f"{relation.replace('_', ' ').capitalize()} {' and '.join(links)}."


def _add_model(run_id: str, name: str, maker: str) -> None:
    """Make the model that a run logged under a name an input of another run."""
    client = mlflow.MlflowClient()
    outputs = client.get_run(maker).outputs
    logged = [] if outputs is None else outputs.model_outputs
    try:
        models = [client.get_logged_model(each.model_id) for each in logged]
    except MlflowException as error:  # the run is there, its model was deleted
        if error.error_code != _NOT_THERE:
            raise
        return
    inputs = [LoggedModelInput(model.model_id) for model in models if model.name == name]
    if inputs:
        client.log_inputs(run_id, models=inputs)


def _images(name: str, shape: Iterable[int]) -> Schema:
    return Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape), name)])


def _digest(files: Iterable[Path]) -> str:
    """SHA-256 over names and contents, in the order given."""
    hashed = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        hashed.update(f"{content} {path.name}\n".encode())
    return hashed.hexdigest()

"""The lineage of an MLflow run: data sets as inputs, and links to the runs that made weights."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    LoggedModelInput,
    Metric,
    RunInfo,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.locations import Location
from deepdepixelate.tracking.descriptions import describe_run, describe_scores

CONTEXTS = {"train": "train", "val": "validation", "test": "test"}
"""MLflow's name for the use of each split."""

_NOT_FOUND = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


def describe_pairs(dataset: str, pairs: ImagePairs) -> Dataset:
    """Describe a split of the project's data, named ``<dataset>/<split>``, from its manifests."""
    hr, lr = pairs.hr.manifest, pairs.lr.manifest
    profile = {
        "images": hr.count,
        "scale": pairs.scale,
        "hr_shape": list(hr.shape),
        "lr_shape": list(lr.shape),
        "degradation": lr.details.get("kernel"),
    }
    return _describe(f"{dataset}/{hr.split}", pairs.hr.directory, hr.digest, lr.digest, profile)


def describe_benchmark(name: str, folders: Mapping[str, Any], scale: int) -> Dataset:
    """Describe a benchmark from its folders ``hr`` and ``lr`` (or None); hashes their files."""
    from deepdepixelate.evaluation.benchmarks import hr_folder
    from deepdepixelate.photographs.reading import image_files

    directory = Path(folders["hr"])
    hr = image_files(hr_folder(directory))
    if folders["lr"] is None:
        lr = f"made from HR, {scale}x smaller"
        lr_digest = hashlib.sha256(lr.encode()).hexdigest()
    else:
        lr = str(folders["lr"])
        lr_digest = _digest(image_files(Path(lr)))
    profile = {"images": len(hr), "scale": scale, "lr": lr}
    return _describe(name, directory, _digest(hr), lr_digest, profile)


def _describe(
    name: str, directory: Location, hr_digest: str, lr_digest: str, profile: Mapping[str, Any]
) -> Dataset:
    """A data set with LR as features and HR as targets; -1 is any number, or a varying size."""

    def images(name: str) -> Schema:
        shape = (-1, *profile.get(f"{name}_shape", (-1, -1, 3)))
        return Schema([TensorSpec(np.dtype(np.uint8), shape, name)])

    schema = TensorDatasetSchema(features=images("lr"), targets=images("hr"))
    return Dataset(
        name=name,
        digest=f"{hr_digest[:16]}-{lr_digest[:16]}",  # MLflow keeps 36 characters
        source_type="local" if isinstance(directory, Path) else directory.protocol,
        source=json.dumps({"uri": str(directory)}),
        schema=json.dumps(schema.to_dict()),
        profile=json.dumps({**profile, "hr_digest": hr_digest, "lr_digest": lr_digest}),
    )


def log_input(images: Dataset, context: str) -> None:
    """Add a data set to the active run's inputs."""
    logged = DatasetInput(images, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
    mlflow.MlflowClient().log_inputs(_active().run_id, [logged])


def _active() -> RunInfo:
    run = mlflow.active_run()
    assert run is not None  # noqa: S101 - these functions are called during a run
    return run.info


def link_weights(relation: str, weights: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Tag the active run with the weights that it uses and the runs that made them.

    The tags are ``<relation>.<name>.digest`` and ``<relation>.<name>.run``. The latter is left out
    if the run is the active one, or is not in this tracking store, as for packaged weights. The
    models of those runs become the active run's inputs.

    Args:
        relation: ``evaluates`` or ``starts_from``.
        weights: by name their ``digest`` and ``mlflow_run_id`` (which may be None or missing).

    Returns:
        The ids of the linked runs, by the name of the weights.
    """
    run = _active()
    tags = {f"{relation}.{name}.digest": origin["digest"] for name, origin in weights.items()}
    makers = {
        name: str(maker)
        for name, origin in weights.items()
        if (maker := origin.get("mlflow_run_id")) not in (None, run.run_id)
        and _is_in_store(str(maker))
    }
    tags |= {f"{relation}.{name}.run": maker for name, maker in makers.items()}
    mlflow.set_tags(tags)
    describe_run(run.run_id)
    for name, maker in makers.items():
        _add_input_model(run.run_id, name, maker)
    return makers


def link_evaluation(weights: Mapping[str, Mapping[str, Any]], sets: Mapping[str, Any]) -> None:
    """Describe the active run, an evaluation, and link it and the runs that made the weights.

    Each evaluation has its own tag in those runs, ``evaluated_by.<first 8 digits of its id>``, so
    that concurrent evaluations do not overwrite each other's.

    Args:
        weights: see ``link_weights``.
        sets: the entry ``sets`` of ``evaluation.json``.
    """
    makers = link_weights("evaluates", weights)
    evaluation = _active().run_id
    describe_run(evaluation, sets)
    for maker in sorted(set(makers.values())):
        mlflow.MlflowClient().set_tag(maker, f"evaluated_by.{evaluation[:8]}", evaluation)


def add_scores(metrics: Iterable[str]) -> None:
    """Attach metrics of the active run, an evaluation, to the models that they score.

    The descriptions of registered versions get the scores on the test split.

    Args:
        metrics: names as ``<set>.<generator>.<metric>``, logged before.
    """
    client = mlflow.MlflowClient()
    run = client.get_run(_active().run_id)
    models = [
        *(run.outputs.model_outputs if run.outputs else ()),
        *(run.inputs.model_inputs if run.inputs else ()),
    ]
    for model in models:
        logged = client.get_logged_model(model.model_id)
        of_model = [metric for metric in metrics if metric.split(".")[1] == logged.name]
        add_metrics(run.info.run_id, model.model_id, of_model)
        describe_scores(logged, "Test", run.data.metrics, f"test.{logged.name}.")


def add_metrics(run_id: str, model_id: str, metrics: Iterable[str]) -> None:
    """Attach the last points of a run's metrics to a logged model."""
    client = mlflow.MlflowClient()
    points = [client.get_metric_history(run_id, metric)[-1] for metric in metrics]
    client.log_batch(
        run_id,
        [
            Metric(point.key, point.value, point.timestamp, point.step, model_id, run_id=run_id)
            for point in points
        ],
    )


def _is_in_store(run_id: str) -> bool:
    """Whether the tracking store has a run, and it is not deleted."""
    try:
        found = mlflow.MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != _NOT_FOUND:
            raise
        return False
    return bool(found.info.lifecycle_stage == LifecycleStage.ACTIVE)


def _add_input_model(run_id: str, name: str, maker: str) -> None:
    """Make the model that the run ``maker`` logged as ``name`` an input of a run."""
    client = mlflow.MlflowClient()
    outputs = client.get_run(maker).outputs
    logged = [] if outputs is None else outputs.model_outputs
    try:
        models = [client.get_logged_model(each.model_id) for each in logged]
    except MlflowException as error:  # the model was deleted, but not its run
        if error.error_code != _NOT_FOUND:
            raise
        return
    inputs = [LoggedModelInput(model.model_id) for model in models if model.name == name]
    if inputs:
        client.log_inputs(run_id, models=inputs)


def _digest(files: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files."""
    hashed = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        hashed.update(f"{content} {path.name}\n".encode())
    return hashed.hexdigest()

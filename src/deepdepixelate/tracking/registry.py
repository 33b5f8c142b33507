"""Registers trained generators in MLflow's model registry, and finds them there."""

import base64
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.utils import logging_utils
from PIL import Image

import deepdepixelate
from deepdepixelate.errors import UserError, first_line
from deepdepixelate.models.generator import GeneratorArchitecture
from deepdepixelate.models.weights import Weights, load_weights, save_weights
from deepdepixelate.tracking.descriptions import describe_scores
from deepdepixelate.tracking.lineage import add_metrics
from deepdepixelate.tracking.outbox import OUTBOX
from deepdepixelate.tracking.served_model import ON_ERROR
from deepdepixelate.tracking.store import without_password

_PACKAGES = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "torch")
"""What ``served_model`` imports: the requirements of a model."""

_LOADER = "deepdepixelate.tracking.served_model"

_TITLES = {"srresnet": "SRResNet (mean squared error)", "srgan": "SRGAN (adversarial)"}


def registered_name(generator: str, dataset: str) -> str:
    """``deepdepixelate-<generator>`` for CelebA, else ``deepdepixelate-<generator>-<dataset>``."""
    suffix = "" if dataset == "celeba" else f"-{dataset}"
    return f"deepdepixelate-{generator}{suffix}"


def register_generator(generator: str, weights: Weights, dataset: str) -> None:
    """Log a generator to the active run and register it as a new version of its model.

    Args:
        generator: ``srresnet`` or ``srgan``, the name of the logged model.
        weights: the generator's.
        dataset: the name of the training data, as in the project's folders.
    """
    name = registered_name(generator, dataset)

    @cache  # log the model once, even if registering it has to be tried again
    def logged() -> LoggedModel:
        with TemporaryDirectory() as folder:
            return _log_model(generator, weights, dataset, Path(folder))

    def register() -> None:
        with _quiet():
            model = logged()
            tags = {
                key: value for key, value in model.tags.items() if not key.startswith("mlflow.")
            }
            uri = f"models:/{model.model_id}"
            number = str(mlflow.register_model(uri, name, tags=tags).version)
        client = mlflow.MlflowClient()
        client.update_registered_model(
            name,
            f"{_TITLES.get(generator, generator)} trained on {dataset} by DeepDepixelate: enlarges "
            "RGB images, given as uint8 arrays or as PNG or JPEG files.\n\n"
            f'`mlflow.pyfunc.load_model("models:/{name}@latest").predict(image)`',
        )
        architecture = GeneratorArchitecture.model_validate(dict(weights.architecture))
        client.update_model_version(
            name,
            number,
            f"{architecture.scale}x, {architecture.blocks} blocks of {architecture.channels} "
            f"channels, {_updates(weights):,} updates on {dataset}",
        )
        metrics = client.get_run(str(model.source_run_id)).data.metrics
        describe_scores(model, "Validation", metrics, _validated(weights))

    OUTBOX.send(f"the model {name}", register)


def find_registered(uri: str) -> Weights:
    """Download a registered generator from MLflow's tracking store.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``. The alias ``latest`` is the newest
            version.

    Returns:
        The weights. Their provenance has one entry more, ``registered_model``: the URI with the
        version for which the alias stood.

    Raises:
        UserError: there is no such model, it is not one of ``register_generator``, or the store
            fails.
    """
    place = without_password(mlflow.get_tracking_uri())
    try:
        with _quiet(), TemporaryDirectory() as folder:
            name_and_version = get_model_name_and_version(mlflow.MlflowClient(), uri)
            found = f"models:/{'/'.join(map(str, name_and_version))}"
            path = mlflow.artifacts.download_artifacts(found, dst_path=folder)
            flavor = Model.load(path).flavors.get("python_function", {})
            if flavor.get("loader_module") != _LOADER:
                raise UserError(
                    f"{found} on {place} is not a generator of DeepDepixelate. Their names begin "
                    "with deepdepixelate-."
                )
            weights = load_weights(Path(path, flavor["data"]))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"the model {uri} cannot be loaded from {place}: {first_line(error)}. MLflow's page "
            "lists the models with their versions; models:/NAME@latest is the newest version."
        ) from error
    return replace(weights, provenance={**weights.provenance, "registered_model": found})


def download(uri: str, folder: Path) -> Path:
    """Write a registered generator to ``<folder>/<name>-<version>.safetensors``.

    Raises:
        UserError: see ``find_registered``.
    """
    weights = find_registered(uri)
    found = weights.provenance["registered_model"].removeprefix("models:/").replace("/", "-")
    save_weights(folder / f"{found}.safetensors", weights)
    return folder / f"{found}.safetensors"


def _log_model(generator: str, weights: Weights, dataset: str, folder: Path) -> LoggedModel:
    """Log a generator as an output of the active run, with the metrics of its last validation.

    ``mlflow.pyfunc.log_model`` would read the history of every metric, and attach to the model all
    metrics that were logged at the same step, also those of other stages.
    """
    run = mlflow.active_run()
    assert run is not None  # noqa: S101 - called during a run
    run_id, client = run.info.run_id, mlflow.MlflowClient()
    commit = weights.provenance.get("git_commit")
    recorded = client.get_run(run_id).data
    model = client.create_logged_model(
        run.info.experiment_id,
        generator,
        source_run_id=run_id,
        params=recorded.params,
        tags={
            "dataset": dataset,
            "scale": str(weights.architecture["scale"]),
            "weights_digest": weights.digest,
            **({} if commit is None else {"git_commit": commit}),
        },
    )
    _save_model(generator, weights, folder, model)
    client.log_model_artifacts(model.model_id, str(folder / "model"))
    model = client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=_updates(weights))])
    last = [metric for metric in recorded.metrics if metric.startswith(_validated(weights))]
    add_metrics(run_id, model.model_id, last)
    return model


def _save_model(generator: str, weights: Weights, folder: Path, model: LoggedModel) -> None:
    path = folder / f"{generator}.safetensors"
    save_weights(path, weights)
    code = folder / "deepdepixelate"
    package = Path(deepdepixelate.__file__).parent
    shutil.copytree(package, code, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    mlflow.pyfunc.save_model(
        folder / "model",
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            run_id=model.source_run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
        ),
        loader_module=_LOADER,
        data_path=str(path),
        code_paths=[str(code)],
        # Without the label of a local build, such as +cpu, which the package index does not have.
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _PACKAGES],
        signature=_signature(),
        input_example=[_example()],
    )


def _signature() -> ModelSignature:
    """Images in, images out; inputs are checked by ``predict`` alone.

    A schema of MLflow is either a table or an array of one rank, and MLflow rejects other inputs
    before ``predict``, which accepts both. It skips the check if the signature is marked as one
    from a type hint.
    """
    images = Schema([ColSpec(DataType.binary)])
    on_error = ParamSchema([ParamSpec("on_error", DataType.string, ON_ERROR[0])])
    signature = ModelSignature(inputs=images, outputs=images, params=on_error)
    signature._is_signature_from_type_hint = True
    return signature


def _example() -> str:
    """A small image in the form that a served model receives: a PNG in base64."""
    rows, columns = np.mgrid[0:24, 0:24]
    pixels = np.stack([rows * 10, columns * 10, (rows + columns) * 5], axis=2).astype(np.uint8)
    png = BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return base64.b64encode(png.getvalue()).decode()


def _validated(weights: Weights) -> str:
    """What the names of the training's validation metrics begin with."""
    return f"{weights.training['stage']}.val."


def _updates(weights: Weights) -> int:
    return int(weights.training["settings"]["updates"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress MLflow's messages and warnings."""
    logging_utils.disable_logging()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging_utils.enable_logging()

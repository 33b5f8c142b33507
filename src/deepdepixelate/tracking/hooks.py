"""Kedro hooks that keep the MLflow run. An MLflow error does not stop a run that has started.

Kedro imports this module at every start, so modules that need torch are imported in functions.
"""

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

# MLflow reads these when it is imported. They are defaults: the user's environment wins.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # we print a summary
os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
# Notice an unreachable server within seconds, not minutes; OUTBOX keeps what could not be sent.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_mlflow.framework.hooks import mlflow_hook
from mlflow.entities import Dataset
from pydantic import BaseModel

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.tracking import lineage
from deepdepixelate.tracking.descriptions import run_name, typed_command
from deepdepixelate.tracking.outbox import OUTBOX
from deepdepixelate.tracking.store import ProjectStore, active_run_id

_HTML = {"include_plotlyjs": True, "default_height": "1200px"}
"""MLflow's page draws HTML, but not Plotly's JSON. The file works without a network."""


class TrackingHooks:
    """Records parameters, metrics, tags, files, data sets, models and the status of a run.

    kedro-mlflow's hooks are called from here; the settings disable them, and its datasets are
    saved without logging, because an error in them would end the run. What to record as lineage
    depends on the nodes' tags (``training``, ``evaluation``) and the datasets' names.
    """

    def __init__(self) -> None:
        self._dataset = ""
        self._project = Path()
        self._store = ProjectStore(self._project)
        self._outputs: dict[str, Any] = {}
        self._inputs: set[tuple[str, str]] = set()

    def tracking_uri(self) -> str:
        """The value of ``${tracking_uri:}`` in ``conf/base/mlflow.yml``."""
        return self._store.uri

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Set up MLflow, one process at a time."""
        self._dataset = context.config_loader["globals"]["dataset"]
        self._project = Path(context.project_path)
        self._store = ProjectStore(self._project)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # keep progress bars intact
        logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)  # OUTBOX warns once
        with self._store.setting_up():
            mlflow_hook.after_context_created(context)

    after_catalog_created = mlflow_hook.after_catalog_created  # names metrics after datasets

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Start the run, and tag it."""
        with self._store.answering():
            mlflow_hook.before_pipeline_run(run_params, pipeline, catalog)
            if active_run_id() is not None:
                mlflow.set_tags(self._tags(run_params))
        self._inputs = set()
        self._outputs = {
            name: dataset
            for name in pipeline.all_outputs()
            if getattr(dataset := catalog.get(name), "_logging_activated", False)
        }
        for dataset in self._outputs.values():
            dataset._logging_activated = False

    def _tags(self, run_params: Mapping[str, Any]) -> dict[str, str]:
        from deepdepixelate.tracking.record import git_commit

        pipeline = "+".join(run_params.get("pipeline_names") or ["__default__"])
        commit = git_commit() or "unknown"
        chain = "whole chain" if pipeline == "__default__" else pipeline
        changes = run_params.get("runtime_params") or {}
        command = typed_command()
        # <kedro.runner.sequential_runner.SequentialRunner object at 0x7f…>
        runner = run_params["runner"].partition(" object at ")[0].rpartition(".")[2]
        return {
            "mlflow.runName": run_name(changes) or f"{chain}, {self._dataset}",
            "mlflow.source.git.commit": commit,
            "git_commit": commit,
            "environment": run_params.get("env") or "local",
            "pipeline": pipeline,
            "dataset": self._dataset,
            "runner": runner,
            **({} if command is None else {"kedro_command": command}),
        }

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: DataCatalog, inputs: dict[str, Any], is_async: bool
    ) -> None:
        """Log the node's parameters, and the data sets and weights that it trains or scores."""
        # kedro-mlflow flattens dictionaries to pretrain.updates and so on, but not Pydantic models.
        parameters = {
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in inputs.items()
            if name.startswith("params:")
        }
        log = partial(mlflow_hook.before_node_run, node, catalog, parameters, is_async)
        OUTBOX.send(f"the parameters of {node.name}", log)
        if active_run_id() is None or not node.tags & {"training", "evaluation"}:
            return
        self._log_inputs(inputs, parameters)
        if "training" in node.tags and (origins := _origins(inputs)):
            link = partial(lineage.link_weights, "starts_from", origins)
            OUTBOX.send(f"the initial weights of {node.name}", link)

    def _log_inputs(self, inputs: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        """Log the splits of which the node reads HR and LR, and the benchmarks, once per run."""
        scale = None
        for split, context in lineage.CONTEXTS.items():
            if f"hr_{split}" in inputs and f"lr_{split}" in inputs:
                pairs = ImagePairs(inputs[f"hr_{split}"], inputs[f"lr_{split}"])
                scale = pairs.scale
                if self._is_new(context, split):
                    _log_input(lineage.describe_pairs(self._dataset, pairs), context)
        if scale is None:
            return
        for name, folders in parameters.get("params:evaluate", {}).get("benchmarks", {}).items():
            if self._is_new("benchmark", name):
                _log_input(lineage.describe_benchmark(name, folders, scale), "benchmark")

    def _is_new(self, context: str, name: str) -> bool:
        """Whether the run has no such input yet; notes it."""
        is_new = (context, name) not in self._inputs
        self._inputs.add((context, name))
        return is_new

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Log a file or metrics; register a trained generator; link an evaluation to trainings."""
        dataset = self._outputs.get(dataset_name)
        if dataset is not None and hasattr(data, "write_html"):  # a Plotly figure
            place = f"{dataset.artifact_path}/{dataset_name}.html"
            log = partial(mlflow.log_figure, data, place, save_kwargs=dict(_HTML))
            OUTBOX.send(f"the figure {dataset_name}", log)
        elif dataset is not None and hasattr(dataset, "artifact_path"):
            file = Path(str(dataset._filepath))
            shown = file.relative_to(self._project) if file.is_relative_to(self._project) else file
            log = partial(mlflow.log_artifact, str(file), dataset.artifact_path)
            OUTBOX.send(f"the file {shown}", log)
        elif dataset is not None:
            OUTBOX.send(f"the metrics {dataset_name}", partial(_log_metrics, dataset, data))
        if (run_id := active_run_id()) is None:
            return
        if "training" in node.tags and (origin := _origins({dataset_name: data})):
            # The weights of a training that was already finished name the run that trained them.
            if origin[dataset_name]["mlflow_run_id"] == run_id:
                from deepdepixelate.tracking.registry import register_generator

                register_generator(dataset_name, data, self._dataset)
        elif dataset_name in ("evaluation", "packaged_evaluation", "registered_evaluation"):
            weights, sets = data["provenance"]["weights"], data["sets"]
            link = partial(lineage.link_evaluation, weights, sets)
            OUTBOX.send("the links to the evaluated trainings", link)
        elif dataset_name == "evaluation_metrics":  # saved after the evaluation that links models
            OUTBOX.send("the scores of the models", partial(lineage.add_scores, data))

    @hook_impl(tryfirst=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """End the run."""
        end = partial(mlflow_hook.after_pipeline_run, run_params, pipeline, catalog)
        OUTBOX.conclude(active_run_id(), end)

    @hook_impl
    def on_pipeline_error(
        self,
        error: Exception,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: DataCatalog,
    ) -> None:
        """End the run as FAILED, or as KILLED if it was stopped by a signal."""
        from deepdepixelate.training.interruption import InterruptionError

        run_id = active_run_id()

        def end() -> None:
            mlflow_hook.on_pipeline_error(error, run_params, pipeline, catalog)
            if isinstance(error, InterruptionError) and run_id is not None:
                mlflow.MlflowClient().set_terminated(run_id, "KILLED")

        OUTBOX.conclude(run_id, end)


def end_killed_run() -> None:
    """End the active run as KILLED; MLflow would end it as FINISHED, or leave it RUNNING."""
    if (run_id := active_run_id()) is not None:
        OUTBOX.conclude(run_id, partial(mlflow.end_run, "KILLED"))


def _log_input(images: Dataset, context: str) -> None:
    OUTBOX.send(f"the data set {images.name}", partial(lineage.log_input, images, context))


def _log_metrics(dataset: Any, data: Any) -> None:
    dataset._logging_activated = True
    try:
        dataset.save(data)
    finally:
        dataset._logging_activated = False


def _origins(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The digest and the MLflow run of each generator's weights in ``data``, by name."""
    from deepdepixelate.models.weights import Weights

    return {
        name: {"digest": each.digest, "mlflow_run_id": each.provenance.get("mlflow_run_id")}
        for name, each in data.items()
        if isinstance(each, Weights) and each.kind == "generator"
    }
